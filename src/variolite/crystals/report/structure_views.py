"""Structures of a crystal run in parallel projection: shaded atoms, bonds and cell edges.

The drawing made here is what a reader without scripts sees; ``viewer.js`` draws the same from
the numbers that go with it, adds symbols and axes, and turns it.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from itertools import groupby
from typing import Any

import numpy as np
from markupsafe import Markup

from variolite.crystals.crystals import Crystal, Crystals, cell_parameters, lattices_from_parameters
from variolite.crystals.elements import (
    COVALENT_RADII,
    METALLIC,
    SYMBOLS,
    densities,
    reduced_formulas,
)
from variolite.crystals.report.crystal_figures import Floats, Integers
from variolite.crystals.report.crystal_run import Pairs
from variolite.errors import counted
from variolite.report.formatting import chemical, decimals, significant
from variolite.report.page import Alternatives, Figure, packaged, template
from variolite.report.style import INK, MUTED, PAPER, SHOWN_IN, SIZE, WIDTH, blend, ink_on

ATOM_FRACTION = 0.45  # drawn radius of an atom in covalent radii: bonds stay in sight
BOND_FACTOR = 1.15  # longest bond in sums of covalent radii
ON_FACE = 0.02  # atoms so near a face, in cell edges, are drawn on the opposite one too
MOST_ATOMS = 400
EDGE_PIECES, FINE = 8, 6
LINES = ("bond", "edge")
# Colour, width in Angstrom and least width in pixels of a bond and of a cell edge.
_STROKES = (("#7d838a", 0.14, 1.4), (MUTED, 0.0, 0.9))
HEIGHT, HEAD, GAP = 330.0, 24.0, 16.0
# The first view, as axes right, up and towards the reader: c upright, turned by 28 degrees and
# tilted by 14.
VIEW = np.array([[0.8829, 0.4695, 0.0], [-0.1136, 0.2136, 0.9703], [0.4555, -0.8567, 0.2419]])
UNIT = 100  # coordinates are kept in hundredths of an Angstrom
CLOSER = 1.3  # how much larger a structure is drawn than would fit whichever way it is turned
SWATCHES = 20  # elements in a row of the key
MOST_EXAMPLES, FEWEST_ATOMS = 12, 3
SHOWN, ABREAST = 12, 3
# What is shown of the crystals in the order of their error, the typical one first.
RANKS = {
    "median": 0.5,
    "least": 0.0,
    "lower quartile": 0.25,
    "upper quartile": 0.75,
    "95 % mark of the": 0.95,
    "99 % mark of the": 0.99,
    "largest": 1.0,
}
_DRAWN = "in parallel projection, one cell with the atoms on its faces"
_CORNERS = np.stack(np.meshgrid(*[[-0.5, 0.5]] * 3, indexing="ij"), axis=-1).reshape(-1, 3)

# The table begins with a line of comment and the names of the columns.
_LINES = packaged("element_looks.csv", __package__).splitlines()[2:]
# Colours by atomic number as #rrggbb, (119,).
COLOURS = ("", *(line.split(",")[1] for line in _LINES))


@dataclass(frozen=True)
class Scene:
    """One cell with the atoms on its faces and the bonds between them, ready to be turned.

    In Angstrom from the middle of the cell, with a along x and b in the plane of x and y: places
    of the atoms, (n, 3), with their atomic numbers, (n,); both ends of the pieces of bonds and
    cell edges outside the atoms, (m, 2, 3), with their kinds, places in `LINES`, (m,); and the
    lattice vectors as rows, (3, 3).
    """

    points: Floats
    species: Integers
    lines: Floats
    kinds: Integers
    lattice: Floats

    @property
    def radii(self) -> Floats:
        """Drawn radii of the atoms, shape (n,)."""
        return ATOM_FRACTION * COVALENT_RADII[self.species]

    def scale(self, width: float) -> float:
        """Return pixels per Angstrom so that the first view fits, and every other one nearly."""
        outermost = np.concatenate([_CORNERS @ self.lattice, self.points])
        radius = self.radii.max(initial=0.0)
        right, up, _ = np.abs(outermost @ VIEW.T).max(axis=0) + max(radius, 0.3)
        reach = np.linalg.norm(outermost, axis=1).max() + radius
        fitting = min(width / (2 * right), HEIGHT / (2 * up))
        return float(0.98 * min(fitting, CLOSER * min(width, HEIGHT) / (2 * reach)))


def scene_of(crystal: Crystal) -> Scene:
    """Return the scene of one structure."""
    inside, atoms, shifts = _images(crystal)
    return _scene(crystal, atoms, inside[atoms] + shifts)


def scenes_of_pair(original: Crystal, rebuilt: Crystal) -> tuple[Scene, Scene]:
    """Return the scenes of a structure and its reconstruction, atom beside atom.

    Each reconstructed atom is drawn at its periodic image next to the original one, after the
    shift common to all atoms, the circular mean of their differences, is taken out: neither
    means anything in a crystal.
    """
    inside, atoms, shifts = _images(original)
    difference = rebuilt.coordinates - inside
    moved = difference - np.angle(np.exp(2j * np.pi * difference).mean(axis=0)) / (2 * np.pi)
    beside = inside + moved - np.round(moved)
    first = _scene(original, atoms, inside[atoms] + shifts)
    return first, _scene(rebuilt, atoms, beside[atoms] + shifts)


def _images(crystal: Crystal) -> tuple[Floats, Integers, Floats]:
    """Return all atoms in the cell, [N, 3], which are drawn, [n], and their shifts, [n, 3]."""
    inside = crystal.coordinates - np.floor(crystal.coordinates)
    # What lies a hair below 1 belongs a hair below 0.
    inside = np.where(inside > 1 - 1e-3, inside - 1.0, inside)
    corners = _CORNERS + 0.5
    # An atom gets the image at a corner of the cell if it lies on every face that this one moves.
    allowed = ((inside[:, None, :] < ON_FACE) | (corners[None] == 0)).all(axis=2)
    atoms, corner = np.nonzero(allowed)
    if len(atoms) > MOST_ATOMS:
        return inside, np.arange(len(inside)), np.zeros_like(inside)
    return inside, atoms, corners[corner]


def _scene(crystal: Crystal, atoms: Integers, fractional: Floats) -> Scene:
    lattice = lattices_from_parameters(cell_parameters(crystal.lattice))[0]
    # A structure and its mirror image have the same cell parameters.
    lattice[:, 2] *= np.sign(np.linalg.det(crystal.lattice)) or 1.0
    points = (fractional - 0.5) @ lattice
    species = crystal.species.astype(np.int64)[atoms]
    radii = ATOM_FRACTION * COVALENT_RADII[species]
    bonds, edges = _bonds(points, species, radii), _edges(lattice, points, radii)
    kinds = np.repeat([0, 1], [len(bonds), len(edges)])
    return Scene(points, species, np.concatenate([bonds, edges]), kinds, lattice)


def _bonds(points: Floats, species: Integers, radii: Floats) -> Floats:
    """Return both halves of every bond between the surfaces of its atoms, [m, 2, 3].

    Atoms are bonded where they are nearer than their covalent radii allow, two metals never.
    """
    first, second = np.triu_indices(len(points), k=1)
    apart = np.linalg.norm(points[second] - points[first], axis=1)
    reach = BOND_FACTOR * (COVALENT_RADII[species[first]] + COVALENT_RADII[species[second]])
    bonded = (apart < reach) & (apart > radii[first] + radii[second])
    bonded &= ~(METALLIC[species[first]] & METALLIC[species[second]])
    first, second, apart = first[bonded], second[bonded], apart[bonded, None]
    along = (points[second] - points[first]) / apart
    start = points[first] + along * radii[first, None]
    end = points[second] - along * radii[second, None]
    # Halves, since each is as deep as its own middle: one bond may pass before and behind an atom.
    middle = (start + end) / 2
    return np.concatenate([np.stack([start, middle], axis=1), np.stack([middle, end], axis=1)])


def _edges(lattice: Floats, points: Floats, radii: Floats) -> Floats:
    """Return the twelve cell edges outside the atoms, in pieces to sort by depth, [m, 2, 3]."""
    steps = np.linspace(-0.5, 0.5, EDGE_PIECES * FINE + 1)[:, None]
    # Three directions with four corners each where the edges begin: (12, steps, 3).
    ends = [
        np.where(np.arange(3) == axis, steps, corner)
        for axis in range(3)
        for corner in _CORNERS[_CORNERS[:, axis] < 0]
    ]
    places = np.stack(ends) @ lattice
    middles = (places[:, :-1] + places[:, 1:]) / 2
    apart = np.linalg.norm(middles[:, :, None] - points, axis=3)
    seen = (apart > radii).all(axis=2)
    # A piece begins where the one before is hidden, and at every FINE-th step; likewise its end.
    joined = seen[:, 1:] & seen[:, :-1] & (np.arange(1, seen.shape[1]) % FINE != 0)
    begins, finishes = seen.copy(), seen.copy()
    begins[:, 1:] &= ~joined
    finishes[:, :-1] &= ~joined
    return np.stack([places[:, :-1][begins], places[:, 1:][finishes]], axis=1)


def structure_view(
    scenes: Sequence[tuple[str, Scene]], key: str, *, title: str, abreast: int
) -> Markup:
    """Draw named scenes at one scale and in one orientation in a row of ``abreast`` places.

    ``key`` begins the ids in the drawing; ``title`` is for readers who cannot see it.
    """
    width = (WIDTH - GAP * (abreast - 1)) / abreast
    scale = min(scene.scale(width) for _, scene in scenes)
    numbers = sorted({z for _, scene in scenes for z in scene.species.tolist()})
    views = [
        {
            "name": name,
            "left": left,
            "at": [left + width / 2, HEAD + HEIGHT / 2],
            "points": _whole(scene.points),
            "species": [numbers.index(z) for z in scene.species.tolist()],
            "lines": _whole(scene.lines),
            "kinds": scene.kinds.tolist(),
            "lattice": _whole(scene.lattice),
        }
        for place, (name, scene) in enumerate(scenes)
        for left in [place * (width + GAP)]
    ]
    # What the script needs, for the structures to be turned.
    data = {
        "key": key,
        "matrix": VIEW.ravel().tolist(),
        "scale": round(scale / UNIT, 5),
        "strokes": [[colour, thick * UNIT, thin] for colour, thick, thin in _STROKES],
        "elements": [_look(z) for z in numbers],
        "views": views,
        "box": [width, HEIGHT, HEAD],
    }
    drawn = template("structure_view.html.jinja", __package__).render(
        **data,
        scene=json.dumps(data, separators=(",", ":")),
        title=title,
        drawn=[_pieces(s, scale, v["at"]) for (_, s), v in zip(scenes, views, strict=True)],
        abreast=SWATCHES,
        size=(WIDTH, HEAD + HEIGHT + 34 + 18 * ((len(numbers) - 1) // SWATCHES)),
        font=(SHOWN_IN, SIZE, INK),
    )
    return Markup(drawn)


@cache
def _look(number: int) -> dict[str, str | int]:
    """How an element is drawn: a ball lit from the left, with dark or light letters on it."""
    colour = COLOURS[number]
    return {
        "symbol": SYMBOLS[number],
        "colour": colour,
        "light": blend((colour, PAPER), 0.75),
        "outline": blend((colour, INK), 0.55),
        "ink": ink_on(colour),
        "radius": round(UNIT * ATOM_FRACTION * float(COVALENT_RADII[number])),
    }


def _pieces(scene: Scene, scale: float, centre: Sequence[float]) -> list[dict[str, Any]]:
    """Return circles and paths, what is far before what is near; lines of one kind share a path."""

    def seen(points: Floats) -> tuple[Floats, Floats]:
        # Rounded first, so that the script draws exactly the same.
        turned = np.round(points * UNIT) / UNIT @ VIEW.T
        return centre + scale * turned[..., :2] * [1.0, -1.0], turned[..., 2]

    (places, depths), (ends, end_depths) = seen(scene.points), seen(scene.lines)
    # Atoms and lines in one order of depth; an atom is of kind -1.
    kinds = np.concatenate([np.full(len(places), -1), scene.kinds])
    order = np.argsort(np.concatenate([depths, end_depths.mean(axis=1)]), kind="stable")
    pieces: list[dict[str, Any]] = []
    for kind, run in groupby(order.tolist(), key=lambda index: int(kinds[index])):
        if kind < 0:
            for index in run:
                look, (x, y) = _look(int(scene.species[index])), places[index].round(1)
                radius = round(float(look["radius"]) / UNIT * scale, 1)
                pieces.append({"element": look, "x": x, "y": y, "radius": radius})
        else:
            colour, thick, thin = _STROKES[kind]
            shown = ends[[index - len(places) for index in run]].reshape(-1, 4)
            path = "".join("M{:.1f} {:.1f}L{:.1f} {:.1f}".format(*line) for line in shown)
            width = round(max(thick * scale, thin), 2)
            pieces.append({"path": path, "colour": colour, "width": width})
    return pieces


def _whole(values: Floats) -> Any:
    return np.round(values.ravel() * UNIT).astype(np.int64).tolist()


def examples(pairs: Pairs) -> Alternatives | None:
    """Return typical, good and bad pairs to be turned; None where none has finite cells."""
    options = tuple(
        (f"{why}: {chemical(str(pairs.formulas[i]))}", (_example(pairs, i, why, f"s{place}"),))
        for place, (i, why) in enumerate(_chosen(pairs).items())
    )
    return Alternatives("Crystal", options) if options else None


def _chosen(pairs: Pairs) -> dict[int, str]:
    """Choose by rank of the periodic error, then the median one of a few sizes."""
    # A reconstruction so bad that it has no error counts as the worst.
    errors = np.zeros(len(pairs)) if pairs.errors is None else pairs.errors.medians
    order = np.argsort(np.nan_to_num(errors, nan=np.inf), kind="stable")
    order = order[(pairs.originals.finite & pairs.reconstructed.finite)[order]]
    if not len(order):
        return {}
    atoms = pairs.originals.counts[order]
    # One or two atoms can hardly be in a wrong place.
    ranked = order[atoms >= FEWEST_ATOMS] if (atoms >= FEWEST_ATOMS).any() else order
    chosen: dict[int, str] = {}
    for name, fraction in RANKS.items() if pairs.errors is not None else ():
        chosen.setdefault(int(ranked[round(fraction * (len(ranked) - 1))]), f"{name} error")
    for size in np.unique(np.quantile(atoms, np.linspace(0, 1, 5), method="nearest")).tolist():
        alike = order[atoms == size]
        chosen.setdefault(int(alike[len(alike) // 2]), f"typical of {counted(int(size), 'atom')}")
    return dict(list(chosen.items())[:MOST_EXAMPLES])


def _example(pairs: Pairs, index: int, why: str, key: str) -> Figure:
    original, rebuilt = pairs.originals[index], pairs.reconstructed[index]
    formula = str(pairs.formulas[index])
    name = chemical(formula)
    heads = (f"original: {name}", "reconstructed")
    scenes = list(zip(heads, scenes_of_pair(original, rebuilt), strict=True))
    drawing = structure_view(scenes, key, title=f"{name}, original and reconstructed", abreast=2)
    own = float(pairs.errors.medians[index]) if pairs.errors is not None else math.nan
    error = f", periodic error {significant(own)} Å: {why}" if math.isfinite(own) else ""
    wrong = int((original.species != rebuilt.species).sum())
    types = f" {counted(wrong, 'atom')} came back as another element." if wrong else ""
    first, second = (parameters[index].tolist() for parameters in pairs.parameters)
    caption = (
        f"{name} (id {original.name or 'not given'}, {counted(len(original), 'atom')}{error}). "
        f"Cell {_cell(first)} became {_cell(second)}; volume per atom {decimals(first[6], 2)} "
        f"became {decimals(second[6], 2)} Å³.{types} Both are drawn at one scale {_DRAWN}; the "
        "shift common to all atoms is taken out. Colours are those of Jmol, radii 0.45 covalent "
        "radii; bonds join atoms nearer than 1.15 times the sum of their covalent radii, metals "
        "not with each other."
    )
    return Figure(f"structure-{formula}-{original.name}", drawing, caption)


def _cell(parameters: list[float]) -> str:
    lengths = ", ".join(decimals(value, 3) for value in parameters[:3])
    return f"{lengths} Å; {', '.join(decimals(value, 1) for value in parameters[3:6])}°"


def gallery(samples: Crystals) -> Alternatives:
    """Return generated crystals to be turned, drawn at random, three at a time."""
    with np.errstate(invalid="ignore"):
        drawable = np.flatnonzero(samples.finite & (samples.volumes > 0))
    shown = samples.take(np.sort(np.random.default_rng(0).permutation(drawable)[:SHOWN]))
    formulas = [chemical(str(formula)) for formula in reduced_formulas(shown)]
    scenes = [
        (f"{formula}, {counted(len(one), 'atom')}, {decimals(density, 2)} g/cm³", scene_of(one))
        for formula, one, density in zip(formulas, shown, densities(shown).tolist(), strict=True)
    ]
    options = []
    for start in range(0, len(shown), ABREAST):
        some = scenes[start : start + ABREAST]
        title = ", ".join(formulas[start : start + ABREAST])
        name = f"Generated crystals {title}"
        drawing = structure_view(some, f"g{start}", title=name, abreast=ABREAST)
        caption = (
            f"Generated crystals {start + 1} to {start + len(some)} of {len(shown)} that were "
            f"drawn at random, not picked, from {len(samples):,}; all at one scale {_DRAWN}, with "
            "their density. Colours and bonds as in the figures above."
        )
        options.append((title, (Figure(f"samples-{start + 1}", drawing, caption),)))
    return Alternatives("Generated crystals", tuple(options))
