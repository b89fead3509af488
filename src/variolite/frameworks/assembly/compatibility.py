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

import numpy as np

from variolite.crystals.crystals import Crystal
from variolite.crystals.elements import ATOMIC_NUMBERS, METALLIC, atomic_numbers
from variolite.errors import DataError
from variolite.frameworks.assembly.nets import Net, Nets, UnusableNetError, all_nets
from variolite.frameworks.assembly.structure_checks import CHECKS, Bonded, charge_range
from variolite.frameworks.assembly.unit_library import Unit, UnitLibrary, assignments

MAX_RMSD = 0.35
"""How far arms may point from the directions of a vertex: root mean square of unit vectors."""

_DONORS = frozenset({"N", "O", "S", "Se", "P", "F", "Cl", "Br", "I"})
# Other atoms that are bonded across a cut in real structures: of the node, of the linker.
_PAIRS = frozenset(
    {("C", "C"), ("S", "C"), ("P", "C"), ("B", "C"), ("N", "N"), ("O", "N"), ("F", "Si")}
)
_STEPS = 4_000
_WAYS = 200


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
    rmsd: float

    def counts(self) -> dict[str, int]:
        """How often each unit is used in the cell of the net."""
        every = (taken.unit for taken in (*self.vertices, *self.edges) if taken)
        return dict(sorted(Counter(every).items()))


class Chemistry(NamedTuple):
    """Least and greatest charge of a unit, and what is wrong with it as it was read."""

    charge: tuple[float, float]
    fault: str


_BOX = 80.0  # Angstrom
_FAULTS = (
    "has_atomic_overlaps",
    "has_short_bonds",
    "has_overcoordinated_c",
    "has_overcoordinated_n",
    "has_overcoordinated_h",
    "has_undercoordinated_c",
)


def chemistry_of(unit: Unit) -> Chemistry:
    """Look at a unit by itself, with hydrogen where it is bonded to another nonmetal."""
    metals = METALLIC[atomic_numbers(unit.anchor_symbols)]
    capped = ~metals if unit.kind == "node" else np.array([s == "C" for s in unit.anchor_symbols])
    at = unit.positions[unit.anchors]
    caps = at + (unit.ends - at) / unit.halves[:, None]
    points = np.concatenate([unit.positions, caps[capped]])
    species = atomic_numbers([*unit.symbols, *["H"] * int(capped.sum())])
    bonded = Bonded(Crystal(species, (points - unit.centre) / _BOX + 0.5, np.eye(3) * _BOX))
    faults = (f"{name} ({detail})" for name in _FAULTS if (detail := CHECKS[name](bonded)))
    return Chemistry(charge_range(bonded), "; ".join(faults))


def may_bond(node: str, linker: str) -> bool:
    """Whether an atom of a node forms a bond with one of a linker, by their symbols."""
    if METALLIC[ATOMIC_NUMBERS[node]]:
        return linker in _DONORS
    return (node, linker) in _PAIRS


