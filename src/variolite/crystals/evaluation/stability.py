"""Stability of crystals: energies of a potential, laid against the hull of known phases."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from variolite.crystals.evaluation.formation import (
    ElementReferences,
    choose_references,
    element_fractions,
    fit_references,
)
from variolite.crystals.evaluation.hull import Hull
from variolite.crystals.structures.crystals import Crystals
from variolite.errors import DataError

__all__ = [
    "FORMATION",
    "METASTABLE",
    "Energies",
    "Stability",
    "judge_stability",
    "references_from",
    "references_note",
]

Floats = NDArray[np.float64]

Energies = Callable[[Crystals], Floats]
"""Gives eV per atom, NaN where it fails, shape (B,)."""

FORMATION = "formation_energy_per_atom"
"""Property of reference crystals that element references are fitted to, eV/atom."""

METASTABLE = 0.1
"""Energy above the hull in eV/atom up to which a crystal counts as metastable."""

REFERENCES = 1000
"""Reference crystals whose energies are computed for the element references."""


@dataclass(frozen=True)
class Stability:
    """Energies of B crystals.

    Attributes
    ----------
    formation
        Formation energies in eV/atom, NaN where none could be had, shape (B,).
    above
        Energies above the hull in eV/atom, NaN where not judged, shape (B,).
    failed
        Crystals for which the potential gave no energy.
    missing
        Elements without a reference, or without an entry in the hull.
    removed
        Crystals that were found in the hull, and taken out of it before they were judged.
    """

    formation: Floats
    above: Floats
    failed: int
    missing: tuple[str, ...]
    removed: int

    def notes(self, suffix: str = "") -> tuple[str, ...]:
        """Say in words what was judged; ``suffix`` is that of the metrics."""
        which = f"stability{suffix.replace('_', ', ')}"
        judged = int(np.isfinite(self.above).sum())
        notes = [
            f"{which}: {judged} of {len(self.above)} valid samples judged, {self.failed} without "
            f"an energy, {self.removed} found in the hull and taken out of it for their own "
            "judgement",
        ]
        if self.missing:
            notes.append(
                f"{which}: no reference energy or no known phase of the elements "
                f"{', '.join(self.missing)}; samples with them are not judged and count as not "
                "stable"
            )
        return tuple(notes)

    @property
    def stable(self) -> NDArray[np.bool_]:
        """On or below the hull, shape (B,)."""
        return np.asarray(self.above <= 0.0)

    @property
    def metastable(self) -> NDArray[np.bool_]:
        """At most 0.1 eV/atom above the hull, stable ones included, shape (B,)."""
        return np.asarray(self.above <= METASTABLE)


def references_note(references: ElementReferences) -> str:
    """Say in words how good formation energies are."""
    return (
        f"formation energies: element references fitted on {references.n_crystals} reference "
        f"crystals; mean absolute error on {references.n_held_out} of them held out by "
        f"composition {references.held_out_mae:.3f} eV/atom, median "
        f"{references.held_out_median:.3f}"
    )


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
            mend="Energies of a potential become formation energies by it (eV/atom); give it, or "
            "leave the hull out",
        )
    usable = reference.take(np.isfinite(known))
    chosen = usable.take(choose_references(usable, most, seed=seed))
    return fit_references(chosen, energies(chosen), chosen.properties[FORMATION])


def judge_stability(
    crystals: Crystals,
    energies: Energies,
    references: ElementReferences,
    hull: Hull,
    *,
    tell: Callable[[str], None] = lambda _: None,
) -> Stability:
    """Compute the energy above the hull of every crystal."""
    fractions = element_fractions(crystals)
    total = energies(crystals)
    formation = references.formation_energies(fractions, total)
    found = hull.above(fractions, formation, crystals.names, tell=tell)
    missing = set(references.missing(fractions)) | set(found.missing)
    return Stability(
        formation=formation,
        above=found.above,
        failed=int((~np.isfinite(total)).sum()),
        missing=tuple(sorted(missing)),
        removed=int((found.removed > 0).sum()),
    )
