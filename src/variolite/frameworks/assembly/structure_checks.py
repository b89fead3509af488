"""Checks that a framework could exist, under the names that MOFChecker gave them.

Each looks at one structure and returns what is wrong, or nothing. They know atoms and cell only, so
that assembled candidates and published structures get the same checks. Two atoms count as bonded up
to `SLACK` beyond the sum of their covalent radii, a metal and another up to `METAL_SLACK`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import combinations, product
from typing import NamedTuple, TypeVar

import networkx
import numpy as np
from numpy.typing import NDArray

from variolite.crystals.crystals import Crystal, Crystals
from variolite.crystals.elements import (
    COVALENT_RADII,
    METALLIC,
    SYMBOLS,
    atomic_numbers,
    densities,
)
from variolite.errors import some_of
from variolite.frameworks.assembly.nets import periodic_parts

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]
Value = TypeVar("Value")

SLACK, METAL_SLACK = 0.3, 0.4
_SHORT = 0.4  # how far below the sum of covalent radii no bond goes, multiple ones included
_HEAVY, _ANY = 1.0, 0.7  # Angstrom
_DENSITY = (0.1, 4.0)  # g/cm3
_BENT = 150.0  # degrees: two bonds of a carbon without hydrogen are straighter
_FLAT = 340.0  # degrees: three bonds of one, together

_H, _B, _C, _N, _O, _SI, _P, _S, _CL, _GE, _AS = atomic_numbers(
    ["H", "B", "C", "N", "O", "Si", "P", "S", "Cl", "Ge", "As"]
).tolist()


class Neighbours(NamedTuple):
    """Pairs of atoms, each once; ``shift`` is the cell of the second, ``apart`` in Angstrom."""

    first: Integers
    second: Integers
    shift: Integers
    apart: Floats

    def only(self, wanted: NDArray[np.bool_]) -> Neighbours:
        """Keep some of the pairs."""
        first, second, shift, apart = self
        return Neighbours(first[wanted], second[wanted], shift[wanted], apart[wanted])


def neighbours(lattice: Floats, fractional: Floats, within: float) -> Neighbours:
    """Every pair of atoms up to ``within`` Angstrom apart, periodic images included."""
    from pymatgen.optimization.neighbors import find_points_in_spheres

    cell = np.ascontiguousarray(lattice, dtype=np.float64)
    places = np.ascontiguousarray(fractional @ cell)
    every = np.ones(3, dtype=np.int64)
    first, second, images, apart = find_points_in_spheres(
        places, places, r=float(within), pbc=every, lattice=cell, tol=1e-8
    )
    shift: Integers = np.rint(images).astype(np.int64)
    # Of a pair of one atom and its image, one of the two directions.
    sign = shift @ np.array([1_000_000, 1_000, 1])
    once = np.flatnonzero((first < second) | ((first == second) & (sign > 0)))
    once = once[np.lexsort((sign[once], second[once], first[once]))]
    return Neighbours(first[once], second[once], shift[once], apart[once])


@dataclass(frozen=True)
class Bonded:
    """A structure with its bonds; what the checks ask of it is computed once."""

    crystal: Crystal

    @cached_property
    def close(self) -> Neighbours:
        """Pairs as close as a bond of the largest atoms."""
        widest = 2 * float(COVALENT_RADII[self.crystal.species].max()) + METAL_SLACK
        return neighbours(self.crystal.lattice, self.crystal.coordinates, widest)

    @cached_property
    def surplus(self) -> Floats:
        """Distance of every close pair beyond the sum of its covalent radii."""
        radii = COVALENT_RADII[self.crystal.species]
        surplus: Floats = self.close.apart - radii[self.close.first] - radii[self.close.second]
        return surplus

    @cached_property
    def metals(self) -> Integers:
        """How many of every close pair are metals; two metals are not bonded."""
        metal = METALLIC[self.crystal.species].astype(np.int64)
        return np.asarray(metal[self.close.first] + metal[self.close.second])

    @cached_property
    def bonds(self) -> Neighbours:
        """Close pairs that are bonded."""
        slack = np.where(self.metals > 0, METAL_SLACK, SLACK)
        return self.close.only((self.surplus <= slack) & (self.metals < 2))

    @cached_property
    def around(self) -> list[list[tuple[int, Floats]]]:
        """For every atom those bonded to it, with the vectors to them."""
        first, second, shift, _ = self.bonds
        places = self.crystal.coordinates
        vectors = (places[second] + shift - places[first]) @ self.crystal.lattice
        around: list[list[tuple[int, Floats]]] = [[] for _ in places]
        for i, j, vector in zip(first.tolist(), second.tolist(), vectors, strict=True):
            around[i].append((j, vector))
            around[j].append((i, -vector))
        return around

    def nonmetals(self, atom: int) -> list[tuple[int, Floats]]:
        """Atoms bonded to one, metals left out."""
        return [(j, v) for j, v in self.around[atom] if not METALLIC[self.crystal.species[j]]]

    def of_elements(self, elements: Iterable[int]) -> list[int]:
        return np.flatnonzero(np.isin(self.crystal.species, list(elements))).tolist()

    def name(self, atom: int) -> str:
        return f"{SYMBOLS[self.crystal.species[atom]]}{atom + 1}"

    @cached_property
    def components(self) -> list[tuple[Integers, int]]:
        """Atoms of every connected part, and in how many dimensions it is periodic."""
        first, second, shift, _ = self.bonds
        return [
            (atoms, int(np.linalg.matrix_rank(loops)) if len(loops) else 0)
            for atoms, loops in periodic_parts(len(self.around), first, second, shift)
        ]

    def pairs(self, wrong: NDArray[np.bool_]) -> str:
        first, second, _, apart = self.close.only(wrong)
        pairs = zip(first, second, apart, strict=True)
        return some_of((f"{self.name(i)}-{self.name(j)} {d:.2f} A" for i, j, d in pairs), 3)

    def counts(self, wrong: Callable[[int], bool], elements: Iterable[int]) -> str:
        atoms = filter(wrong, self.of_elements(elements))
        return some_of((f"{self.name(a)} has {len(self.around[a])} bonds" for a in atoms), 3)


def _overlaps(bonded: Bonded) -> str:
    first, second, _, apart = bonded.close
    heavy = np.minimum(bonded.crystal.species[first], bonded.crystal.species[second]) > 1
    return bonded.pairs((apart < _ANY) | (heavy & (apart < _HEAVY)))


def _short_bonds(bonded: Bonded) -> str:
    return bonded.pairs((bonded.surplus < -_SHORT) & (bonded.metals < 2))


def _too_many(element: int, most: int) -> Callable[[Bonded], str]:
    return lambda bonded: bonded.counts(lambda a: len(bonded.nonmetals(a)) > most, [element])


def _many_on_nitrogen(bonded: Bonded) -> str:
    return bonded.counts(lambda atom: len(bonded.around[atom]) > 4, [_N])  # metals too


def _too_few(symbols: str, least: int) -> Callable[[Bonded], str]:
    elements = atomic_numbers(symbols.split())
    return lambda bonded: bonded.counts(lambda a: len(bonded.around[a]) < least, elements)


def _angles(vectors: Sequence[Floats]) -> list[float]:
    """Angles in degrees between every two vectors."""
    units = [vector / np.linalg.norm(vector) for vector in vectors]
    return [float(np.degrees(np.arccos(np.clip(a @ b, -1, 1)))) for a, b in combinations(units, 2)]


def _bare_carbon(bonded: Bonded) -> str:
    """Carbon whose bonds leave room for an atom that is missing."""

    def wrong(atom: int) -> bool:
        around = bonded.around[atom]
        if any(METALLIC[bonded.crystal.species[j]] for j, _ in around):
            return False
        vectors = [vector for _, vector in around]
        if len(vectors) < 2:  # CO, CN and a triple bond have one that is short
            return not vectors or float(np.linalg.norm(vectors[0])) > 1.25
        if len(vectors) == 2:
            return max(_angles(vectors)) < _BENT
        return len(vectors) == 3 and sum(_angles(vectors)) < _FLAT

    return bonded.counts(wrong, [_C])


def _bare_nitrogen(bonded: Bonded) -> str:
    """Nitrogen with one single bond only."""

    def wrong(atom: int) -> bool:
        lengths = [float(np.linalg.norm(vector)) for _, vector in bonded.around[atom]]
        return not lengths or (len(lengths) == 1 and lengths[0] > 1.3)

    return bonded.counts(wrong, [_N])


def _lone_molecules(bonded: Bonded) -> str:
    alone = [len(atoms) for atoms, rank in bonded.components if rank == 0]
    return f"{len(alone)} parts, {min(alone)} atoms in the smallest" if alone else ""


def _not_3d(bonded: Bonded) -> str:
    ranks = sorted({rank for _, rank in bonded.components})
    if ranks == [3]:
        return ""
    return f"parts are periodic in {', '.join(map(str, ranks))} dimensions"


def _density(bonded: Bonded) -> str:
    (density,) = densities(Crystals.of([bonded.crystal]))
    return "" if _DENSITY[0] <= density <= _DENSITY[1] else f"{density:.2f} g/cm3"


# Charges: a part without metals takes up as many electrons as its bonds leave valences open.


def _by_element(table: Mapping[Value, str]) -> dict[int, Value]:
    return {int(z): value for value, some in table.items() for z in atomic_numbers(some.split())}


_VALENCES = _by_element({1: "H F Cl Br I", 2: "O S Se Te", 3: "B N P As", 4: "C Si Ge"})
_HYPERVALENT = {(_S, 4): 6, (_P, 4): 5, (_CL, 4): 7}  # by element and number of bonds
_RAISED = atomic_numbers(["P", "S", "Cl", "Br", "I", "Se", "As"]).tolist()
_SIX_BONDS = {_SI: -2, _GE: -2, _P: -1, _AS: -1}  # charge, as that of hexafluorosilicate
_STATES = _by_element(
    {
        (1, 1): "Li Na K Rb Cs Ag",
        (2, 2): "Be Mg Ca Sr Ba Zn Cd Ni Pd",
        (3, 3): "Al Ga In Sc Y La Pr Nd Sm Gd Tb Dy Ho Er Tm Lu Bi Ir",
        (4, 4): "Zr Hf Th",
        (1, 2): "Cu Hg",
        (1, 3): "Au Tl Re",
        (2, 3): "Fe Co Cr Eu Yb Ru Rh",
        (2, 4): "Mn Sn Pb Pt",
        (3, 4): "Ce Ti",
        (3, 5): "Sb",
        (4, 5): "Nb",
        (2, 5): "V",
        (2, 6): "Mo",
        (4, 6): "U W Np",
    }
)
"""Least and greatest usual oxidation state of metals."""


def _open_valences(bonded: Bonded, atom: int) -> tuple[int, int]:
    """Valences of an atom that its bonds to nonmetals leave open, and its formal charge."""
    element = int(bonded.crystal.species[atom])
    around = bonded.nonmetals(atom)
    count = len(around)
    if element == _N and count >= 3:
        oxygens = [j for j, _ in around if bonded.crystal.species[j] == _O]
        if count == 4 or sum(len(bonded.nonmetals(j)) == 1 for j in oxygens) >= 2:
            return max(4 - count, 0), 1
    if element == _N and count == 2 and max(_angles([v for _, v in around])) > _BENT:
        return 2, 1  # the middle of an azide
    if element == _B and count == 4:
        return 0, -1
    if count == 6 and element in _SIX_BONDS:
        return 0, _SIX_BONDS[element]
    valence = _HYPERVALENT.get((element, count), _VALENCES.get(element, 0))
    while count > valence and element in _RAISED:
        valence += 2
    return max(valence - count, 0), 0


def _unpaired(valences: dict[int, int], bonded: Bonded) -> int:
    """Open valences that no double or triple bond takes up: what a largest matching leaves."""
    graph = networkx.Graph()
    for atom, count in valences.items():
        graph.add_nodes_from((atom, place) for place in range(count))
        for other in {j for j, _ in bonded.nonmetals(atom)} & valences.keys() - {atom}:
            places = product(range(count), range(valences[other]))
            graph.add_edges_from(((atom, i), (other, j)) for i, j in places)
    parts = (graph.subgraph(part) for part in networkx.connected_components(graph))
    return len(graph) - 2 * sum(len(networkx.max_weight_matching(p, True)) for p in parts)


def charge_range(bonded: Bonded) -> tuple[float, float]:
    """Least and greatest charge by known oxidation states; infinite where one is not known."""
    species = bonded.crystal.species
    metals = species[METALLIC[species]].tolist()
    if any(z not in _STATES for z in metals):
        return -np.inf, np.inf
    valences, formal, fewer, more = {}, 0, 0, 0
    for atom in np.flatnonzero(~METALLIC[species]).tolist():
        free, charge = _open_valences(bonded, atom)
        formal += charge
        if free:
            valences[atom] = free
        # Hydrogen of hydroxide and water is often not located; a quinone may be a diphenolate.
        fewer += 2 * (free == 2 and species[atom] == _O and not bonded.nonmetals(atom))
        more += _is_on_ring(bonded, atom)
    charge = formal - _unpaired(valences, bonded)
    least, most = (sum(_STATES[z][end] for z in metals) for end in (0, 1))
    return least + charge - more, most + charge + fewer


def charge_problem(least: float, most: float) -> str:
    """Write a range of charges that leaves out zero; nothing where it does not."""
    return "" if least <= 0 <= most else f"{least:g}" + (f" to {most:g}" if most > least else "")


def _charged(bonded: Bonded) -> str:
    """Whether known oxidation states of the metals can balance the rest of a structure."""
    problem = charge_problem(*charge_range(bonded))
    has_metals = METALLIC[bonded.crystal.species].any()
    return f"the charge is {problem}" if problem and has_metals else ""


def _is_on_ring(bonded: Bonded, atom: int) -> bool:
    """Whether an atom is an oxygen with one bond, to a carbon between two carbons."""
    species, around = bonded.crystal.species, bonded.nonmetals(atom)
    if species[atom] != _O or len(around) != 1 or species[around[0][0]] != _C:
        return False
    return [species[j] for j, _ in bonded.nonmetals(around[0][0]) if j != atom] == [_C, _C]


CHECKS: dict[str, Callable[[Bonded], str]] = {
    "has_atomic_overlaps": _overlaps,
    "has_short_bonds": _short_bonds,
    "has_overcoordinated_c": _too_many(_C, 4),
    "has_overcoordinated_n": lambda bonded: bonded.counts(
        lambda a: len(bonded.around[a]) > 4, [_N]
    ),
    "has_overcoordinated_h": _too_many(_H, 1),
    "has_undercoordinated_c": _bare_carbon,
    "has_undercoordinated_n": _bare_nitrogen,
    "has_undercoordinated_rare_earth": _too_few(
        "Sc Y La Ce Pr Nd Pm Sm Eu Gd Tb Dy Ho Er Tm Yb Lu", 5
    ),
    "has_undercoordinated_alkali_alkaline": _too_few("Li Be Na Mg K Ca Rb Sr Cs Ba", 3),
    "has_lone_molecule": _lone_molecules,
    "has_no_3d_connected_graph": _not_3d,
    "has_suspicious_density": _density,
    "has_unbalanced_charge": _charged,
}
"""Every check by its name; it returns what is wrong, or an empty text."""


def check_structure(crystal: Crystal) -> dict[str, str]:
    """What is wrong with a structure: the checks that it fails, with a detail for each."""
    bonded = Bonded(crystal)
    found = {name: check(bonded) for name, check in CHECKS.items()}
    return {name: detail for name, detail in found.items() if detail}
