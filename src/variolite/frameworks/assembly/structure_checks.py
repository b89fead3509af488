"""Checks that a framework could exist, under the names that MOFChecker gave them.

Each looks at one structure and returns what is wrong, or nothing. They know atoms and cell only, so
that assembled candidates and published structures get the same checks. Two atoms count as bonded up
to `SLACK` beyond the sum of their covalent radii, a metal and another up to `METAL_SLACK`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from variolite.crystals.crystals import Crystal, Crystals
from variolite.crystals.elements import (
    ATOMIC_NUMBERS,
    COVALENT_RADII,
    METALLIC,
    SYMBOLS,
    densities,
)
from variolite.frameworks.assembly.nets import periodic_parts

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

SLACK, METAL_SLACK = 0.3, 0.4
_SHORT = 0.4  # how far below the sum of covalent radii no bond goes, multiple ones included
_HEAVY, _ANY = 1.0, 0.7  # Angstrom
_DENSITY = (0.1, 4.0)  # g/cm3
_BENT = 150.0  # degrees: two bonds of a carbon without hydrogen are straighter
_FLAT = 340.0  # degrees: three bonds of one, together

_H, _B, _C, _N, _O, _F, _SI, _P, _S = (
    ATOMIC_NUMBERS[symbol] for symbol in ("H", "B", "C", "N", "O", "F", "Si", "P", "S")
)
_RARE_EARTHS = [21, 39, *range(57, 72)]
_ALKALI = [3, 4, 11, 12, 19, 20, 37, 38, 55, 56]


class Neighbours(NamedTuple):
    """Pairs of atoms, each once; ``shift`` is the cell of the second, ``apart`` in Angstrom."""

    first: Integers
    second: Integers
    shift: Integers
    apart: Floats


def neighbours(lattice: Floats, fractional: Floats, within: float) -> Neighbours:
    """Every pair of atoms up to ``within`` Angstrom apart, periodic images included."""
    from pymatgen.optimization.neighbors import find_points_in_spheres

    places = np.ascontiguousarray(fractional @ lattice)
    every = np.ones(3, dtype=np.int64)
    cell = np.ascontiguousarray(lattice)
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
        radius = float(COVALENT_RADII[self.crystal.species].max())
        lattice = np.asarray(self.crystal.lattice, dtype=np.float64)
        return neighbours(lattice, np.asarray(self.crystal.coordinates), 2 * radius + METAL_SLACK)

    @cached_property
    def sums(self) -> Floats:
        """Sum of covalent radii of every close pair."""
        radii = COVALENT_RADII[self.crystal.species]
        sums: Floats = radii[self.close.first] + radii[self.close.second]
        return sums

    @cached_property
    def bonds(self) -> Neighbours:
        """Close pairs that are bonded; two metals are not."""
        metal = METALLIC[self.crystal.species]
        first, second, _, apart = self.close
        slack = np.where(metal[first] | metal[second], METAL_SLACK, SLACK)
        bonded = (apart <= self.sums + slack) & ~(metal[first] & metal[second])
        shift, apart = self.close.shift[bonded], self.close.apart[bonded]
        return Neighbours(first[bonded], second[bonded], shift, apart)

    @cached_property
    def around(self) -> list[list[tuple[int, Floats]]]:
        """For every atom those bonded to it, with the vectors to them."""
        crystal = self.crystal
        first, second, shift, _ = self.bonds
        vectors = (crystal.coordinates[second] + shift - crystal.coordinates[first]) @ np.asarray(
            crystal.lattice
        )
        around: list[list[tuple[int, Floats]]] = [[] for _ in crystal.species]
        for i, j, vector in zip(first.tolist(), second.tolist(), vectors, strict=True):
            around[i].append((j, vector))
            around[j].append((i, -vector))
        return around

    def at(self, *elements: int) -> list[int]:
        """Atoms of elements."""
        return np.flatnonzero(np.isin(self.crystal.species, elements)).tolist()

    def nonmetals(self, atom: int) -> list[tuple[int, Floats]]:
        """Atoms bonded to one, metals left out."""
        return [(j, v) for j, v in self.around[atom] if not METALLIC[self.crystal.species[j]]]

    def name(self, atom: int) -> str:
        return f"{SYMBOLS[self.crystal.species[atom]]}{atom + 1}"

    @cached_property
    def components(self) -> list[tuple[Integers, int]]:
        """Atoms of every connected part, and in how many dimensions it is periodic."""
        first, second, shift, _ = self.bonds
        parts = periodic_parts(len(self.crystal.species), first, second, shift)
        return [
            (atoms, int(np.linalg.matrix_rank(loops)) if len(loops) else 0)
            for atoms, loops in parts
        ]


def _some(names: Sequence[str]) -> str:
    more = len(names) - 3
    return ", ".join(names[:3]) + (f" and {more} more" if more > 0 else "")


def _overlaps(bonded: Bonded) -> str:
    first, second, _, apart = bonded.close
    heavy = (bonded.crystal.species[first] > 1) & (bonded.crystal.species[second] > 1)
    wrong = np.flatnonzero((apart < _ANY) | (heavy & (apart < _HEAVY)))
    pairs = [f"{bonded.name(first[p])}-{bonded.name(second[p])} {apart[p]:.2f} A" for p in wrong]
    return _some(pairs)


def _short_bonds(bonded: Bonded) -> str:
    first, second, _, apart = bonded.close
    metal = METALLIC[bonded.crystal.species]
    wrong = np.flatnonzero((apart < bonded.sums - _SHORT) & ~(metal[first] & metal[second]))
    pairs = [f"{bonded.name(first[p])}-{bonded.name(second[p])} {apart[p]:.2f} A" for p in wrong]
    return _some(pairs)


def _too_many(element: int, most: int, *, metals: bool = False) -> Callable[[Bonded], str]:
    def check(bonded: Bonded) -> str:
        wrong = []
        for atom in bonded.at(element):
            count = len(bonded.around[atom] if metals else bonded.nonmetals(atom))
            if count > most:
                wrong.append(f"{bonded.name(atom)} has {count} bonds")
        return _some(wrong)

    return check


def _too_few(elements: list[int], least: int) -> Callable[[Bonded], str]:
    def check(bonded: Bonded) -> str:
        counts = {atom: len(bonded.around[atom]) for atom in bonded.at(*elements)}
        wrong = [f"{bonded.name(a)} has {n} bonds" for a, n in counts.items() if n < least]
        return _some(wrong)

    return check


def _angles(vectors: Sequence[Floats]) -> Iterator[float]:
    for place, one in enumerate(vectors):
        for other in vectors[:place]:
            cosine = one @ other / np.linalg.norm(one) / np.linalg.norm(other)
            yield float(np.degrees(np.arccos(np.clip(cosine, -1, 1))))


def _bare_carbon(bonded: Bonded) -> str:
    """Carbon whose bonds leave room for an atom that is missing."""
    wrong = []
    for atom in bonded.at(_C):
        around = bonded.around[atom]
        if any(METALLIC[bonded.crystal.species[j]] for j, _ in around):
            continue
        vectors = [vector for _, vector in around]
        lengths = [float(np.linalg.norm(vector)) for vector in vectors]
        if (
            len(vectors) == 0
            or (len(vectors) == 1 and lengths[0] > 1.25)  # not CO, CN or a triple bond
            or (len(vectors) == 2 and max(_angles(vectors)) < _BENT)
            or (len(vectors) == 3 and sum(_angles(vectors)) < _FLAT)
        ):
            wrong.append(f"{bonded.name(atom)} has {len(vectors)} bonds")
    return _some(wrong)


def _bare_nitrogen(bonded: Bonded) -> str:
    """Nitrogen with one single bond only."""
    wrong = []
    for atom in bonded.at(_N):
        around = bonded.around[atom]
        if len(around) == 0 or (len(around) == 1 and np.linalg.norm(around[0][1]) > 1.3):
            wrong.append(f"{bonded.name(atom)} has {len(around)} bonds")
    return _some(wrong)


def _lone_molecules(bonded: Bonded) -> str:
    alone = [atoms for atoms, rank in bonded.components if rank == 0]
    if not alone:
        return ""
    return f"{len(alone)} parts, {min(map(len, alone))} atoms in the smallest"


def _not_3d(bonded: Bonded) -> str:
    ranks = sorted({rank for _, rank in bonded.components})
    return "" if ranks == [3] else f"parts go on in {', '.join(map(str, ranks))} dimensions"


def _density(bonded: Bonded) -> str:
    (density,) = densities(Crystals.of([bonded.crystal]))
    return "" if _DENSITY[0] <= density <= _DENSITY[1] else f"{density:.2f} g/cm3"


# Charges: a part without metals takes up as many electrons as its bonds leave valences open.

_VALENCES = {_H: 1, _B: 3, _C: 4, _N: 3, _O: 2, _F: 1, _SI: 4, _P: 3, _S: 2, 17: 1, 35: 1, 53: 1}
_VALENCES |= {ATOMIC_NUMBERS[symbol]: v for symbol, v in (("Se", 2), ("Te", 2), ("As", 3))}
_VALENCES |= {ATOMIC_NUMBERS["Ge"]: 4}
_BY_STATES = {
    (1,): "Li Na K Rb Cs Ag",
    (2,): "Be Mg Ca Sr Ba Zn Cd Ni Pd",
    (3,): "Al Ga In Sc Y La Pr Nd Sm Gd Tb Dy Ho Er Tm Lu Bi Ir",
    (4,): "Zr Hf Th",
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
_STATES = {symbol: states for states, some in _BY_STATES.items() for symbol in some.split()}
"""Least and greatest usual oxidation state of metals."""


def _open_valences(bonded: Bonded, atom: int) -> tuple[int, int]:
    """Valences of an atom that its bonds to nonmetals leave open, and its formal charge."""
    element = int(bonded.crystal.species[atom])
    around = bonded.nonmetals(atom)
    count = len(around)
    valence = _VALENCES.get(element, 0)
    if element == _N and count >= 3:
        oxygens = [j for j, _ in around if bonded.crystal.species[j] == _O]
        terminal = sum(len(bonded.nonmetals(j)) == 1 for j in oxygens)
        if count == 4 or terminal >= 2:
            return 4 - count, 1
    if element == _N and count == 2 and max(_angles([v for _, v in around])) > _BENT:
        return 2, 1  # the middle of an azide
    if element == _B and count == 4:
        return 0, -1
    if element in (_SI, _P, ATOMIC_NUMBERS["Ge"], ATOMIC_NUMBERS["As"]) and count == 6:
        return 0, -2 if element in (_SI, ATOMIC_NUMBERS["Ge"]) else -1
    while count > valence and element in (_P, _S, 17, 35, 53, 34, 33):
        valence += 2
    if element == _S and count == 4:
        valence = 6
    if element == _P and count == 4:
        valence = 5
    if element == 17 and count == 4:
        valence = 7
    return max(valence - count, 0), 0


def _unpaired(valences: dict[int, int], bonded: Bonded) -> int:
    """Open valences that no double or triple bond takes up."""
    partners = {a: [j for j, _ in bonded.nonmetals(a) if j in valences] for a in valences}
    least = sum(valences.values())
    for turn in range(4):
        left = dict(valences)
        # The atom with the fewest partners first; after that ties are broken another way.
        while True:
            able = [
                (sum(left[j] > 0 for j in set(partners[a])), -left[a], (a * (2 * turn + 1)) % 97, a)
                for a in left
                if left[a] > 0 and any(left[j] > 0 and j != a for j in partners[a])
            ]
            if not able:
                break
            atom = min(able)[3]
            choices = {j for j in partners[atom] if left[j] > 0 and j != atom}
            other = min(choices, key=lambda j: (sum(left[k] > 0 for k in partners[j]), j))
            bonds = min(left[atom], left[other])
            left[atom] -= bonds
            left[other] -= bonds
        least = min(least, sum(left.values()))
        if least == 0 or least == sum(valences.values()) % 2:
            break
    return least


def charge_range(bonded: Bonded) -> tuple[float, float]:
    """Least and greatest charge by known oxidation states; infinite where one is not known."""
    crystal = bonded.crystal
    counts = np.bincount(crystal.species, minlength=len(METALLIC))
    metals = {z: int(counts[z]) for z in np.flatnonzero(counts * METALLIC).tolist()}
    if any(SYMBOLS[z] not in _STATES for z in metals):
        return -np.inf, np.inf
    valences, formal, fewer, more = {}, 0, 0, 0
    for atom in range(len(crystal.species)):
        if METALLIC[crystal.species[atom]]:
            continue
        free, charge = _open_valences(bonded, atom)
        formal += charge
        if free:
            valences[atom] = free
        # Hydrogen of hydroxide and water is often not located; a quinone may be a diphenolate.
        fewer += 2 * (free == 2 and crystal.species[atom] == _O and not bonded.nonmetals(atom))
        more += _is_on_ring(bonded, atom)
    charge = formal - sum(
        _unpaired({atom: valences[atom] for atom in part}, bonded)
        for part in _parts(valences, bonded)
    )
    least = sum(count * min(_STATES[SYMBOLS[z]]) for z, count in metals.items())
    most = sum(count * max(_STATES[SYMBOLS[z]]) for z, count in metals.items())
    return least + charge - more, most + charge + fewer


def _charged(bonded: Bonded) -> str:
    """Whether known oxidation states of the metals can balance the rest of a structure."""
    least, most = charge_range(bonded)
    if least <= 0 <= most or not METALLIC[bonded.crystal.species].any():
        return ""
    return f"the charge is {least:g}" + (f" to {most:g}" if most > least else "")


def _is_on_ring(bonded: Bonded, atom: int) -> bool:
    """Whether an atom is an oxygen with one bond, to a carbon between two carbons."""
    if bonded.crystal.species[atom] != _O or len(bonded.nonmetals(atom)) != 1:
        return False
    ((carbon, _),) = bonded.nonmetals(atom)
    around = [int(bonded.crystal.species[j]) for j, _ in bonded.nonmetals(carbon) if j != atom]
    return bonded.crystal.species[carbon] == _C and around == [_C, _C]


def _parts(atoms: dict[int, int], bonded: Bonded) -> Iterator[list[int]]:
    left = set(atoms)
    while left:
        part, stack = [], [left.pop()]
        while stack:
            here = stack.pop()
            part.append(here)
            near = {j for j, _ in bonded.nonmetals(here)} & left
            left -= near
            stack += near
        yield part


CHECKS: dict[str, Callable[[Bonded], str]] = {
    "has_atomic_overlaps": _overlaps,
    "has_short_bonds": _short_bonds,
    "has_overcoordinated_c": _too_many(_C, 4),
    "has_overcoordinated_n": _too_many(_N, 4, metals=True),
    "has_overcoordinated_h": _too_many(_H, 1),
    "has_undercoordinated_c": _bare_carbon,
    "has_undercoordinated_n": _bare_nitrogen,
    "has_undercoordinated_rare_earth": _too_few(_RARE_EARTHS, 5),
    "has_undercoordinated_alkali_alkaline": _too_few(_ALKALI, 3),
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
