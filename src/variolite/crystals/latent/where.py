"""What a user asks of generated crystals: ``composition=SrTiO3``, ``atoms=10``, and so on."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from math import gcd

import numpy as np
from numpy.typing import NDArray

from variolite.crystals.latent.known import SPACE_GROUP_COLUMNS, Vocabulary
from variolite.crystals.structures.elements import ATOMIC_NUMBERS, SYMBOLS, atomic_numbers
from variolite.errors import DataError, nearest

__all__ = ["Where", "parse_composition", "parse_where"]

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
                raise DataError("is asked for twice", where="space_group", mend="give it once")
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
    mend = "give a formula such as SrTiO3, or elements such as Li-O or Li-O-*"
    if "-" in text or text == "*":
        names = [name.strip() for name in text.split("-")]
        others = "*" in names
        symbols = [name for name in names if name != "*"]
        numbers = _elements(symbols, text, mend)
        if len(set(numbers)) < len(numbers) or names.count("*") > 1:
            raise DataError(f"{text!r} names an element twice", where="composition", mend=mend)
        return {"elements": numbers, "others": others}
    terms = _TERM.findall(text)
    if not terms or "".join(symbol + amount for symbol, amount in terms) != text:
        raise DataError(f"{text!r} is no composition", where="composition", mend=mend)
    formula: dict[int, int] = {}
    for number, (symbol, amount) in zip(
        _elements([symbol for symbol, _ in terms], text, mend), terms, strict=True
    ):
        if amount and int(amount) == 0:
            raise DataError(f"{text!r} asks for no {symbol}", where="composition", mend=mend)
        formula[number] = formula.get(number, 0) + int(amount or 1)
    divisor = gcd(*formula.values())
    formula = {number: amount // divisor for number, amount in formula.items()}
    return {"formula": formula, "elements": tuple(formula), "others": False}


def _elements(symbols: list[str], text: str, mend: str) -> tuple[int, ...]:
    for symbol in symbols:
        if symbol not in ATOMIC_NUMBERS:
            close = nearest(symbol, ATOMIC_NUMBERS)
            raise DataError(
                f"{symbol!r} in {text!r} is not the symbol of an element",
                where="composition",
                mend=f"did you mean {close}?" if close else mend,
            )
    return tuple(int(number) for number in atomic_numbers(symbols))


def _whole(name: str, value: str | float) -> int:
    number = _number(name, value)
    if number != int(number) or number < 1:
        raise DataError(
            f"{value!r} is no positive whole number",
            where=name,
            mend=f"give {name}=4, for instance",
        )
    return int(number)


def _number(name: str, value: str | float) -> float:
    try:
        number = float(value)
    except ValueError:
        number = float("nan")
    if not np.isfinite(number):
        raise DataError(f"{value!r} is no number", where=name, mend=f"give {name}=NUMBER")
    return number


def _near(name: str, value: float, vocabulary: Vocabulary, place: int) -> float:
    """Refuse a value that is nothing like those of training crystals."""
    mean, deviation = vocabulary.location[place], vocabulary.scale[place]
    if abs(value - mean) > FARTHEST * deviation:
        raise DataError(
            f"{value:g} is far from all training crystals, whose mean is {mean:.3g} and whose "
            f"standard deviation is {deviation:.3g}",
            where=name,
            mend=f"ask for a value like those from {mean - 3 * deviation:.3g} to "
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
        mend=f"did you mean {close}?" if close else f"it knows {', '.join(known)}",
    )


def _require_possible(where: Where, vocabulary: Vocabulary) -> None:
    unseen = [SYMBOLS[z] for z in where.elements if z not in vocabulary.elements]
    if unseen:
        raise DataError(
            f"no training crystal has {', '.join(unseen)}",
            where="composition",
            mend="ask for other elements, or train on crystals that have them",
        )
    most = vocabulary.largest
    if where.atoms is not None and where.atoms > most:
        raise DataError(
            f"{where.atoms} atoms are more than the {most} of the largest training crystal",
            where="atoms",
            mend=f"ask for 1 to {most}",
        )
    if where.size > most:
        raise DataError(
            f"one formula unit has {where.size} atoms, the largest training crystal {most}",
            where="composition",
            mend="ask for a smaller formula",
        )
    if where.atoms is not None and where.atoms % where.size:
        choices = ", ".join(str(n) for n in range(where.size, most + 1, where.size))
        raise DataError(
            f"{where.atoms} atoms are no whole number of formula units of {where.size}",
            where="atoms",
            mend=f"choose among {choices}",
        )
    if where.atoms is not None and where.atoms < len(where.elements):
        raise DataError(
            f"{where.atoms} atoms cannot be of {len(where.elements)} elements",
            where="atoms",
            mend=f"ask for {len(where.elements)} or more",
        )
    if where.space_group > 230:
        raise DataError(
            f"there is no space group {where.space_group}",
            where="space_group",
            mend="give 1 to 230",
        )
    if where.space_group and not vocabulary.space_groups:
        raise DataError(
            "the prior of this model was not fitted with space groups",
            where="space_group",
            mend=f"fit it on data with a column {SPACE_GROUP_COLUMNS[0]}",
        )
