"""The latent space as a map of chemistry: every crystal a dot, coloured by what it is."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from variolite.crystals.elements import FAMILIES
from variolite.report.axes import WIDTH, Frame, box, letters, points_path, sheet, swatches
from variolite.report.blocks import Block, Figure, Section, paragraph
from variolite.report.classes import Classes
from variolite.report.crystals.run import CrystalRun
from variolite.report.latent_map import Plane, dot_width, map_limits, map_panel
from variolite.report.lettering import significant
from variolite.report.markup import Markup, element
from variolite.report.palette import CATEGORIES, OTHER, PAPER, SEQUENTIAL, blend
from variolite.report.scale import Scale
from variolite.report.wording import counted

__all__ = ["family_classes", "map_section"]

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

POINTS = 4000
FEWEST = 3
MOST_SHADES = 6
ABREAST = 4
_GROUND = blend((PAPER, OTHER), 0.7)
"""Colour of the crystals that a panel is not about."""
# The palest categories are left out: dots of them would vanish on white paper.
_COLOURS = dict(
    zip(
        FAMILIES,
        (*(CATEGORIES[i] for i in (0, 1, 2, 3, 4, 5, 8, 7, 13, 9, 10)), OTHER),
        strict=True,
    )
)


_MEANING = (
    " A family is told by the anion: O, a halogen, S, Se or Te, N, another element of group 15, "
    "H, C, B, Si or Ge, in this order; crystals of metals alone are intermetallic, of one element "
    "elemental. Families beyond the eighth are squares."
)


@dataclass(frozen=True)
class _Map:
    """Crystals in the plane of the map, and which of them are drawn."""

    plane: Plane
    shown: Integers
    limits: Floats
    outside: int

    @property
    def shape(self) -> float:
        """Height of the map for a width of 1."""
        return float(np.ptp(self.limits[1]) / np.ptp(self.limits[0]))


def map_section(run: CrystalRun) -> Section:
    """Return the map by family and by number of atoms, or say what is missing for it."""
    anchor, title = "latent-map", "Latent map by chemistry"
    first, second = run.column("pc1"), run.column("pc2")
    scores = None if first is None or second is None else np.column_stack([first, second])
    if scores is None or not _worth_drawing(scores):
        reason = (
            "No latent map yet: run `variolite score` to encode the held-out crystals."
            if run.held_out is None
            else "No latent map: held_out.parquet has no columns pc1 and pc2 that vary."
        )
        return Section(anchor, title, (paragraph(reason, kind="missing"),))
    drawn = _map(scores)
    blocks: list[Block] = [_figure(run, drawn)]
    families = family_classes(run.families)
    if families is not None and len(families) > 1:
        blocks.append(_one_by_one(drawn, families))
    return Section(anchor, title, tuple(blocks))


def family_classes(families: NDArray[np.str_] | None) -> Classes | None:
    """Sort crystals [B] by chemical family, the commonest first, each in its own colour."""
    if families is None:
        return None
    names = [name for name in FAMILIES if (families == name).any()]
    names.sort(key=lambda name: -int((families == name).sum()))
    codes = np.full(len(families), -1, dtype=np.int64)
    for code, name in enumerate(names):
        codes[families == name] = code
    return Classes(tuple(names), tuple(_COLOURS[name] for name in names), codes)


def _worth_drawing(scores: Floats) -> bool:
    known = scores[np.isfinite(scores).all(axis=1)]
    return len(known) >= FEWEST and bool(np.ptp(known[:, 0]) > 0)


def _map(scores: Floats) -> _Map:
    known = np.isfinite(scores).all(axis=1)
    limits = map_limits(scores[known])
    with np.errstate(invalid="ignore"):
        inside = ((scores >= limits[:, 0]) & (scores <= limits[:, 1])).all(axis=1)
    rows = np.random.default_rng(0).permutation(np.flatnonzero(inside))[:POINTS]
    return _Map(Plane(scores), rows, limits, int(known.sum() - inside.sum()))


def _shaded(values: Floats, name: Callable[[float, float], str]) -> Classes:
    """Sort crystals by a number [B] into a few shades from pale to dark, each of like many.

    ``name`` says what a shade is called from its least and its largest value.
    """
    known = np.isfinite(values)
    numbers = np.unique(values[known])
    if len(numbers) <= MOST_SHADES:
        edges = numbers
    else:
        shares = np.linspace(0, 1, MOST_SHADES + 1)[:-1]
        edges = np.unique(np.quantile(values[known], shares, method="nearest"))
    codes = np.where(known, np.searchsorted(edges, values, side="right") - 1, -1)
    names = [
        name(float(values[codes == code].min()), float(values[codes == code].max()))
        for code in range(len(edges))
    ]
    shades = [
        blend(SEQUENTIAL, 0.22 + 0.78 * index / max(len(names) - 1, 1))
        for index in range(len(names))
    ]
    return Classes(tuple(names), tuple(shades), codes.astype(np.int64))


def _colourings(run: CrystalRun) -> list[tuple[str, Classes | None]]:
    """Return by what the crystals are coloured; where all are of one family, by volume."""
    found: list[tuple[str, Classes | None]] = []
    families = family_classes(run.families)
    if families is not None and len(families) > 1:
        found.append(("by chemical family", families))
    elif run.volumes is not None:
        found.append(("by volume per atom", _shaded(run.volumes, _cubic)))
    if run.atoms is not None:
        found.append(("by number of atoms", _shaded(run.atoms.astype(np.float64), _atoms)))
    return found or [("held-out crystals", None)]


def _atoms(low: float, high: float) -> str:
    return counted(int(low), "atom") if low == high else f"{low:.0f} to {high:.0f} atoms"


def _cubic(low: float, high: float) -> str:
    return f"{significant(low)} to {significant(high)} Å³"


def _figure(run: CrystalRun, drawn: _Map) -> Figure:
    colourings = _colourings(run)
    side = (WIDTH - 60 * 2) / 2
    height = side * drawn.shape
    parts: list[Markup] = []
    depth = 0.0
    for index, (title, classes) in enumerate(colourings):
        frame = Frame(52 + index * (side + 60), 26, side, height)
        parts.append(
            map_panel(drawn.plane, drawn.shown, classes, frame, drawn.limits, title, named=False)
        )
        if classes is not None:
            entries = list(zip(classes.names, classes.colours, strict=True))
            legend, used = swatches(entries, frame.left, frame.bottom + 48, side)
            parts.append(legend)
            depth = max(depth, used)
    told = _MEANING if colourings[0][0] == "by chemical family" else ""
    outside = f" {counted(drawn.outside, 'outlying crystal')} beyond the axes." * (
        drawn.outside > 0
    )
    caption = (
        "Posterior means of held-out crystals, averaged over their atoms, in the plane of their "
        f"two leading principal components ({counted(len(drawn.shown), 'crystal')} of "
        f"{run.count:,}, drawn in random order; both axes on one scale).{outside}{told}"
    )
    title = "Latent map of held-out crystals"
    return Figure("latent-map", sheet(26 + height + 52 + depth, *parts, title=title), caption)


def _one_by_one(drawn: _Map, families: Classes) -> Figure:
    """Draw each family alone over all others, so that none is told by its colour only."""
    gap = 14.0
    width = (WIDTH - gap * (ABREAST - 1) - 4) / ABREAST
    height = width * drawn.shape
    scores = drawn.plane.scores[drawn.shown]
    dot = dot_width(len(scores))
    (left, right), (low, high) = drawn.limits.tolist()
    x = Scale(left, right, 0.0, width)(scores[:, 0])
    y = Scale(low, high, height, 0.0)(scores[:, 1])
    every = element(
        "path",
        d=points_path(x, y),
        id="latent-map-all",
        fill="none",
        stroke=_GROUND,
        stroke_width=round(0.6 * dot, 2),
        stroke_linecap="round",
    )
    parts: list[Markup] = [element("defs", every)]
    for code, name in enumerate(families.names):
        own = families.codes[drawn.shown] == code
        frame = Frame(
            2 + (code % ABREAST) * (width + gap),
            24 + (code // ABREAST) * (height + 34),
            width,
            height,
        )
        dots = element(
            "path",
            d=points_path(x[own] + frame.left, y[own] + frame.top),
            fill="none",
            stroke=families.colours[code],
            stroke_width=round(0.94 * dot, 2),
            stroke_linecap="round",
        )
        parts += [
            element("use", href="#latent-map-all", x=frame.left, y=frame.top),
            dots,
            box(frame),
            letters(
                frame.left,
                frame.top - 7,
                f"{name} ({int((families.codes == code).sum()):,})",
                bold=True,
                room=width,
            ),
        ]
    tiers = -(-len(families) // ABREAST)
    caption = (
        "The same map with one chemical family at a time over all crystals in grey; numbers of "
        "held-out crystals in brackets. Axes and limits are those of the figure before."
    )
    drawing = sheet(
        24 + tiers * (height + 34) - 26, *parts, title="Latent map, one chemical family at a time"
    )
    return Figure("latent-map-families", drawing, caption)
