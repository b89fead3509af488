"""From an assignment of units to a net to a crystal: placed, then relaxed as rigid bodies.

The net gives the first positions, in its most symmetric form, which real units rarely suit. So
units are then moved and turned, and the cell is strained, all at once, until every bond between two
units has its length and leaves both in the direction of their arms, and no other atoms are close.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from itertools import product

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.spatial.transform import Rotation

from variolite.crystals.crystals import Crystal, cell_heights
from variolite.crystals.elements import COVALENT_RADII, atomic_numbers
from variolite.crystals.geometry.periodic import reduced_basis
from variolite.errors import DataError
from variolite.frameworks.assembly.compatibility import Assignment
from variolite.frameworks.assembly.nets import Net
from variolite.frameworks.assembly.structure_checks import Bonded, neighbours
from variolite.frameworks.assembly.unit_library import Unit, UnitLibrary, kabsch

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

ROOM = 1.1  # Angstrom beyond the sum of covalent radii that atoms without a bond keep apart
_CLASH = 0.5  # weight of a squared Angstrom of clash to one of a bond that is off
_SKIN = 1.0  # Angstrom within which pairs are kept until the next list of them
_STAGES, _ITERATIONS = 4, 60
_STIFF = 15.0  # Angstrom that a unit of strain counts for
_FLATTEST = 1.5  # Angstrom between opposite faces of a cell
_MOST_NETS = 24
_FINER = 60  # finer lattices that are looked at, those with the longest vectors
_NEXT = 1.9  # Angstrom from an anchor to the atoms next to it


class CollapsedError(DataError):
    """The cell that is to hold the units becomes too flat for any."""


@dataclass(frozen=True)
class Built:
    """A crystal made of units, with how well its parts meet.

    ``owner`` is the unit of every atom, (n,). ``stretch`` is the largest difference of a bond
    between units from its length in Angstrom, ``wrong_bonds`` how many more or fewer units are
    bonded than the net says.
    """

    crystal: Crystal
    owner: Integers
    stretch: float
    wrong_bonds: int


def build(
    net: Net,
    assignment: Assignment,
    library: UnitLibrary,
    *,
    catenation: int = 1,
    name: str = "",
    seed: int = 0,
) -> Built:
    """Place and relax the units of an assignment; ``seed`` turns those on edges about them.

    With ``catenation`` n, n equal nets interpenetrate, shifted where they have most room. Raises
    a CollapsedError.
    """
    if catenation > _MOST_NETS:
        raise CollapsedError(f"there is no room for {catenation} nets")
    bodies = _Bodies(net, assignment, library, np.random.default_rng(seed))
    points, lattice = bodies.relaxed()
    if catenation > 1:
        bodies.interpenetrate(catenation, choice=seed % 3)
        points, lattice = bodies.relaxed()
    crystal = Crystal(
        bodies.species, points[: bodies.atoms] @ np.linalg.inv(lattice), lattice, name
    )
    gaps = points[bodies.second] + bodies.shifts @ lattice - points[bodies.first]
    stretch = np.abs(np.linalg.norm(gaps, axis=1) - bodies.lengths).max()
    owner = bodies.owner[: bodies.atoms]
    found = Bonded(crystal).bonds
    planned = {
        _canonical(int(i), int(j), tuple(shift))
        for i, j, shift in zip(
            bodies.first, bodies.second, bodies.shifts.astype(int).tolist(), strict=True
        )
    }
    between = (owner[found.first] != owner[found.second]) | found.shift.any(axis=1)
    seen = {
        _canonical(int(found.first[b]), int(found.second[b]), tuple(found.shift[b].tolist()))
        for b in np.flatnonzero(between)
    }
    return Built(crystal, owner, float(stretch), len(seen ^ planned))


def _canonical(first: int, second: int, shift: tuple[int, ...]) -> tuple[int, int, tuple[int, ...]]:
    """One name for a bond from either side."""
    if first > second or (first == second and shift < (0, 0, 0)):
        return second, first, tuple(-s for s in shift)
    return first, second, shift


class _Bodies:
    """Units as rigid bodies: atoms first, then for each bond where each side wants the other."""

    def __init__(
        self, net: Net, assignment: Assignment, library: UnitLibrary, rng: np.random.Generator
    ) -> None:
        every = [taken for taken in (*assignment.vertices, *assignment.edges) if taken]
        self.units = [library[taken.unit] for taken in every]
        sizes = [len(unit) for unit in self.units]
        starts = np.concatenate([[0], np.cumsum(sizes)])
        self.atoms = int(starts[-1])
        self.species = np.concatenate([atomic_numbers(unit.symbols) for unit in self.units])
        local = [unit.positions - unit.centre for unit in self.units]
        owner = np.repeat(np.arange(len(sizes)), sizes)
        # Bonds of every edge: body and arm on either side, and the cell of the second.
        links = []
        edge_bodies: list[tuple[int, int, int]] = []
        body = len(assignment.vertices)
        zero = np.zeros(3, dtype=np.int64)
        for edge, taken in enumerate(assignment.edges):
            (u, v), (i, j) = net.ends[edge].tolist(), net.arms[edge].tolist()
            arm_u, arm_v = assignment.vertices[u].order[i], assignment.vertices[v].order[j]
            if taken is None:
                links.append((u, arm_u, v, arm_v, net.offsets[edge]))
            else:
                links.append((u, arm_u, body, taken.order[0], zero))
                links.append((body, taken.order[1], v, arm_v, net.offsets[edge]))
                edge_bodies.append((edge, body, taken.order[0]))
                body += 1
        wanted, wanted_owner = [], []
        first, second, shifts, lengths = [], [], [], []
        self.skipped: set[int] = set()
        for one, arm, other, far, shift in links:
            length = _bond_length(self.units[one], arm, self.units[other], far)
            anchors = []
            for place, end in ((one, arm), (other, far)):
                unit = self.units[place]
                at = unit.positions[unit.anchors[end]]
                way = (unit.ends[end] - at) / unit.halves[end]
                wanted.append(at + length * way - unit.centre)
                wanted_owner.append(place)
                anchors.append(int(starts[place] + unit.anchors[end]))
            first.append(anchors[0])
            second.append(anchors[1])
            shifts.append(shift)
            lengths.append(length)
            self._skip(starts, one, arm, other, far)
        self.local = np.concatenate([*local, np.array(wanted)])
        self.owner = np.concatenate([owner, wanted_owner]).astype(np.int64)
        self.first, self.second = np.array(first), np.array(second)
        self.shifts, self.lengths = np.array(shifts, dtype=np.float64), np.array(lengths)
        self._start(net, assignment, edge_bodies, rng)

    def _skip(self, starts: Integers, one: int, arm: int, other: int, far: int) -> None:
        """Atoms at the ends of a bond and those next to them are close for a reason."""
        near = []
        for place, end in ((one, arm), (other, far)):
            unit = self.units[place]
            apart = np.linalg.norm(unit.positions - unit.positions[unit.anchors[end]], axis=1)
            next_to = np.flatnonzero(apart < _NEXT + 0.6 * (unit.kind == "node")) + starts[place]
            near.append((int(unit.anchors[end] + starts[place]), next_to.tolist()))
        (here, around), (there, beyond) = near
        for i, j in [*((here, j) for j in beyond), *((i, there) for i in around)]:
            self.skipped |= {i * self.atoms + j, j * self.atoms + i}

    def _start(
        self,
        net: Net,
        assignment: Assignment,
        edge_bodies: list[tuple[int, int, int]],
        rng: np.random.Generator,
    ) -> None:
        """Scale and strain the net to the units, and place them there."""
        count = len(self.units)
        reach = [
            np.linalg.norm(unit.positions[unit.anchors] - unit.centre, axis=1)
            for unit in self.units
        ]
        body_of = {edge: (body, order) for edge, body, order in edge_bodies}
        needed = np.zeros(len(net.ends))
        bond = iter(self.lengths)
        for edge, ((u, v), (i, j)) in enumerate(
            zip(net.ends.tolist(), net.arms.tolist(), strict=True)
        ):
            arm_u, arm_v = assignment.vertices[u].order[i], assignment.vertices[v].order[j]
            needed[edge] = reach[u][arm_u] + reach[v][arm_v] + next(bond)
            if edge in body_of:
                unit = self.units[body_of[edge][0]]
                ends = unit.positions[unit.anchors]
                needed[edge] += np.linalg.norm(ends[0] - ends[1]) + next(bond)
        along = net.vertices[net.ends[:, 1]] + net.offsets - net.vertices[net.ends[:, 0]]
        vectors = along @ net.lattice
        lengths = np.linalg.norm(vectors, axis=1)
        vectors *= (scale := needed @ lengths / (lengths @ lengths))
        # Least strain with which the edges come to their lengths.
        x, y, z = vectors.T
        system = np.stack([x * x, y * y, z * z, 2 * x * y, 2 * x * z, 2 * y * z], axis=1)
        e = np.linalg.lstsq(system, needed**2 - (vectors**2).sum(axis=1), rcond=1e-6)[0]
        metric = np.eye(3) + np.array([[e[0], e[3], e[4]], [e[3], e[1], e[5]], [e[4], e[5], e[2]]])
        values, axes = np.linalg.eigh(metric)
        stretch = axes @ np.diag(np.sqrt(np.clip(values, 0.4, 2.5))) @ axes.T
        self.lattice = net.lattice @ (scale * stretch)
        self.centres = np.zeros((count, 3))
        self.turned = np.zeros((count, 3, 3))
        for vertex, taken in enumerate(assignment.vertices):
            self.centres[vertex] = net.vertices[vertex] @ self.lattice
            ways = net.directions[vertex] @ stretch
            ways /= np.linalg.norm(ways, axis=1, keepdims=True)
            arms = self.units[vertex].directions[list(taken.order)]
            self.turned[vertex] = kabsch(arms[None], ways[None])[0]
        for edge, body, order in edge_bodies:
            unit, (u, v) = self.units[body], net.ends[edge].tolist()
            way = along[edge] @ self.lattice
            length = float(np.linalg.norm(way))
            reaches = [
                reach[w][assignment.vertices[w].order[arm]]
                for w, arm in zip((u, v), net.arms[edge].tolist(), strict=True)
            ]
            share = (reaches[0] + (length - sum(reaches)) / 2) / length
            self.centres[body] = self.centres[u] + way * np.clip(share, 0.2, 0.8)
            axis = unit.ends[1 - order] - unit.ends[order]
            self.turned[body] = _turn_onto(axis, way, float(rng.uniform(0, 2 * np.pi)))

    def relaxed(self) -> tuple[Floats, Floats]:
        """Relax; returns all points (Cartesian, Angstrom) and the lattice."""
        for _ in range(_STAGES):
            self._list_pairs()
            count = len(self.units)
            found = minimize(
                self._energy,
                np.zeros(6 * count + 6),
                jac=True,
                method="L-BFGS-B",
                options={"maxiter": _ITERATIONS, "maxcor": 20, "gtol": 1e-4},
            )
            x = found.x
            strain = np.eye(3) + _symmetric(x[6 * count :] / _STIFF)
            moves = x[: 3 * count].reshape(-1, 3)
            self.centres = (self.centres + moves) @ strain
            self.lattice = self.lattice @ strain
            turns = _rotations(x[3 * count : 6 * count].reshape(-1, 3))
            self.turned = turns @ self.turned
            if np.abs(x).max() < 0.01:
                break
        self._require_room()
        return self._points(self.turned, self.centres), self.lattice

    def _require_room(self) -> None:
        if not (cell_heights(self.lattice[None]) > _FLATTEST).all():
            raise CollapsedError("the cell collapses")

    def interpenetrate(self, times: int, *, choice: int = 0) -> None:
        """Shift copies of the net into its voids, by a finer lattice of as many points.

        The cell then holds one net as before and is that many times smaller. ``choice`` counts
        from the lattice with the most room.
        """
        given, shifts = self.lattice, self.shifts
        finer = []
        for change in _finer_lattices(times):
            lattice = np.linalg.inv(change) @ given
            shortest = reduced_basis(lattice[None])[0]
            finer.append((shortest @ lattice, change @ np.linalg.inv(shortest)))
        finer.sort(key=lambda found: -np.linalg.norm(found[0], axis=1).min())
        rated = []
        for place, (lattice, change) in enumerate(finer[:_FINER]):
            self.lattice, self.shifts = lattice, np.rint(shifts @ change)
            with suppress(CollapsedError):
                self._list_pairs()
                rated.append((self._energy(np.zeros(6 * len(self.units) + 6))[0], place))
        if not rated:
            raise CollapsedError(f"there is no room for {times} nets")
        lattice, change = finer[sorted(rated)[min(choice, len(rated) - 1)][1]]
        self.lattice, self.shifts = lattice, np.rint(shifts @ change)

    def _points(self, turned: Floats, centres: Floats) -> Floats:
        points: Floats = np.einsum("nij,nj->ni", turned[self.owner], self.local)
        points += centres[self.owner]
        return points

    @cached_property
    def _radii(self) -> Floats:
        return np.asarray(COVALENT_RADII[self.species], dtype=np.float64)

    def _list_pairs(self) -> None:
        """Find the pairs of atoms of different units, or images, that may come close."""
        self._require_room()
        atoms = self._points(self.turned, self.centres)[: self.atoms]
        widest = 2 * float(self._radii.max()) + ROOM + _SKIN
        close = neighbours(self.lattice, atoms @ np.linalg.inv(self.lattice), widest)
        room = self._radii[close.first] + self._radii[close.second] + ROOM
        wanted = close.apart < room + _SKIN
        wanted &= (self.owner[close.first] != self.owner[close.second]) | close.shift.any(axis=1)
        skipped = np.fromiter(self.skipped, dtype=np.int64, count=len(self.skipped))
        wanted &= ~np.isin(close.first * self.atoms + close.second, skipped)
        self._pairs = close.first[wanted], close.second[wanted]
        self._pair_cells = close.shift[wanted].astype(np.float64) @ self.lattice
        self._room = room[wanted]

    def _energy(self, x: Floats) -> tuple[float, Floats]:
        """Squares of gaps and clashes in square Angstrom, and their gradient."""
        count = len(self.units)
        strain = np.eye(3) + _symmetric(x[6 * count :] / _STIFF)
        moves, turns = x[: 3 * count].reshape(-1, 3), x[3 * count : 6 * count].reshape(-1, 3)
        turned = _rotations(turns) @ self.turned
        arms = np.einsum("nij,nj->ni", turned[self.owner], self.local)
        free = self.centres + moves
        points = arms + (free @ strain)[self.owner]
        force = np.zeros_like(points)
        by_strain = np.zeros((3, 3))
        energy = 0.0
        # Each side of a bond wants the other's anchor at a place that is fixed to it.
        cells = self.shifts @ self.lattice
        mine = np.arange(self.atoms, len(points), 2)
        for aim, anchor, sign in ((mine, self.second, 1.0), (mine + 1, self.first, -1.0)):
            gap = points[anchor] + sign * (cells @ strain) - points[aim]
            energy += float((gap**2).sum())
            np.add.at(force, anchor, 2 * gap)
            force[aim] -= 2 * gap
            by_strain += 2 * sign * cells.T @ gap
        first, second = self._pairs
        gap = points[second] + self._pair_cells @ strain - points[first]
        apart = np.sqrt((gap**2).sum(axis=1)) + 1e-9
        over = np.maximum(self._room - apart, 0.0)
        energy += _CLASH * float(over @ over)
        pull = (-2 * _CLASH * over / apart)[:, None] * gap
        np.add.at(force, second, pull)
        np.subtract.at(force, first, pull)
        by_strain += self._pair_cells.T @ pull
        body_force = np.zeros((count, 3))
        np.add.at(body_force, self.owner, force)
        torque = np.zeros((count, 3))
        np.add.at(torque, self.owner, np.cross(arms, force))
        by_strain += free.T @ body_force
        gradient = np.concatenate(
            [
                (body_force @ strain).ravel(),
                np.einsum("nji,nj->ni", _left_jacobians(turns), torque).ravel(),
                _folded(by_strain) / _STIFF,
            ]
        )
        return energy, gradient


def _finer_lattices(times: int) -> list[Floats]:
    """Every integer matrix H of this determinant, up to the choice of basis."""
    found = []
    for a in range(1, times + 1):
        for c in range(1, times // a + 1):
            f, left = divmod(times, a * c)
            for b, d, e in product(range(c), range(f), range(f)) if not left else ():
                found.append(np.array([[a, 0, 0], [b, c, 0], [d, e, f]], dtype=np.float64))
    return found


def _bond_length(one: Unit, arm: int, other: Unit, far: int) -> float:
    """Length of a bond: as cut in the node, or by covalent radii where a unit was made up."""
    node, end = (one, arm) if one.kind == "node" else (other, far)
    if node.sources:
        return float(2 * node.halves[end])
    symbols = (one.anchor_symbols[arm], other.anchor_symbols[far])
    return float(COVALENT_RADII[atomic_numbers(symbols)].sum())


def _symmetric(e: Floats) -> Floats:
    return np.array([[e[0], e[3], e[4]], [e[3], e[1], e[5]], [e[4], e[5], e[2]]])


def _folded(g: Floats) -> Floats:
    """Gradient by the six numbers of `_symmetric` from that by the matrix."""
    return np.array(
        [g[0, 0], g[1, 1], g[2, 2], g[0, 1] + g[1, 0], g[0, 2] + g[2, 0], g[1, 2] + g[2, 1]]
    )


def _cross_matrices(vectors: Floats) -> Floats:
    k = np.zeros((len(vectors), 3, 3))
    x, y, z = vectors.T
    k[:, 0, 1], k[:, 0, 2], k[:, 1, 2] = -z, y, -x
    k[:, 1, 0], k[:, 2, 0], k[:, 2, 1] = z, -y, x
    return k


def _rotations(vectors: Floats) -> Floats:
    """Rotations about vectors by their lengths, (m, 3, 3)."""
    return np.asarray(Rotation.from_rotvec(vectors).as_matrix())


def _left_jacobians(vectors: Floats) -> Floats:
    """Turn, (m, 3, 3), that a change of a rotation vector adds to its rotation."""
    angle = np.linalg.norm(vectors, axis=1)[:, None, None]
    k, small = _cross_matrices(vectors), angle < 1e-3
    safe = np.where(small, 1.0, angle)
    first = np.where(small, 0.5, (1 - np.cos(safe)) / safe**2)
    second = np.where(small, 1 / 6, (safe - np.sin(safe)) / safe**3)
    jacobians: Floats = np.eye(3) + first * k + second * (k @ k)
    return jacobians


def _turn_onto(axis: Floats, way: Floats, angle: float) -> Floats:
    """A rotation that lays an axis along a way, turned about it by an angle."""
    frames = []
    for vector in (axis, way):
        along = vector / np.linalg.norm(vector)
        side = np.cross(along, np.eye(3)[np.abs(along).argmin()])
        side /= np.linalg.norm(side)
        frames.append(np.stack([along, side, np.cross(along, side)], axis=1))
    about = _rotations((way / np.linalg.norm(way) * angle)[None])[0]
    turn: Floats = about @ frames[1] @ frames[0].T
    return turn
