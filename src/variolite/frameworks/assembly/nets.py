"""Nets: vertices that nodes and linkers with three or more arms take, and edges between them.

They come from AuToGraFS, which has the nets of RCSR with two-armed places on their edges, and are
reduced to primitive cells here, since most are given in centred ones of two or four times the size.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from variolite.errors import DataError, nearest
from variolite.frameworks.optional import require

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

_NEAR = 1e-3


@dataclass(frozen=True, eq=False)
class Net:
    """A periodic net of V vertices and E edges in a primitive cell.

    ``lattice`` (rows) and what follows from it is in units of about an edge. ``ends`` are the
    vertices of each edge, (E, 2), and ``arms`` which arm of each it is; the second vertex lies in
    the cell ``offsets``, (E, 3). ``orbits`` and ``edge_orbits`` number what symmetry makes equal.
    """

    name: str
    lattice: Floats
    vertices: Floats
    orbits: Integers
    directions: tuple[Floats, ...]
    ends: Integers
    arms: Integers
    offsets: Integers
    edge_orbits: Integers

    @property
    def connections(self) -> tuple[int, ...]:
        """Number of arms of each vertex."""
        return tuple(len(found) for found in self.directions)


class UnusableNetError(DataError):
    """A net exists, but no framework can be built on it here."""


def autografs_data() -> Path:
    """Folder of the nets and units that come with AuToGraFS; DataError if it is not installed."""
    require("autografs", "nets and building units")
    logging.getLogger("autografs").setLevel(logging.ERROR)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from autografs import data
    return Path(next(iter(data.__path__)))


class Nets(Mapping[str, Net]):
    """Nets by symbol, each made from a topology of AuToGraFS when it is first asked for."""

    def __init__(
        self,
        topologies: Mapping[str, Any],
        made: Mapping[str, Net | UnusableNetError] | None = None,
    ) -> None:
        self._topologies, self._nets = topologies, dict(made or {})

    def __getitem__(self, name: str) -> Net:
        if name not in self._nets:
            try:
                self._nets[name] = primitive_net(_net_of(self._topologies[name]))
            except UnusableNetError as error:
                self._nets[name] = error
        found = self._nets[name]
        if isinstance(found, UnusableNetError):
            raise found
        return found

    def __contains__(self, name: object) -> bool:
        return name in self._nets or name in self._topologies

    def __iter__(self) -> Iterator[str]:
        return iter(self._topologies or self._nets)

    def __len__(self) -> int:
        return len(self._topologies or self._nets)

    def require(self, name: str) -> Net:
        """Return a net, or raise a DataError: no such net, a layer, or edges in a chain."""
        if name not in self:
            close = nearest(name, self)
            hint = f"Did you mean {close}?" if close else "Give a symbol of RCSR such as pcu"
            raise DataError(f"no net is called {name!r}", hint=hint)
        return self[name]

    def only(self, names: Iterable[str]) -> Nets:
        """Those of the names that there are, without the rest: small enough for a worker."""
        made: dict[str, Net | UnusableNetError] = {}
        for name in sorted(set(names)):
            with suppress(KeyError, UnusableNetError):
                self[name]
            if name in self._nets:
                made[name] = self._nets[name]
        return Nets({}, made)


@cache
def all_nets() -> Nets:
    """Return the 2,686 nets of AuToGraFS, loaded once per process; that takes some seconds."""
    path = autografs_data() / "topologies.json.gz"
    from autografs.topology_io import load_topologies

    return Nets(load_topologies(path))


def _net_of(topology: Any) -> Net:
    """Read the vertices and edges of a topology of AuToGraFS."""
    name = str(topology.name)
    if topology.is_2d:
        raise UnusableNetError(
            f"the net {name} is a layer", hint="Choose a net in three dimensions"
        )
    lattice = np.array(topology.cell.matrix, dtype=np.float64)
    inverse = np.linalg.inv(lattice)
    vertices: list[Floats] = []
    orbits, directions, edge_slots = [], [], []
    # Two places share the tag of the point at which they meet.
    owners: dict[int, list[tuple[int, int, Floats]]] = {}
    for slot in topology.slots:
        points = np.array([site.coords for site in slot.atoms]) @ inverse
        tags = [int(site.properties["tags"]) for site in slot.atoms]
        if len(points) == 2:
            edge_slots.append((points, tags, int(slot.equivalence_class or 0)))
            continue
        centre = points.mean(axis=0)
        away = (points - centre) @ lattice
        for arm, tag in enumerate(tags):
            owners.setdefault(tag, []).append((len(vertices), arm, points[arm]))
        vertices.append(centre)
        orbits.append(int(slot.equivalence_class or 0))
        directions.append(away / np.linalg.norm(away, axis=1, keepdims=True))
    ends, arms, offsets, edge_orbits = [], [], [], []

    def link(one: Any, other: Any, offset: Floats, orbit: int) -> None:
        ends.append((one[0], other[0]))
        arms.append((one[1], other[1]))
        offsets.append(np.rint(offset))
        edge_orbits.append(orbit)

    for points, tags, orbit in edge_slots:
        sides = [owners.pop(tag, []) for tag in tags]
        if [len(side) for side in sides] != [1, 1]:
            raise UnusableNetError(f"edges of the net {name} form chains")
        (one,), (other,) = sides
        shift = np.rint(points[1] - other[2]) - np.rint(points[0] - one[2])
        link(one, other, shift, orbit)
    for side in owners.values():
        if len(side) != 2:
            raise UnusableNetError(f"the net {name} has open ends")
        link(side[0], side[1], np.rint(side[0][2] - side[1][2]), -1)
    if not vertices:
        raise UnusableNetError(f"the net {name} has no vertices")
    return Net(
        name,
        lattice,
        np.array(vertices),
        np.array(orbits),
        tuple(directions),
        np.array(ends).reshape(-1, 2),
        np.array(arms).reshape(-1, 2),
        np.array(offsets, dtype=np.int64).reshape(-1, 3),
        np.array(edge_orbits),
    )


def primitive_net(net: Net) -> Net:
    """The same net in the smallest cell that repeats it, arms, edges and orbits alike."""
    maps = _translations(net)
    if len(maps) == 1:
        return net
    shifts = np.array([shift for shift, _, _ in maps])
    basis = _shortest_basis(shifts, net.lattice, len(maps))
    inverse = np.linalg.inv(basis)
    # One vertex of each class stays; every other is a translate of it.
    images = np.array([image for _, image, _ in maps])  # (T, V)
    kept = np.unique(images.min(axis=0))
    number = {int(vertex): place for place, vertex in enumerate(kept)}
    at = net.vertices[kept] @ inverse
    home, turn, cell = [], [], []
    for vertex in range(len(net.vertices)):
        which = next(t for t, image in enumerate(images) if int(image[vertex]) in number)
        there = int(images[which, vertex])
        home.append(number[there])
        turn.append(maps[which][2][vertex])
        cell.append(np.rint(net.vertices[vertex] @ inverse - at[number[there]]))
    ends, arms, offsets, orbits = [], [], [], []
    done: set[tuple[int, int]] = set()
    for (u, v), (i, j), offset, orbit in zip(
        net.ends.tolist(), net.arms.tolist(), net.offsets, net.edge_orbits.tolist(), strict=True
    ):
        one, other = (home[u], int(turn[u][i])), (home[v], int(turn[v][j]))
        if one in done or other in done:
            continue
        done |= {one, other}
        ends.append((one[0], other[0]))
        arms.append((one[1], other[1]))
        offsets.append(np.rint(offset @ inverse) + cell[v] - cell[u])
        orbits.append(orbit)
    if 2 * len(ends) != sum(len(net.directions[vertex]) for vertex in kept):
        return net
    return Net(
        net.name,
        basis @ net.lattice,
        at,
        net.orbits[kept],
        tuple(net.directions[vertex] for vertex in kept),
        np.array(ends),
        np.array(arms),
        np.array(offsets, dtype=np.int64),
        np.array(orbits),
    )


def _translations(net: Net) -> list[tuple[Floats, Integers, list[Integers]]]:
    """Shifts (fractional) that map a net onto itself, with the image of each vertex and arm."""
    found = []
    alike = np.flatnonzero(net.orbits == net.orbits[0])
    for target in alike:
        shift = net.vertices[target] - net.vertices[0]
        shift -= np.floor(shift + _NEAR)
        apart = net.vertices[:, None] + shift - net.vertices
        apart -= np.rint(apart)
        hit = (np.abs(apart).max(axis=2) < _NEAR) & (net.orbits[:, None] == net.orbits)
        if not (hit.sum(axis=1) == 1).all():
            continue
        image = hit.argmax(axis=1)
        turns = []
        for vertex, there in enumerate(image):
            mine, theirs = net.directions[vertex], net.directions[there]
            if mine.shape != theirs.shape:
                break
            apart = np.abs(mine[:, None] - theirs).max(axis=2)
            turn = apart.argmin(axis=1)
            if len(set(turn.tolist())) < len(turn) or apart.min(axis=1).max() > 10 * _NEAR:
                break
            turns.append(turn)
        else:
            found.append((shift, np.asarray(image, dtype=np.int64), turns))
    return found


def _shortest_basis(shifts: Floats, lattice: Floats, times: int) -> Floats:
    """Three short vectors (fractional) that span the lattice of the shifts, right-handed."""
    around = np.array(np.meshgrid(*[(-1, 0, 1)] * 3)).reshape(3, -1).T
    every = (shifts[:, None] + around).reshape(-1, 3)
    lengths = np.linalg.norm(every @ lattice, axis=1)
    every = every[np.argsort(lengths, kind="stable")]
    every = every[np.sort(lengths) > _NEAR]
    for chosen in combinations(range(min(len(every), 60)), 3):
        basis = every[list(chosen)]
        volume = np.linalg.det(basis)
        if abs(abs(volume) * times - 1) < _NEAR:
            turned: Floats = basis if volume > 0 else -basis
            return turned
    return np.eye(3)


def periodic_parts(
    count: int, first: Integers, second: Integers, shifts: Integers
) -> list[tuple[Integers, Integers]]:
    """Connected parts of a graph that repeats in a lattice: their vertices, and their loops.

    Edges lead from vertex ``first`` to ``second`` in the cell ``shifts``, (E, 3). The loops (m, 3)
    of a part are the translations that its cycles come to.
    """
    joined: list[list[tuple[int, Integers]]] = [[] for _ in range(count)]
    for i, j, offset in zip(first.tolist(), second.tolist(), shifts, strict=True):
        joined[i].append((j, offset))
        joined[j].append((i, -offset))
    label, cells = np.full(count, -1), np.zeros((count, 3), dtype=np.int64)
    number = 0
    for start in range(count):
        if label[start] >= 0:
            continue
        label[start], stack = number, [start]
        while stack:
            here = stack.pop()
            for there, offset in joined[here]:
                if label[there] < 0:
                    label[there], cells[there] = number, cells[here] + offset
                    stack.append(there)
        number += 1
    loops = cells[first] + shifts - cells[second]
    loops, owner = loops[loops.any(axis=1)], label[first][loops.any(axis=1)]
    return [(np.flatnonzero(label == part), loops[owner == part]) for part in range(number)]


def interpenetration(edges: Iterable[tuple[int, int, Sequence[int]]]) -> int:
    """How many separate nets a labelled quotient graph stands for.

    Edges are two vertices and the cell of the second, by whole lattice vectors. A graph in one
    piece stands for several nets where its cycles reach only some of the lattice's points. Parts
    that are not three-periodic count for nothing.
    """
    listed = [(u, v, *cell) for u, v, cell in edges]
    if not listed:
        return 0
    table = np.array(listed, dtype=np.int64)
    names, ends = np.unique(table[:, :2], return_inverse=True)
    first, second = ends.reshape(-1, 2).T
    parts = periodic_parts(len(names), first, second, table[:, 2:])
    return sum(_index(list(loops)) for _, loops in parts)


def _index(vectors: list[Integers]) -> int:
    """Index of the lattice that whole vectors span in that of all, 0 where it is flat."""
    rows, index = [vector.astype(object) for vector in vectors], 1
    for axis in range(3):
        # Euclid's algorithm leaves one row with an entry on this axis.
        while len(left := [row for row in rows if row[axis]]) > 1:
            least = min(left, key=lambda row: abs(row[axis]))
            rows = [
                row if row is least else row - (row[axis] // least[axis]) * least for row in rows
            ]
        if not left:
            return 0
        index *= abs(int(left[0][axis]))
        rows = [row for row in rows if row is not left[0]]
    return index
