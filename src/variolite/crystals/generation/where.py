"""What a user wants of generated crystals: ``composition=SrTiO3``, ``atoms=10``, and so on."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from math import gcd
from typing import Any

import numpy as np
from numpy.typing import NDArray

from variolite.crystals.crystals import Crystals
from variolite.crystals.elements import ATOMIC_NUMBERS, SYMBOLS, compositions, parse_formula
from variolite.crystals.generation.conditions import SPACE_GROUP_COLUMNS, SPACE_GROUPS, Vocabulary
from variolite.errors import DataError, nearest

FARTHEST = 30.0  # standard deviations from the training mean beyond which a prior makes nothing


@dataclass(frozen=True)
class Where:
    """Conditions in terms of a vocabulary; the default wants nothing in particular.

    A number of atoms; atoms of every element in lowest terms, by atomic number; elements that have
    to occur, and whether others may too; an international space group, 0 for any; and a value for
    each property of the vocabulary, NaN for any, (P,).
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

    def has_composition(self, crystals: Crystals) -> NDArray[np.bool_]:
        """Whether crystals have the number of atoms and the elements that are wanted, (B,)."""
        fits = np.ones(len(crystals), dtype=bool)
        if self.atoms is not None:
            fits &= crystals.counts == self.atoms
        if not self.elements:
            return fits
        # Atoms of every element, (B, 119), in lowest terms where they are compared with a formula.
        counts = compositions(crystals, reduced=self.formula is not None)
        wanted = np.zeros(counts.shape[1], dtype=counts.dtype)
        if self.formula is not None:
            wanted[list(self.formula)] = list(self.formula.values())
            return np.asarray(fits & (counts == wanted).all(axis=1))
        wanted[list(self.elements)] = 1
        fits &= (counts[:, wanted == 1] > 0).all(axis=1)
        if not self.others:
            fits &= (counts[:, wanted == 0] == 0).all(axis=1)
        return fits


def parse_where(where: Mapping[str, str | float], vocabulary: Vocabulary) -> Where:
    """Read conditions by name, in terms of the vocabulary of a prior.

    ``composition``: a formula ``SrTiO3``, a chemical system ``Li-O`` (exactly these elements) or
    ``Li-O-*`` (these and any others); ``atoms``; ``space_group``; and numeric properties of the
    training crystals. Raises `DataError` if a name or an element is unknown, a value cannot be
    read, a property was not fitted, or conditions contradict each other.
    """
    properties = np.full(len(vocabulary.properties), np.nan)
    found: dict[str, Any] = {"properties": properties}
    for name, value in where.items():
        if name == "composition":
            found |= parse_composition(str(value))
        elif name == "atoms":
            found["atoms"] = _whole_number(name, value)
        elif name in SPACE_GROUP_COLUMNS:
            if "space_group" in found:
                raise DataError("is asked for twice", where="space_group", hint="give it once")
            found["space_group"] = _whole_number("space_group", value)
        elif name in vocabulary.properties:
            place = vocabulary.properties.index(name)
            properties[place] = _property(name, value, vocabulary, place)
        else:
            group = ["space_group"] if vocabulary.space_groups else []
            known = ["composition", "atoms", *group, *vocabulary.properties]
            close = nearest(name, known)
            raise DataError(
                f"the prior of this model was not fitted with {name!r}",
                where="conditions",
                hint=f"did you mean {close}?" if close else f"it knows {', '.join(known)}",
            )
    parsed = Where(**found)
    _require_possible(parsed, vocabulary)
    return parsed


