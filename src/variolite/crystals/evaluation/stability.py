"""Stability of crystals: energies of a potential, laid against the hull of known phases.

A potential gives total energies whose zero is its own. With crystals of known formation
energy f_i, the model  E_i - f_i = sum_z x_iz mu_z  (per atom, x the element fractions)
gives one reference mu_z for each element; it takes up, too, the part of the potential's
error that goes with the elements. The fit is by iteratively reweighted least squares
with Huber's weights (P. Huber, Ann. Math. Statist. 35 (1964) 73), so that a few crystals
on which the potential is far off do not bend the rest.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from variolite.crystals.crystals import Crystals
from variolite.crystals.elements import HEAVIEST, SYMBOLS
from variolite.crystals.evaluation.fingerprints import element_fractions
from variolite.crystals.evaluation.hull import Hull
from variolite.errors import DataError

Floats = NDArray[np.float64]
Energies = Callable[[Crystals], Floats]
"""Gives eV per atom, NaN where it fails, shape (B,)."""

FORMATION = "formation_energy_per_atom"  # property of reference crystals to fit to, in eV/atom
REFERENCES = 1000  # reference crystals whose energies are computed for the element references
ENOUGH = 3  # crystals that an element has to occur in for a reference
FOLDS = 5  # parts of the crystals, split by composition, for cross-validation
HUBER = 1.345  # residuals beyond this many robust standard deviations count less (95 % efficiency)
ROUNDS = 30
SMALLEST_ERROR = 1e-3  # errors below this, in eV/atom, all count alike
RIDGE = 1e-8  # keeps elements that only occur in fixed proportions from having boundless references


@dataclass(frozen=True)
class ElementReferences:
    """Reference energies of the elements in one potential, in eV/atom, and how good they are.

    ``references`` by atomic number, (119,), are NaN where the element is unknown. ``test_mae``
    and ``test_median`` are mean and median absolute error of formation energies on ``n_test``
    crystals of compositions left out of the fit, in cross-validation; NaN where there are too few.
    """

    references: Floats
    n_crystals: int = 0
    test_mae: float = np.nan
    test_median: float = np.nan
    n_test: int = 0

    def formation_energies(self, fractions: Floats, energies: Floats) -> Floats:
        """Return formation energies in eV/atom, NaN where an element has no reference, (B,).

        From fractions of the elements (B, 119) and energies of the potential in eV/atom (B,).
        """
        unknown = ~np.isfinite(self.references)
        known = fractions @ np.where(unknown, 0.0, self.references)
        return np.where((fractions[:, unknown] > 0).any(axis=1), np.nan, energies - known)

    def note(self) -> str:
        """Say how good formation energies are."""
        return (
            f"formation energies: element references fitted on {self.n_crystals} reference "
            f"crystals; mean absolute error on {self.n_test} of them, each left out of a fit by "
            f"its composition, {self.test_mae:.3f} eV/atom, median {self.test_median:.3f}"
        )

    def missing(self, fractions: Floats) -> tuple[str, ...]:
        """Symbols of the elements in some crystals that have no reference."""
        without = ~np.isfinite(self.references) & (fractions > 0).any(axis=0)
        return tuple(SYMBOLS[z] for z in np.flatnonzero(without))


def known_formation_energies(reference: Crystals) -> Floats:
    """Return the property ``formation_energy_per_atom``, (B,); `DataError` if there is none."""
    known = reference.properties.get(FORMATION)
    if known is None or known.dtype.kind != "f":
        raise DataError(
            f"the reference structures have no column of numbers {FORMATION}",
            where="stability",
            hint="Energies of a potential become formation energies by it (eV/atom); give it, or "
            "leave the hull out",
        )
    return known


def references_from(reference: Crystals, energies: Energies, *, seed: int = 0) -> ElementReferences:
    """Fit element references on crystals with the property ``formation_energy_per_atom``.

    `DataError` if they have no such property, or too few have it.
    """
    usable = reference.take(np.isfinite(known_formation_energies(reference)))
    chosen = usable.take(choose_references(usable, REFERENCES, seed=seed))
    return fit_references(chosen, energies(chosen), chosen.properties[FORMATION])


def choose_references(crystals: Crystals, most: int, *, seed: int = 0) -> NDArray[np.int64]:
    """Choose crystals to fit references on, as places: random ones, but enough of every element.

    Elements that would otherwise be rare may add to the number asked for.
    """
    present = element_fractions(crystals) > 0
    order = np.random.default_rng(seed).permutation(len(crystals))
    chosen = np.zeros(len(crystals), dtype=bool)
    chosen[order[:most]] = True
    for z in np.flatnonzero(present.any(axis=0)):
        lacking = 2 * ENOUGH - int(present[chosen, z].sum())
        if lacking > 0:
            chosen[order[present[order, z] & ~chosen[order]][:lacking]] = True
    return np.asarray(np.flatnonzero(chosen))


def fit_references(crystals: Crystals, energies: Floats, formation: Floats) -> ElementReferences:
    """Fit the reference energies of elements.

    From energies in the potential and formation energies in eV/atom, NaN where unknown, (B,).
    `DataError` if no element occurs in three crystals whose energies are both known.
    """
    usable = np.isfinite(energies) & np.isfinite(formation)
    fractions = element_fractions(crystals)[usable]
    target = (energies - formation)[usable]
    references = _fit(fractions, target)
    if not np.isfinite(references).any():
        raise DataError(
            f"{len(target)} crystals of known formation energy are too few for element references",
            where="reference structures",
            hint="Give a reference file with a column formation_energy_per_atom (eV/atom)",
        )
    # Crystals of one composition stay in one fold: each would give the others away.
    _, composition = np.unique(np.round(fractions, 9), axis=0, return_inverse=True)
    fold = np.random.default_rng(0).permutation(int(composition.max()) + 1)[composition] % FOLDS
    errors = np.full(len(target), np.nan)
    for part in range(FOLDS):
        out = fold == part
        fitted = ElementReferences(_fit(fractions[~out], target[~out]))
        errors[out] = np.abs(fitted.formation_energies(fractions[out], target[out]))
    known = errors[np.isfinite(errors)]
    mean, median = (known.mean(), np.median(known)) if len(known) else (np.nan, np.nan)
    return ElementReferences(references, len(target), float(mean), float(median), len(known))


def _fit(fractions: Floats, target: Floats) -> Floats:
    """References by atomic number from fractions (n, 119) and energies (n,)."""
    references = np.full(HEAVIEST + 1, np.nan)
    occurs = (fractions > 0).sum(axis=0)
    # An element that occurs once takes up that crystal's error and does the others no harm.
    elements = np.flatnonzero(occurs)
    if not len(elements):
        return references
    matrix = fractions[:, elements]
    weights: Floats = np.ones(len(target))
    found: Floats = np.zeros(len(elements))
    for _ in range(ROUNDS):
        # Weighted normal equations: crystals are many, elements few.
        left, before = (matrix * weights[:, None]).T, found
        normal = left @ matrix + RIDGE * np.eye(len(elements))
        found = np.asarray(np.linalg.solve(normal, left @ target), dtype=np.float64)
        if np.abs(found - before).max() < 1e-7:
            break
        residual = np.abs(target - matrix @ found)
        # The median absolute residual, as the standard deviation of a normal distribution.
        scale = max(1.4826 * float(np.median(residual)), SMALLEST_ERROR)
        weights = np.minimum(1.0, HUBER * scale / np.maximum(residual, SMALLEST_ERROR))
    references[elements] = np.where(occurs[elements] >= ENOUGH, found, np.nan)
    return references


@dataclass(frozen=True)
class Stability:
    """Formation energies and energies above the hull in eV/atom, NaN where not known, (B,);
    number of crystals for which the potential gave no energy; elements without a reference or
    without an entry in the hull; number of crystals that were taken out of the hull."""

    formation: Floats
    above: Floats
    failed: int
    missing: tuple[str, ...]
    removed: int

    def notes(self, suffix: str = "") -> list[str]:
        """Return what the energies rest on; ``suffix`` is that of the metrics."""
        which = f"stability{suffix.replace('_', ', ')}"
        evaluated = (
            f"{which}: {np.isfinite(self.above).sum()} of {len(self.above)} valid samples "
            f"evaluated, {self.failed} without an energy, {self.removed} found in the hull and "
            "taken out of it for their own evaluation"
        )
        without = (
            f"{which}: no reference energy or no known phase of the elements "
            f"{', '.join(self.missing)}; samples with them are not evaluated and count as not "
            "stable"
        )
        return [evaluated, without] if self.missing else [evaluated]


def evaluate_stability(
    crystals: Crystals,
    energies: Energies,
    references: ElementReferences,
    hull: Hull,
    *,
    log: Callable[[str], None] = lambda _: None,
) -> Stability:
    """Compute the energy above the hull of every crystal."""
    fractions = element_fractions(crystals)
    total = energies(crystals)
    formation = references.formation_energies(fractions, total)
    found = hull.above(fractions, formation, crystals.names, log=log)
    return Stability(
        formation=formation,
        above=found.above,
        failed=int((~np.isfinite(total)).sum()),
        missing=tuple(sorted({*references.missing(fractions), *found.missing})),
        removed=int((found.removed > 0).sum()),
    )
