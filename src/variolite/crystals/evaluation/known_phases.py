"""Known phases from a table: formulas and formation energies."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from variolite.crystals.evaluation.hull import Hull
from variolite.crystals.structures.elements import ATOMIC_NUMBERS, HEAVIEST, atomic_numbers
from variolite.errors import DataError
from variolite.records import read_table

__all__ = ["fractions_of_formula", "read_hull"]

Floats = NDArray[np.float64]

NAMES = ("material_id", "id", "name", "entry_id")
FORMULAS = ("species_at_sites", "pretty_formula", "formula", "composition", "reduced_formula")
ENERGIES = ("formation_energy_per_atom",)

_PIECE = re.compile(r"([A-Z][a-z]?|[()\[\]])\s*([0-9]*\.?[0-9]*)")


def read_hull(path: str | Path) -> Hull:
    """Read known phases from a table.

    Parameters
    ----------
    path
        CSV, Parquet or Feather with the columns ``formation_energy_per_atom`` (eV) and
        ``species_at_sites`` (a list of symbols) or ``pretty_formula``, ``formula``,
        ``composition``; ``material_id``, ``id`` or ``name`` where there is one.

    Raises
    ------
    DataError
        If a column is missing, a formula cannot be read or an energy is no number.
    """
    frame = read_table(path)
    formula_column = _column(frame.columns, FORMULAS, path)
    energy_column = _column(frame.columns, ENERGIES, path)
    name_column = next((name for name in NAMES if name in frame.columns), None)
    try:
        energies = frame[energy_column].cast(float).to_numpy().astype(np.float64)
    except pl.exceptions.PolarsError as error:
        raise DataError(
            f"column {energy_column} holds something that is no number", where=str(path)
        ) from error
    if not len(energies):
        raise DataError("the table of known phases has no rows", where=str(path))
    if not np.isfinite(energies).all():
        row = int(np.flatnonzero(~np.isfinite(energies))[0])
        raise DataError(
            f"{energy_column} is missing in row {row + 1}",
            where=str(path),
            mend="Leave out entries without an energy",
        )
    spelled = frame[formula_column].to_list()
    known: dict[Any, Floats] = {}
    fractions = np.zeros((len(spelled), HEAVIEST + 1))
    for row, entry in enumerate(spelled):
        key = tuple(entry) if isinstance(entry, list) else entry
        if key not in known:
            known[key] = _fractions(entry, f"{path}, row {row + 1}")
        fractions[row] = known[key]
    if name_column is None:
        names = np.array([""] * len(spelled), dtype=np.str_)
    else:
        names = np.array([str(name) for name in frame[name_column].to_list()], dtype=np.str_)
    return Hull(names, fractions, energies)


def fractions_of_formula(formula: str, where: str | None = None) -> Floats:
    """Return the share of each element in a formula such as ``Nd(Al2Cu)4``, shape (119,).

    Raises
    ------
    DataError
        If it is not a formula of known elements.
    """
    odd = DataError(f"{formula!r} is no chemical formula", where=where)
    compact = re.sub(r"\s+", "", formula)
    stack: list[dict[int, float]] = [{}]
    position = 0
    while position < len(compact):
        piece = _PIECE.match(compact, position)
        if piece is None:
            raise odd
        position = piece.end()
        symbol, digits = piece.group(1), piece.group(2)
        if symbol in "([":
            if digits:
                raise odd
            stack.append({})
            continue
        try:
            amount = float(digits or 1.0)
        except ValueError:
            raise odd from None
        if symbol in ")]":
            if len(stack) == 1:
                raise odd
            inner = stack.pop()
        elif symbol in ATOMIC_NUMBERS:
            inner = {ATOMIC_NUMBERS[symbol]: 1.0}
        else:
            raise odd
        for z, count in inner.items():
            stack[-1][z] = stack[-1].get(z, 0.0) + count * amount
    if len(stack) != 1 or not sum(stack[0].values()) > 0:
        raise odd
    fractions = np.zeros(HEAVIEST + 1)
    fractions[list(stack[0])] = list(stack[0].values())
    return np.asarray(fractions / fractions.sum())


def _fractions(entry: object, where: str) -> Floats:
    if isinstance(entry, str):
        return fractions_of_formula(entry, where)
    if isinstance(entry, Sequence) and entry:
        try:
            numbers = atomic_numbers(str(symbol) for symbol in entry)
        except DataError as error:
            raise DataError(error.what, where=where, mend=error.mend) from None
        return np.asarray(np.bincount(numbers, minlength=HEAVIEST + 1) / len(numbers))
    raise DataError("the formula is missing", where=where)


def _column(columns: Sequence[str], wanted: Sequence[str], path: str | Path) -> str:
    for name in wanted:
        if name in columns:
            return name
    raise DataError(
        f"has no column {' or '.join(wanted)}",
        where=str(path),
        mend="A hull is a table of known phases with formula and formation energy in eV/atom",
    )