class Compatibility:
    """Answers what fits, and remembers; one object per library serves all questions.

    Where ``strict``, units that are faulty as they were read are refused, and so are combinations
    whose charges cannot add up to nothing.
    """

    def __init__(
        self,
        library: UnitLibrary,
        nets: Nets | None = None,
        *,
        max_rmsd: float = MAX_RMSD,
        strict: bool = True,
    ) -> None:
        self.library, self.max_rmsd, self.strict = library, max_rmsd, strict
        self.nets = all_nets() if nets is None else nets
        self._reasons: dict[tuple[str, frozenset[str]], str] = {}
        self._fits: dict[str, dict[int, dict[str, float]]] = {}
        self._chemistry: dict[str, Chemistry] = {}

    def chemistry(self, unit: str) -> Chemistry:
        """Charge and faults of a unit of the library."""
        if unit not in self._chemistry:
            self._chemistry[unit] = chemistry_of(self.library.require(unit))
        return self._chemistry[unit]

    def why_charged(self, counts: Mapping[str, int]) -> str:
        """Why this number of units cannot be neutral together; empty where they can."""
        charges = [(n * np.array(self.chemistry(unit).charge)) for unit, n in counts.items()]
        least, most = np.sum(charges, axis=0)
        if least <= 0 <= most:
            return ""
        return f"the charge of the units is {least:g}" + (f" to {most:g}" if most > least else "")

    def fits(self, net: str) -> dict[int, dict[str, float]]:
        """Units of the library for each orbit of vertices, with the RMSD of their arms.

        Key -1 has the units for edges. An unusable net has none.
        """
        if net not in self._fits:
            try:
                found = self.nets.require(net)
            except UnusableNetError:
                return {}
            places = _first_of_orbits(found)
            fits: dict[int, dict[str, float]] = {orbit: {} for orbit in (*places, -1)}
            for name, unit in self.library.items():
                if self.strict and self.chemistry(name).fault:
                    continue
                if unit.arms == 2:
                    fits[-1][name] = 0.0
                for orbit, vertex in places.items():
                    rmsd = _rmsd(found, vertex, unit)
                    if rmsd <= self.max_rmsd:
                        fits[orbit][name] = rmsd
            self._fits[net] = fits
        return self._fits[net]

    def why_not(self, net: str, nodes: Iterable[str], linkers: Iterable[str]) -> str:
        """Why units cannot be placed together on a net; empty where they can."""
        units = frozenset((*nodes, *linkers))
        if (net, units) not in self._reasons:
            try:
                self.place(net, units)
            except DataError as error:
                self._reasons[net, units] = error.what
            else:
                self._reasons[net, units] = ""
        return self._reasons[net, units]

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
        found = self.nets.require(net)
        chosen = [self.library.require(name) for name in sorted(set(units))]
        if not chosen:
            raise IncompatibleError("no building units are given", where=net)
        for unit in chosen if self.strict else ():
            if fault := self.chemistry(unit.name).fault:
                raise IncompatibleError(f"{unit.name} is faulty: {fault}", where=net)
        ways = _ways_of_orbits(found, chosen, self.max_rmsd)
        rng = np.random.default_rng(seed) if seed else None
        on_edges = [unit for unit in chosen if unit.arms == 2]
        if rng is not None:
            rng.shuffle(ways)
        reason, steps = "", [_STEPS]
        for way in ways:
            for vertices, rmsd in _placed_vertices(found, way, on_edges, rng, steps):
                edges = _placed_edges(found, vertices, way, on_edges, counts or {}, rng)
                left = {u.name for u in on_edges} - {taken.unit for taken in edges if taken}
                if left:
                    reason = f"no edge of {net} is left for {min(left)}"
                    continue
                assignment = Assignment(net, vertices, edges, rmsd)
                reason = self.why_charged(assignment.counts()) if self.strict else ""
                if not reason:
                    return assignment
        reason = reason or f"the ends of the units do not match along the edges of {net}"
        raise IncompatibleError(reason, where=net)


def _first_of_orbits(net: Net) -> dict[int, int]:
    orbits, first = np.unique(net.orbits, return_index=True)
    return dict(zip(orbits.tolist(), first.tolist(), strict=True))


def _rmsd(net: Net, vertex: int, unit: Unit) -> float:
    if unit.arms != net.connections[vertex] or unit.arms < 3:
        return np.inf
    _, rmsd = assignments(net.directions[vertex], unit.directions)
    return float(rmsd[0]) if len(rmsd) else np.inf


def _ways_of_orbits(net: Net, units: list[Unit], max_rmsd: float) -> list[list[list[Unit]]]:
    """Ways to choose the unit of every vertex, each using all units with three arms or more.

    Equal vertices get equal units; where there are more units than orbits every vertex may have
    any. Raises an IncompatibleError where an orbit or a unit is left out.
    """
    bulky = [unit for unit in units if unit.arms > 2]
    places = _first_of_orbits(net)
    options: dict[int, list[Unit]] = {}
    for orbit, vertex in places.items():
        arms = net.connections[vertex]
        alike = [unit for unit in bulky if unit.arms == arms]
        rmsd = {unit.name: _rmsd(net, vertex, unit) for unit in alike}
        options[orbit] = [unit for unit in alike if rmsd[unit.name] <= max_rmsd]
        if not alike:
            what = f"no unit has {arms} arms for a vertex of {net.name}"
            raise IncompatibleError(what, where=net.name)
        if not options[orbit]:
            least = min(rmsd.values())
            what = f"no unit with {arms} arms has the shape of a vertex of {net.name}"
            raise IncompatibleError(f"{what} ({least:.2f} > {max_rmsd:g})", where=net.name)
    for unit in bulky:
        if not any(unit in found for found in options.values()):
            what = f"{unit.name} fits no vertex of {net.name}"
            raise IncompatibleError(what, where=net.name)
    ways = []
    for choice in product(*options.values()):
        if len(set(choice)) == len(bulky):
            of = dict(zip(options, choice, strict=True))
            ways.append([[of[int(orbit)]] for orbit in net.orbits])
        if len(ways) >= _WAYS:
            break
    return ways or [[options[int(orbit)] for orbit in net.orbits]]


