"""Pores: lattices whose holes are known, brute force on a grid, and the choice of cell."""

from itertools import product

import numpy as np
import pytest
from scipy.ndimage import label
from scipy.spatial import KDTree

from variolite.crystals.crystals import Crystal, Crystals
from variolite.crystals.elements import ATOMIC_NUMBERS, MASSES
from variolite.crystals.geometry.periodic import reduce_cells
from variolite.frameworks.columns import PORES, PROBE
from variolite.frameworks.description.pores import RADII, Spheres, measure_pores, touching


def crystal(symbols, coordinates, lattice):
    species = np.array([ATOMIC_NUMBERS[symbol] for symbol in symbols], dtype=np.uint8)
    lattice = np.diag([lattice] * 3) if np.isscalar(lattice) else np.array(lattice)
    return Crystal(species, np.array(coordinates, dtype=np.float64), lattice.astype(np.float64))


def random_crystal(seed, atoms=7, length=9.0):
    rng = np.random.default_rng(seed)
    symbols = rng.choice(["C", "H", "O", "Zn", "K"], atoms)
    lattice = length * (np.eye(3) + 0.25 * rng.normal(size=(3, 3)))
    return crystal(symbols, rng.random((atoms, 3)), lattice)


CARBON = RADII[6]


def test_radii_are_those_of_the_ccdc():
    radii = [RADII[ATOMIC_NUMBERS[symbol]] for symbol in ("H", "C", "Zn", "Fe", "U")]
    assert radii == [1.09, 1.7, 1.39, 2.0, 1.86]


def test_a_sphere_touches_four():
    rng = np.random.default_rng(1)
    centres, radii = rng.normal(size=(50, 4, 3)) * 4, rng.uniform(0.3, 1.2, (50, 4))

    places, found = touching(centres.copy(), radii)
    real = np.isfinite(found)

    apart = np.linalg.norm(centres - places[:, None], axis=2)
    assert real.sum() > 30
    assert apart[real] == pytest.approx((radii + found[:, None])[real], abs=1e-6)


def test_four_in_a_plane_are_touched_by_none():
    square = np.array([[[0, 0, 0], [1, 0, 0], [1, 1, 0], [0, 1, 0]]], dtype=np.float64)
    assert np.isnan(touching(square, np.full((1, 4), 0.1))[1]).all()


def test_the_simple_cubic_lattice():
    a = 8.0
    found = measure_pores(crystal("C", [[0, 0, 0]], a))

    assert set(PORES) == set(found)
    # Holes are at the middle of the cube, windows in the middle of its faces.
    assert found["largest_cavity_diameter"] == pytest.approx(3**0.5 * a - 2 * CARBON, abs=1e-3)
    assert found["pore_limiting_diameter"] == pytest.approx(2**0.5 * a - 2 * CARBON, abs=1e-3)
    assert found["largest_free_path"] == found["largest_cavity_diameter"]
    # Nothing overlaps: the whole of every grown sphere is open.
    grams = MASSES[6] / 6.02214076e23
    area = 4 * np.pi * (CARBON + PROBE) ** 2
    assert found["surface_area_volume"] == pytest.approx(1e4 * area / a**3, rel=1e-9)
    assert found["surface_area_mass"] == pytest.approx(area * 1e-20 / grams, rel=1e-6)
    free = 1 - 4 / 3 * np.pi * (CARBON + PROBE) ** 3 / a**3
    assert found["accessible_void_fraction"] == pytest.approx(free, abs=0.005)
    assert found["pore_volume"] == pytest.approx(
        found["accessible_void_fraction"] * a**3 * 1e-24 / grams, rel=1e-6
    )
    void = 1 - 4 / 3 * np.pi * CARBON**3 / a**3
    assert found["void_fraction"] == pytest.approx(void, abs=0.005)


FACES = [[0, 0, 0], [0.5, 0.5, 0], [0.5, 0, 0.5], [0, 0.5, 0.5]]


