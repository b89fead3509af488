"""Structures in parallel projection: shaded atoms, bonds and cell edges, to be turned at will.

The drawing made here is what a print and a reader without scripts see; ``viewer.js`` draws
the same from the numbers that go with it when the reader turns it.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from variolite.crystals.elements import SYMBOLS
from variolite.report.axes import WIDTH, Frame, box, letters, line, sheet, swatches
from variolite.report.crystals.appearance import COVALENT_RADII, element_colour
from variolite.report.crystals.scene import ATOM_SHARE, LINES, Scene
from variolite.report.markup import Markup, element, join
from variolite.report.palette import INK, MUTED, PAPER, blend, ink_on

__all__ = ["structure_view"]

Floats = NDArray[np.float64]

HEIGHT = 330.0
HEAD = 24.0
GAP = 16.0
TURN, TILT = np.radians(-28.0), np.radians(14.0)
UNIT = 100
"""Coordinates are kept in hundredths of an Angstrom."""
ARM = 26.0
"""Length in pixels of the arms that show where a, b and c point."""
CLOSER = 1.3
"""How much larger a structure is drawn than would fit whichever way it is turned."""
LETTERED = 7.5
"""An atom of at least this radius in pixels bears its symbol."""
_STROKES = {"bond": ("#7d838a", 0.14, 1.4), "edge": (MUTED, 0.0, 0.9)}
"""Colour, width in Angstrom and least width in pixels of every kind of line."""


def structure_view(
    scenes: Sequence[tuple[str, Scene]], key: str, *, title: str, abreast: int
) -> Markup:
    """Draw named scenes in a row at one scale and in one orientation.

    Parameters
    ----------
    scenes
        What stands over each, and the scene.
    key
        Begins the ids in the drawing; no two drawings of a page may share it.
    title
        Says what is drawn, for readers who cannot see it.
    abreast
        Number of places in the row, at least the number of scenes.
    """
    width = (WIDTH - GAP * (abreast - 1)) / abreast
    frames = [Frame(index * (width + GAP), HEAD, width, HEIGHT) for index in range(len(scenes))]
    matrix = _first_view()
    scale = min(_scale(scene, matrix, frames[0]) for _, scene in scenes)
    numbers = sorted({int(z) for _, scene in scenes for z in np.unique(scene.species)})
    legend, depth = swatches(
        [(SYMBOLS[z], element_colour(z)) for z in numbers], 0, HEAD + HEIGHT + 12, WIDTH
    )
    drawn = [
        join(
            (
                _clip(f"{key}-{index}", frame),
                letters(frame.left, 13, name, bold=True, room=frame.width),
                element(
                    "g",
                    _view(scene, matrix, scale, frame, key),
                    data_view=str(index),
                    clip_path=f"url(#{key}-{index})",
                ),
            )
        )
        for index, ((name, scene), frame) in enumerate(zip(scenes, frames, strict=True))
    ]
    drawing = sheet(
        HEAD + HEIGHT + 16 + depth,
        element("defs", *(_shading(z, key) for z in numbers)),
        *drawn,
        legend,
        title=title,
    )
    content = {
        "key": key,
        "matrix": [round(float(entry), 4) for entry in matrix.ravel()],
        "scale": round(scale / UNIT, 5),
        "lettered": LETTERED,
        "arm": ARM,
        "lines": [
            [colour, thick * UNIT, thin]
            for colour, thick, thin in (_STROKES[kind] for kind in LINES)
        ],
        "elements": [
            [SYMBOLS[z], round(_radius(z) * UNIT), _outline(z), ink_on(element_colour(z))]
            for z in numbers
        ],
        "views": [
            {
                "at": _centre(frame),
                "foot": _foot(frame),
                "points": _whole(scene.points),
                "species": [numbers.index(int(z)) for z in scene.species],
                "lines": _whole(scene.lines),
                "kinds": scene.kinds.tolist(),
                "lattice": _whole(scene.lattice),
            }
            for (_, scene), frame in zip(scenes, frames, strict=True)
        ],
    }
    return element(
        "div",
        drawing,
        class_="turn",
        data_scene=json.dumps(content, separators=(",", ":")),
    )


def _scale(scene: Scene, matrix: Floats, frame: Frame) -> float:
    """Return pixels per Angstrom so that the first view fits, and every other one nearly."""
    right, up, _ = np.abs(scene.outermost @ matrix.T).max(axis=0) + scene.radii.max(initial=0.3)
    fitting = min(frame.width / (2 * right), frame.height / (2 * up))
    always = min(frame.width, frame.height) / (2 * scene.reach)
    return float(0.98 * min(fitting, CLOSER * always))


def _first_view() -> Floats:
    """Return the matrix to the axes right, up and towards the reader, with c upright."""
    upright = np.array([[1.0, 0.0, 0.0], [0.0, 0.0, 1.0], [0.0, -1.0, 0.0]])
    turn = np.array(
        [
            [np.cos(TURN), 0.0, np.sin(TURN)],
            [0.0, 1.0, 0.0],
            [-np.sin(TURN), 0.0, np.cos(TURN)],
        ]
    )
    tilt = np.array(
        [
            [1.0, 0.0, 0.0],
            [0.0, np.cos(TILT), -np.sin(TILT)],
            [0.0, np.sin(TILT), np.cos(TILT)],
        ]
    )
    return np.asarray(tilt @ turn @ upright)


def _view(scene: Scene, matrix: Floats, scale: float, frame: Frame, key: str) -> Markup:
    """Draw what is far before what is near; neighbours of one kind share a path."""
    centre = np.array(_centre(frame))
    flip = np.array([1.0, -1.0])

    def seen(points: Floats) -> tuple[Floats, Floats]:
        turned = np.round(points * UNIT) / UNIT @ matrix.T
        return centre + scale * turned[..., :2] * flip, turned[..., 2]

    places, depths = seen(scene.points)
    ends, end_depths = seen(scene.lines)
    every = np.concatenate([depths, end_depths.mean(axis=1)])
    parts: list[Markup] = []
    run, kind = "", ""
    for index in np.argsort(every, kind="stable").tolist():
        piece = index - len(places)
        if piece >= 0:
            own = LINES[int(scene.kinds[piece])]
            if run and own != kind:
                parts.append(_path(run, kind, scale))
                run = ""
            (x1, y1), (x2, y2) = ends[piece].tolist()
            run, kind = f"{run}M{x1:.1f} {y1:.1f}L{x2:.1f} {y2:.1f}", own
            continue
        if run:
            parts.append(_path(run, kind, scale))
            run = ""
        x, y = places[index].tolist()
        parts.append(_atom(int(scene.species[index]), x, y, scale, key))
    if run:
        parts.append(_path(run, kind, scale))
    return join((*parts, *_compass(scene, matrix, frame)))


def _path(data: str, kind: str, scale: float) -> Markup:
    colour, thick, thin = _STROKES[kind]
    return element(
        "path",
        d=data,
        fill="none",
        stroke=colour,
        stroke_width=max(thick * scale, thin),
        stroke_linecap="round",
    )


def _atom(number: int, x: float, y: float, scale: float, key: str) -> Markup:
    radius = _radius(number) * scale
    symbol = SYMBOLS[number]
    ball = element(
        "circle",
        cx=round(x, 1),
        cy=round(y, 1),
        r=round(radius, 1),
        fill=f"url(#{key}-{symbol})",
        stroke=_outline(number),
        stroke_width=0.7,
    )
    if radius < LETTERED:
        return ball
    size = min(0.95 * radius, 12.0)
    return join(
        (
            ball,
            element(
                "text",
                symbol,
                x=round(x, 1),
                y=round(y + 0.35 * size, 1),
                font_size=round(size, 1),
                text_anchor="middle",
                fill=ink_on(element_colour(number)),
            ),
        )
    )


def _compass(scene: Scene, matrix: Floats, frame: Frame) -> list[Markup]:
    """Draw the directions of a, b and c at the lower left, the nearest last."""
    x, y = _foot(frame)
    arms = scene.lattice / np.linalg.norm(scene.lattice, axis=1, keepdims=True) @ matrix.T * ARM
    parts: list[Markup] = []
    taken: list[tuple[float, float]] = []
    for axis in np.argsort(arms[:, 2], kind="stable").tolist():
        right, up, _ = arms[axis].tolist()
        parts.append(line(x, y, round(x + right, 1), round(y - up, 1), width=1.3))
        beyond = next(
            factor
            for factor in (1.35, 1.8, 2.25)
            if all(math.hypot(factor * right - u, factor * up - v) > 11 for u, v in taken)
            or factor > 2
        )
        taken.append((beyond * right, beyond * up))
        parts.append(
            element(
                "text",
                "abc"[axis],
                x=round(x + beyond * right, 1),
                y=round(y - beyond * up + 4, 1),
                text_anchor="middle",
                font_style="italic",
                fill=INK,
                stroke=PAPER,
                stroke_width=3,
                paint_order="stroke",
            )
        )
    return parts


def _centre(frame: Frame) -> list[float]:
    return [frame.left + frame.width / 2, frame.top + frame.height / 2]


def _foot(frame: Frame) -> list[float]:
    return [frame.left + 1.6 * ARM, frame.bottom - 1.6 * ARM]


def _shading(number: int, key: str) -> Markup:
    """Return the gradient that makes a disc of an element look like a ball lit from the left."""
    colour = element_colour(number)
    stops = ((0.0, blend((colour, PAPER), 0.75)), (0.45, colour), (1.0, _outline(number)))
    return element(
        "radialGradient",
        *(element("stop", offset=offset, stop_color=shade) for offset, shade in stops),
        id=f"{key}-{SYMBOLS[number]}",
        fx=0.36,
        fy=0.32,
    )


def _clip(name: str, frame: Frame) -> Markup:
    return element("clipPath", box(frame, fill=INK, stroke=None), id=name)


def _outline(number: int) -> str:
    return blend((element_colour(number), INK), 0.55)


def _radius(number: int) -> float:
    return ATOM_SHARE * float(COVALENT_RADII[number])


def _whole(values: Floats) -> list[int]:
    numbers: list[int] = np.round(values.ravel() * UNIT).astype(np.int64).tolist()
    return numbers
