"""A well to be drawn: its curves, strips and formations by depth."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from variolite.corelogs.held_out_rows import Classes
from variolite.corelogs.striplog.tracks import COLOURS, Curve

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Strip:
    """Rows sorted into categories; those of rocks have patterns."""

    title: str
    classes: Classes
    rocks: bool = True


@dataclass(frozen=True)
class WellLog:
    """What is known of a well, by depth [n], sorted, in ``unit``.

    ``formations`` [n] names the unit of every row, "" for none; ``doubt`` [n] is one minus the
    probability of the class or cluster.
    """

    name: str
    depth: Floats
    unit: str
    curves: tuple[Curve, ...]
    strips: tuple[Strip, ...] = ()
    formations: NDArray[np.str_] | None = None
    doubt: Floats | None = None

    def part(self, rows: slice | NDArray[Any]) -> WellLog:
        """Return the well with the given rows only."""
        curves = tuple(
            replace(
                curve,
                values=curve.values[rows],
                rebuilt=None if curve.rebuilt is None else curve.rebuilt[rows],
            )
            for curve in self.curves
        )
        strips = tuple(
            replace(strip, classes=replace(strip.classes, codes=strip.classes.codes[rows]))
            for strip in self.strips
        )
        formations = None if self.formations is None else self.formations[rows]
        doubt = None if self.doubt is None else self.doubt[rows]
        depth = self.depth[rows]
        return WellLog(self.name, depth, self.unit, curves, strips, formations, doubt)

    def curve(self, meaning: str) -> Curve | None:
        """Return the curve of a meaning, None where the well lacks it."""
        return next((curve for curve in self.curves if curve.meaning == meaning), None)

    @property
    def pictures(self) -> list[Floats]:
        """The colour of every row, [n, 3] from 0 to 1, as seen and as rebuilt, if it is known."""
        found = [curve for meaning in COLOURS if (curve := self.curve(meaning))]
        seen = [curve.values for curve in found]
        rebuilt = [curve.rebuilt for curve in found if curve.rebuilt is not None]
        stacked = [np.column_stack(parts) for parts in (seen, rebuilt) if len(parts) == 3]
        # From 0 to 255, unless all of it is within 1.
        largest = max((part[np.isfinite(part)].max(initial=0.0) for part in stacked), default=0.0)
        return [np.clip(part / (255.0 if largest > 1.5 else 1.0), 0, 1) for part in stacked]
