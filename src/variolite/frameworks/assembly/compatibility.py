"""Which building units go together on which net, and where each of them is placed.

Units with three or more arms take vertices of the net whose directions their arms have; those
with two take edges. A bond joins a node and a linker, and only atoms that form one: a metal and a
donor, the carbon of an acid group and another. So a paddlewheel with six arms takes dicarboxylates
on four of them and pillars on the two at its metals.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import product
from typing import NamedTuple

import networkx
import numpy as np

from variolite.crystals.crystals import Crystal
from variolite.crystals.elements import ATOMIC_NUMBERS, METALLIC, atomic_numbers
from variolite.errors import DataError
from variolite.frameworks.assembly.nets import Net, Nets, all_nets
from variolite.frameworks.assembly.structure_checks import (
    CHECKS,
    Bonded,
    charge_problem,
    charge_range,
)
from variolite.frameworks.assembly.unit_library import Unit, UnitLibrary, assignments

MAX_RMSD = 0.35
"""How far arms may point from the directions of a vertex: root mean square of unit vectors."""

_DONORS = frozenset(["N", "O", "S", "Se", "P", "F", "Cl", "Br", "I"])
# Other atoms that are bonded across a cut in real structures: of the node, of the linker.
_PAIRS = frozenset(
    {("C", "C"), ("S", "C"), ("P", "C"), ("B", "C"), ("N", "N"), ("O", "N"), ("F", "Si")}
)
_STEPS = 4_000  # of the search on one net
_WAYS = 200  # to choose units for the orbits of a net
_BOX = 80.0  # Angstrom: room for a unit by itself
_FAULTS = (
    "has_atomic_overlaps",
    "has_short_bonds",
    "has_overcoordinated_c",
    "has_overcoordinated_n",
    "has_overcoordinated_h",
    "has_undercoordinated_c",
)


class IncompatibleError(DataError):
    """Units that cannot be placed together on a net; the message says why."""


class Taken(NamedTuple):
    """A unit at a place of the net; ``order`` is which of its arms goes where."""

    unit: str
    order: tuple[int, ...]


@dataclass(frozen=True)
class Assignment:
    """What takes every vertex and every edge of a net; None where vertices bond directly."""

    net: str
    vertices: tuple[Taken, ...]
    edges: tuple[Taken | None, ...]

    def counts(self) -> dict[str, int]:
        """How often each unit is used in the cell of the net."""
        every = (taken.unit for taken in (*self.vertices, *self.edges) if taken)
        return dict(sorted(Counter(every).items()))


def chemistry_of(unit: Unit) -> tuple[tuple[float, float], str]:
    """Least and greatest charge of a unit, and what is wrong with it as it was read.

    It is looked at by itself, with hydrogen where it is bonded to another nonmetal.
    """
    metals = METALLIC[atomic_numbers(unit.anchor_symbols)]
    capped = ~metals if unit.kind == "node" else np.array([s == "C" for s in unit.anchor_symbols])
    at = unit.positions[unit.anchors]
    caps = at + (unit.ends - at) / unit.halves[:, None]
    points = np.concatenate([unit.positions, caps[capped]])
    species = atomic_numbers([*unit.symbols, *["H"] * int(capped.sum())])
    bonded = Bonded(Crystal(species, (points - unit.centre) / _BOX + 0.5, np.eye(3) * _BOX))
    faults = (f"{name} ({detail})" for name in _FAULTS if (detail := CHECKS[name](bonded)))
    return charge_range(bonded), "; ".join(faults)


def may_bond(node: str, linker: str) -> bool:
    """Whether an atom of a node forms a bond with one of a linker, by their symbols."""
    return linker in _DONORS if METALLIC[ATOMIC_NUMBERS[node]] else (node, linker) in _PAIRS


class Compatibility:
    """Answers what fits, and remembers; one object per library serves all questions.

    Where ``strict``, units that are faulty as they were read are refused, and so are combinations
    whose charges cannot add up to zero.
    """

    def __init__(
        self, library: UnitLibrary, nets: Nets | None = None, *, strict: bool = True
    ) -> None:
        self.library, self.strict = library, strict
        self.nets = all_nets() if nets is None else nets
        self._reasons: dict[tuple[str, frozenset[str]], str] = {}
        self._chemistry: dict[str, tuple[tuple[float, float], str]] = {}

    def chemistry(self, unit: str) -> tuple[tuple[float, float], str]:
        """Charge and faults of a unit of the library."""
        if unit not in self._chemistry:
            self._chemistry[unit] = chemistry_of(self.library.require(unit))
        return self._chemistry[unit]

    def why_not(self, net: str, units: Iterable[str]) -> str:
        """Why units cannot be placed together on a net; empty where they can."""
        key = net, frozenset(units)
        if key not in self._reasons:
            self._reasons[key] = ""
            try:
                self.place(*key)
            except DataError as error:
                self._reasons[key] = error.what
        return self._reasons[key]

    def place(
        self,
        net: str,
        units: Iterable[str],
        *,
        counts: Mapping[str, float] | None = None,
        seed: int = 0,
    ) -> Assignment:
        """Place units so that each is used, in about the proportions of ``counts``.

        Seed 0 lays arms along the directions that they match best; others choose among equals.
        Raises an `IncompatibleError` with the reason, or a DataError for unknown names.
        """
        found = self.nets[net]
        chosen = [self.library.require(name) for name in sorted(set(units))]
        if not chosen:
            raise IncompatibleError("no building units are given", where=net)
        for unit in chosen if self.strict else ():
            if fault := self.chemistry(unit.name)[1]:
                raise IncompatibleError(f"{unit.name} is faulty: {fault}", where=net)
        search = _Search(found, chosen, np.random.default_rng(seed) if seed else None)
        reason = ""
        for vertices in search.vertices():
            edges = search.edges(vertices, counts or {})
            used = {taken.unit for taken in edges if taken}
            if left := {unit.name for unit in search.on_edges} - used:
                reason = f"no edge of {net} is left for {min(left)}"
                continue
            assignment, reason = Assignment(net, vertices, edges), ""
            if self.strict:
                every = assignment.counts().items()
                ranges = [np.multiply(n, self.chemistry(unit)[0]) for unit, n in every]
                charge = charge_problem(*np.sum(ranges, axis=0))
                reason = charge and f"the charge of the units is {charge}"
            if not reason:
                return assignment
        reason = reason or f"the ends of the units do not match along the edges of {net}"
        raise IncompatibleError(reason, where=net)


def arms_rmsd(net: Net, vertex: int, unit: Unit) -> float:
    """How far the arms of a unit point from the directions of a vertex; infinite without a fit."""
    if unit.arms != net.connections[vertex] or unit.arms < 3:
        return np.inf
    _, rmsd = assignments(net.directions[vertex], unit.directions)
    return float(rmsd[0]) if len(rmsd) else np.inf


class _Search:
    """Units on a net, by backtracking: both ends of every edge have to form a bond.

    ``rng`` chooses among equals; without it the first is taken.
    """

    def __init__(self, net: Net, units: list[Unit], rng: np.random.Generator | None) -> None:
        self.net, self.rng = net, rng
        self.units = {unit.name: unit for unit in units}
        self.on_edges = [unit for unit in units if unit.arms == 2]
        self.bulky = [unit for unit in units if unit.arms > 2]
        self.steps = _STEPS

    def _pick(self, count: int) -> int:
        return int(self.rng.integers(count)) if self.rng is not None else 0

    def ways(self) -> list[list[list[Unit]]]:
        """Ways to choose the unit of every vertex, each using all units with three arms or more.

        Equal vertices get equal units; where there are more units than orbits every vertex may
        have any. Raises an IncompatibleError where an orbit or a unit is left out.
        """
        net = self.net
        options: dict[int, list[Unit]] = {}
        for orbit, vertex in zip(*np.unique(net.orbits, return_index=True), strict=True):
            arms = net.connections[vertex]
            rmsd = {u.name: arms_rmsd(net, vertex, u) for u in self.bulky if u.arms == arms}
            options[int(orbit)] = [self.units[name] for name in rmsd if rmsd[name] <= MAX_RMSD]
            if not rmsd:
                what = f"no unit has {arms} arms for a vertex of {net.name}"
                raise IncompatibleError(what, where=net.name)
            if not options[int(orbit)]:
                what = f"no unit with {arms} arms has the shape of a vertex of {net.name}"
                detail = f" ({min(rmsd.values()):.2f} > {MAX_RMSD:g})"
                raise IncompatibleError(what + detail, where=net.name)
        for unit in self.bulky:
            if not any(unit in found for found in options.values()):
                what = f"{unit.name} fits no vertex of {net.name}"
                raise IncompatibleError(what, where=net.name)
        ways = []
        for choice in product(*options.values()):
            if len(set(choice)) == len(self.bulky):
                of = dict(zip(options, choice, strict=True))
                ways.append([[of[int(orbit)]] for orbit in net.orbits])
            if len(ways) >= _WAYS:
                break
        if self.rng is not None:
            self.rng.shuffle(ways)
        return ways or [[options[int(orbit)] for orbit in net.orbits]]

    def vertices(self) -> Iterator[tuple[Taken, ...]]:
        """Yield units and orders of their arms at every vertex with which every edge closes."""
        graph = networkx.Graph(self.net.ends.tolist())
        order = [0, *(vertex for _, vertex in networkx.bfs_edges(graph, 0))]
        rank = {vertex: place for place, vertex in enumerate(order)}
        # Edges by the later of their vertices: then both ends are known.
        closed: list[list[int]] = [[] for _ in order]
        for edge, (u, v) in enumerate(self.net.ends.tolist()):
            closed[max(rank[u], rank[v])].append(edge)
        for way in self.ways():
            domains = [self._domain(vertex, way[vertex]) for vertex in order]
            required = {unit.name for units in way for unit in units}
            yield from self._extended({}, order, domains, closed, required)

    def _domain(self, vertex: int, units: list[Unit]) -> list[Taken]:
        found: dict[tuple[str, ...], list[Taken]] = {}
        for unit in units:
            orders, _ = assignments(self.net.directions[vertex], unit.directions)
            for order in orders.tolist():
                # Orders with the same atoms along the same edges are the same to the search.
                key = (unit.name, *(unit.anchor_symbols[arm] for arm in order))
                found.setdefault(key, []).append(Taken(unit.name, tuple(order)))
        domain = [every[self._pick(len(every))] for every in found.values()]
        if self.rng is not None:
            self.rng.shuffle(domain)
        return domain

    def _extended(
        self,
        chosen: dict[int, Taken],
        order: list[int],
        domains: list[list[Taken]],
        closed: list[list[int]],
        required: set[str],
    ) -> Iterator[tuple[Taken, ...]]:
        depth = len(chosen)
        if depth == len(order):
            if required <= {taken.unit for taken in chosen.values()}:
                yield tuple(chosen[vertex] for vertex in range(depth))
            return
        # Units in turn, so that none is left out.
        used = Counter(taken.unit for taken in chosen.values())
        for taken in sorted(domains[depth], key=lambda option: used[option.unit]):
            self.steps -= 1
            if self.steps < 0:
                return
            more = chosen | {order[depth]: taken}
            if all(self._options(edge, more) for edge in closed[depth]):
                yield from self._extended(more, order, domains, closed, required)

    def _options(self, edge: int, chosen: Mapping[int, Taken]) -> list[Taken | None]:
        """What may take an edge whose two vertices are chosen; None for a bond between them."""
        ends, arms = self.net.ends[edge].tolist(), self.net.arms[edge].tolist()
        tips = [self._tip(chosen[v], arm) for v, arm in zip(ends, arms, strict=True)]
        options: list[Taken | None] = [None] if _joins(*tips) else []
        for unit in self.on_edges:
            for order in ((0, 1), (1, 0)):
                taken = Taken(unit.name, order)
                if all(_joins(tips[side], self._tip(taken, side)) for side in (0, 1)):
                    options.append(taken)
        return options

    def _tip(self, taken: Taken, arm: int) -> tuple[str, str]:
        """Kind of a unit, and the atom at one of its arms."""
        unit = self.units[taken.unit]
        return unit.kind, unit.anchor_symbols[taken.order[arm]]

    def edges(
        self, vertices: tuple[Taken, ...], counts: Mapping[str, float]
    ) -> tuple[Taken | None, ...]:
        """Take every edge, those with the fewest options first, each unit in turn."""
        chosen = dict(enumerate(vertices))
        options = [self._options(edge, chosen) for edge in range(len(self.net.ends))]
        used: Counter[str] = Counter()
        taken: list[Taken | None] = [None] * len(options)

        def wait(option: Taken | None) -> tuple[float, ...]:
            """Each kind once, then in proportion."""
            if option is None:
                return ()
            share = (used[option.unit] + 1) / max(counts.get(option.unit, 1), 1e-9)
            return used[option.unit] > 0, share

        for edge in sorted(
            range(len(options)), key=lambda e: len({t and t.unit for t in options[e]})
        ):
            least = min(map(wait, options[edge]))
            best = [option for option in options[edge] if wait(option) == least]
            taken[edge] = option = best[self._pick(len(best))]
            if option:
                used[option.unit] += 1
        return tuple(taken)


def _joins(one: tuple[str, str], other: tuple[str, str]) -> bool:
    (kind, symbol), (other_kind, other_symbol) = one, other
    if kind == other_kind:
        return False
    return may_bond(symbol, other_symbol) if kind == "node" else may_bond(other_symbol, symbol)
