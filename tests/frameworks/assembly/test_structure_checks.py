import tarfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from variolite.crystals.crystals import Crystal
from variolite.crystals.elements import atomic_numbers
from variolite.crystals.files.checks import Limits
from variolite.crystals.files.reading import load_crystals
from variolite.frameworks.assembly.structure_checks import (
    CHECKS,
    Bonded,
    charge_range,
    check_structure,
    neighbours,
)


def crystal(sites, cell=(12.0, 12.0, 12.0)):
    """A structure of ``(symbol, x, y, z)`` in Angstrom in a rectangular cell."""
    points = np.array([xyz for _, *xyz in sites], dtype=float)
    return Crystal(atomic_numbers(s for s, *_ in sites), points / np.array(cell), np.diag(cell))


def around(centre, symbol, length, count):
    """Atoms about a centre along the diagonals of a cube, as in a tetrahedron and beyond."""
    ways = [(1, 1, 1), (1, -1, -1), (-1, 1, -1), (-1, -1, 1), (-1, -1, -1)][:count]
    return [(symbol, *(np.array(centre) + length * np.array(w) / 3**0.5)) for w in ways]


C = (5.0, 5.0, 5.0)
METHANE = [("C", *C), *around(C, "H", 1.09, 4)]
PRIMITIVE_SALT = [("Na", 0, 0, 0), ("Cl", 2.4, 0, 0), ("Na", 2.4, 2.4, 0), ("Cl", 0, 2.4, 0)]
PRIMITIVE_SALT += [
    ("Cl", 0, 0, 2.4),
    ("Na", 2.4, 0, 2.4),
    ("Cl", 2.4, 2.4, 2.4),
    ("Na", 0, 2.4, 2.4),
]


def fails(sites, cell=(12.0, 12.0, 12.0)):
    return set(check_structure(crystal(sites, cell)))


def test_a_salt_passes_every_check():
    assert check_structure(crystal(PRIMITIVE_SALT, (4.8, 4.8, 4.8))) == {}


def test_a_molecule_is_alone_and_no_framework():
    assert fails(METHANE) == {
        "has_lone_molecule",
        "has_no_3d_connected_graph",
        "has_suspicious_density",
    }


@pytest.mark.parametrize(
    ("sites", "name"),
    [
        ([*METHANE, ("N", 5.0, 5.0, 5.9)], "has_atomic_overlaps"),
        ([*METHANE, ("H", 5.0, 5.0, 5.6)], "has_atomic_overlaps"),
        ([("Zn", *C), ("O", 5.0, 5.0, 6.3)], "has_short_bonds"),
        ([("C", *C), *around(C, "C", 1.54, 5)], "has_overcoordinated_c"),
        ([("N", *C), *around(C, "C", 1.5, 5)], "has_overcoordinated_n"),
        ([("H", *C), *around(C, "O", 1.0, 2)], "has_overcoordinated_h"),
        (METHANE[:-1], "has_undercoordinated_c"),
        ([("C", *C), *around(C, "O", 1.4, 2)], "has_undercoordinated_c"),
        ([("N", *C), ("C", 5.0, 5.0, 6.45)], "has_undercoordinated_n"),
        ([("La", *C), *around(C, "O", 2.4, 4)], "has_undercoordinated_rare_earth"),
        ([("Na", *C), *around(C, "O", 2.3, 2)], "has_undercoordinated_alkali_alkaline"),
        ([("Zn", *C), *around(C, "Cl", 2.2, 4)], "has_unbalanced_charge"),
    ],
)
def test_each_fault_is_found_under_its_name(sites, name):
    assert name in CHECKS
    assert name in fails(sites)


@pytest.mark.parametrize(
    ("sites", "name"),
    [
        ([*METHANE[:-1], ("Zn", 5.0, 5.0, 7.0)], "has_atomic_overlaps"),
        ([("H", *C), ("O", 5, 5, 5.97), ("Zn", 5.0, 5.0, 3.3)], "has_overcoordinated_h"),
        ([("C", *C), ("O", 5, 5, 6.16), ("O", 5, 5, 3.84)], "has_undercoordinated_c"),
        ([("N", *C), ("C", 5, 5, 6.15), ("C", 5, 5, 7.6)], "has_undercoordinated_n"),
        ([("Zn", *C), *around(C, "Cl", 2.2, 2)], "has_unbalanced_charge"),
    ],
)
def test_what_is_right_is_no_fault(sites, name):
    assert name not in fails(sites)


def test_a_layer_goes_on_in_two_dimensions():
    flat = [("C", 0, 0, 5), ("C", 1.42, 0, 5), ("C", 2.13, 1.23, 5), ("C", 3.55, 1.23, 5)]
    detail = check_structure(crystal(flat, (4.26, 2.46, 10.0)))
    assert detail["has_no_3d_connected_graph"] == "parts are periodic in 2 dimensions"
    assert "has_lone_molecule" not in detail


RING = [(np.cos(a), np.sin(a)) for a in np.arange(6) * np.pi / 3]