def _placed_vertices(
    net: Net,
    way: list[list[Unit]],
    on_edges: list[Unit],
    rng: np.random.Generator | None,
    steps: list[int],
) -> Iterator[tuple[tuple[Taken, ...], float]]:
    """Search for orders of arms at every vertex with which every edge can be closed."""
    order = _breadth_first(net)
    neighbours: list[list[int]] = [[] for _ in order]
    rank = {vertex: place for place, vertex in enumerate(order)}
    for edge, (u, v) in enumerate(net.ends.tolist()):
        neighbours[max(rank[u], rank[v])].append(edge)
    domains = []
    for vertex in order:
        found: dict[tuple[str, ...], list[tuple[Unit, tuple[int, ...], float]]] = {}
        for unit in way[vertex]:
            orders, rmsd = assignments(net.directions[vertex], unit.directions)
            for turned, value in zip(orders.tolist(), rmsd.tolist(), strict=True):
                key = (unit.name, *(unit.anchor_symbols[arm] for arm in turned))
                found.setdefault(key, []).append((unit, tuple(turned), value))
        # Orders with the same atoms along the same edges are the same to the search.
        domain = [every[0 if rng is None else rng.integers(len(every))] for every in found.values()]
        if rng is not None:
            rng.shuffle(domain)
        domains.append(domain)
    required = {unit.name for units in way for unit in units}
    chosen: dict[int, tuple[Unit, tuple[int, ...], float]] = {}

    def search(depth: int) -> Iterator[tuple[tuple[Taken, ...], float]]:
        if depth == len(order):
            if required <= {unit.name for unit, _, _ in chosen.values()}:
                every = [chosen[vertex] for vertex in range(len(order))]
                taken = tuple(Taken(unit.name, turned) for unit, turned, _ in every)
                yield taken, max(value for _, _, value in every)
            return
        domain = domains[depth]
        if len(way[order[depth]]) > 1:  # in turn, so that none is left out
            used = Counter(unit.name for unit, _, _ in chosen.values())
            domain = sorted(domain, key=lambda found: used[found[0].name])
        for found in domain:
            steps[0] -= 1
            if steps[0] < 0:
                return
            chosen[order[depth]] = found
            if all(_edge_options(net, edge, chosen, on_edges) for edge in neighbours[depth]):
                yield from search(depth + 1)
        chosen.pop(order[depth], None)

    yield from search(0)


def _edge_options(
    net: Net,
    edge: int,
    chosen: Mapping[int, tuple[Unit, tuple[int, ...], float]],
    on_edges: list[Unit],
) -> list[Taken | None]:
    """What may take an edge whose two vertices are chosen; None for a bond between them."""
    atoms = []
    for vertex, arm in zip(net.ends[edge].tolist(), net.arms[edge].tolist(), strict=True):
        unit, turned, _ = chosen[vertex]
        atoms.append((unit.kind, unit.anchor_symbols[turned[arm]]))
    options: list[Taken | None] = []
    if _joins(*atoms):
        options.append(None)
    for unit in on_edges:
        for order in ((0, 1), (1, 0)):
            ends = [(unit.kind, unit.anchor_symbols[arm]) for arm in order]
            if _joins(atoms[0], ends[0]) and _joins(atoms[1], ends[1]):
                options.append(Taken(unit.name, order))
    return options


def _joins(one: tuple[str, str], other: tuple[str, str]) -> bool:
    (kind, symbol), (other_kind, other_symbol) = one, other
    if kind == other_kind:
        return False
    return may_bond(symbol, other_symbol) if kind == "node" else may_bond(other_symbol, symbol)


def _placed_edges(
    net: Net,
    vertices: tuple[Taken, ...],
    way: list[list[Unit]],
    on_edges: list[Unit],
    counts: Mapping[str, float],
    rng: np.random.Generator | None,
) -> tuple[Taken | None, ...]:
    """Take every edge, those with the fewest options first, each unit in turn."""
    units = {unit.name: unit for choice in way for unit in choice}
    chosen = {place: (units[t.unit], t.order, 0.0) for place, t in enumerate(vertices)}
    options = [_edge_options(net, edge, chosen, on_edges) for edge in range(len(net.ends))]
    used: Counter[str] = Counter()
    taken: list[Taken | None] = [None] * len(options)
    for edge in sorted(range(len(options)), key=lambda e: len({t and t.unit for t in options[e]})):
        # Each kind once, then in proportion.
        least = [
            (used[o.unit] > 0, (used[o.unit] + 1) / max(counts.get(o.unit, 1), 1e-9)) if o else ()
            for o in options[edge]
        ]
        best = [o for o, value in zip(options[edge], least, strict=True) if value == min(least)]
        option = best[0 if rng is None else rng.integers(len(best))]
        taken[edge] = option
        if option:
            used[option.unit] += 1
    return tuple(taken)


def _breadth_first(net: Net) -> list[int]:
    """Vertices, each after one that it is joined to."""
    order, seen = [0], {0}
    pairs = net.ends.tolist()
    for vertex in order:
        for u, v in pairs:
            for here, there in ((u, v), (v, u)):
                if here == vertex and there not in seen:
                    seen.add(there)
                    order.append(there)
    return order