def parse_composition(text: str) -> dict[str, Any]:
    """Read a formula or a chemical system into the fields of `Where`; a DataError if it is neither.

    >>> parse_composition("SrTiO3")["formula"]
    {38: 1, 22: 1, 8: 3}
    >>> parse_composition("Li-O-*")
    {'elements': (3, 8), 'others': True}
    """
    text = text.strip()
    hint = "give a formula such as SrTiO3, or elements such as Li-O or Li-O-*"

    def wrong(what: str) -> DataError:
        return DataError(f"{text!r} {what}", where="composition", hint=hint)

    system = "-" in text or text == "*"
    names = [name.strip() for name in text.split("-")]
    symbols = [n for n in names if n != "*"] if system else re.findall("[A-Z][a-z]?", text)
    for symbol in symbols:
        if symbol not in ATOMIC_NUMBERS:
            close = nearest(symbol, ATOMIC_NUMBERS)
            raise DataError(
                f"{symbol!r} in {text!r} is not the symbol of an element",
                where="composition",
                hint=f"did you mean {close}?" if close else hint,
            )
    if system:
        if len(set(names)) < len(names):
            raise wrong("names an element twice")
        return {"elements": tuple(ATOMIC_NUMBERS[s] for s in symbols), "others": "*" in names}
    try:
        amounts = parse_formula(text)
    except DataError:
        amounts = {}
    if not amounts or any(amount % 1.0 for amount in amounts.values()):
        raise wrong("is not a composition")
    absent = [SYMBOLS[number] for number, amount in amounts.items() if not amount]
    if absent:
        raise wrong(f"asks for no {absent[0]}")
    divisor = gcd(*map(int, amounts.values()))
    formula = {number: int(amount) // divisor for number, amount in amounts.items()}
    return {"formula": formula, "elements": tuple(formula), "others": False}


def _number(name: str, value: str | float) -> float:
    try:
        number = float(value)
    except ValueError:
        number = float("nan")
    if not np.isfinite(number):
        raise DataError(f"{value!r} is not a number", where=name, hint=f"give {name}=NUMBER")
    return number


def _whole_number(name: str, value: str | float) -> int:
    number = _number(name, value)
    if number != int(number) or number < 1:
        hint = f"give {name}=4, for instance"
        raise DataError(f"{value!r} is not a positive whole number", where=name, hint=hint)
    return int(number)


def _property(name: str, value: str | float, vocabulary: Vocabulary, place: int) -> float:
    """Read a value, and reject one that is nothing like those of training crystals."""
    number = _number(name, value)
    mean, deviation = vocabulary.location[place], vocabulary.scale[place]
    if abs(number - mean) > FARTHEST * deviation:
        raise DataError(
            f"{number:g} is far from all training crystals, whose mean is {mean:.3g} and whose "
            f"standard deviation is {deviation:.3g}",
            where=name,
            hint=f"ask for a value like those from {mean - 3 * deviation:.3g} to "
            f"{mean + 3 * deviation:.3g}",
        )
    return number


def _require_possible(where: Where, vocabulary: Vocabulary) -> None:
    """Raise the first reason for which no crystal can meet the conditions."""
    most, atoms, size, elements = vocabulary.largest, where.atoms, where.size, len(where.elements)
    unseen = [SYMBOLS[z] for z in where.elements if z not in vocabulary.elements]
    option = "composition"
    if unseen:
        problem = f"no training crystal has {', '.join(unseen)}"
        hint = "ask for other elements, or train on crystals that have them"
    elif size > most:
        problem = f"one formula unit has {size} atoms, the largest training crystal {most}"
        hint = "ask for a smaller formula"
    elif atoms is not None and (atoms > most or atoms % size or atoms < elements):
        option = "atoms"
        if atoms > most:
            problem = f"{atoms} atoms are more than the {most} of the largest training crystal"
            hint = f"ask for 1 to {most}"
        elif atoms % size:
            problem = f"{atoms} atoms are not a whole number of formula units of {size}"
            hint = f"choose among {', '.join(str(n) for n in range(size, most + 1, size))}"
        else:
            problem = f"{atoms} atoms cannot be of {elements} elements"
            hint = f"ask for {elements} or more"
    elif where.space_group >= SPACE_GROUPS:
        option, hint = "space_group", "give 1 to 230"
        problem = f"there is no space group {where.space_group}"
    elif where.space_group and not vocabulary.space_groups:
        option = "space_group"
        problem = "the prior of this model was not fitted with space groups"
        hint = f"fit it on data with a column {SPACE_GROUP_COLUMNS[0]}"
    else:
        return
    raise DataError(problem, where=option, hint=hint)
