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
from scipy.stats import gmean

from variolite.crystals.elements import ATOMIC_NUMBERS, MASSES, parse_formula
from variolite.errors import DataError
from variolite.linkers import atoms_of, read_linker
from variolite.planning.pool import require_column
from variolite.planning.rules import Synthesis
from variolite.records import numeric_values, read_table
from variolite.records.records import text_values

Floats = NDArray[np.float64]

_TEXTS = ("supplies", "source", "date")
_NORMAL_90 = 1.645


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
    """
    table, where = read_table(source, text=_TEXTS), str(source)
    for name in (*_TEXTS, "price", "molar_mass"):
        require_column(table, name, where)
    price, mass = numeric_values(table["price"]), numeric_values(table["molar_mass"])

    def given(name: str, default: Floats) -> Floats:
        values = numeric_values(table[name]) if name in table.columns else default
        return np.where(np.isnan(values), default, values)

    ends = (price, given("price_low", 0.8 * price), given("price_high", 1.2 * price))
    per_mole = np.column_stack(ends) * (mass / given("moles", np.ones(len(table))))[:, None]
    prices = Prices()
    for row, (supplies, origin, date) in enumerate(
        zip(*(text_values(table[name]) for name in _TEXTS), strict=True)
    ):
        if np.isnan(price[row]):
            prices.notes.append(f"no price of {supplies}: it is unknown")
            continue
        if not (price[row] > 0 and mass[row] > 0):
            what = f"row {row + 1} has price {price[row]:g} and molar mass {mass[row]:g}"
            hint = "Both are greater than 0; leave a price empty that is unknown"
            raise DataError(what, where=where, hint=hint)
        if not origin or not date:
            hint = "Say where each price comes from, and of what day it is"
            raise DataError(f"row {row + 1} has no source or no date", where=where, hint=hint)
        metal = supplies in ATOMIC_NUMBERS
        known = prices.metals if metal else prices.linkers
        key = supplies if metal else _canonical(supplies)
        if key not in known or per_mole[row, 0] < known[key][0]:
            known[key] = per_mole[row]
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
    middle, factor = known, np.ones(len(known))
    if not present.all():
        if present.sum() < 10 or not size:
            what = f"{len(known) - present.sum():,} candidates have no {minutes}"
            hint = "Give --size columns and at least ten measured times to learn them from"
            raise DataError(what, hint=hint)
        logs = [np.log(np.maximum(numeric_values(frame[name]), 1e-9)) for name in size]
        design = np.column_stack([np.ones(len(known)), *logs])
        fitted, *_ = np.linalg.lstsq(design[present], np.log(known[present]), rcond=None)
        learnt = design @ fitted
        spread = np.std(np.log(known[present]) - learnt[present], ddof=design.shape[1])
        middle = np.where(present, known, np.exp(learnt))
        factor[~present] = np.exp(_NORMAL_90 * spread)
    ends = (rate * middle, rate * middle / factor, rate * middle * factor)
    names = ("validation_cost", "validation_cost_low", "validation_cost_high")
    return pl.DataFrame(dict(zip(names, ends, strict=True)))
