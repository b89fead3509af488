"""Energy above the convex hull, offline, from a table of formation energies.

The hull at a composition is the least energy of a mixture of known phases with that
composition (S. P. Ong et al., Chem. Mater. 20 (2008) 1798): a linear programme with one
unknown fraction for every phase whose elements all occur in the composition,

    minimise  sum_j a_j e_j   where  sum_j a_j x_j = x,  a_j >= 0,

with e_j the formation energy per atom and x_j the fractions of the elements.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path

import numpy as np
import polars as pl
from numpy.typing import NDArray

from variolite.crystals.elements import HEAVIEST, SYMBOLS, atomic_numbers, parse_formula
from variolite.errors import DataError
from variolite.records import read_table

Floats = NDArray[np.float64]
Mixture = tuple[Floats, Floats, Floats]
"""Fractions of D elements, all above 0, (D,); their fractions in M phases, (M, D); and the
formation energies of these in eV/atom, (M,)."""

# An entry whose composition and energy in eV/atom differ by less is the tested crystal itself.
SAME_FRACTION = SAME_ENERGY = 1e-6
BATCH = 256  # crystals whose linear programmes are solved in one

NAMES = ("material_id", "id", "name", "entry_id")
FORMULAS = ("species_at_sites", "pretty_formula", "formula", "composition", "reduced_formula")
ENERGY = "formation_energy_per_atom"


@dataclass(frozen=True)
class HullDistances:
    """Energies of B crystals above the hull of all other entries in eV/atom, below it where
    negative, NaN where it is not known, (B,); number of entries that were the crystal itself, (B,);
    symbols of elements that no entry has."""

    above: Floats
    removed: NDArray[np.int64]
    missing: tuple[str, ...]


@dataclass(frozen=True)
class Hull:
    """M known phases: ids, fractions of the elements (M, 119), formation energies in eV/atom."""

    names: NDArray[np.str_]
    fractions: Floats
    energies: Floats

    def __len__(self) -> int:
        return len(self.names)

    @cached_property
    def _masks(self) -> NDArray[np.uint64]:
        return _element_masks(self.fractions)

    def above(
        self,
        fractions: Floats,
        energies: Floats,
        names: Sequence[str] | NDArray[np.str_] = (),
        *,
        log: Callable[[str], None] = lambda _: None,
    ) -> HullDistances:
        """Return the energies above the hull of crystals, given like the known phases.

        An entry that is the tested crystal itself, by its name or by the same composition and
        energy, is taken out of the hull before that crystal is compared: a known stable phase
        lies below the hull of the others. The elements stand at 0 eV, as formation energies
        are defined. Energies may be NaN.
        """
        masks = _element_masks(fractions)
        unknown = (fractions > 0) & ~self.fractions.any(axis=0)
        usable = np.isfinite(energies) & ~unknown.any(axis=1) & fractions.any(axis=1)
        above = np.full(len(fractions), np.nan)
        removed = np.zeros(len(fractions), dtype=np.int64)
        # Crystals of the same elements one after the other: the phases inside are the same.
        order = np.flatnonzero(usable)
        order = order[np.lexsort(masks[order].T)]
        inside, system = np.empty(0, dtype=np.int64), None
        for start in range(0, len(order), BATCH):
            some = order[start : start + BATCH]
            mixtures = []
            for place in some:
                if system is None or (masks[place] != system).any():
                    system = masks[place]
                    inside = np.flatnonzero(((self._masks & ~system) == 0).all(axis=1))
                elements = np.flatnonzero(fractions[place])
                phases, known = self.fractions[np.ix_(inside, elements)], self.energies[inside]
                wanted = fractions[place, elements]
                own = np.abs(phases - wanted).max(axis=1, initial=0.0) < SAME_FRACTION
                own &= np.abs(known - energies[place]) < SAME_ENERGY
                if len(names) and names[place]:
                    own |= self.names[inside] == str(names[place])
                removed[place] = own.sum()
                mixtures.append((wanted, phases[~own], known[~own]))
            above[some] = energies[some] - lowest_mixtures(mixtures)
            log(f"hull: {start + len(some)} of {len(order)} crystals")
        missing = tuple(SYMBOLS[z] for z in np.flatnonzero(unknown.any(axis=0)))
        return HullDistances(above, removed, missing)


def lowest_mixtures(mixtures: Sequence[Mixture]) -> Floats:
    """Return the least energy of each composition in eV/atom, NaN where none is found.

    All programmes are solved as the blocks of one, which saves most of the time of setting up.
    """
    from scipy.optimize import linprog
    from scipy.sparse import block_diag

    matrices, costs = [], []
    for wanted, phases, energies in mixtures:
        # The elements are phases at 0 eV, and what lies above them is in no lowest mixture.
        useful = energies < 0.0
        matrices.append(np.concatenate([phases[useful], np.eye(len(wanted))]).T)
        costs.append(np.concatenate([energies[useful], np.zeros(len(wanted))]))
    answer = linprog(
        np.concatenate(costs),
        A_eq=block_diag(matrices, format="csc"),
        b_eq=np.concatenate([wanted for wanted, _, _ in mixtures]),
        bounds=(0, None),
        method="highs",
    )
    if answer.status != 0:
        # One that cannot be solved spoils all: find it, and solve the others.
        if len(mixtures) == 1:
            return np.array([np.nan])
        half = len(mixtures) // 2
        return np.concatenate([lowest_mixtures(mixtures[:half]), lowest_mixtures(mixtures[half:])])
    starts = np.cumsum([0, *(len(cost) for cost in costs[:-1])])
    return np.asarray(np.add.reduceat(np.concatenate(costs) * answer.x, starts))


def _element_masks(fractions: Floats) -> NDArray[np.uint64]:
    """Elements present as bits of two whole numbers, shape (M, 2)."""
    bits = np.zeros((len(fractions), 128), dtype=np.uint8)
    bits[:, : fractions.shape[1]] = fractions > 0
    return np.packbits(bits, axis=1).view(np.uint64)


def read_hull(path: str | Path, *, log: Callable[[str], None] = lambda _: None) -> Hull:
    """Read known phases from a CSV, Parquet or Feather table.

    Its columns: ``formation_energy_per_atom`` (eV), the first of ``species_at_sites`` (a list of
    symbols), ``pretty_formula``, ``formula`` or ``composition``, and an id where there is one. Rows
    whose formula or energy cannot be read are left out, counted and logged. `DataError` if a column
    is missing or no row is left.
    """
    frame, where = read_table(path), str(path)
    formula_column = next((name for name in FORMULAS if name in frame.columns), None)
    if formula_column is None or ENERGY not in frame.columns:
        raise DataError(
            f"has no column {' or '.join(FORMULAS) if formula_column is None else ENERGY}",
            where=where,
            hint="A hull is a table of known phases with formula and formation energy in eV/atom",
        )
    if not len(frame):
        raise DataError("the table of known phases has no rows", where=where)
    column = frame[ENERGY].cast(pl.Float64, strict=False)
    energies = column.fill_null(np.nan).to_numpy().astype(np.float64)
    entries = frame[formula_column].to_list()
    read = cache(_fractions)  # formulas repeat
    found = [read(tuple(one) if isinstance(one, list) else one) for one in entries]
    usable = np.isfinite(energies)
    reasons = {
        row: one if isinstance(one, str) else f"{ENERGY} is missing or not a number"
        for row, one in enumerate(found)
        if isinstance(one, str) or not usable[row]
    }
    if reasons:
        row, why = next(iter(reasons.items()))
        what = f"{len(reasons):,} of {len(frame):,} rows of known phases cannot be used, the first "
        what += f"in row {row + 1}: {why}"
        if len(reasons) == len(frame):
            raise DataError(what, where=where)
        log(f"{where}: {what}; they are left out")
    kept = np.setdiff1d(np.arange(len(frame)), [*reasons])
    name_column = next((name for name in NAMES if name in frame.columns), None)
    ids = [""] * len(frame) if name_column is None else frame[name_column].to_list()
    names = np.array([str(name) for name in ids], dtype=np.str_)
    fractions = np.array([found[row] for row in kept], dtype=np.float64)
    return Hull(names[kept], fractions, energies[kept])


def fractions_of_formula(formula: str) -> Floats:
    """Return the fraction of each element in a formula such as ``Nd(Al2Cu)4``, shape (119,)."""
    amounts = parse_formula(formula)
    fractions = np.zeros(HEAVIEST + 1)
    fractions[list(amounts)] = list(amounts.values())
    return np.asarray(fractions / fractions.sum())


def _fractions(entry: object) -> Floats | str:
    """Return the fractions of a formula or of the elements of the sites, or why there are none."""
    try:
        if isinstance(entry, str):
            return fractions_of_formula(entry)
        if not isinstance(entry, tuple) or not entry:
            return "the formula is missing"
        numbers = atomic_numbers(str(symbol) for symbol in entry)
        return np.asarray(np.bincount(numbers, minlength=HEAVIEST + 1) / len(numbers))
    except DataError as error:
        return error.what
