"""From an assignment of units to a net to a crystal: placed, then relaxed as rigid bodies.

The net gives the first positions, in its most symmetric form, which real units rarely suit. So
units are then moved and turned, and the cell is strained, all at once, until every bond between two
units has its length and leaves both in the direction of their arms, and no other atoms are close.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
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
Bond = tuple[int, int, tuple[int, ...]]

ROOM = 1.1  # Angstrom beyond the sum of covalent radii that atoms without a bond keep apart
_CLASH = 0.5  # weight of a squared Angstrom of clash to one of a bond that is off
_SKIN = 1.0  # Angstrom within which pairs are kept until the next list of them
_STAGES, _ITERATIONS = 4, 60
_STIFF = 15.0  # Angstrom that a unit of strain counts for
_FLATTEST = 1.5  # Angstrom between opposite faces of a cell
_MOST_NETS = 24
_FINER = 60  # finer lattices that are looked at, those with the longest vectors
_NEXT, _NEXT_IN_NODE = 1.9, 2.5  # Angstrom from an anchor to the atoms next to it


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
    bodies.relax()
    if catenation > 1:
        bodies.interpenetrate(catenation, choice=seed % 3)
        bodies.relax()
    points, lattice, atoms = bodies.points(), bodies.lattice, bodies.atoms
    crystal = Crystal(bodies.species, points[:atoms] @ np.linalg.inv(lattice), lattice, name)
    gaps = points[bodies.second] + bodies.shifts @ lattice - points[bodies.first]
    stretch = np.abs(np.linalg.norm(gaps, axis=1) - bodies.lengths).max()
    owner = bodies.owner[:atoms]
    found = Bonded(crystal).bonds
    between = (owner[found.first] != owner[found.second]) | found.shift.any(axis=1)
    planned = _bonds(bodies.first, bodies.second, bodies.shifts.astype(np.int64))
    wrong = planned ^ _bonds(*found.only(between)[:3])
    return Built(crystal, owner, float(stretch), len(wrong))


def _bonds(first: Integers, second: Integers, shifts: Integers) -> set[Bond]:
    """Bonds, each under one name from either side."""
    return {
        min((i, j, tuple(cell)), (j, i, tuple(-s for s in cell)))
        for i, j, cell in zip(first.tolist(), second.tolist(), shifts.tolist(), strict=True)
    }


class _Bodies:
    """Units as rigid bodies, with B bonds between them.

    Points are the n atoms of all units, then for each bond where either side wants the other's
    anchor: ``local``, (n + 2 B, 3), about the centre of the unit ``owner``, (n + 2 B,). Bonds join
    the atoms ``first`` and ``second``, (B,), the latter in the cell ``shifts``, (B, 3).
    """

    def __init__(
        self, net: Net, assignment: Assignment, library: UnitLibrary, rng: np.random.Generator
    ) -> None:
        every = [taken for taken in (*assignment.vertices, *assignment.edges) if taken]
        self.units = [library[taken.unit] for taken in every]
        sizes = [len(unit) for unit in self.units]
        self.starts = np.cumsum([0, *sizes])
        self.atoms = int(self.starts[-1])
        self.species = np.concatenate([atomic_numbers(unit.symbols) for unit in self.units])
        self.radii = COVALENT_RADII[self.species].astype(np.float64)
        # One bond closes an edge between two vertices, two bonds one that a unit takes: body and
        # arm on either side, the edge, and the cell of the second.
        links: list[tuple[int, int, int, int, int, Integers]] = []
        body = len(assignment.vertices)
        for edge, taken in enumerate(assignment.edges):
            (u, v), (i, j) = net.ends[edge].tolist(), net.arms[edge].tolist()
            arm_u, arm_v = assignment.vertices[u].order[i], assignment.vertices[v].order[j]
            if taken is None:
                links.append((u, arm_u, v, arm_v, edge, net.offsets[edge]))
                continue
            links.append((u, arm_u, body, taken.order[0], edge, 0 * net.offsets[edge]))
            links.append((body, taken.order[1], v, arm_v, edge, net.offsets[edge]))
            body += 1
        local = [unit.positions - unit.centre for unit in self.units]
        owner = np.repeat(np.arange(len(sizes)), sizes).tolist()
        ends, self.skipped = [], set[int]()
        self.lengths, reach = np.zeros(len(links)), np.zeros(len(links))
        for bond, (one, arm, other, far, _, _) in enumerate(links):
            sides = ((self.units[one], arm, one), (self.units[other], far, other))
            self.lengths[bond] = length = _bond_length(*sides[0][:2], *sides[1][:2])
            for unit, end, place in sides:
                anchor = unit.positions[unit.anchors[end]]
                way = (unit.ends[end] - anchor) / unit.halves[end]
                local.append((anchor + length * way - unit.centre)[None])
                owner.append(place)
                ends.append(int(self.starts[place] + unit.anchors[end]))
                reach[bond] += np.linalg.norm(anchor - unit.centre)
            self._skip(*(self._next_to(*side) for side in sides))
        self.local, self.owner = np.concatenate(local), np.array(owner)
        self.first, self.second = np.array(ends).reshape(-1, 2).T
        self.shifts = np.array([link[-1] for link in links], dtype=np.float64)
        needed = np.zeros(len(net.ends))
        np.add.at(needed, [link[4] for link in links], reach + self.lengths)
        self._start(net, assignment, rng, needed)

    def _next_to(self, unit: Unit, arm: int, body: int) -> tuple[int, list[int]]:
        """The anchor of an arm, and the atoms next to it."""
        apart = np.linalg.norm(unit.positions - unit.positions[unit.anchors[arm]], axis=1)
        near = np.flatnonzero(apart < (_NEXT_IN_NODE if unit.kind == "node" else _NEXT))
        start = self.starts[body]
        return int(start + unit.anchors[arm]), (start + near).tolist()

    def _skip(self, one: tuple[int, list[int]], other: tuple[int, list[int]]) -> None:
        """Atoms at the ends of a bond and those next to them are close for a reason."""
        (here, around), (there, beyond) = one, other
        for i, j in [*product([here], beyond), *product(around, [there])]:
            self.skipped |= {i * self.atoms + j, j * self.atoms + i}

    def _start(
        self, net: Net, assignment: Assignment, rng: np.random.Generator, needed: Floats
    ) -> None:
        """Scale the net until its edges have about the lengths that they need, and place units."""
        along = net.vertices[net.ends[:, 1]] + net.offsets - net.vertices[net.ends[:, 0]]
        lengths = np.linalg.norm(along @ net.lattice, axis=1)
        self.lattice = net.lattice * (needed @ lengths / (lengths @ lengths))
        self.centres = np.zeros((len(self.units), 3))
        self.turned = np.zeros((len(self.units), 3, 3))
        self.centres[: len(net.vertices)] = net.vertices @ self.lattice
        for vertex, taken in enumerate(assignment.vertices):
            self._turn(vertex, taken.order, net.directions[vertex])
        body = len(net.vertices)
        ways = along @ self.lattice
        for way, (u, _), on_edge in zip(ways, net.ends, assignment.edges, strict=True):
            if on_edge is not None:
                self.centres[body] = self.centres[u] + way / 2
                self._turn(body, on_edge.order, np.stack([-way, way]))
                way *= rng.uniform(0, 2 * np.pi) / np.linalg.norm(way)
                self.turned[body] = Rotation.from_rotvec(way).as_matrix() @ self.turned[body]
                body += 1

    def _turn(self, body: int, order: tuple[int, ...], ways: Floats) -> None:
        """Lay the arms of a body along ways, (k, 3)."""
        ways = ways / np.linalg.norm(ways, axis=1, keepdims=True)
        self.turned[body] = kabsch(self.units[body].directions[list(order)][None], ways[None])[0]

    def relax(self) -> None:
        """Move and turn the units and strain the cell to less energy."""
        count = len(self.units)
        for _ in range(_STAGES):
            self._list_pairs()
            x = minimize(
                self._energy,
                np.zeros(6 * count + 9),
                jac=True,
                method="L-BFGS-B",
                options={"maxiter": _ITERATIONS, "maxcor": 20, "gtol": 1e-4},
            ).x
            moves, turns, strain = self._unpacked(x)
            self.centres = (self.centres + moves) @ strain
            self.lattice = self.lattice @ strain
            self.turned = Rotation.from_rotvec(turns).as_matrix() @ self.turned
            if np.abs(x).max() < 0.01:
                break
        self._require_room()

    def _unpacked(self, x: Floats) -> tuple[Floats, Floats, Floats]:
        """Moves and rotation vectors of the bodies, (m, 3) each, and the strained unit matrix."""
        count = 3 * len(self.units)
        strain = np.eye(3) + x[2 * count :].reshape(3, 3) / _STIFF
        return x[:count].reshape(-1, 3), x[count : 2 * count].reshape(-1, 3), strain

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
                rated.append((self._energy(np.zeros(6 * len(self.units) + 9))[0], place))
        if not rated:
            raise CollapsedError(f"there is no room for {times} nets")
        lattice, change = finer[sorted(rated)[min(choice, len(rated) - 1)][1]]
        self.lattice, self.shifts = lattice, np.rint(shifts @ change)

    def points(self) -> Floats:
        """All points, (n + 2 B, 3), Cartesian in Angstrom."""
        points: Floats = np.einsum("nij,nj->ni", self.turned[self.owner], self.local)
        points += self.centres[self.owner]
        return points

    def _list_pairs(self) -> None:
        """Find the pairs of atoms of different units, or images, that may come close."""
        self._require_room()
        fractional = self.points()[: self.atoms] @ np.linalg.inv(self.lattice)
        widest = 2 * float(self.radii.max()) + ROOM + _SKIN
        close = neighbours(self.lattice, fractional, widest)
        room = self.radii[close.first] + self.radii[close.second] + ROOM
        wanted = close.apart < room + _SKIN
        wanted &= (self.owner[close.first] != self.owner[close.second]) | close.shift.any(axis=1)
        skipped = np.fromiter(self.skipped, dtype=np.int64, count=len(self.skipped))
        wanted &= ~np.isin(close.first * self.atoms + close.second, skipped)
        first, second, shift, _ = close.only(wanted)
        self._pairs = first, second, shift @ self.lattice, room[wanted]

    def _energy(self, x: Floats) -> tuple[float, Floats]:
        """Squares of gaps and clashes in square Angstrom, and their gradient."""
        moves, turns, strain = self._unpacked(x)
        turned = Rotation.from_rotvec(turns).as_matrix() @ self.turned
        arms = np.einsum("nij,nj->ni", turned[self.owner], self.local)
        free = self.centres + moves
        points = arms + (free @ strain)[self.owner]
        force = np.zeros_like(points)  # gradient by each point
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
        first, second, cells, room = self._pairs
        gap = points[second] + cells @ strain - points[first]
        apart = np.sqrt((gap**2).sum(axis=1)) + 1e-9
        over = np.maximum(room - apart, 0.0)
        energy += _CLASH * float(over @ over)
        pull = (-2 * _CLASH * over / apart)[:, None] * gap
        np.add.at(force, second, pull)
        np.subtract.at(force, first, pull)
        by_strain += cells.T @ pull
        body_force, torque = np.zeros((2, len(self.units), 3))
        np.add.at(body_force, self.owner, force)
        np.add.at(torque, self.owner, np.cross(arms, force))
        by_strain += free.T @ body_force
        parts = body_force @ strain.T, _by_turns(turns, torque), by_strain / _STIFF
        return energy, np.concatenate([part.ravel() for part in parts])


def _by_turns(turns: Floats, torque: Floats) -> Floats:
    """Gradient by rotation vectors, (m, 3): the transposed left Jacobian times the torque."""
    angle = np.linalg.norm(turns, axis=1, keepdims=True)
    small = angle < 1e-3
    safe = np.where(small, 1.0, angle)
    first = np.where(small, 0.5, (1 - np.cos(safe)) / safe**2)
    second = np.where(small, 1 / 6, (safe - np.sin(safe)) / safe**3)
    across = np.cross(turns, torque)
    gradient: Floats = torque - first * across + second * np.cross(turns, across)
    return gradient


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
