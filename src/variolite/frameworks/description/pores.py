"""Pores of a framework: the widest spheres in it and through it, accessible areas and volumes.

Atoms are spheres with the radii of Zeo++, which come from the CCDC. The holes between them are
the vertices of a Voronoi diagram of spheres. A power diagram is the same diagram at one level:
weighted with (r + level)^2 its vertices, and the windows between them, are exact where a sphere of
radius ``level`` just fits. So it is drawn at the levels that matter: at the probe for what is
accessible, at the limiting diameter and at the largest cavity for those. Zeo++ draws it once, or
replaces each atom by dozens of small ones, which takes seconds.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cached_property, lru_cache
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components, minimum_spanning_tree
from scipy.spatial import ConvexHull, cKDTree

from variolite.crystals.crystals import Crystal, Crystals
from variolite.crystals.elements import ATOMIC_NUMBERS, MASSES, densities
from variolite.frameworks.assembly.nets import unwrapped
from variolite.frameworks.columns import PROBE

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]
Flags = NDArray[np.bool_]

_CCDC = """
H 1.09 He 1.4 Li 1.82 C 1.7 N 1.55 O 1.52 F 1.47 Ne 1.54 Na 2.27 Mg 1.73 Si 2.1 P 1.8 S 1.8 Cl 1.75
Ar 1.88 K 2.75 Ni 1.63 Cu 1.4 Zn 1.39 Ga 1.87 As 1.85 Se 1.9 Br 1.85 Kr 2.02 Pd 1.63 Ag 1.72 Cd 1.58
In 1.93 Sn 2.17 Te 2.06 I 1.98 Xe 2.16 Pt 1.72 Au 1.66 Hg 1.55 Tl 1.96 Pb 2.02 U 1.86
"""
_OTHERS = 2.0
RADII = np.full(len(MASSES), _OTHERS)
for _symbol, _radius in re.findall(r"(\w+) ([\d.]+)", _CCDC):
    RADII[ATOMIC_NUMBERS[_symbol]] = float(_radius)
"""Radius by atomic number in Angstrom; 2 where the CCDC gives none."""

_JITTER, _STRAIN = 1e-4, 1e-5  # Angstrom, and none: symmetric atoms have no one triangulation.
_MARGIN, _FEWEST = 6.0, 100  # Angstrom of images around the cell, to begin with, and their number
_SURFACE_POINTS = 250  # on every atom
_VOLUME_POINTS = 1 << 13
_LEAST = 0.05  # Angstrom: what is narrower is no window.


def measure_pores(crystal: Crystal, probe: float = PROBE) -> dict[str, float]:
    """Return columns of the table of frameworks: diameters, areas, volumes, void fractions.

    Accessible is what a probe of this radius in Angstrom reaches from outside, through channels
    that are endless. Diameters are 0 where nothing passes.
    """
    spheres = Spheres.of(crystal)
    at_probe = spheres.holes(probe)
    cavity = at_probe.radii.max(initial=0.0)
    limit, path = at_probe.widest_path()
    for refined in ("cavity", "path"):
        holes = spheres.holes(max(cavity if refined == "cavity" else limit, _LEAST))
        cavity = max(cavity, holes.radii.max(initial=0.0))
        # Windows are never too wide, so that the widest path found is the best.
        limit, path = max((limit, path), holes.widest_path())
    area, void, accessible = _accessible(spheres, at_probe, probe)
    volume, density = abs(np.linalg.det(crystal.lattice)), densities(Crystals.of([crystal]))[0]
    return {
        "pore_volume": accessible / density,
        "void_fraction": void,
        "accessible_void_fraction": accessible,
        "surface_area_mass": 1e4 * area / volume / density,
        "surface_area_volume": 1e4 * area / volume,
        "largest_cavity_diameter": 2 * cavity,
        "pore_limiting_diameter": 2 * limit,
        "largest_free_path": 2 * max(path, limit),
    }


@dataclass(frozen=True)
class Spheres:
    """Atoms in a cell: Cartesian places (n, 3), radii (n,), rows of the lattice."""

    lattice: Floats
    places: Floats
    radii: Floats

    @classmethod
    def of(cls, crystal: Crystal) -> Spheres:
        """Move every atom and strain the cell by a hair, so that no five touch one sphere."""
        random = np.random.default_rng(0)
        lattice = crystal.lattice @ (np.eye(3) + random.normal(0, _STRAIN, (3, 3)))
        places = (crystal.coordinates % 1.0) @ lattice
        places += random.normal(0, _JITTER, places.shape)
        return cls(lattice, places, RADII[crystal.species])

    @cached_property
    def inverse(self) -> Floats:
        return np.asarray(np.linalg.inv(self.lattice), dtype=np.float64)

    def images(self, margin: float) -> tuple[Floats, Integers, Integers]:
        """Return places, atoms and shifts of all images within ``margin`` of the cell."""
        reach = margin * np.linalg.norm(self.inverse, axis=0)
        axes = [np.arange(-n, n + 1) for n in np.ceil(reach).astype(int)]
        shifts = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, 3)
        every = (self.places @ self.inverse + shifts[:, None]).reshape(-1, 3)
        near = np.flatnonzero(((every > -reach) & (every < 1 + reach)).all(axis=1))
        return every[near] @ self.lattice, near % len(self.places), shifts[near // len(self.places)]

    def clearance(self, points: Floats) -> tuple[Floats, Integers]:
        """Return the distance to the nearest surface of an atom, and which of `surroundings`."""
        wrapped = ((points @ self.inverse) % 1.0) @ self.lattice
        best, nearest = np.full(len(points), np.inf), np.zeros(len(points), dtype=np.int64)
        for radius, tree, own in self._trees:
            distances, found = tree.query(wrapped)
            closer = distances - radius < best
            best[closer] = distances[closer] - radius
            nearest[closer] = own[found[closer]]
        return best, nearest

    @cached_property
    def surroundings(self) -> tuple[Floats, Integers]:
        """Places and atoms of the images among which any point of the cell has its nearest."""
        margin = self._at_probe[3]
        places, atoms, _ = self.images(margin + float(np.ptp(self.radii)))
        return places, atoms

    @cached_property
    def _trees(self) -> list[tuple[float, cKDTree, Integers]]:
        places, atoms = self.surroundings
        radii = self.radii[atoms]
        own = [(float(r), np.flatnonzero(radii == r)) for r in np.unique(radii)]
        return [(radius, cKDTree(places[those]), those) for radius, those in own]

    def holes(self, level: float) -> Holes:
        """Draw the power diagram of this level."""
        found = self._at_probe if level == PROBE else self._triangulated(level)
        return Holes.of(self, *found[:3])

    @cached_property
    def _at_probe(self) -> tuple[Integers, Integers, Floats, float]:
        return self._triangulated(PROBE)

    def _triangulated(self, level: float) -> tuple[Integers, Integers, Floats, float]:
        """Return atoms and shifts of four corners each, centres, and the margin that was enough."""
        margin = _MARGIN
        while True:
            places, atoms, shifts = self.images(margin)
            if len(places) < _FEWEST:
                margin *= 1.5
                continue
            middle = places.mean(axis=0)
            centred = places - middle
            # The lower side of a hull in four dimensions is the regular triangulation.
            lifted = (centred**2).sum(axis=1) - (self.radii[atoms] + level) ** 2
            hull = ConvexHull(np.column_stack([centred, lifted]))
            lower = hull.equations[:, 3] < -1e-12
            planes, corners = hull.equations[lower], hull.simplices[lower]
            centres = -planes[:, :3] / (2 * planes[:, 3:4]) + middle
            fractional = centres @ self.inverse
            # A little more than the cell: rounding must not lose one on its border.
            home = ((fractional > -0.02) & (fractional < 1.02)).all(axis=1)
            corners, centres = corners[home], centres[home]
            reach = np.linalg.norm(places[corners[:, 0]] - centres, axis=1).max(initial=0.0)
            # All atoms that could be within these spheres have to be among the images.
            if 0 < reach <= margin - 0.5:
                return atoms[corners], shifts[corners], centres, margin
            margin = max(reach, margin) + 1.0


@dataclass(frozen=True)
class Holes:
    """Holes between four atoms, and the windows between three by which two of them meet.

    ``places`` (n, 3) and ``radii`` (n,) are of the largest spheres in the holes; ``corners``
    (n, 4) are atoms and ``shifts`` (n, 4, 3) their cells. A window joins hole ``first`` to the
    image of hole ``second`` that lies ``cells`` away, and lets a sphere of radius ``widths`` pass.
    """

    places: Floats
    radii: Floats
    corners: Integers
    shifts: Integers
    first: Integers
    second: Integers
    cells: Integers
    widths: Floats

    @classmethod
    def of(cls, spheres: Spheres, atoms: Integers, shifts: Integers, centres: Floats) -> Holes:
        """Measure what a triangulation names; images of a hole count once."""
        keys, base = _without_translation(atoms, shifts)
        keys, chosen = np.unique(keys, axis=0, return_index=True)
        centres = centres[chosen] - base[chosen] @ spheres.lattice
        corners, cells = keys[:, :4], keys[:, 4:].reshape(-1, 4, 3)
        at = spheres.places[corners] + cells @ spheres.lattice
        places, radii = touching(at, spheres.radii[corners])
        # Four atoms in a plane touch no sphere nearby; the centre of the diagram stands for it.
        far = ~(np.linalg.norm(places - centres, axis=1) < 3.0)
        places[far] = centres[far]
        radii, _ = spheres.clearance(places)

        sides = [[1, 2, 3], [0, 2, 3], [0, 1, 3], [0, 1, 2]]
        three = np.concatenate([corners[:, side] for side in sides])
        faces, base = _without_translation(
            three, np.concatenate([cells[:, side] for side in sides])
        )
        faces, place = np.unique(faces, axis=0, return_inverse=True)
        order = np.argsort(place.ravel(), kind="stable").reshape(-1, 2)  # Every face has two sides.
        hole = np.tile(np.arange(len(corners)), 4)
        first, second = hole[order].T
        ends = places[hole[order]] - base[order] @ spheres.lattice
        widths = _windows(spheres, faces, ends, np.minimum(radii[first], radii[second]))
        away = base[order[:, 0]] - base[order[:, 1]]
        return cls(places, radii, corners, cells, first, second, away, widths)

    @cached_property
    def loops(self) -> Flags:
        """Which windows close a path from a hole to an image of it, with none wider, (W,)."""
        count = len(self.radii)
        # A tree of the widest windows, by their ranks; to go around by the tree is never narrower.
        order = np.argsort(-self.widths, kind="stable")
        low, high = np.sort([self.first[order], self.second[order]], axis=0)
        _, ranks = np.unique(low * count + high, return_index=True)
        ranks = ranks[(low[ranks] < high[ranks]) & (self.widths[order[ranks]] >= _LEAST)]
        graph = coo_array((ranks + 1, (low[ranks], high[ranks])), (count, count))
        tree = order[minimum_spanning_tree(graph).data.astype(np.int64) - 1]
        _, cells = unwrapped(count, self.first[tree], self.second[tree], self.cells[tree])
        around = cells[self.first] + self.cells - cells[self.second]
        loops: Flags = around.any(axis=1) & (self.widths >= _LEAST)
        return loops

    def joined(self, least: float) -> Integers:
        """Number of the set of holes that each belongs to, (n,), joined by windows this wide."""
        wide = self.widths >= least
        ends = self.first[wide], self.second[wide]
        graph = coo_array((np.ones(len(ends[0])), ends), (len(self.radii), len(self.radii)))
        return np.asarray(connected_components(graph, directed=False)[1], dtype=np.int64)

    def widest_path(self) -> tuple[float, float]:
        """Return the radii of the largest sphere that passes, and of the largest hole it passes."""
        if not self.loops.any():
            return 0.0, 0.0
        window = int(np.argmax(np.where(self.loops, self.widths, 0.0)))
        limit, label = float(self.widths[window]), self.joined(self.widths[window])
        return limit, float(self.radii[label == label[self.first[window]]].max())

    def open_to(self, probe: float) -> Flags:
        """Whether a probe in a hole can leave it without end, (n,)."""
        label = self.joined(probe)
        return np.isin(label, label[self.first[self.loops & (self.widths >= probe)]])


def _without_translation(atoms: Integers, shifts: Integers) -> tuple[Integers, Integers]:
    """Return rows that are equal for images of one group of atoms, and the cell of each group."""
    x, y, z = np.moveaxis(shifts + 500, -1, 0)
    order = np.argsort(((atoms * 1000 + x) * 1000 + y) * 1000 + z, axis=1)
    atoms = np.take_along_axis(atoms, order, axis=1)
    shifts = np.take_along_axis(shifts, order[..., None], axis=1)
    base = shifts[:, 0]
    relative = (shifts - base[:, None]).reshape(len(atoms), -1)
    return np.concatenate([atoms, relative], axis=1), base


def touching(centres: Floats, radii: Floats) -> tuple[Floats, Floats]:
    """Return centres and radii of the spheres that touch d + 1 others in d dimensions.

    ``centres`` (N, d + 1, d), ``radii`` (N, d + 1); NaN where there is none.
    """
    edges, r = centres[:, 1:] - centres[:, :1], radii[:, 1:] - radii[:, :1]
    flat = np.abs(np.linalg.det(edges)) < 1e-9
    edges[flat] = np.eye(edges.shape[2])
    squares = (edges**2).sum(axis=2) - radii[:, 1:] ** 2 + radii[:, :1] ** 2
    # Differences of |x - p| = R + r are linear: x = constant + slope R, put into the first.
    solved = np.linalg.solve(2 * edges, np.stack([squares, -2 * r], axis=2))
    constant, slope = solved[..., 0], solved[..., 1]
    first = radii[:, 0]
    a = (slope**2).sum(axis=1) - 1
    b = (constant * slope).sum(axis=1) - first
    c = (constant**2).sum(axis=1) - first**2
    with np.errstate(invalid="ignore", divide="ignore"):
        root = np.sqrt(b * b - a * c)
        roots = np.stack([(-b - root) / a, (-b + root) / a])
        roots[~(roots > -radii.min(axis=1))] = np.nan
    found = np.where(a < 0, np.fmax(*roots), np.fmin(*roots))
    found[flat] = np.nan
    return constant + slope * found[:, None] + centres[:, 0], found


def _windows(spheres: Spheres, faces: Integers, ends: Floats, narrow: Floats) -> Floats:
    """Return the radii of windows: in the plane of their atoms where holes lie on both sides."""
    at = spheres.places[faces[:, :3]] + faces[:, 3:].reshape(-1, 3, 3) @ spheres.lattice
    along = at[:, 1:] - at[:, :1]
    x = along[:, 0] / np.linalg.norm(along[:, 0], axis=1, keepdims=True)
    normal = np.cross(along[:, 0], along[:, 1])
    normal /= np.maximum(np.linalg.norm(normal, axis=1, keepdims=True), 1e-12)
    axes = np.stack([x, np.cross(normal, x)], axis=1)
    flat, widths = touching((at - at[:, :1]) @ np.swapaxes(axes, 1, 2), spheres.radii[faces[:, :3]])
    sides = ((ends - at[:, :1]) * normal[:, None]).sum(axis=2)
    between = (sides.prod(axis=1) < 0) & np.isfinite(widths)
    widths = np.where(between, np.minimum(widths, narrow), narrow)
    checked = np.flatnonzero(between & (widths > _LEAST))
    places = at[checked, 0] + (flat[checked, None] @ axes[checked])[:, 0]
    widths[checked] = np.minimum(widths[checked], spheres.clearance(places)[0])
    return widths


# What a probe reaches, by points on atoms and in the cell.


def _accessible(spheres: Spheres, holes: Holes, probe: float) -> tuple[float, float, float]:
    """Return the accessible area in Angstrom^2, and fractions of the cell, void and accessible."""
    rooms = _Rooms(spheres, holes, probe)
    points = _even_points(_VOLUME_POINTS)
    clear, image = spheres.clearance(points @ spheres.lattice)
    inside = np.flatnonzero(clear >= probe)
    reached = rooms.points_open(points[inside] @ spheres.lattice, image[inside])
    area = sum(rooms.area(atom) for atom in range(len(spheres.radii)))
    return area, float((clear >= 0).mean()), float(reached.sum() / len(points))


class _Rooms:
    """Which part of the space around an atom a probe reaches: that of its nearest open hole."""

    def __init__(self, spheres: Spheres, holes: Holes, probe: float) -> None:
        self.spheres, self.probe = spheres, probe
        is_open = holes.open_to(probe)
        wide = np.flatnonzero(holes.radii >= probe)
        atoms = holes.corners[wide].ravel()
        directions = holes.places[wide][:, None] - (
            spheres.places[holes.corners[wide]] + holes.shifts[wide] @ spheres.lattice
        )
        directions = directions.reshape(-1, 3)
        directions /= np.linalg.norm(directions, axis=1, keepdims=True)
        order = np.argsort(atoms, kind="stable")
        ends = np.searchsorted(atoms[order], np.arange(len(spheres.radii) + 1))
        self.around = [
            (directions[order[low:high]], np.repeat(is_open[wide], 4)[order[low:high]])
            for low, high in pairwise(ends)
        ]
        reach = 2 * (spheres.radii.max() + probe)
        self.images, self.atoms, _ = spheres.images(reach)
        self.near = cKDTree(self.images).query_ball_point(spheres.places, reach)

    def area(self, atom: int) -> float:
        """Return the area of an atom, grown by the probe, that is open."""
        directions, is_open = self.around[atom]
        if not is_open.any():
            return 0.0
        radius = self.spheres.radii[atom] + self.probe
        others = np.array(self.near[atom])
        away = self.images[others] - self.spheres.places[atom]
        square = (away**2).sum(axis=1)
        grown = self.spheres.radii[self.atoms[others]] + self.probe
        touched = (square > 1e-6) & (square < (radius + grown) ** 2)
        away, limit = away[touched], (radius**2 + square - grown**2)[touched] / (2 * radius)
        points = _sphere_points(_SURFACE_POINTS)
        bare = points[(points @ away.T <= limit).all(axis=1)]
        share = _nearest_open(bare, directions, is_open).sum() / len(points)
        return float(4 * np.pi * radius**2 * share)

    def points_open(self, points: Floats, images: Integers) -> Flags:
        """Whether points, each nearest to an atom's image, are in open rooms."""
        wrapped = ((points @ self.spheres.inverse) % 1.0) @ self.spheres.lattice
        places, every = self.spheres.surroundings
        atoms = every[images]
        found = np.zeros(len(points), dtype=np.bool_)
        for atom in np.unique(atoms):
            own = atoms == atom
            directions, is_open = self.around[atom]
            found[own] = _nearest_open(wrapped[own] - places[images[own]], directions, is_open)
        return found


def _nearest_open(points: Floats, directions: Floats, is_open: Flags) -> Flags:
    if not len(is_open) or not len(points) or is_open.all() or not is_open.any():
        return np.full(len(points), len(is_open) > 0 and bool(is_open.any()))
    found: Flags = is_open[(points @ directions.T).argmax(axis=1)]
    return found


@lru_cache(maxsize=4)
def _sphere_points(count: int) -> Floats:
    """Points spread evenly over the unit sphere, on a spiral of golden angles."""
    height = 1 - (2 * np.arange(count) + 1) / count
    angle = np.pi * (1 + 5**0.5) * np.arange(count)
    width = np.sqrt(1 - height**2)
    return np.stack([width * np.cos(angle), width * np.sin(angle), height], axis=1)


@lru_cache(maxsize=4)
def _even_points(count: int) -> Floats:
    """Points spread evenly over the unit cube, by multiples of the powers of a generalised
    golden ratio."""
    ratio = 1.22074408460575947536
    return (0.5 + np.arange(1, count + 1)[:, None] / ratio ** np.arange(1, 4)) % 1.0
