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
from variolite.crystals.elements import HEAVIEST, SYMBOLS, compositions
from variolite.crystals.evaluation.hull import Hull
from variolite.crystals.evaluation.metrics import METASTABLE
from variolite.errors import DataError

Floats = NDArray[np.float64]

ENOUGH = 3
"""Crystals that an element has to occur in for a reference."""

FOLDS = 5
"""Parts of the crystals, split by composition, for cross-validation."""

HUBER = 1.345
"""Residuals beyond this many robust standard deviations count less (95 % efficiency)."""

ROUNDS = 30

SMALLEST_ERROR = 1e-3
"""Errors below this, in eV/atom, all count alike."""

RIDGE = 1e-8
"""Keeps elements that only occur in fixed proportions from having boundless references."""


@dataclass(frozen=True)
class ElementReferences:
    """Reference energies of the elements in one potential.

    Attributes
    ----------
    references
        eV/atom by atomic number, NaN where the element is unknown, shape (119,).
    n_crystals
        Crystals they were fitted on.
    test_mae, test_median
        Mean and median absolute error of formation energies in eV/atom on crystals of
        compositions left out of the fit, in cross-validation; NaN where there are too few.
    n_test
        Crystals behind these errors.
    """

    references: Floats
    n_crystals: int
    test_mae: float
    test_median: float
    n_test: int

    def formation_energies(self, fractions: Floats, energies: Floats) -> Floats:
        """Return formation energies in eV/atom, NaN where an element has no reference, (B,).

        From fractions of the elements (B, 119) and energies of the potential in eV/atom (B,).
        """
        unknown = ~np.isfinite(self.references)
        known = fractions @ np.where(unknown, 0.0, self.references)
        return np.where((fractions[:, unknown] > 0).any(axis=1), np.nan, energies - known)

    def note(self) -> str:
        """Return in words how good formation energies are."""
        return (
            f"formation energies: element references fitted on {self.n_crystals} reference "
            f"crystals; mean absolute error on {self.n_test} of them, each left out of a fit by "
            f"its composition, {self.test_mae:.3f} eV/atom, median {self.test_median:.3f}"
        )

    def missing(self, fractions: Floats) -> tuple[str, ...]:
        """Symbols of the elements in some crystals that have no reference."""
        without = ~np.isfinite(self.references) & (fractions > 0).any(axis=0)
        return tuple(SYMBOLS[z] for z in np.flatnonzero(without))


def element_fractions(crystals: Crystals) -> Floats:
    """Return the fraction of each element among the atoms, by atomic number, shape (B, 119)."""
    counts = compositions(crystals).astype(np.float64)
    return np.asarray(counts / np.maximum(counts.sum(axis=1, keepdims=True), 1.0))


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
            others = order[present[order, z] & ~chosen[order]]
            chosen[others[:lacking]] = True
    return np.asarray(np.flatnonzero(chosen))


def fit_references(crystals: Crystals, energies: Floats, formation: Floats) -> ElementReferences:
    """Fit the reference energies of elements.

    Parameters
    ----------
    crystals
        Crystals of known formation energy.
    energies, formation
        Their energies in the potential, NaN where it failed, and their formation energies, NaN
        where unknown, in eV/atom, shape (B,).

    Raises
    ------
    DataError
        If no element occurs in three crystals whose energies are both known.
    """
    usable = np.isfinite(energies) & np.isfinite(formation)
    fractions = element_fractions(crystals)[usable]
    target = (energies - formation)[usable]
    _, composition = np.unique(np.round(fractions, 9), axis=0, return_inverse=True)
    references = _fit(fractions, target)
    if not np.isfinite(references).any():
        raise DataError(
            f"{len(target)} crystals of known formation energy are too few for element references",
            where="reference structures",
            hint="Give a reference file with a column formation_energy_per_atom (eV/atom)",
        )
    fold = np.random.default_rng(0).permutation(int(composition.max()) + 1)[composition] % FOLDS
    errors = []
    for part in range(FOLDS):
        out = fold == part
        if out.all() or not out.any():
            continue
        fitted = ElementReferences(_fit(fractions[~out], target[~out]), 0, 0.0, 0.0, 0)
        errors.append(np.abs(fitted.formation_energies(fractions[out], target[out])))
    error = np.concatenate(errors or [np.empty(0)])
    error = error[np.isfinite(error)]
    nan = float("nan")
    return ElementReferences(
        references=references,
        n_crystals=len(target),
        test_mae=float(error.mean()) if len(error) else nan,
        test_median=float(np.median(error)) if len(error) else nan,
        n_test=len(error),
    )


