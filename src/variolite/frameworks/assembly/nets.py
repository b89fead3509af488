"""Nets: vertices that nodes and linkers with three or more arms take, and edges between them.

They come from AuToGraFS, which has the nets of RCSR with two-armed places on their edges, and are
reduced to primitive cells here, since most are given in centred ones of two or four times the size.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from variolite.crystals.crystals import Crystal, Crystals
from variolite.crystals.geometry.periodic import reduced_basis
from variolite.crystals.geometry.primitive import primitive_cells
from variolite.errors import DataError, nearest
from variolite.optional import require

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

_NEAR = 2e-3  # fractions of a cell by which translates of one point differ


@dataclass(frozen=True, eq=False)
class Net:
    """A periodic net of V vertices and E edges in a primitive cell.

    ``lattice`` (rows) and what follows from it is in units of about an edge. ``ends`` are the
    vertices of each edge, (E, 2), and ``arms`` which arm of each it is; the second vertex lies in
    the cell ``offsets``, (E, 3). ``orbits``, (V,), number what symmetry makes equal.
    """

    name: str
    lattice: Floats
    vertices: Floats
    orbits: Integers
    directions: tuple[Floats, ...]
    ends: Integers
    arms: Integers
    offsets: Integers

    @property
    def connections(self) -> tuple[int, ...]:
        """Number of arms of each vertex."""
        return tuple(len(found) for found in self.directions)


class UnusableNetError(DataError):
    """A net exists, but no framework can be built on it here."""


def autografs_data() -> Path:
    """Folder of the nets and units that come with AuToGraFS; DataError if it is not installed."""
    require("autografs")
    logging.getLogger("autografs").setLevel(logging.ERROR)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from autografs import data
    return Path(next(iter(data.__path__)))


class Nets:
    """Nets by symbol, each made from a topology of AuToGraFS when it is first asked for."""

    def __init__(
        self,
        topologies: Mapping[str, Any],
        made: Mapping[str, Net | UnusableNetError] | None = None,
    ) -> None:
        self._topologies, self._made = topologies, dict(made or {})

    def __getitem__(self, name: str) -> Net:
        """Return a net, or raise a DataError: no such net, a layer, or edges in a chain."""
        if name not in self._made:
            if name not in self._topologies:
                close = nearest(name, {*self._topologies, *self._made})
                hint = f"Did you mean {close}?" if close else "Give a symbol of RCSR such as pcu"
                raise DataError(f"no net is called {name!r}", hint=hint)
            try:
                self._made[name] = _net_of(self._topologies[name])
            except UnusableNetError as error:
                self._made[name] = error
        found = self._made[name]
        if isinstance(found, UnusableNetError):
            raise found
        return found

    def only(self, names: Iterable[str]) -> Nets:
        """Those of the names that there are, without the rest: small enough for a worker."""
        wanted = sorted(set(names))
        for name in wanted:
            with suppress(DataError):
                self[name]
        return Nets({}, {name: self._made[name] for name in wanted if name in self._made})


@cache
def all_nets() -> Nets:
    """Return the 2,686 nets of AuToGraFS, loaded once per process; that takes some seconds."""
    path = autografs_data() / "topologies.json.gz"
    from autografs.topology_io import load_topologies

    return Nets(load_topologies(path))


def _net_of(topology: Any) -> Net:
    """Read the vertices and edges of a topology of AuToGraFS, one of each set of translates.

    Its slots are vertices, and two-armed ones on edges; ends of arms that meet are at one point.
    """
    name = str(topology.name)
    if topology.is_2d:
        hint = "Choose a net in three dimensions"
        raise UnusableNetError(f"the net {name} is a layer", hint=hint)
    points = [np.array([site.coords for site in slot.atoms]) for slot in topology.slots]
    orbits = np.array([int(slot.equivalence_class or 0) for slot in topology.slots])
    centres = np.array([some.mean(axis=0) for some in points])
    cell = np.array(topology.cell.matrix, dtype=np.float64)
    # As atoms, one element for each orbit, to find the primitive cell.
    elements = 1 + np.unique(orbits, return_inverse=True)[1]
    atoms = Crystal(elements.astype(np.uint8), centres @ np.linalg.inv(cell), cell)
    (primitive,) = primitive_cells(Crystals.of([atoms]))
    lattice = reduced_basis(primitive.lattice[None])[0] @ primitive.lattice
    lattice *= np.sign(np.linalg.det(lattice))
    inverse = np.linalg.inv(lattice)
    centres = centres @ inverse
    apart = centres[:, None] - centres
    alike = (np.abs(apart - np.rint(apart)) < _NEAR).all(axis=2) & (orbits[:, None] == orbits)
    kept = np.flatnonzero(alike.argmax(axis=1) == np.arange(len(alike)))
    vertices = [slot for slot in kept if len(points[slot]) > 2]
    if not vertices:
        raise UnusableNetError(f"the net {name} has no vertices")
    owner = np.concatenate([np.full(len(points[slot]), v) for v, slot in enumerate(vertices)])
    arm = np.concatenate([np.arange(len(points[slot])) for slot in vertices])
    tips = np.concatenate([points[slot] for slot in vertices]) @ inverse  # ends of all arms

    free = np.ones(len(tips), dtype=bool)

    def taken(point: Floats) -> tuple[int, Floats]:
        """The arm that ends at an image of a point, and the cell of that image."""
        cells = np.rint(point - tips)
        (met,) = np.nonzero((np.abs(point - tips - cells) < _NEAR).all(axis=1) & free)
        if len(met) != 1:
            raise UnusableNetError(f"edges of the net {name} form chains")
        free[met] = False
        return int(met[0]), cells[met[0]]

    links = []
    for slot in kept:
        if len(points[slot]) == 2:
            (one, here), (two, there) = map(taken, points[slot] @ inverse)
            links.append((one, two, there - here))
    # What is left are vertices that are joined without a place between them.
    while free.any():
        one = int(free.argmax())
        free[one] = False
        links.append((one, *taken(tips[one])))
    pairs = np.array([link[:2] for link in links])
    away = [points[slot] - points[slot].mean(axis=0) for slot in vertices]
    return Net(
        name,
        lattice,
        centres[vertices],
        orbits[vertices],
        tuple(some / np.linalg.norm(some, axis=1, keepdims=True) for some in away),
        owner[pairs],
        arm[pairs],
        np.array([link[2] for link in links], dtype=np.int64),
    )


def unwrapped(
    count: int, first: Integers, second: Integers, shifts: Integers
) -> tuple[Integers, Integers]:
    """Parts of a graph that repeats in a lattice: number of the part of each vertex, and its cell.

    Edges lead from vertex ``first`` to ``second`` in the cell ``shifts``, (E, 3). Cells are those
    in which a tree of edges reaches vertices from the first of their part, (V, 3).
    """
    joined: list[list[tuple[int, int, int, int]]] = [[] for _ in range(count)]
    for i, j, (x, y, z) in zip(first.tolist(), second.tolist(), shifts.tolist(), strict=True):
        joined[i].append((j, x, y, z))
        joined[j].append((i, -x, -y, -z))
    label, cells, number = [-1] * count, [(0, 0, 0)] * count, 0
    for start in range(count):
        if label[start] >= 0:
            continue
        label[start], stack = number, [start]
        while stack:
            here = stack.pop()
            a, b, c = cells[here]
            for there, x, y, z in joined[here]:
                if label[there] < 0:
                    label[there], cells[there] = number, (a + x, b + y, c + z)
                    stack.append(there)
        number += 1
    return np.array(label), np.array(cells, dtype=np.int64).reshape(-1, 3)


def periodic_parts(
    count: int, first: Integers, second: Integers, shifts: Integers
) -> list[tuple[Integers, Integers]]:
    """Vertices of every part of a graph that repeats in a lattice, and its loops; see `unwrapped`.

    The loops (m, 3) of a part are the translations that its cycles come to.
    """
    label, cells = unwrapped(count, first, second, shifts)
    loops = cells[first] + shifts - cells[second]
    loops, owner = loops[loops.any(axis=1)], label[first][loops.any(axis=1)]
    parts = range(label.max(initial=-1) + 1)
    return [(np.flatnonzero(label == part), loops[owner == part]) for part in parts]


def interpenetration(edges: Iterable[tuple[int, int, Sequence[int]]]) -> int:
    """How many separate nets a labelled quotient graph stands for.

    Edges are two vertices and the cell of the second, by whole lattice vectors. A graph in one
    piece stands for several nets where its cycles reach only some of the lattice's points: as many
    as the index of that lattice. Parts that are not three-periodic count for nothing.
    """
    from sympy import ZZ, Matrix
    from sympy.matrices.normalforms import smith_normal_form

    listed = [(u, v, *cell) for u, v, cell in edges]
    if not listed:
        return 0
    table = np.array(listed, dtype=np.int64)
    names, ends = np.unique(table[:, :2], return_inverse=True)
    first, second = ends.reshape(-1, 2).T
    count = 0
    for _, loops in periodic_parts(len(names), first, second, table[:, 2:]):
        rows = np.unique(loops, axis=0).tolist()
        if len(rows) >= 3:
            normal = smith_normal_form(Matrix(rows), domain=ZZ)
            count += abs(int(normal[0, 0] * normal[1, 1] * normal[2, 2]))
    return count
