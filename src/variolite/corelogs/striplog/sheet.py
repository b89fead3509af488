"""A sheet of paper: everything on it is drawn in one axes whose units are pixels.

900 of them lie from side to side, with y downwards. On paper a pixel is smaller than on a screen:
``Sheet.unit`` is its size in points, and scales lines and letters with it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import PathPatch, Rectangle
from matplotlib.path import Path
from numpy.typing import NDArray

from variolite.corelogs.striplog.patterns import look_of
from variolite.report import style

Floats = NDArray[np.float64]

STROKE = "#4a4a46"


@dataclass
class Sheet:
    """A figure in pixels with its origin at ``margin`` from the upper left corner."""

    width: float
    height: float
    unit: float = 1.0
    margin: float = 0.0
    figure: Figure = field(init=False)

    def __post_init__(self) -> None:
        size = (self.width * self.unit / 72, self.height * self.unit / 72)
        self.figure = Figure(figsize=size, dpi=72)
        FigureCanvasSVG(self.figure)
        self.figure.patch.set_visible(False)
        self.axes = self.figure.add_axes((0, 0, 1, 1))
        self.axes.set_axis_off()
        self.axes.set(
            xlim=(-self.margin, self.width - self.margin),
            ylim=(self.height - self.margin, -self.margin),
        )

    def write(self, x: float, y: float, text: str, size: float = style.SMALL, **look: Any) -> None:
        """Write text with its baseline at y."""
        given: dict[str, Any] = {"fontsize": size * self.unit, "va": "baseline", "color": style.INK}
        self.axes.text(x, y, text, **(given | look))

    def line(self, x: Any, y: Any, colour: str, thickness: float, **look: Any) -> Line2D:
        """Draw a line through points, broken at NaN."""
        line = Line2D(x, y, color=colour, linewidth=thickness * self.unit, **look)
        self.axes.add_line(line)
        return line

    def box(self, left: float, top: float, width: float, height: float, **look: Any) -> None:
        """Draw a rectangle, an empty one by default."""
        given: dict[str, Any] = {"fill": False, "ec": style.INK, "lw": 0.8 * self.unit}
        self.axes.add_patch(Rectangle((left, top), width, height, **(given | look)))

    def bars(self, left: Any, right: Any, tops: Floats, bases: Floats, colour: str) -> Path:
        """Fill rectangles [n] as one path, and return it."""
        lefts, rights = np.broadcast_arrays(left, right, tops)[:2]
        x = np.column_stack([lefts, rights, rights, lefts])
        corners = np.stack([x, np.column_stack([tops, tops, bases, bases])], axis=-1)
        path = Path.make_compound_path_from_polys(corners)
        # The thin edge hides the seams that viewers leave between beds.
        self.axes.add_patch(PathPatch(path, fc=colour, ec=colour, lw=0.5 * self.unit))
        return path

    def pattern(
        self, name: str, left: float, right: float, tops: Floats, bases: Floats, inside: Path
    ) -> None:
        """Draw the pattern of a rock over bars that were filled."""
        look = look_of(name)
        if look is None or look.tile is None:
            return
        path, dots = look.tile.fill(left, right, tops, bases)
        ink = style.PAPER if style.ink_on(look.colour) == style.PAPER else STROKE
        clip = (inside, self.axes.transData)
        if len(look.tile.lines):
            strokes = PathPatch(path, fill=False, ec=ink, lw=0.6 * self.unit, capstyle="butt")
            self.axes.add_patch(strokes)
            strokes.set_clip_path(*clip)
        if len(dots):
            # Squares as a path: markers would not be clipped in every format.
            half = 0.75
            around = np.array([[-half, -half], [half, -half], [half, half], [-half, half]])
            squares = Path.make_compound_path_from_polys(dots[:, None] + around)
            patch = PathPatch(squares, fc=ink, lw=0)
            self.axes.add_patch(patch)
            patch.set_clip_path(*clip)