def _fit(fractions: Floats, target: Floats) -> Floats:
    """References by atomic number from fractions (n, 119) and energies (n,)."""
    references = np.full(HEAVIEST + 1, np.nan)
    occurs = (fractions > 0).sum(axis=0)
    # An element that occurs once takes up that crystal's error and does the others no harm.
    elements = np.flatnonzero(occurs)
    if not len(elements):
        return references
    matrix, wanted = fractions[:, elements], target
    weights: Floats = np.ones(len(wanted))
    found: Floats = np.zeros(len(elements))
    for _ in range(ROUNDS):
        left = (matrix * weights[:, None]).T
        before = found
        normal = left @ matrix + RIDGE * np.eye(len(elements))
        found = np.asarray(np.linalg.solve(normal, left @ wanted), dtype=np.float64)
        residual = np.abs(wanted - matrix @ found)
        scale = max(1.4826 * float(np.median(residual)), SMALLEST_ERROR)
        if np.abs(found - before).max() < 1e-7:
            break
        weights = np.minimum(1.0, HUBER * scale / np.maximum(residual, SMALLEST_ERROR))
    references[elements] = np.where(occurs[elements] >= ENOUGH, found, np.nan)
    return references


Energies = Callable[[Crystals], Floats]
"""Gives eV per atom, NaN where it fails, shape (B,)."""

FORMATION = "formation_energy_per_atom"
"""Property of reference crystals that element references are fitted to, eV/atom."""

REFERENCES = 1000
"""Reference crystals whose energies are computed for the element references."""


@dataclass(frozen=True)
class Stability:
    """Energies of B crystals.

    Formation energies and energies above the hull in eV/atom, NaN where not known, (B,); number
    of crystals for which the potential gave no energy; elements without a reference or without
    an entry in the hull; number of crystals that were found in the hull and taken out of it.
    """

    formation: Floats
    above: Floats
    failed: int
    missing: tuple[str, ...]
    removed: int

    def notes(self, suffix: str = "") -> list[str]:
        """Return what the energies rest on; ``suffix`` is that of the metrics."""
        which = f"stability{suffix.replace('_', ', ')}"
        known = int(np.isfinite(self.above).sum())
        notes = [
            f"{which}: {known} of {len(self.above)} valid samples evaluated, {self.failed} without "
            f"an energy, {self.removed} found in the hull and taken out of it for their own "
            "evaluation",
        ]
        if self.missing:
            notes.append(
                f"{which}: no reference energy or no known phase of the elements "
                f"{', '.join(self.missing)}; samples with them are not evaluated and count as not "
                "stable"
            )
        return notes

    @property
    def stable(self) -> NDArray[np.bool_]:
        """On or below the hull, shape (B,)."""
        return np.asarray(self.above <= 0.0)

    @property
    def metastable(self) -> NDArray[np.bool_]:
        """At most 0.1 eV/atom above the hull, stable ones included, shape (B,)."""
        return np.asarray(self.above <= METASTABLE)


def references_from(
    reference: Crystals, energies: Energies, *, most: int = REFERENCES, seed: int = 0
) -> ElementReferences:
    """Fit element references on crystals of known formation energy.

    Parameters
    ----------
    reference
        Crystals with the property ``formation_energy_per_atom`` in eV/atom.
    energies
        The potential.
    most
        Crystals to use; a few more where an element would be too rare.
    seed
        Seed of the draw.

    Raises
    ------
    DataError
        If the crystals have no such property, or too few have it.
    """
    known = reference.properties.get(FORMATION)
    if known is None or known.dtype.kind != "f":
        raise DataError(
            f"the reference structures have no column of numbers {FORMATION}",
            where="stability",
            hint="Energies of a potential become formation energies by it (eV/atom); give it, or "
            "leave the hull out",
        )
    usable = reference.take(np.isfinite(known))
    chosen = usable.take(choose_references(usable, most, seed=seed))
    return fit_references(chosen, energies(chosen), chosen.properties[FORMATION])


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
    missing = set(references.missing(fractions)) | set(found.missing)
    return Stability(
        formation=formation,
        above=found.above,
        failed=int((~np.isfinite(total)).sum()),
        missing=tuple(sorted(missing)),
        removed=int((found.removed > 0).sum()),
    )
