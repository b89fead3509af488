"""Colours and patterns of rocks, after the customs of printed logs."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from zlib import crc32

import numpy as np
from matplotlib.colors import to_rgb
from matplotlib.path import Path
from numpy.typing import NDArray

from variolite.corelogs.lithology import label_level, read_packaged
from variolite.report import style

Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Tile:
    """One repeat of a pattern, in pixels: polylines [points, 2] and dots [d, 2]."""

    width: float
    height: float
    lines: tuple[Floats, ...]
    dots: Floats

    def fill(self, left: float, right: float, tops: Floats, bases: Floats) -> tuple[Path, Floats]:
        """Return the lines and the dots [d, 2] of all repeats that touch some intervals of depth.

        Repeats start at multiples of the tile, so that beds of one rock match. What lies outside
        the intervals is to be clipped.
        """
        first, last = np.floor(tops / self.height), np.ceil(bases / self.height)
        touched = [np.arange(*ends) for ends in zip(first, last, strict=True)]
        rows = np.unique(np.concatenate([np.empty(0), *touched])) * self.height
        columns = np.arange(left, right, self.width)
        corners = np.stack(np.meshgrid(columns, rows), axis=-1).reshape(-1, 1, 2)
        points, codes = [np.empty((0, 2))], [np.empty(0, dtype=np.uint8)]
        for line in self.lines:
            points.append((corners + line).reshape(-1, 2))
            codes.append(np.tile([Path.MOVETO, *[Path.LINETO] * (len(line) - 1)], len(corners)))
        dots = (corners + self.dots).reshape(-1, 2)
        return Path(np.concatenate(points), np.concatenate(codes).astype(np.uint8)), dots


@dataclass(frozen=True)
class Look:
    """The colour of a rock, and its pattern where it has one."""

    colour: str
    tile: Tile | None = None


@cache
def _known() -> dict[str, Look]:
    """Return the look of every name in ``lithology_patterns.yaml``."""
    content = read_packaged("striplog/lithology_patterns.yaml")
    tiles = {}
    for name, tile in content["tiles"].items():
        lines = tuple(_points(line) for line in tile.get("lines", ()))
        dots = _points(" ".join(map(str, tile.get("dots", ()))))
        width, height = tile["size"]
        tiles[name] = Tile(float(width), float(height), lines, dots)
    rocks = content["rocks"].values()
    return {
        name: Look(rock["colour"], tiles[rock["tile"]] if "tile" in rock else None)
        for rock in rocks
        for name in rock["names"]
    }


def _points(text: str) -> Floats:
    return np.array(text.split(), dtype=np.float64).reshape(-1, 2)


def look_of(name: str) -> Look | None:
    """Return how a rock is drawn: by its name, its last word or its group; None if unknown."""
    known, key = _known(), " ".join(name.casefold().split())
    if key in known:
        return known[key]
    level = label_level("lithology_group")
    # A name that is listed there may be of two rocks, which have no last word for both.
    words = [] if key in level.groups else [key.split()[-1]] if key else []
    group = level.group_of(name)
    return next((known[w] for w in (*words, (group or "").casefold()) if w in known), None)


_SHADES = (
    (style.PAPER, 0.35), (style.INK, 0.22), (style.PAPER, 0.6), (style.INK, 0.4),
    (style.PAPER, 0.48), (style.INK, 0.31), (style.PAPER, 0.2), (style.INK, 0.12),
)  # fmt: skip


def colours_of(names: Iterable[str]) -> list[str]:
    """Return distinct colours of some names, the same for a name wherever it is drawn.

    Rocks have those of ``lithology_patterns.yaml``, a shade of it where another one has it
    already; other names have one of the palette by their letters, and grey when it is used up.
    """
    names = list(names)
    found = {name: look_of(name) for name in names}
    known = _known()
    given: dict[str, str] = {}
    # Those who own a colour come before those who would share it.
    for name in sorted(names, key=lambda n: (found[n] is None, n.casefold() not in known, n)):
        look = found[name]
        taken = list(given.values())
        if look is not None:
            own = look.colour
            shades = [own, *(style.blend((own, other), share) for other, share in _SHADES)]
            given[name] = next((c for c in shades if c not in taken), style.OTHER)
        else:
            start = crc32(name.encode()) % len(style.CATEGORIES)
            palette = [*style.CATEGORIES[start:], *style.CATEGORIES[:start]]
            given[name] = free_colour(taken, palette)
    return [given[name] for name in names]


def free_colour(taken: Iterable[str], palette: Iterable[str] = style.CATEGORIES) -> str:
    """Return the first colour of a palette that is not near one of the taken; else grey."""
    used = np.array([to_rgb(colour) for colour in taken]).reshape(-1, 3)
    for colour in palette:
        if not len(used) or np.abs(used - to_rgb(colour)).sum(axis=1).min() > 0.2:
            return colour
    return style.OTHER