def test_pockets_that_no_probe_enters_are_not_accessible():
    a = 7.0
    found = measure_pores(crystal("CCCC", FACES, a))

    assert found["largest_cavity_diameter"] == pytest.approx(a - 2 * CARBON, abs=1e-3)
    window = 2 * (a / 6**0.5 - CARBON)
    assert found["pore_limiting_diameter"] == pytest.approx(window, abs=1e-3)
    # The probe fits into the octahedral hole, but not through its windows.
    assert window < 2 * PROBE < found["largest_cavity_diameter"]
    assert found["surface_area_mass"] == found["accessible_void_fraction"] == 0
    assert found["void_fraction"] > 0.1


def test_a_small_probe_enters_them():
    found = measure_pores(crystal("CCCC", FACES, 7.0), probe=1.0)
    assert found["accessible_void_fraction"] > 0.02
    assert found["surface_area_mass"] > 100


def test_a_cell_that_is_all_but_empty():
    found = measure_pores(crystal(["He"], [[0.3, 0.2, 0.9]], 40.0))
    assert found["largest_cavity_diameter"] == pytest.approx(3**0.5 * 40 - 2.8, abs=1e-2)


@pytest.mark.parametrize("seed", range(4))
def test_pores_do_not_depend_on_the_cell(seed):
    given = random_crystal(seed)
    shifts = np.array(list(product((0, 1), (0,), (0, 1))))
    doubled = Crystal(
        np.tile(given.species, 4),
        ((given.coordinates + shifts[:, None]) / [2, 1, 2]).reshape(-1, 3),
        given.lattice * [[2], [1], [2]],
    )
    rotation, _ = np.linalg.qr(np.random.default_rng(seed).normal(size=(3, 3)))
    turned = Crystal(given.species, given.coordinates + 0.37, given.lattice @ rotation)
    (reduced,) = reduce_cells(Crystals.of([given]))

    expected = measure_pores(given)
    for other in (doubled, turned, reduced):
        found = measure_pores(other)
        for name in ("largest_cavity_diameter", "pore_limiting_diameter", "largest_free_path"):
            assert found[name] == pytest.approx(expected[name], abs=2e-3), name
        assert found["void_fraction"] == pytest.approx(expected["void_fraction"], abs=0.012)
        assert found["surface_area_volume"] == pytest.approx(
            expected["surface_area_volume"], rel=0.05, abs=20
        )


@pytest.mark.parametrize("seed", range(4))
def test_diameters_are_those_of_a_fine_grid(seed):
    given = random_crystal(seed, atoms=9)
    counts = np.ceil(np.linalg.norm(given.lattice, axis=1) / 0.2).astype(int)
    axes = np.meshgrid(*[np.arange(n) / n for n in counts], indexing="ij")
    points = np.stack(axes, axis=-1).reshape(-1, 3) @ given.lattice
    clear = brute_clearance(given, points).reshape(counts)
    found = measure_pores(given)

    cavity = found["largest_cavity_diameter"] / 2
    assert clear.max() - 1e-3 <= cavity <= clear.max() + 0.2
    limit = found["pore_limiting_diameter"] / 2
    # A path on the grid strays from the true one by less than its spacing.
    assert percolates(clear > limit - 0.2) or limit < 0.2
    assert not percolates(clear > limit + 1e-3)


def brute_clearance(given, points):
    """Distance of points to the surface of the nearest atom, over 125 cells."""
    shifts = np.array(list(product(range(-2, 3), repeat=3)))
    images = (given.coordinates[:, None] + shifts) @ given.lattice
    apart = [
        KDTree(images[given.species == kind].reshape(-1, 3)).query(points)[0] - RADII[kind]
        for kind in np.unique(given.species)
    ]
    return np.min(apart, axis=0)


def percolates(free):
    """Whether a region of the cell reaches an image of itself, in three cells a side."""
    labels, _ = label(np.tile(free, (3, 3, 3)), structure=np.ones((3, 3, 3)))
    cells = [slice(0, n) for n in free.shape]
    first = labels[tuple(cells)]
    for shift in product((0, 1, 2), repeat=3):
        if any(shift):
            there = tuple(slice(s * n, (s + 1) * n) for s, n in zip(shift, free.shape, strict=True))
            if ((first == labels[there]) & (first > 0)).any():
                return True
    return False


def test_windows_have_two_sides_each():
    holes = Spheres.of(random_crystal(3)).holes(PROBE)
    assert len(holes.widths) == 2 * len(holes.radii)
    assert (holes.widths <= np.minimum(holes.radii[holes.first], holes.radii[holes.second])).all()