def ring(*symbols):
    """A flat ring of six with hydrogen on its carbon atoms."""
    sites = []
    for symbol, (x, y) in zip(symbols, RING, strict=True):
        sites.append((symbol, 6 + 1.39 * x, 6 + 1.39 * y, 6.0))
        if symbol == "C":
            sites.append(("H", 6 + 2.48 * x, 6 + 2.48 * y, 6.0))
    return sites


def acid(carbon):
    x, y, z = carbon
    return [("C", x, y, z), ("O", x + 0.6, y + 1.1, z), ("O", x + 0.6, y - 1.1, z)]


@pytest.mark.parametrize(
    ("sites", "charge"),
    [
        (METHANE, 0),
        (ring(*"CCCCCC"), 0),
        (ring(*"NCCCCC"), 0),
        ([("O", *C)], (-2, 0)),
        ([("O", *C), ("H", 5, 5, 5.97)], -1),
        ([("Cl", *C)], -1),
        ([*acid((7.0, 5, 5)), ("H", 5.91, 5, 5)], -1),
        ([("N", *C), *around(C, "H", 1.0, 4)], 1),
        ([("N", *C), ("O", 5, 6.2, 5), ("O", 6, 4.4, 5), ("O", 4, 4.4, 5)], -1),
        ([("S", *C), *around(C, "O", 1.45, 4)], -2),
        ([("P", *C), *around(C, "O", 1.5, 4)], -3),
        ([("C", *C), ("N", 5, 5, 6.15)], -1),
        ([("Zn", *C), ("O", 5, 5, 6.9)], (0, 2)),
        ([("Fe", *C)], (2, 3)),
        ([("Pu", *C)], (-np.inf, np.inf)),
    ],
)
def test_charges_of_ions_are_those_of_chemistry(sites, charge):
    expected = charge if isinstance(charge, tuple) else (charge, charge)
    assert charge_range(Bonded(crystal(sites))) == expected


def test_imidazolate_takes_one_electron():
    a = np.arange(5) * 2 * np.pi / 5
    sites = []
    for symbol, x, y in zip("NCNCC", np.cos(a), np.sin(a), strict=True):
        sites.append((symbol, 6 + 1.16 * x, 6 + 1.16 * y, 6.0))
        if symbol == "C":
            sites.append(("H", 6 + 2.23 * x, 6 + 2.23 * y, 6.0))
    assert charge_range(Bonded(crystal(sites))) == (-1, -1)


@given(
    seed=st.integers(0, 10_000),
    count=st.integers(1, 6),
    within=st.floats(0.5, 4.0),
)
def test_neighbours_are_those_of_a_search_through_all_images(seed, count, within):
    rng = np.random.default_rng(seed)
    lattice = np.diag(rng.uniform(2, 6, 3)) + rng.uniform(-1.5, 1.5, (3, 3))
    if np.linalg.det(lattice) < 4:
        return
    fractional = rng.uniform(-1.5, 1.5, (count, 3))
    found = neighbours(lattice, fractional, within)
    shifts = np.stack(np.meshgrid(*[np.arange(-9, 10)] * 3), axis=-1).reshape(-1, 3)
    expected = 0
    for i in range(count):
        for j in range(count):
            apart = np.linalg.norm((fractional[j] + shifts - fractional[i]) @ lattice, axis=1)
            expected += int(((apart <= within) & ((i != j) | shifts.any(axis=1))).sum())
    assert 2 * len(found.first) == expected
    apart = (fractional[found.second] + found.shift - fractional[found.first]) @ lattice
    np.testing.assert_allclose(np.linalg.norm(apart, axis=1), found.apart, atol=1e-9)


@pytest.fixture(scope="module")
def of_core(tmp_path_factory):
    """Structures of CoRE 2019 by name, in one pass through its archive."""
    package = pytest.importorskip("CoRE_MOF", reason="its structures come with core-mof")
    names = ["EDUSIF_clean", "FIQCEN_clean", "OFERUN_clean", "RUBTAK01_SL", "RUBTAK04_clean"]
    folder, left = tmp_path_factory.mktemp("core"), {f"{name}.cif" for name in names}
    with tarfile.open(Path(package.__file__).parent / "data" / "2019-ASR.tar.xz") as archive:
        for member in archive:
            if (name := member.name.split("/")[-1]) in left:
                (folder / name).write_bytes(archive.extractfile(member).read())
                left.remove(name)
            if not left:
                break
    found = load_crystals(folder, limits=Limits(max_atoms=1000))
    return dict(zip(found.names.tolist(), found, strict=True))


@pytest.mark.parametrize("name", ["EDUSIF_clean", "FIQCEN_clean", "OFERUN_clean", "RUBTAK01_SL"])
def test_mof_5_hkust_1_zif_8_and_uio_66_pass_every_check(of_core, name):
    assert check_structure(of_core[name]) == {}


def test_uio_66_with_its_disorder_does_not(of_core):
    found = check_structure(of_core["RUBTAK04_clean"])
    assert set(found) == {"has_atomic_overlaps", "has_short_bonds", "has_unbalanced_charge"}
