"""Well-known crystals from textbook lattice parameters: the data that always is there."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import gemmi
import numpy as np
from numpy.typing import NDArray

from variolite.crystals.crystals import Crystal, Crystals, lattices_from_parameters
from variolite.crystals.elements import atomic_numbers
from variolite.crystals.files.cif import expand, operations_of_group

# What the textbook says: space group, lattice parameters and sites of well-known crystals.
#
# Lattice parameters are the rounded room-temperature values found in any textbook of
# crystallography or solid-state physics; positions follow from the space group and, where
# they are free, from one or two parameters.


_T = 1 / 3
Site = tuple[str, float, float, float]


@dataclass(frozen=True)
class Entry:
    """Name, space group, cell (a; a, c; or a, b, c in Angstrom) and one site per orbit."""

    name: str
    group: str
    cell: tuple[float, ...]
    sites: tuple[Site, ...]


def _metals() -> list[Entry]:
    origin = (0.0, 0.0, 0.0)
    fcc = {"Cu": 3.615, "Ag": 4.086, "Au": 4.078, "Al": 4.050, "Ni": 3.524, "Pb": 4.951}
    bcc = {"Fe": 2.866, "W": 3.165, "Na": 4.291, "Cr": 2.885, "K": 5.328}
    hcp = {"Mg": (3.209, 5.211), "Ti": (2.951, 4.686), "Zn": (2.665, 4.947)}
    return [
        *(Entry(f"{x} (fcc)", "F m -3 m", (a,), ((x, *origin),)) for x, a in fcc.items()),
        *(Entry(f"{x} (bcc)", "I m -3 m", (a,), ((x, *origin),)) for x, a in bcc.items()),
        *(
            Entry(f"{x} (hcp)", "P 63/m m c", cell, ((x, _T, 2 * _T, 0.25),))
            for x, cell in hcp.items()
        ),
        Entry("Po (simple cubic)", "P m -3 m", (3.359,), (("Po", *origin),)),
        Entry("Sn (white tin)", "I 41/a m d:1", (5.832, 3.182), (("Sn", *origin),)),
        Entry("Bi (rhombohedral)", "R -3 m:H", (4.546, 11.862), (("Bi", 0, 0, 0.2339),)),
        Entry("Se (trigonal)", "P 31 2 1", (4.366, 4.954), (("Se", 0.2254, 0, _T),)),
    ]


def _cubic_binaries() -> list[Entry]:
    """Binaries without free parameters, by structure type: second site and lattice constant."""
    types = {
        "rock salt": (
            "F m -3 m",
            (0.5, 0.5, 0.5),
            {"NaCl": 5.640, "KCl": 6.293, "LiF": 4.026, "MgO": 4.212, "CaO": 4.811, "TiN": 4.241},
        ),
        "CsCl": ("P m -3 m", (0.5, 0.5, 0.5), {"CsCl": 4.123, "CsBr": 4.286, "NiAl": 2.887}),
        "zinc blende": (
            "F -4 3 m",
            (0.25, 0.25, 0.25),
            {"ZnS": 5.409, "GaAs": 5.653, "InP": 5.869, "SiC": 4.360, "BN": 3.615},
        ),
        "fluorite": ("F m -3 m", (0.25, 0.25, 0.25), {"CaF2": 5.463, "CeO2": 5.411}),
        "antifluorite": ("F m -3 m", (0.25, 0.25, 0.25), {"OLi2": 4.619, "SiMg2": 6.338}),
        "Cu3Au": ("P m -3 m", (0.0, 0.5, 0.5), {"AuCu3": 3.748, "AlNi3": 3.572}),
    }
    usual = {"OLi2": "Li2O", "SiMg2": "Mg2Si", "AuCu3": "Cu3Au", "AlNi3": "Ni3Al"}
    entries = []
    for kind, (group, second, members) in types.items():
        for formula, constant in members.items():
            one, two = _pair(formula)
            entries.append(
                Entry(
                    f"{usual.get(formula, formula)} ({kind})",
                    group,
                    (constant,),
                    ((one, 0.0, 0.0, 0.0), (two, *second)),
                )
            )
    return entries


def _pair(formula: str) -> tuple[str, str]:
    """Split ``CaF2`` into Ca and F."""
    letters = formula.rstrip("23")
    second = max(place for place, letter in enumerate(letters) if letter.isupper())
    return letters[:second], letters[second:]


def _perovskites() -> list[Entry]:
    constants = {
        ("Sr", "Ti", "O"): 3.905,
        ("Ba", "Ti", "O"): 4.006,
        ("Ba", "Zr", "O"): 4.193,
        ("K", "Ta", "O"): 3.989,
        ("La", "Al", "O"): 3.810,
        ("K", "Mg", "F"): 3.989,
        ("K", "Mn", "F"): 4.189,
        ("Cs", "Pb", "Br"): 5.874,
        ("Cs", "Sn", "I"): 6.219,
    }
    return [
        Entry(
            f"{a}{b}{x}3 (perovskite)",
            "P m -3 m",
            (constant,),
            ((a, 0.0, 0.0, 0.0), (b, 0.5, 0.5, 0.5), (x, 0.5, 0.5, 0.0)),
        )
        for (a, b, x), constant in constants.items()
    ]


def _others() -> list[Entry]:
    o = (0.0, 0.0, 0.0)
    half = (0.5, 0.5, 0.5)
    quarter = (0.25, 0.25, 0.25)
    hollow = (_T, 2 * _T)
    hexagonal = "P 63/m m c"
    return [
        Entry("C (diamond)", "F d -3 m:1", (3.567,), (("C", *o),)),
        Entry("Si (diamond)", "F d -3 m:1", (5.431,), (("Si", *o),)),
        Entry("Ge (diamond)", "F d -3 m:1", (5.658,), (("Ge", *o),)),
        Entry(
            "C (graphite)",
            hexagonal,
            (2.464, 6.711),
            (("C", 0, 0, 0.25), ("C", *hollow, 0.25)),
        ),
        Entry(
            "BN (hexagonal)",
            hexagonal,
            (2.504, 6.661),
            (("B", *hollow, 0.25), ("N", *hollow, 0.75)),
        ),
        Entry(
            "MoS2 (molybdenite)",
            hexagonal,
            (3.160, 12.294),
            (("Mo", *hollow, 0.25), ("S", *hollow, 0.621)),
        ),
        Entry("NiAs (nickeline)", hexagonal, (3.619, 5.034), (("Ni", *o), ("As", *hollow, 0.25))),
        Entry(
            "ZnO (wurtzite)",
            "P 63 m c",
            (3.250, 5.207),
            (("Zn", *hollow, 0.0), ("O", *hollow, 0.382)),
        ),
        Entry(
            "GaN (wurtzite)",
            "P 63 m c",
            (3.189, 5.185),
            (("Ga", *hollow, 0.0), ("N", *hollow, 0.377)),
        ),
        Entry("CdI2 (layered)", "P -3 m 1", (4.240, 6.840), (("Cd", *o), ("I", *hollow, 0.25))),
        Entry(
            "TiO2 (rutile)", "P 42/m n m", (4.594, 2.958), (("Ti", *o), ("O", 0.3053, 0.3053, 0))
        ),
        Entry("SnO2 (rutile)", "P 42/m n m", (4.737, 3.186), (("Sn", *o), ("O", 0.307, 0.307, 0))),
        Entry("TiO2 (anatase)", "I 41/a m d:1", (3.785, 9.514), (("Ti", *o), ("O", 0, 0, 0.208))),
        Entry("Cu2O (cuprite)", "P n -3 m:1", (4.270,), (("O", *o), ("Cu", *quarter))),
        Entry("ReO3 (open perovskite)", "P m -3 m", (3.748,), (("Re", *o), ("O", 0.5, 0, 0))),
        Entry("FeS2 (pyrite)", "P a -3", (5.418,), (("Fe", *o), ("S", 0.385, 0.385, 0.385))),
        Entry(
            "Al2O3 (corundum)",
            "R -3 c:H",
            (4.759, 12.991),
            (("Al", 0, 0, 0.3522), ("O", 0.3062, 0, 0.25)),
        ),
        Entry(
            "CaCO3 (calcite)",
            "R -3 c:H",
            (4.990, 17.061),
            (("Ca", *o), ("C", 0, 0, 0.25), ("O", 0.2568, 0, 0.25)),
        ),
        Entry(
            "SiO2 (quartz)",
            "P 32 2 1",
            (4.913, 5.405),
            (("Si", 0.4697, 0, 2 * _T), ("O", 0.4135, 0.2669, 0.7858)),
        ),
        Entry(
            "MgAl2O4 (spinel)",
            "F d -3 m:2",
            (8.083,),
            (("Mg", 0.125, 0.125, 0.125), ("Al", *half), ("O", 0.2624, 0.2624, 0.2624)),
        ),
        Entry(
            "LiCoO2 (layered)",
            "R -3 m:H",
            (2.816, 14.054),
            (("Li", 0, 0, 0.5), ("Co", *o), ("O", 0, 0, 0.2395)),
        ),
        Entry(
            "CuInSe2 (chalcopyrite)",
            "I -4 2 d",
            (5.784, 11.616),
            (("Cu", *o), ("In", 0, 0, 0.5), ("Se", 0.224, 0.25, 0.125)),
        ),
        Entry(
            "K2PtCl6 (antifluorite with octahedra)",
            "F m -3 m",
            (9.755,),
            (("Pt", *o), ("K", *quarter), ("Cl", 0.24, 0, 0)),
        ),
        Entry(
            "Cu2MnAl (Heusler)",
            "F m -3 m",
            (5.949,),
            (("Al", *o), ("Mn", *half), ("Cu", *quarter)),
        ),
        Entry(
            "TiNiSn (half-Heusler)",
            "F -4 3 m",
            (5.921,),
            (("Sn", *o), ("Ti", *half), ("Ni", *quarter)),
        ),
        Entry("Nb3Sn (A15)", "P m -3 n", (5.289,), (("Sn", *o), ("Nb", 0.25, 0, 0.5))),
        Entry("MgCu2 (Laves)", "F d -3 m:2", (7.048,), (("Mg", *(0.125,) * 3), ("Cu", *half))),
        Entry("MgB2 (AlB2)", "P 6/m m m", (3.086, 3.524), (("Mg", *o), ("B", *hollow, 0.5))),
        Entry(
            "LaNi5 (CaCu5)",
            "P 6/m m m",
            (5.017, 3.986),
            (("La", *o), ("Ni", *hollow, 0.0), ("Ni", 0.5, 0, 0.5)),
        ),
        Entry("LaB6 (hexaboride)", "P m -3 m", (4.157,), (("La", *o), ("B", 0.1997, 0.5, 0.5))),
        Entry("CuAu (tetragonal)", "P 4/m m m", (2.800, 3.670), (("Au", *o), ("Cu", *half))),
    ]


def textbook_entries() -> tuple[Entry, ...]:
    """Return all entries; their names are distinct."""
    return (*_metals(), *_cubic_binaries(), *_perovskites(), *_others())


_PRIMITIVE = {
    "P": np.eye(3),
    "I": np.array([[-1, 1, 1], [1, -1, 1], [1, 1, -1]]) / 2,
    "F": np.array([[0, 1, 1], [1, 0, 1], [1, 1, 0]]) / 2,
    "R": np.array([[2, 1, 1], [-1, 1, 1], [-1, -2, 1]]) / 3,
}
"""Primitive lattice vectors in terms of the conventional ones, by centring."""


@cache
def textbook_crystals(*, conventional: bool = False) -> Crystals:
    """Return 78 well-known crystals.

    Parameters
    ----------
    conventional
        The cells of the textbook, up to 56 atoms, instead of primitive ones.

    Returns
    -------
    Crystals
        With names such as "NaCl (rock salt)" and the property ``space_group``, its number.

    Examples
    --------
    >>> crystals = textbook_crystals()
    >>> place = crystals.names.tolist().index("SrTiO3 (perovskite)")
    >>> int(crystals.counts[place]), float(crystals.volumes[place].round(2))
    (5, 59.55)
    """
    groups = []
    found = []
    for entry in textbook_entries():
        group = gemmi.find_spacegroup_by_name(entry.group)
        crystal = _conventional(entry, group)
        found.append(crystal if conventional else _primitive(crystal, group.centring_type()))
        groups.append(float(group.number))
    joined = Crystals.of(found)
    return Crystals(
        joined.species,
        joined.coordinates,
        joined.lattices,
        joined.offsets,
        joined.names,
        {"space_group": np.array(groups)},
    )


def _conventional(entry: Entry, group: gemmi.SpaceGroup) -> Crystal:
    a, *rest = entry.cell
    hexagonal = group.crystal_system_str() in ("trigonal", "hexagonal")
    lattice = lattices_from_parameters(
        (a, a, rest[0] if rest else a, 90.0, 90.0, 120.0 if hexagonal else 90.0)
    )[0]
    species, coordinates = expand(
        atomic_numbers(site[0] for site in entry.sites),
        np.array([site[1:] for site in entry.sites], dtype=np.float64),
        lattice,
        operations_of_group(entry.group),
    )
    return Crystal(species, coordinates, lattice, entry.name)


def _primitive(crystal: Crystal, centring: str) -> Crystal:
    basis = _PRIMITIVE[centring]
    coordinates = crystal.coordinates @ np.linalg.inv(basis)
    coordinates -= np.floor(coordinates + 1e-9)
    keys = np.round(coordinates * 1e5).astype(np.int64) % 100_000
    first: NDArray[np.intp] = np.sort(np.unique(keys, axis=0, return_index=True)[1])
    return Crystal(
        crystal.species[first], coordinates[first], basis @ crystal.lattice, crystal.name
    )
