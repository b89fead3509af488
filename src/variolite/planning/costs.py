"""What a candidate costs: reagents for its synthesis, and time for its validation.

Synthesis: metals and linkers in the moles that the composition holds, divided by the yield, at
the prices of a table, and solvent. Validation: minutes, measured or learnt from size, at a rate.
Every cost has a low and a high end. A price that is not in the table is unknown: its reagent costs
what the middle of the table's reagents of that kind cost per mole, between the cheapest and the
dearest, so that the interval is wide; the candidate says so in its notes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray
from scipy.optimize import nnls

from variolite.crystals.elements import ATOMIC_NUMBERS, MASSES, parse_formula
from variolite.errors import DataError
from variolite.linkers import atoms_of, read_linker
from variolite.records import numeric_values, read_table
from variolite.records.records import text_values

Floats = NDArray[np.float64]

_COLUMNS = ("supplies", "price", "molar_mass", "source", "date")
_NORMAL_90 = 1.645
_FORMULAS = ("formula", "chemical_formula")
_METALS = ("metals", "metal")
_LINKERS = ("linkers", "linker_smiles")


@dataclass(frozen=True)
class Price:
    """Money per mole of what a reagent supplies, with its ends."""

    middle: float
    low: float
    high: float


@dataclass(frozen=True)
class Synthesis:
    """How a framework is made: grams of product, yield from 0 to 1, and solvent."""

    amount: float = 1.0
    yielded: float = 0.7
    solvent_volume: float = 0.0
    """Millilitres per gram of product."""
    solvent_price: float = 0.0
    """Money per millilitre."""


@dataclass(frozen=True)
class Prices:
    """Prices per mole, of metals by symbol and of linkers by canonical SMILES."""

    metals: dict[str, Price]
    linkers: dict[str, Price]
    notes: list[str] = field(default_factory=list)

    def of(self, kind: str, key: str) -> tuple[Price, bool]:
        """Return a price, and whether it is known: else one as wide as those that are."""
        known: dict[str, Price] = getattr(self, kind)
        if key in known:
            return known[key], True
        if not known:
            hint = f"Add rows for {kind}"
            raise DataError(f"the price table has no price of {kind}", hint=hint)
        middles = np.array([price.middle for price in known.values()])
        low = min(price.low for price in known.values())
        high = max(price.high for price in known.values())
        return Price(float(np.exp(np.log(middles).mean())), low, high), False


def read_prices(source: Any) -> Prices:
    """Read a price table: a row per reagent.

    Columns: ``supplies`` (the symbol of a metal, or the SMILES of a linker), ``price`` (money per
    gram of reagent), ``price_low`` and ``price_high`` if known (20 % either side else),
    ``molar_mass`` of the reagent (g/mol), ``moles`` of the metal or linker per mole of reagent (1
    by default), ``source`` and ``date``. Of several reagents for one thing the cheapest counts.
    """
    table = read_table(source, text=("supplies", "source", "date"))
    where = str(source)
    missing = [name for name in _COLUMNS if name not in table.columns]
    if missing:
        hint = f"A price table has the columns {', '.join(_COLUMNS)}"
        raise DataError(f"there is no column {missing[0]}", where=where, hint=hint)
    prices = Prices({}, {})
    numbers = {
        name: numeric_values(table[name])
        for name in ("price", "price_low", "price_high", "molar_mass", "moles")
        if name in table.columns
    }
    for row, (supplies, source_of, date) in enumerate(
        zip(*(text_values(table[n]) for n in ("supplies", "source", "date")), strict=True)
    ):
        price, mass = numbers["price"][row], numbers["molar_mass"][row]
        if np.isnan(price):
            prices.notes.append(f"no price of {supplies}: it is unknown")
            continue
        if not (price > 0 and mass > 0):
            hint = "Both are greater than 0; leave a price empty that is unknown"
            raise DataError(f"row {row + 1} has price {price:g} and molar mass {mass:g}", hint=hint)
        if not source_of or not date:
            hint = "Say where each price comes from, and of what day it is"
            raise DataError(f"row {row + 1} has no source or no date", where=where, hint=hint)
        moles = numbers.get("moles", np.ones(len(table)))[row]
        ends = [
            numbers[name][row] if name in numbers and np.isfinite(numbers[name][row]) else guess
            for name, guess in (("price_low", 0.8 * price), ("price_high", 1.2 * price))
        ]
        found = Price(*(float(p * mass / moles) for p in (price, *ends)))
        kind, key = (
            (prices.metals, supplies)
            if supplies in ATOMIC_NUMBERS
            else (prices.linkers, _canonical(supplies))
        )
        if key not in kind or found.middle < kind[key].middle:
            kind[key] = found
    return prices


def synthesis_costs(frame: pl.DataFrame, prices: Prices, how: Synthesis) -> pl.DataFrame:
    """Return synthesis_cost with its ends and synthesis_notes, a row per candidate.

    What cannot be computed is empty, and the notes say why.
    """
    cells = {
        key: text_values(frame[_found(frame, names)]).tolist()
        for key, names in (("formula", _FORMULAS), ("metals", _METALS), ("linkers", _LINKERS))
    }
    rows = [
        _synthesis(*row, prices, how)
        for row in zip(cells["formula"], cells["metals"], cells["linkers"], strict=True)
    ]
    names = [f"synthesis_{what}" for what in ("cost", "cost_low", "cost_high", "notes")]
    types = [pl.Float64, pl.Float64, pl.Float64, pl.String]
    return pl.DataFrame(rows, schema=list(zip(names, types, strict=True)), orient="row")


def _found(frame: pl.DataFrame, names: Sequence[str]) -> str:
    for name in names:
        if name in frame.columns:
            return name
    hint = "Give a table that variolite frameworks describe wrote"
    raise DataError(f"there is no column {names[0]}", hint=hint)


def _synthesis(
    formula: str, metals: str, linkers: str, prices: Prices, how: Synthesis
) -> tuple[float | None, float | None, float | None, str]:
    nothing = (None, None, None)
    try:
        moles = moles_per_gram(formula, _split(metals), _split(linkers))
    except DataError as error:
        return *nothing, error.what
    total, unknown = np.zeros(3), []
    for (kind, key), amount in moles.items():
        price, known = prices.of(kind, key)
        total += amount * np.array([price.middle, price.low, price.high])
        if not known:
            unknown.append(key)
    total *= how.amount / how.yielded
    total += how.amount * how.solvent_volume * how.solvent_price
    note = f"no price of {', '.join(unknown)}" if unknown else ""
    middle, low, high = total.tolist()
    return middle, low, high, note


def moles_per_gram(
    formula: str, metals: Sequence[str], linkers: Sequence[str]
) -> dict[tuple[str, str], float]:
    """Moles of each metal and each linker in a gram of a framework.

    Metals are counted in the formula. Linkers are those numbers, not negative, of each that
    together come nearest to its atoms other than metals, hydrogen and oxygen (protons, water and
    oxide belong to no linker). Raises a DataError where they do not explain the carbon.
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
    known = numeric_values(frame[minutes])
    present = np.isfinite(known) & (known > 0)
    if (known < 0).any():
        raise DataError(f"column {minutes} holds negative minutes", hint="Correct them")
    middle = known.copy()
    low, high = known.copy(), known.copy()
    if not present.all():
        if present.sum() < 10 or not size:
            what = f"{len(known) - present.sum():,} candidates have no {minutes}"
            hint = "Give --size columns and at least ten measured times to learn them from"
            raise DataError(what, hint=hint)
        logs = [np.log(np.maximum(numeric_values(frame[name]), 1e-9)) for name in size]
        design = np.column_stack([np.ones(len(known)), *logs])
        fitted, *_ = np.linalg.lstsq(design[present], np.log(known[present]), rcond=None)
        learnt = design @ fitted
        spread = float(np.std(np.log(known[present]) - learnt[present], ddof=design.shape[1]))
        middle = np.where(present, known, np.exp(learnt))
        low = np.where(present, known, np.exp(learnt - _NORMAL_90 * spread))
        high = np.where(present, known, np.exp(learnt + _NORMAL_90 * spread))
    names = ("validation_cost", "validation_cost_low", "validation_cost_high")
    return pl.DataFrame(dict(zip(names, (rate * v for v in (middle, low, high)), strict=True)))
