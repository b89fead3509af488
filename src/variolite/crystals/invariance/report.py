"""What a check of invariance found."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["CellCheck", "Change", "InvarianceReport"]

TOLERANCE = 1e-4
"""Of latents, in their own units and in standard deviations."""

SHAPE_TOLERANCE = 1e-3
"""Of reconstructions, in Angstrom."""

MOVED = 0.1
"""Standard deviations beyond which the latents of a crystal count as others."""


@dataclass(frozen=True)
class Change:
    """How much one change of description changed what a model gives.

    Attributes
    ----------
    name
        Of the transformation.
    compared
        ``atoms`` one by one, ``set`` of the atoms of a crystal, or ``shape``.
    median, high, largest
        Over crystals, of the largest change within each: the median, the 95th percentile
        and the largest.
    deviations
        The largest in standard deviations of the latents; None for shapes.
    moved
        Share of crystals whose latents change by more than a tenth of a standard deviation;
        None for shapes.
    """

    name: str
    compared: str
    median: float
    high: float
    largest: float
    deviations: float | None = None
    moved: float | None = None

    @classmethod
    def of(
        cls, name: str, compared: str, changes: NDArray[np.float64], spread: float | None = None
    ) -> Change:
        """Sum up the largest change of every crystal, shape (B,); NaN counts as infinite."""
        known = np.where(np.isnan(changes), np.inf, changes)
        if not len(known):
            known = np.zeros(1)
        median, high = np.quantile(known, [0.5, 0.95], method="higher")
        largest = float(known.max())
        if spread is None:
            return cls(name, compared, float(median), float(high), largest)
        # Latents that are all alike have no spread: any change of them is infinite.
        scaled = np.divide(known, spread, out=np.full_like(known, np.inf), where=spread > 0.0)
        scaled[known == 0.0] = 0.0
        return cls(
            *(name, compared, float(median), float(high), largest),
            deviations=float(scaled.max()),
            moved=float((scaled > MOVED).mean()),
        )


@dataclass(frozen=True)
class CellCheck:
    """Whether whatever a lattice head may give is a cell.

    Attributes
    ----------
    number
        Of random outputs.
    not_finite, not_positive
        Cells with a number that is not finite, and finite ones of no or negative volume.
    smallest_volume
        In cubic Angstrom per atom.
    """

    number: int
    not_finite: int
    not_positive: int
    smallest_volume: float

    @property
    def passed(self) -> bool:
        """Whether all were cells."""
        return self.not_finite == 0 and self.not_positive == 0


@dataclass(frozen=True)
class InvarianceReport:
    """Changes of latents and reconstructions under changes that should not matter.

    Attributes
    ----------
    crystals, atoms
        Numbers of those that were encoded.
    spread
        Standard deviation of the latents over all atoms (root mean square over the
        dimensions): what ``deviations`` are measured in.
    latents
        One for every transformation, and for encoding alone instead of with others.
    shapes
        The same for reconstructions; empty where none were asked for.
    residuals
        Changes of latents under strain and noise. The crystal is another one then: these
        are to be looked at, and are not judged.
    mutated
        Whether a function changed the arrays it was given.
    """

    crystals: int
    atoms: int
    spread: float
    latents: tuple[Change, ...]
    shapes: tuple[Change, ...]
    residuals: tuple[Change, ...]
    mutated: bool

    @property
    def worst(self) -> Change:
        """The change of latents that is the largest in standard deviations."""
        return max(self.latents, key=lambda change: change.deviations or 0.0)

    def failures(
        self, tolerance: float = TOLERANCE, shape_tolerance: float = SHAPE_TOLERANCE
    ) -> tuple[Change, ...]:
        """Return the changes that are larger than they may be.

        Parameters
        ----------
        tolerance
            Largest change of a latent, both in its own units and in standard deviations:
            latents that are tiny, or huge, make it no easier.
        shape_tolerance
            Largest change of a reconstruction in Angstrom. It is wider because a decoder
            may turn a small change of a latent into a larger one of a place.
        """
        found = [
            change
            for change in self.latents
            if not (change.largest <= tolerance and (change.deviations or 0.0) <= tolerance)
        ]
        found += [change for change in self.shapes if not change.largest <= shape_tolerance]
        return tuple(found)

    def passes(
        self, tolerance: float = TOLERANCE, shape_tolerance: float = SHAPE_TOLERANCE
    ) -> bool:
        """Whether nothing changed by more than `failures` allows, and no input was changed."""
        return not self.mutated and not self.failures(tolerance, shape_tolerance)

    def to_dict(self) -> dict[str, Any]:
        """Return the report as plain numbers and text."""
        return asdict(self)

    def __str__(self) -> str:
        head = f"{self.crystals} crystals, {self.atoms} atoms, latents of spread {self.spread:.3g}"
        blocks = [
            ("latents, in their own units", self.latents),
            ("reconstructions, in Angstrom", self.shapes),
            ("latents of other crystals, not judged", self.residuals),
        ]
        lines = [head]
        for title, changes in blocks:
            lines += _lines(title, changes)
        if self.mutated:
            lines.append("the arrays that were given were CHANGED")
        return "\n".join(lines)


def _lines(title: str, changes: Sequence[Change]) -> list[str]:
    rows = []
    for change in changes:
        row = f"  {change.name:<26}{change.compared:<9}"
        row += "".join(f"{v:>10.1e}" for v in (change.median, change.high, change.largest))
        if change.deviations is not None and change.moved is not None:
            row += f"{change.deviations:>10.1e}{change.moved:>9.1%}"
        rows.append(row)
    if not rows:
        return []
    heads = f"{'median':>10}{'95 %':>10}{'largest':>10}"
    if any(change.moved is not None for change in changes):
        heads += f"{'in sd':>10}{'moved':>9}"
    return [f"{title:<37}{heads}", *rows]
