import numpy as np
import pytest
from crystal_sets import cubic, rewritten
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import wasserstein_distance

from variolite.crystals import Crystals
from variolite.crystals.elements import ATOMIC_NUMBERS, compositions
from variolite.crystals.evaluation.fingerprints import (
    LINE,
    average_minimum_distances,
    composition_distance,
    composition_fingerprints,
)
from variolite.crystals.files.formats import to_pymatgen
from variolite.crystals.files.textbook import textbook_crystals

TEXTBOOK = textbook_crystals()


def test_neighbours_of_a_simple_cubic_lattice():
    found = average_minimum_distances(Crystals.of([cubic(2.0, [84], [[0.3, 0.2, 0.9]])]), 32)
    shells = np.sqrt(np.repeat([1, 2, 3, 4], [6, 12, 8, 6]))
    np.testing.assert_allclose(found[0], 2.0 * shells, atol=1e-12)


def test_average_over_the_atoms_from_the_neighbour_lists_of_pymatgen():
    found = average_minimum_distances(TEXTBOOK, 20)
    for crystal, distances in zip(TEXTBOOK, found, strict=True):
        centre, _, _, lengths = to_pymatgen(crystal).get_neighbor_list(distances[-1] + 3.0)
        each = [np.sort(lengths[centre == atom])[:20] for atom in range(len(crystal))]
        np.testing.assert_allclose(np.mean(each, axis=0), distances, atol=1e-9)


@given(st.integers(0, len(TEXTBOOK) - 1), st.integers(0, 10_000), st.integers(1, 3))
def test_fingerprints_do_not_depend_on_how_a_crystal_is_written(place, seed, cells):
    crystal = TEXTBOOK[place]
    both = Crystals.of([crystal, rewritten(crystal, seed, cells=cells)])
    first, second = average_minimum_distances(both)
    np.testing.assert_allclose(first, second, atol=1e-6)
    first, second = composition_fingerprints(both)
    np.testing.assert_allclose(first, second, atol=1e-12)


@given(st.integers(0, len(TEXTBOOK) - 1), st.integers(0, 10_000))
def test_structure_moves_by_at_most_twice_what_the_atoms_move(place, seed):
    crystal = TEXTBOOK[place]
    moves = np.random.default_rng(seed).normal(size=(len(crystal), 3)) * 0.05
    moved = Crystals.of([crystal, crystal])
    coordinates = moved.coordinates.copy()
    coordinates[len(crystal) :] += moves @ np.linalg.inv(crystal.lattice)
    moved = Crystals(moved.species, coordinates, moved.lattices, moved.offsets, moved.names)
    first, second = average_minimum_distances(moved)
    assert np.abs(first - second).max() <= 2 * np.linalg.norm(moves, axis=1).max() + 1e-9


def test_atoms_far_apart_and_cells_long_and_thin():
    wide = cubic(30.0, [2], [[0, 0, 0]])
    thin = Crystals.of([wide]).take(slice(0, 1))
    thin = Crystals(
        thin.species, thin.coordinates, np.diag([0.6, 40.0, 40.0])[None], thin.offsets, thin.names
    )
    assert average_minimum_distances(Crystals.of([wide]), 6)[0] == pytest.approx([30.0] * 6)
    chain = 0.6 * np.repeat(np.arange(1, 51), 2)
    assert average_minimum_distances(thin)[0] == pytest.approx(chain)
    assert average_minimum_distances(thin.take(slice(0, 0))).shape == (0, 100)


def test_elements_stand_on_the_line_by_columns():
    assert sorted(LINE.tolist()) == list(range(1, 119))
    place = {z: position for position, z in enumerate(LINE.tolist())}

    def apart(a: str, b: str) -> int:
        return abs(place[ATOMIC_NUMBERS[a]] - place[ATOMIC_NUMBERS[b]])

    assert apart("Na", "K") == apart("Cl", "Br") == apart("Ti", "Zr") == apart("Eu", "Gd") == 1
    assert apart("La", "Ce") == apart("Sc", "Y") == apart("B", "Al") == apart("C", "Si") == 1
    assert apart("Na", "Cl") > 60
    assert [place[ATOMIC_NUMBERS[s]] for s in ("H", "He", "Og")] == [0, 111, 117]


def test_distance_of_compositions_is_the_work_of_moving_along_the_line():
    marks = composition_fingerprints(TEXTBOOK)
    found = composition_distance(marks, marks)
    weights = compositions(TEXTBOOK)[:, LINE].astype(float)
    for i, j in np.random.default_rng(0).integers(0, len(TEXTBOOK), size=(60, 2)):
        expected = wasserstein_distance(np.arange(118), np.arange(118), weights[i], weights[j])
        assert found[i, j] == pytest.approx(expected, abs=1e-9)
    sodium, potassium = (TEXTBOOK.names.tolist().index(f"{n} (rock salt)") for n in ("NaCl", "KCl"))
    assert found[sodium, potassium] == pytest.approx(0.5)
