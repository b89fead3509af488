"""What is known of crystals, or asked of them, before their latents are."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import gcd
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from variolite.crystals.crystals import Crystals
from variolite.crystals.elements import ATOMIC_NUMBERS, SYMBOLS, atomic_numbers
from variolite.crystals.model.batch import Layout
from variolite.errors import DataError, nearest

# What is known of crystals before their latents are: the conditions of a prior, in arrays.


SPACE_GROUP_COLUMNS = ("space_group", "space_group_number", "spacegroup.number", "spacegroup")
"""Names under which a property is taken for the number of the space group."""


@dataclass(frozen=True)
class Known:
    """Facts about B crystals with N atoms in all.

    Attributes
    ----------
    counts
        Atoms of every crystal, shape (B,).
    species
        Atomic numbers, 0 where free, shape (N,).
    space_groups
        International numbers 1 to 230, 0 where free, shape (B,).
    properties
        Numbers in the order of `Vocabulary.properties`, NaN where free, shape (B, P).
    """

    counts: NDArray[np.int64]
    species: NDArray[np.int64]
    space_groups: NDArray[np.int64]
    properties: NDArray[np.float64]

    def __post_init__(self) -> None:
        fits = (
            self.counts.ndim == 1
            and self.species.shape == (self.counts.sum(),)
            and self.space_groups.shape == self.counts.shape
            and self.properties.ndim == 2
            and len(self.properties) == len(self.counts)
        )
        if not fits:
            raise DataError("the arrays of what is known of crystals do not fit each other")

    def __len__(self) -> int:
        return len(self.counts)

    @property
    def offsets(self) -> NDArray[np.int64]:
        """Atoms of crystal i are ``offsets[i]:offsets[i + 1]``, shape (B + 1,)."""
        return np.concatenate([[0], np.cumsum(self.counts)]).astype(np.int64)

    def take(self, index: NDArray[np.integer]) -> Known:
        """Choose crystals by place."""
        return Known(
            counts=self.counts[index],
            species=self.species[atoms_of(self.offsets, index)],
            space_groups=self.space_groups[index],
            properties=self.properties[index],
        )

    def joined(self, other: Known) -> Known:
        """Append other crystals."""
        pairs = ((getattr(self, name), getattr(other, name)) for name in self.__dataclass_fields__)
        return Known(*(np.concatenate(pair) for pair in pairs))


def atoms_of(offsets: NDArray[np.int64], index: NDArray[np.integer]) -> NDArray[np.int64]:
    """Places of the atoms of the chosen crystals, crystal after crystal."""
    counts = np.diff(offsets)[index]
    ends = np.cumsum(counts)
    total = int(ends[-1]) if len(ends) else 0
    places: NDArray[np.int64] = np.repeat(offsets[:-1][index] - (ends - counts), counts)
    return np.asarray(places + np.arange(total), dtype=np.int64)


@dataclass(frozen=True)
class Vocabulary:
    """The conditions a prior was fitted with.

    Attributes
    ----------
    elements
        Atomic numbers of the training crystals, in ascending order.
    largest
        Most atoms of a training crystal.
    properties
        Names of the numeric conditions.
    location, scale
        Mean and standard deviation of every property among the training crystals.
    space_groups
        Whether the space group may be asked for.
    """

    elements: tuple[int, ...]
    largest: int
    properties: tuple[str, ...]
    location: tuple[float, ...]
    scale: tuple[float, ...]
    space_groups: bool

    @classmethod
    def of(cls, known: Known, names: Sequence[str]) -> Vocabulary:
        """Collect the vocabulary of training crystals."""
        found = np.isfinite(known.properties)
        spread = [
            (float(values[here].mean()), float(values[here].std()) or 1.0)
            for values, here in zip(known.properties.T, found.T, strict=True)
        ]
        elements = np.unique(known.species)
        return cls(
            elements=tuple(int(number) for number in elements if number),
            largest=int(known.counts.max()),
            properties=tuple(names),
            location=tuple(location for location, _ in spread),
            scale=tuple(scale for _, scale in spread),
            space_groups=bool(known.space_groups.any()),
        )

    def tokens(self, species: NDArray[np.integer]) -> NDArray[np.int64]:
        """Number the elements from 1 on, 0 for free; those of no training crystal are free too."""
        table = np.zeros(256, dtype=np.int64)
        table[list(self.elements)] = np.arange(1, len(self.elements) + 1)
        return np.asarray(table[species])

    def standardised(self, properties: NDArray[np.float64]) -> NDArray[np.float64]:
        """Properties in standard deviations from the mean, shape (B, P)."""
        values: NDArray[np.float64] = (properties - self.location) / self.scale
        return values

    def to_dict(self) -> dict[str, Any]:
        """Return a JSON-able description."""
        return {
            "elements": list(self.elements),
            "largest": self.largest,
            "properties": list(self.properties),
            "location": list(self.location),
            "scale": list(self.scale),
            "space_groups": self.space_groups,
        }

    @classmethod
    def from_dict(cls, description: dict[str, Any]) -> Vocabulary:
        """Rebuild a vocabulary from `to_dict`."""
        return cls(
            elements=tuple(int(number) for number in description["elements"]),
            largest=int(description["largest"]),
            properties=tuple(str(name) for name in description["properties"]),
            location=tuple(float(value) for value in description["location"]),
            scale=tuple(float(value) for value in description["scale"]),
            space_groups=bool(description["space_groups"]),
        )


def known_of(crystals: Crystals, properties: Sequence[str] = ()) -> Known:
    """Read what is known of crystals from themselves and from their columns.

    Parameters
    ----------
    crystals
        Structures; a column called like one of `SPACE_GROUP_COLUMNS` gives space groups.
    properties
        Names of numeric columns.

    Raises
    ------
    DataError
        If a column is missing or is no column of numbers, or is empty.
    """
    columns = []
    for name in properties:
        values = crystals.properties.get(name)
        if values is None or values.dtype.kind not in "fiu":
            have = ", ".join(k for k, v in crystals.properties.items() if v.dtype.kind in "fiu")
            raise DataError(
                f"the crystals have no numeric property {name!r}",
                where="conditions of the prior",
                hint=f"choose among {have}" if have else "the data have no numeric property",
            )
        values = values.astype(np.float64)
        if not np.isfinite(values).any():
            raise DataError(
                f"no crystal has a value of {name!r}",
                where="conditions of the prior",
                hint="leave it out of properties",
            )
        columns.append(values)
    return Known(
        counts=crystals.counts.astype(np.int64),
        species=crystals.species.astype(np.int64),
        space_groups=_space_groups(crystals),
        properties=np.stack(columns, axis=1) if columns else np.empty((len(crystals), 0)),
    )


def _space_groups(crystals: Crystals) -> NDArray[np.int64]:
    for name in SPACE_GROUP_COLUMNS:
        values = crystals.properties.get(name)
        if values is not None and values.dtype.kind in "fiu":
            numbers = np.nan_to_num(values.astype(np.float64)).astype(np.int64)
            return np.asarray(np.where((numbers >= 1) & (numbers <= 230), numbers, 0))
    return np.zeros(len(crystals), dtype=np.int64)


# What is known of crystals, as tensors.


@dataclass(frozen=True)
class Conditions:
    """What is known of B crystals, as tensors.

    Attributes
    ----------
    tokens
        Element of every atom, 0 where free, shape (N,).
    space_groups
        0 where free, shape (B,).
    values
        Standardised properties, 0 where free, shape (B, P).
    given
        1 where the property is known, shape (B, P).
    """

    tokens: Tensor
    space_groups: Tensor
    values: Tensor
    given: Tensor

    @classmethod
    def of(cls, known: Known, vocabulary: Vocabulary, device: torch.device) -> Conditions:
        """Turn facts into tensors."""
        values = vocabulary.standardised(known.properties)
        given = np.isfinite(values)
        return cls(
            tokens=torch.from_numpy(vocabulary.tokens(known.species)).to(device),
            space_groups=torch.from_numpy(known.space_groups).to(device),
            values=torch.from_numpy(np.where(given, values, 0.0)).float().to(device),
            given=torch.from_numpy(given).float().to(device),
        )

    def dropped(
        self, layout: Layout, species: Tensor, space_groups: Tensor, given: Tensor
    ) -> Conditions:
        """Forget conditions where a mask is false: (B,) for two of them, (B, P) for properties."""
        kept = self.given * given
        return Conditions(
            tokens=self.tokens * species[layout.owner],
            space_groups=self.space_groups * space_groups,
            values=self.values * kept,
            given=kept,
        )

    def free(self) -> Conditions:
        """Forget everything."""
        return Conditions(*(torch.zeros_like(field) for field in self.fields))

    @property
    def fields(self) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """All tensors in the order of the attributes."""
        return self.tokens, self.space_groups, self.values, self.given

    @property
    def any(self) -> bool:
        """Whether anything is known."""
        return any(bool(field.any()) for field in self.fields)


# What a user asks of generated crystals: ``composition=SrTiO3``, ``atoms=10``, and so on.


FARTHEST = 30.0
"""Standard deviations from the mean of training crystals beyond which a prior makes nothing."""

_TERM = re.compile(r"([A-Z][a-z]?)(\d*)")


@dataclass(frozen=True)
class Where:
    """Conditions in terms of a vocabulary; the default asks for nothing.

    Attributes
    ----------
    atoms
        Number of atoms.
    formula
        Atoms of every element in lowest terms, by atomic number.
    elements
        Elements that have to occur.
    others
        Whether further elements may occur too.
    space_group
        International number, 0 for any.
    properties
        One value for each property of the vocabulary, NaN for any, shape (P,).
    """

    atoms: int | None = None
    formula: Mapping[int, int] | None = None
    elements: tuple[int, ...] = ()
    others: bool = True
    space_group: int = 0
    properties: NDArray[np.float64] = field(default_factory=lambda: np.empty(0))

    @property
    def size(self) -> int:
        """Atoms of the formula, 1 without one."""
        return sum(self.formula.values()) if self.formula else 1

    @property
    def text(self) -> str:
        """The conditions that can be checked exactly, in words."""
        parts = []
        if self.atoms is not None:
            parts.append(f"atoms={self.atoms}")
        if self.formula is not None:
            terms = (SYMBOLS[z] + (str(k) if k > 1 else "") for z, k in self.formula.items())
            parts.append("composition=" + "".join(terms))
        elif self.elements:
            names = [SYMBOLS[z] for z in self.elements] + ["*"] * self.others
            parts.append("composition=" + "-".join(names))
        if self.space_group:
            parts.append(f"space_group={self.space_group}")
        return ", ".join(parts)


def parse_where(where: Mapping[str, str | float], vocabulary: Vocabulary) -> Where:
    """Read conditions by name.

    Parameters
    ----------
    where
        ``composition``: a formula ``SrTiO3``, a chemical system ``Li-O`` (exactly these
        elements) or ``Li-O-*`` (these and any others); ``atoms``; ``space_group``:
        the international number; and numeric properties of the training crystals.
    vocabulary
        Of the prior.

    Raises
    ------
    DataError
        If a name or an element is unknown, a value cannot be read, a property was not
        fitted, or conditions contradict each other.
    """
    found = Where(properties=np.full(len(vocabulary.properties), np.nan))
    properties = found.properties
    values: dict[str, object] = {}
    for name, value in where.items():
        if name == "composition":
            values |= parse_composition(str(value))
        elif name == "atoms":
            values["atoms"] = _whole(name, value)
        elif name in SPACE_GROUP_COLUMNS:
            if "space_group" in values:
                raise DataError("is asked for twice", where="space_group", hint="give it once")
            values["space_group"] = _whole("space_group", value)
        elif name in vocabulary.properties:
            place = vocabulary.properties.index(name)
            properties[place] = _near(name, _number(name, value), vocabulary, place)
        else:
            _refuse_name(name, vocabulary)
    parsed = Where(**{**values, "properties": properties})  # type: ignore[arg-type]
    _require_possible(parsed, vocabulary)
    return parsed


def parse_composition(text: str) -> dict[str, object]:
    """Read a formula or a chemical system into the fields of `Where`.

    Raises
    ------
    DataError
        If it is neither, or names an element that does not exist.

    Examples
    --------
    >>> parse_composition("SrTiO3")["formula"]
    {38: 1, 22: 1, 8: 3}
    >>> parse_composition("Li-O-*")
    {'elements': (3, 8), 'others': True}
    """
    text = text.strip()
    hint = "give a formula such as SrTiO3, or elements such as Li-O or Li-O-*"
    if "-" in text or text == "*":
        names = [name.strip() for name in text.split("-")]
        others = "*" in names
        symbols = [name for name in names if name != "*"]
        numbers = _elements(symbols, text, hint)
        if len(set(numbers)) < len(numbers) or names.count("*") > 1:
            raise DataError(f"{text!r} names an element twice", where="composition", hint=hint)
        return {"elements": numbers, "others": others}
    terms = _TERM.findall(text)
    if not terms or "".join(symbol + amount for symbol, amount in terms) != text:
        raise DataError(f"{text!r} is no composition", where="composition", hint=hint)
    formula: dict[int, int] = {}
    for number, (symbol, amount) in zip(
        _elements([symbol for symbol, _ in terms], text, hint), terms, strict=True
    ):
        if amount and int(amount) == 0:
            raise DataError(f"{text!r} asks for no {symbol}", where="composition", hint=hint)
        formula[number] = formula.get(number, 0) + int(amount or 1)
    divisor = gcd(*formula.values())
    formula = {number: amount // divisor for number, amount in formula.items()}
    return {"formula": formula, "elements": tuple(formula), "others": False}


def _elements(symbols: list[str], text: str, hint: str) -> tuple[int, ...]:
    for symbol in symbols:
        if symbol not in ATOMIC_NUMBERS:
            close = nearest(symbol, ATOMIC_NUMBERS)
            raise DataError(
                f"{symbol!r} in {text!r} is not the symbol of an element",
                where="composition",
                hint=f"did you mean {close}?" if close else hint,
            )
    return tuple(int(number) for number in atomic_numbers(symbols))


def _whole(name: str, value: str | float) -> int:
    number = _number(name, value)
    if number != int(number) or number < 1:
        raise DataError(
            f"{value!r} is no positive whole number",
            where=name,
            hint=f"give {name}=4, for instance",
        )
    return int(number)


def _number(name: str, value: str | float) -> float:
    try:
        number = float(value)
    except ValueError:
        number = float("nan")
    if not np.isfinite(number):
        raise DataError(f"{value!r} is no number", where=name, hint=f"give {name}=NUMBER")
    return number


def _near(name: str, value: float, vocabulary: Vocabulary, place: int) -> float:
    """Refuse a value that is nothing like those of training crystals."""
    mean, deviation = vocabulary.location[place], vocabulary.scale[place]
    if abs(value - mean) > FARTHEST * deviation:
        raise DataError(
            f"{value:g} is far from all training crystals, whose mean is {mean:.3g} and whose "
            f"standard deviation is {deviation:.3g}",
            where=name,
            hint=f"ask for a value like those from {mean - 3 * deviation:.3g} to "
            f"{mean + 3 * deviation:.3g}",
        )
    return value


def _refuse_name(name: str, vocabulary: Vocabulary) -> None:
    known = ["composition", "atoms", *vocabulary.properties]
    if vocabulary.space_groups:
        known.insert(2, "space_group")
    close = nearest(name, known)
    raise DataError(
        f"the prior of this model was not fitted with {name!r}",
        where="conditions",
        hint=f"did you mean {close}?" if close else f"it knows {', '.join(known)}",
    )


def _require_possible(where: Where, vocabulary: Vocabulary) -> None:
    unseen = [SYMBOLS[z] for z in where.elements if z not in vocabulary.elements]
    if unseen:
        raise DataError(
            f"no training crystal has {', '.join(unseen)}",
            where="composition",
            hint="ask for other elements, or train on crystals that have them",
        )
    most = vocabulary.largest
    if where.atoms is not None and where.atoms > most:
        raise DataError(
            f"{where.atoms} atoms are more than the {most} of the largest training crystal",
            where="atoms",
            hint=f"ask for 1 to {most}",
        )
    if where.size > most:
        raise DataError(
            f"one formula unit has {where.size} atoms, the largest training crystal {most}",
            where="composition",
            hint="ask for a smaller formula",
        )
    if where.atoms is not None and where.atoms % where.size:
        choices = ", ".join(str(n) for n in range(where.size, most + 1, where.size))
        raise DataError(
            f"{where.atoms} atoms are no whole number of formula units of {where.size}",
            where="atoms",
            hint=f"choose among {choices}",
        )
    if where.atoms is not None and where.atoms < len(where.elements):
        raise DataError(
            f"{where.atoms} atoms cannot be of {len(where.elements)} elements",
            where="atoms",
            hint=f"ask for {len(where.elements)} or more",
        )
    if where.space_group > 230:
        raise DataError(
            f"there is no space group {where.space_group}",
            where="space_group",
            hint="give 1 to 230",
        )
    if where.space_group and not vocabulary.space_groups:
        raise DataError(
            "the prior of this model was not fitted with space groups",
            where="space_group",
            hint=f"fit it on data with a column {SPACE_GROUP_COLUMNS[0]}",
        )
