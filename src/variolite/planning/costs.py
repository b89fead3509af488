"""What a candidate costs: reagents for its synthesis, and time for its validation.

Synthesis: metals and linkers in the moles that the composition holds, divided by the yield, at
the prices of a table, and solvent. Validation: minutes, measured or learnt from size, at a rate.
Every cost has a low and a high end. A price that is not in the table is unknown: its reagent costs
what the middle of the table's reagents of that kind cost per mole, between the cheapest and the
dearest, so that the interval is wide; the candidate says so in its notes.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray
from scipy.optimize import nnls
from scipy.stats import gmean

from variolite.crystals.elements import (
    ATOMIC_NUMBERS,
    MASSES,
    METALLIC,
    SYMBOLS,
    parse_formula,
)
from variolite.errors import DataError, DataWarning, counted, some_of
from variolite.linkers import atoms_of, read_linker
from variolite.planning.pool import require_column
from variolite.planning.rules import Synthesis
from variolite.records import read_table
from variolite.records.files.delimited import numbers_among
from variolite.records.records import text_values

Floats = NDArray[np.float64]

_TEXTS = ("supplies", "source", "date")
_NUMBERS = (("price", np.nan), ("molar_mass", np.nan), ("moles", 1.0))
_NORMAL_90 = 1.645
_LARGEST = 1e12


@dataclass(frozen=True)
class Prices:
    """Money per mole with its ends (3,), of metals by symbol and linkers by canonical SMILES."""

    metals: dict[str, Floats] = field(default_factory=dict)
    linkers: dict[str, Floats] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    def of(self, kind: str, key: str) -> tuple[Floats, bool]:
        """Return a price, and whether it is known: else one as wide as those that are."""
        known: dict[str, Floats] = getattr(self, kind)
        if key in known:
            return known[key], True
        if not known:
            hint = f"Add rows for {kind}"
            raise DataError(f"the price table has no price of {kind}", hint=hint)
        middle, low, high = np.transpose(list(known.values()))
        return np.array([gmean(middle), low.min(), high.max()]), False


def read_prices(source: Any) -> Prices:
    """Read a price table: a row per reagent.

    Columns: ``supplies`` (the symbol of a metal, or the SMILES of a linker), ``price`` (money per
    gram of reagent), ``price_low`` and ``price_high`` if known (20 % either side else),
    ``molar_mass`` of the reagent (g/mol), ``moles`` of the metal or linker per mole of reagent (1
    by default), ``source`` and ``date``. Of several reagents for one thing the cheapest counts.
    Rows that cannot be used are left out, and the notes say why.
    """
    table = read_table(source, text=_TEXTS)
    where = str(source) if isinstance(source, str | Path) else "prices"
    for name in (*_TEXTS, "price", "molar_mass"):
        require_column(table, name, where)

    def given(name: str, default: Floats) -> Floats:
        if name not in table.columns:
            return default
        values, odd = numbers_among(table[name])
        return np.where(np.isnan(values) & ~odd, default, values)

    ones = np.ones(len(table))
    price, mass, moles = (given(n, d * ones) for n, d in _NUMBERS)
    ends = np.stack([price, given("price_low", 0.8 * price), given("price_high", 1.2 * price)])
    per_mole = np.stack([price, ends.min(axis=0), ends.max(axis=0)], axis=1)
    per_mole *= (mass / np.where(moles == 0, np.nan, moles))[:, None]
    inputs = np.stack([*ends, mass, moles])
    possible = np.asarray((inputs > 0).all(axis=0) & (per_mole < _LARGEST).all(axis=1))
    prices, left_out = Prices(), list[str]()
    for row, (supplies, origin, date) in enumerate(
        zip(*(text_values(table[name]) for name in _TEXTS), strict=True)
    ):
        metal = supplies in ATOMIC_NUMBERS
        key = supplies if metal else read_linker(supplies).smiles
        reason = "no source or no date" if not (origin and date) else ""
        reason = reason if key else "neither the symbol of a metal nor a SMILES"
        reason = reason if possible[row] else "no price and molar mass above 0"
        if reason:
            left_out.append(f"row {row + 1} ({supplies}: {reason})")
            continue
        known = prices.metals if metal else prices.linkers
        if key not in known or per_mole[row, 0] < known[key][0]:
            known[key] = per_mole[row]
    if left_out:
        prices.notes.append(f"prices that are not used: {some_of(left_out)}")
    if not prices.metals and not prices.linkers:
        raise DataError(f"no price can be used: {some_of(left_out, 2)}", where=where)
    return prices


def synthesis_costs(frame: pl.DataFrame, prices: Prices, how: Synthesis) -> pl.DataFrame:
    """Return synthesis_cost with its ends and synthesis_notes, a row per candidate.

    What cannot be computed is empty, and the notes say why.
    """

    def cells(*names: str) -> list[str]:
        name = next((name for name in names if name in frame.columns), None)
        if name is None:
            hint = "Give a table that variolite frameworks describe wrote"
            raise DataError(f"there is no column {names[0]}", hint=hint)
        found: list[str] = text_values(frame[name]).tolist()
        return found

    formulas, metals = cells("formula", "chemical_formula"), cells("metals", "metal")
    rows = zip(formulas, metals, cells("linkers", "linker_smiles"), strict=True)
    names = [f"synthesis_{what}" for what in ("cost", "cost_low", "cost_high", "notes")]
    types = [pl.Float64, pl.Float64, pl.Float64, pl.String]
    schema = dict(zip(names, types, strict=True))
    return pl.DataFrame([_synthesis(*row, prices, how) for row in rows], schema, orient="row")


def _synthesis(
    formula: str, metals: str, linkers: str, prices: Prices, how: Synthesis
) -> tuple[float | None, float | None, float | None, str]:
    """Return the cost of one framework with its ends, and what is unknown."""
    try:
        moles = moles_per_gram(formula, _split(metals), _split(linkers))
    except DataError as error:
        return None, None, None, error.what
    total, unknown = np.zeros(3), []
    for (kind, key), amount in moles.items():
        price, known = prices.of(kind, key)
        total += amount * price
        if not known:
            unknown.append(key)
    solvent = how.solvent_volume * how.solvent_price
    middle, low, high = (how.amount * (total / how.yielded + solvent)).tolist()
    return middle, low, high, f"no price of {', '.join(unknown)}" if unknown else ""


def moles_per_gram(
    formula: str, metals: Sequence[str], linkers: Sequence[str]
) -> dict[tuple[str, str], float]:
    """Moles of each metal and each linker in a gram of a framework.

    Metals are counted in the formula. Linkers are those numbers, not negative, of each that
    together come nearest to its atoms other than metals, hydrogen and oxygen (protons, water and
    oxide belong to no linker). Raises a DataError where they do not explain the carbon, or other
    metals are in the formula than are named.
    """
    amounts = parse_formula(formula)
    mass = sum(number * MASSES[z] for z, number in amounts.items())
    found = {
        ("metals", symbol): amounts.get(ATOMIC_NUMBERS.get(symbol, 0), 0.0) / mass
        for symbol in metals
    }
    if not linkers:
        raise DataError("no linkers are known")
    linkers = [_canonical(smiles) for smiles in linkers]
    contents = [atoms_of(smiles) for smiles in linkers]
    metallic = {ATOMIC_NUMBERS.get(symbol, 0) for symbol in metals}
    there = {z for z in amounts if METALLIC[z] and not any(z in c for c in contents)}
    if metallic - {*amounts} or there - metallic:
        named = ", ".join(SYMBOLS[z] for z in sorted(there)) or "none"
        raise DataError(f"the metals of its formula are {named}")
    elements = sorted({z for c in contents for z in c} - {1, 8} - metallic)
    matrix = np.array([[c[z] for c in contents] for z in elements])
    wanted = np.array([amounts.get(z, 0.0) for z in elements])
    if not len(elements) or not wanted.any():
        raise DataError("the formula holds none of its linkers")
    numbers, rest = nnls(matrix, wanted)
    if rest > 0.1 * np.linalg.norm(wanted):
        raise DataError("its linkers do not explain its formula")
    return found | {
        ("linkers", smiles): float(number / mass)
        for smiles, number in zip(linkers, numbers, strict=True)
    }


def _split(cell: str) -> list[str]:
    return [part.strip() for part in cell.replace(" . ", ";").split(";") if part.strip()]


def _canonical(smiles: str) -> str:
    linker = read_linker(smiles)
    if not linker.parsed:
        raise DataError(f"{smiles} is not a SMILES text")
    return linker.smiles


def validation_costs(
    frame: pl.DataFrame, minutes: str, size: Sequence[str], rate: float
) -> pl.DataFrame:
    """Return validation_cost with its ends, from minutes and money per minute.

    Where minutes are not measured they are learnt: their logarithm is linear in those of the
    ``size`` columns (atoms, volume); the interval of 90 % is that of the residuals.
    """
    for name in (minutes, *size):
        require_column(frame, name, "pool")
    known, odd = numbers_among(frame[minutes])
    odd |= (known <= 0) | (known > _LARGEST)
    if odd.any():
        rows = [f"row {row + 1} ({frame[minutes][int(row)]!r:.40})" for row in np.flatnonzero(odd)]
        text = f"{minutes} are read as missing where they are no number above 0: {some_of(rows)}"
        warnings.warn(text, DataWarning, stacklevel=2)
    present = np.isfinite(known) & ~odd
    middle, factor = np.where(present, known, np.nan), np.ones(len(known))
    if not present.all() and size:
        sizes = np.stack([numbers_among(frame[name])[0] for name in size], axis=1)
        usable = np.asarray(((sizes > 0) & (sizes < _LARGEST)).all(axis=1))
        used = present & usable
        if used.sum() < 10:
            what = f"{used.sum()} candidates have {minutes} and {', '.join(size)}"
            raise DataError(what, hint="Ten at least are needed to learn the others from")
        design = np.column_stack([np.ones(len(known)), np.log(np.where(usable[:, None], sizes, 1))])
        fitted, *_ = np.linalg.lstsq(design[used], np.log(known[used]), rcond=None)
        learnt = design @ fitted
        spread = np.std(np.log(known[used]) - learnt[used], ddof=design.shape[1])
        new = ~present & usable
        middle[new] = np.exp(learnt[new])
        factor[new] = np.exp(_NORMAL_90 * spread)
    if unknown := int(np.isnan(middle).sum()):
        text = f"{counted(unknown, 'candidate')} without a validation cost"
        hint = "their size is unknown too" if size else "--size learns it from those that have one"
        warnings.warn(f"{text}: {hint}", DataWarning, stacklevel=2)
    ends = (rate * middle, rate * middle / factor, rate * middle * factor)
    names = ("validation_cost", "validation_cost_low", "validation_cost_high")
    return pl.DataFrame(dict(zip(names, ends, strict=True)))
