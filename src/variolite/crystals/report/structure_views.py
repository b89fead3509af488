"""Structures of a crystal run in parallel projection: shaded atoms, bonds and cell edges.

The drawing made here is what a reader without scripts sees; ``viewer.js`` draws the same from
the numbers that go with it, adds symbols and axes, and turns it.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from itertools import groupby

import gemmi
import numpy as np
from markupsafe import Markup, escape
from numpy.typing import NDArray

from variolite.crystals.crystals import (
    Crystal,
    Crystals,
    cell_parameters,
    lattices_from_parameters,
)
from variolite.crystals.elements import (
    ATOMIC_NUMBERS,
    HEAVIEST,
    METALLIC,
    SYMBOLS,
    reduced_formulas,
)
from variolite.crystals.evaluation.distributions import densities
from variolite.crystals.matching.displacements import PeriodicErrors, periodic_errors
from variolite.report.page import Alternatives, Figure
from variolite.report.style import INK, MUTED, PAPER, SHOWN_IN, SIZE, WIDTH, blend, ink_on
from variolite.report.tables import chemical, counted, decimals, significant

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]
Strings = NDArray[np.str_]

ATOM_SHARE = 0.45
"""Drawn radius of an atom in covalent radii, small enough to leave bonds in sight."""
BOND_FACTOR = 1.15
ON_FACE = 0.02
"""Atoms within this fraction of a cell edge from a face are drawn on the opposite one too."""
MOST_ATOMS = 400
EDGE_PIECES, FINE = 8, 6
LINES = ("bond", "edge")
_STROKES = (("#7d838a", 0.14, 1.4), (MUTED, 0.0, 0.9))
"""Colour, width in Angstrom and least width in pixels of a bond and of a cell edge."""

HEIGHT, HEAD, GAP, FOOT = 330.0, 24.0, 16.0, 42.0
TURN, TILT = math.radians(-28.0), math.radians(14.0)
UNIT = 100
"""Coordinates are kept in hundredths of an Angstrom."""
CLOSER = 1.3
"""How much larger a structure is drawn than would fit whichever way it is turned."""
SWATCH, SWATCHES = 44, 20
MOST_EXAMPLES, FEWEST_ATOMS = 12, 3
SHOWN, ABREAST = 12, 3
RANKS = {
    "median": 0.5,
    "least": 0.0,
    "lower quartile": 0.25,
    "upper quartile": 0.75,
    "95 % mark of the": 0.95,
    "99 % mark of the": 0.99,
    "largest": 1.0,
}
"""What is shown of the crystals in the order of their error, the typical one first."""
_DRAWN = "in parallel projection, one cell with the atoms on its faces"

_CORNERS = np.stack(np.meshgrid(*[[-0.5, 0.5]] * 3, indexing="ij"), axis=-1).reshape(-1, 3)

# The colours of Jmol (jmol.sourceforge.net/jscolors), by atomic number from 1 to 109.
_JMOL = (
    "ffffffd9ffffcc80ffc2ff00ffb5b59090903050f8ff0d0d90e050b3e3f5ab5cf28aff00bfa6a6f0c8a0"
    "ff8000ffff301ff01f80d1e38f40d43dff00e6e6e6bfc2c7a6a6ab8a99c79c7ac7e06633f090a050d050"
    "c880337d80b0c28f8f668f8fbd80e3ffa100a629295cb8d1702eb000ff0094ffff94e0e073c2c954b5b5"
    "3b9e9e248f8f0a7d8c006985c0c0c0ffd98fa675736680809e63b5d47a00940094429eb057178f00c900"
    "70d4ffffffc7d9ffc7c7ffc7a3ffc78fffc761ffc745ffc730ffc71fffc700ff9c00e67500d45200bf38"
    "00ab244dc2ff4da6ff2194d6267dab266696175487d0d0e0ffd123b8b8d0a6544d5759619e4fb5ab5c00"
    "754f45428296420066007d0070abfa00baff00a1ff008fff0080ff006bff545cf2785ce38a4fe3a136d4"
    "b31fd4b31fbab30da6bd0d87c70066cc0059d1004fd90045e00038e6002eeb0026"
)


def _covalent_radii() -> Floats:
    radii = np.array([np.nan, *(gemmi.Element(z).covalent_r for z in range(1, HEAVIEST + 1))])
    # The table of gemmi 0.7 has these two the wrong way round.
    radii[[ATOMIC_NUMBERS["Lu"], ATOMIC_NUMBERS["Hf"]]] = 1.87, 1.75
    return radii


COVALENT_RADII = _covalent_radii()
"""Single-bond covalent radius by atomic number in Angstrom (Cordero et al. 2008,
doi:10.1039/b801115j), shape (119,), NaN at 0."""


def element_colour(number: int) -> str:
    """Return the colour of an element as ``#rrggbb``; beyond Z = 109 that of the last one."""
    place = 6 * (min(number, len(_JMOL) // 6) - 1)
    return f"#{_JMOL[place : place + 6]}"


@dataclass(frozen=True)
class Scene:
    """One cell with the atoms on its faces and the bonds between them, ready to be turned.

    Lengths are in Angstrom from the middle of the cell.

    Attributes
    ----------
    points
        Places of the atoms, shape (n, 3), with a along x and b in the plane of x and y.
    species
        Their atomic numbers, shape (n,).
    lines
        Both ends of the pieces of bonds and cell edges outside the atoms, shape (m, 2, 3).
    kinds
        What each piece belongs to, one of ``LINES`` by place, shape (m,).
    lattice
        Rows are a, b, c, shape (3, 3).
    """

    points: Floats
    species: Integers
    lines: Floats
    kinds: Integers
    lattice: Floats

    @property
    def radii(self) -> Floats:
        """Drawn radii of the atoms, shape (n,)."""
        return ATOM_SHARE * COVALENT_RADII[self.species]

    def scale(self, matrix: Floats, width: float) -> float:
        """Return pixels per Angstrom so that the first view fits, and every other one nearly."""
        outermost = np.concatenate([_CORNERS @ self.lattice, self.points])
        radius = self.radii.max(initial=0.0)
        right, up, _ = np.abs(outermost @ matrix.T).max(axis=0) + max(radius, 0.3)
        reach = np.linalg.norm(outermost, axis=1).max() + radius
        fitting = min(width / (2 * right), HEIGHT / (2 * up))
        return float(0.98 * min(fitting, CLOSER * min(width, HEIGHT) / (2 * reach)))


def scene_of(crystal: Crystal) -> Scene:
    """Return the scene of one structure."""
    inside = _into_cell(crystal.coordinates)
    atoms, shifts = _images(inside)
    return _scene(crystal, atoms, inside[atoms] + shifts)


def scenes_of_pair(original: Crystal, rebuilt: Crystal) -> tuple[Scene, Scene]:
    """Return the scenes of a structure and its reconstruction, atom beside atom.

    Each reconstructed atom is drawn at its periodic image next to the original one, after the
    shift common to all atoms, the circular mean of their differences, is taken out: neither
    means anything in a crystal.
    """
    inside = _into_cell(original.coordinates)
    atoms, shifts = _images(inside)
    difference = rebuilt.coordinates - inside
    common = np.angle(np.exp(2j * np.pi * difference).mean(axis=0)) / (2 * np.pi)
    moved = difference - common
    beside = inside + moved - np.round(moved)
    return (
        _scene(original, atoms, inside[atoms] + shifts),
        _scene(rebuilt, atoms, beside[atoms] + shifts),
    )


def _into_cell(coordinates: Floats) -> Floats:
    """Wrap to [0, 1), with what lies a hair below 1 at 0 - a hair."""
    wrapped = coordinates - np.floor(coordinates)
    return np.where(wrapped > 1 - 1e-3, wrapped - 1.0, wrapped)


def _images(inside: Floats) -> tuple[Integers, Floats]:
    """Return which atoms are drawn and by how many cells each is shifted, [n] and [n, 3]."""
    corners = _CORNERS + 0.5
    # An atom gets the image at a corner of the cell if it lies on every face that this one moves.
    allowed = ((inside[:, None, :] < ON_FACE) | (corners[None] == 0)).all(axis=2)
    atoms, corner = np.nonzero(allowed)
    if len(atoms) > MOST_ATOMS:
        return np.arange(len(inside)), np.zeros_like(inside)
    return atoms, corners[corner]


def _scene(crystal: Crystal, atoms: Integers, fractional: Floats) -> Scene:
    lattice = lattices_from_parameters(cell_parameters(crystal.lattice))[0]
    # Cell parameters do not tell a structure from its mirror image.
    lattice[:, 2] *= np.sign(np.linalg.det(crystal.lattice)) or 1.0
    points = (fractional - 0.5) @ lattice
    species = crystal.species.astype(np.int64)[atoms]
    radii = ATOM_SHARE * COVALENT_RADII[species]
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
    """Return the twelve cell edges outside the atoms, [m, 2, 3].

    They are cut into pieces short enough to be sorted by depth.
    """
    steps = np.linspace(-0.5, 0.5, EDGE_PIECES * FINE + 1)
    ends = np.concatenate(
        [
            np.where(np.arange(3) == axis, steps[:, None], corner)[None]
            for axis in range(3)
            for corner in _CORNERS[_CORNERS[:, axis] < 0]
        ]
    )
    places = ends @ lattice
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
    lefts = [index * (width + GAP) for index in range(len(scenes))]
    matrix = _first_view()
    scale = min(scene.scale(matrix, width) for _, scene in scenes)
    numbers = sorted({int(z) for _, scene in scenes for z in np.unique(scene.species)})
    content = {
        "key": key,
        "matrix": [round(float(entry), 4) for entry in matrix.ravel()],
        "scale": round(scale / UNIT, 5),
        "lines": [[colour, thick * UNIT, thin] for colour, thick, thin in _STROKES],
        "elements": [
            [SYMBOLS[z], round(_radius(z) * UNIT), _outline(z), ink_on(element_colour(z))]
            for z in numbers
        ],
        "views": [
            {
                "at": [left + width / 2, HEAD + HEIGHT / 2],
                "foot": [left + FOOT, HEAD + HEIGHT - FOOT],
                "points": _whole(scene.points),
                "species": [numbers.index(int(z)) for z in scene.species],
                "lines": _whole(scene.lines),
                "kinds": scene.kinds.tolist(),
                "lattice": _whole(scene.lattice),
            }
            for left, (_, scene) in zip(lefts, scenes, strict=True)
        ],
    }
    bottom = HEAD + HEIGHT + 34 + 18 * ((len(numbers) - 1) // SWATCHES)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH:g} {bottom:g}" '
        f'width="{WIDTH:g}" height="{bottom:g}" font-family="{SHOWN_IN}" font-size="{SIZE}" '
        f'fill="{INK}" role="img" aria-label="{escape(title)}"><defs>',
        *(_shading(z, key) for z in numbers),
        *(
            f'<clipPath id="{key}-{index}"><rect x="{left:g}" y="{HEAD:g}" width="{width:g}" '
            f'height="{HEIGHT:g}"/></clipPath>'
            for index, left in enumerate(lefts)
        ),
        "</defs>",
    ]
    for index, (left, (name, scene)) in enumerate(zip(lefts, scenes, strict=True)):
        view = _view(scene, matrix, scale, left + width / 2, key)
        parts.append(
            f'<text x="{left:g}" y="13" font-weight="bold">{escape(name)}</text>'
            f'<g data-view="{index}" clip-path="url(#{key}-{index})">{view}</g>'
        )
    for index, z in enumerate(numbers):
        x, y = SWATCH * (index % SWATCHES), HEAD + HEIGHT + 12 + 18 * (index // SWATCHES)
        parts.append(
            f'<rect x="{x}" y="{y:g}" width="11" height="11" fill="{element_colour(z)}" '
            f'stroke="{MUTED}" stroke-width="0.5"/>'
            f'<text x="{x + 16}" y="{y + 9.5:g}">{SYMBOLS[z]}</text>'
        )
    data = escape(json.dumps(content, separators=(",", ":")))
    return Markup(f'<div class="turn" data-scene="{data}">{"".join(parts)}</svg></div>')


def _first_view() -> Floats:
    """Return the matrix to the axes right, up and towards the reader, with c upright."""
    (c, s), (d, e) = ((math.cos(angle), math.sin(angle)) for angle in (TURN, TILT))
    upright = np.array([[1.0, 0.0, 0.0], [0.0, 0.0, 1.0], [0.0, -1.0, 0.0]])
    turn = np.array([[c, 0.0, s], [0.0, 1.0, 0.0], [-s, 0.0, c]])
    tilt = np.array([[1.0, 0.0, 0.0], [0.0, d, -e], [0.0, e, d]])
    return np.asarray(tilt @ turn @ upright)


def _view(scene: Scene, matrix: Floats, scale: float, middle: float, key: str) -> str:
    """Draw what is far before what is near; neighbours of one kind share a path."""
    centre = np.array([middle, HEAD + HEIGHT / 2])

    def seen(points: Floats) -> tuple[Floats, Floats]:
        # Rounded first, so that the script draws exactly the same.
        turned = np.round(points * UNIT) / UNIT @ matrix.T
        return centre + scale * turned[..., :2] * [1.0, -1.0], turned[..., 2]

    places, depths = seen(scene.points)
    ends, end_depths = seen(scene.lines)
    # Atoms and lines in one order of depth; an atom is of kind -1.
    kinds = np.concatenate([np.full(len(places), -1), scene.kinds])
    order = np.argsort(np.concatenate([depths, end_depths.mean(axis=1)]), kind="stable")
    parts: list[str] = []
    for kind, run in groupby(order.tolist(), key=lambda index: int(kinds[index])):
        if kind < 0:
            for i in run:
                number, (x, y) = int(scene.species[i]), places[i].tolist()
                parts.append(
                    f'<circle cx="{x:.1f}" cy="{y:.1f}" r="{_radius(number) * scale:.1f}" '
                    f'fill="url(#{key}-{SYMBOLS[number]})" stroke="{_outline(number)}" '
                    f'stroke-width="0.7"/>'
                )
            continue
        colour, thick, thin = _STROKES[kind]
        data = "".join(
            "M{:.1f} {:.1f}L{:.1f} {:.1f}".format(*ends[index - len(places)].ravel())
            for index in run
        )
        parts.append(
            f'<path d="{data}" fill="none" stroke="{colour}" '
            f'stroke-width="{max(thick * scale, thin):.2f}" stroke-linecap="round"/>'
        )
    return "".join(parts)


def _shading(number: int, key: str) -> str:
    """Return the gradient that makes a disc of an element look like a ball lit from the left."""
    colour = element_colour(number)
    stops = ((0.0, blend((colour, PAPER), 0.75)), (0.45, colour), (1.0, _outline(number)))
    inner = "".join(f'<stop offset="{at}" stop-color="{shade}"/>' for at, shade in stops)
    return (
        f'<radialGradient id="{key}-{SYMBOLS[number]}" fx="0.36" fy="0.32">{inner}</radialGradient>'
    )


@cache
def _outline(number: int) -> str:
    return blend((element_colour(number), INK), 0.55)


def _radius(number: int) -> float:
    return ATOM_SHARE * float(COVALENT_RADII[number])


def _whole(values: Floats) -> list[int]:
    numbers: list[int] = np.round(values.ravel() * UNIT).astype(np.int64).tolist()
    return numbers


def extent_of(count: int, formulas: Strings | None) -> str:
    """Say how many crystals there are, and of how many formulas."""
    crystals = counted(count, "held-out crystal")
    if formulas is None or not count:
        return crystals
    return f"{crystals} of {counted(len(np.unique(formulas)), 'formula')}"


@dataclass(frozen=True)
class Pairs:
    """Held-out crystals and what the model made of them, in the same order.

    Both hold B structures with the same numbers of atoms; atom i of one is atom i of the
    other.
    """

    originals: Crystals
    reconstructed: Crystals

    def __len__(self) -> int:
        return len(self.originals)

    @cached_property
    def parameters(self) -> tuple[Floats, Floats]:
        """Lengths in Angstrom, angles in degrees and volume per atom in cubic Angstrom.

        Of both, [B, 7] each.
        """
        counts = np.maximum(self.originals.counts, 1)
        # A reconstruction may have failed altogether.
        with np.errstate(invalid="ignore"):
            original, rebuilt = (
                np.column_stack([cell_parameters(crystals.lattices), crystals.volumes / counts])
                for crystals in (self.originals, self.reconstructed)
            )
        return original, rebuilt

    @cached_property
    def errors(self) -> PeriodicErrors | None:
        """Periodic errors of atoms and crystals; None where a structure has no atoms."""
        if not len(self) or (self.originals.counts < 1).any():
            return None
        return periodic_errors(self.originals, self.reconstructed)

    @cached_property
    def formulas(self) -> Strings:
        """Reduced formulas of the originals, [B]."""
        return reduced_formulas(self.originals)

    @property
    def extent(self) -> str:
        """How many crystals these are, and of how many formulas."""
        return extent_of(len(self), self.formulas)


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
    order = order[(_drawable(pairs.originals) & _drawable(pairs.reconstructed))[order]]
    atoms = pairs.originals.counts[order]
    # One or two atoms can hardly be in a wrong place.
    telling = order[atoms >= FEWEST_ATOMS]
    ranked = telling if len(telling) else order
    chosen: dict[int, str] = {}
    if pairs.errors is not None and len(ranked):
        for name, share in RANKS.items():
            chosen.setdefault(int(ranked[round(share * (len(ranked) - 1))]), f"{name} error")
    sizes = np.quantile(atoms, np.linspace(0, 1, 5), method="nearest") if len(order) else atoms
    for size in np.unique(sizes).tolist():
        alike = order[atoms == size]
        chosen.setdefault(int(alike[len(alike) // 2]), f"typical of {counted(int(size), 'atom')}")
    return dict(list(chosen.items())[:MOST_EXAMPLES])


def _drawable(crystals: Crystals) -> NDArray[np.bool_]:
    """Return which structures have atoms, all at finite places, in a finite cell, [B]."""
    wrong = ~np.isfinite(crystals.coordinates).all(axis=1)
    misplaced = np.bincount(crystals.owner, weights=wrong, minlength=len(crystals)) > 0
    finite = np.isfinite(crystals.lattices).all(axis=(1, 2))
    return np.asarray(finite & ~misplaced & (crystals.counts > 0))


def _example(pairs: Pairs, index: int, why: str, key: str) -> Figure:
    original, rebuilt = pairs.originals[index], pairs.reconstructed[index]
    formula = str(pairs.formulas[index])
    name = chemical(formula)
    scenes = zip(
        (f"original: {name}", "reconstructed"), scenes_of_pair(original, rebuilt), strict=True
    )
    drawing = structure_view(
        list(scenes), key, title=f"{name}, original and reconstructed", abreast=2
    )
    own = float(pairs.errors.medians[index]) if pairs.errors is not None else math.nan
    error = f", periodic error {significant(own)} Å: {why}" if math.isfinite(own) else ""
    wrong = int((original.species != rebuilt.species).sum())
    types = f" {counted(wrong, 'atom')} came back as another element." if wrong else ""
    before, after = (parameters[index] for parameters in pairs.parameters)
    caption = (
        f"{name} (id {original.name or 'not given'}, {counted(len(original), 'atom')}{error}). "
        f"Cell {_cell(before)} became {_cell(after)}; volume per atom {decimals(before[6], 2)} "
        f"became {decimals(after[6], 2)} Å³.{types} Both are drawn at one scale {_DRAWN}; the "
        "shift common to all atoms is taken out. Colours are those of Jmol, radii 0.45 covalent "
        "radii; bonds join atoms nearer than 1.15 times the sum of their covalent radii, metals "
        "not with each other."
    )
    return Figure(f"structure-{formula}-{original.name}", drawing, caption)


def _cell(parameters: Floats) -> str:
    lengths = ", ".join(decimals(value, 3) for value in parameters[:3].tolist())
    angles = ", ".join(decimals(value, 1) for value in parameters[3:6].tolist())
    return f"{lengths} Å; {angles}°"


def gallery(samples: Crystals) -> Alternatives:
    """Return generated crystals to be turned, drawn at random, three at a time."""
    with np.errstate(invalid="ignore"):
        drawable = np.flatnonzero(_drawable(samples) & (samples.volumes > 0))
    chosen = np.sort(np.random.default_rng(0).permutation(drawable)[:SHOWN])
    shown = samples.take(chosen)
    formulas = [chemical(str(formula)) for formula in reduced_formulas(shown)]
    names = [
        f"{formula}, {counted(count, 'atom')}, {decimals(weight, 2)} g/cm³"
        for formula, count, weight in zip(
            formulas, shown.counts.tolist(), densities(shown).tolist(), strict=True
        )
    ]
    options: list[tuple[str, tuple[Figure, ...]]] = []
    for start in range(0, len(chosen), ABREAST):
        places = range(start, min(start + ABREAST, len(chosen)))
        title = ", ".join(formulas[place] for place in places)
        scenes = [(names[place], scene_of(shown[place])) for place in places]
        drawing = structure_view(
            scenes, f"g{start}", title=f"Generated crystals {title}", abreast=ABREAST
        )
        caption = (
            f"Generated crystals {start + 1} to {places[-1] + 1} of {len(chosen)} that were drawn "
            f"at random, not picked, from {len(samples):,}; all at one scale {_DRAWN}, with their "
            "density. Colours and bonds as in the figures above."
        )
        options.append((title, (Figure(f"samples-{start + 1}", drawing, caption),)))
    return Alternatives("Generated crystals", tuple(options))
