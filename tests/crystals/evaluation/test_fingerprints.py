from dataclasses import replace

import numpy as np
import pytest
from crystal_sets import NAMES, TEXTBOOK, cubic, rewritten, shaken
from hypothesis import given
from hypothesis import strategies as st
from scipy.spatial.distance import cdist
from scipy.stats import wasserstein_distance

from variolite.crystals import Crystals
from variolite.crystals.elements import ATOMIC_NUMBERS, compositions, place_in_table
from variolite.crystals.evaluation import fingerprints
from variolite.crystals.evaluation.fingerprints import (
    LINE,
    CutOffs,
    Fingerprints,
    average_minimum_distances,
    calibrate,
    composition_fingerprints,
    coverage,
    fingerprints_of,
)
from variolite.crystals.files.formats import to_pymatgen
from variolite.errors import DataError

PLACES, SEEDS = st.integers(0, len(TEXTBOOK) - 1), st.integers(0, 10_000)


def test_average_over_the_atoms_from_the_neighbour_lists_of_pymatgen():
    found = average_minimum_distances(TEXTBOOK, 20)
    for crystal, distances in zip(TEXTBOOK, found, strict=True):
        centre, _, _, lengths = to_pymatgen(crystal).get_neighbor_list(distances[-1] + 3.0)
        each = [np.sort(lengths[centre == atom])[:20] for atom in range(len(crystal))]
        np.testing.assert_allclose(np.mean(each, axis=0), distances, atol=1e-9)


@given(PLACES, SEEDS, st.integers(1, 3))
def test_fingerprints_do_not_depend_on_how_a_crystal_is_written(place, seed, cells):
    crystal = TEXTBOOK[place]
    both = fingerprints_of(Crystals.of([crystal, rewritten(crystal, seed, cells=cells)]))
    np.testing.assert_allclose(*both.structure, atol=1e-6)
    np.testing.assert_allclose(*both.composition, atol=1e-12)


@given(PLACES, SEEDS)
def test_structure_moves_by_at_most_twice_what_the_atoms_move(place, seed):
    crystal = TEXTBOOK[place]
    other = shaken(crystal, seed, 0.08)
    moves = (other.coordinates - crystal.coordinates + 0.5) % 1.0 - 0.5
    longest = np.linalg.norm(moves @ crystal.lattice, axis=1).max()
    first, second = average_minimum_distances(Crystals.of([crystal, other]))
    assert np.abs(first - second).max() <= 2 * longest + 1e-9


def test_atoms_far_apart_and_cells_long_and_thin():
    wide = cubic(30.0, [2], [[0, 0, 0]])
    thin = Crystals.of([replace(wide, lattice=np.diag([0.6, 40.0, 40.0]))])
    assert average_minimum_distances(Crystals.of([wide]), 6)[0] == pytest.approx([30.0] * 6)
    chain = 0.6 * np.repeat(np.arange(1, 51), 2)
    assert average_minimum_distances(thin)[0] == pytest.approx(chain)
    assert average_minimum_distances(thin.take(slice(0, 0))).shape == (0, 100)


def test_the_periodic_table_has_its_usual_shape_and_elements_stand_on_the_line_by_columns():
    places = [place_in_table(z) for z in range(1, 119)]
    assert len(set(places)) == 118
    for symbol, place in {
        "H": (0, 0), "He": (0, 17), "Li": (1, 0), "B": (1, 12), "Ne": (1, 17), "Al": (2, 12),
        "Sc": (3, 2), "Kr": (3, 17), "Cs": (5, 0), "La": (7, 2), "Lu": (7, 16), "Hf": (5, 3),
        "Rn": (5, 17), "Ac": (8, 2), "Lr": (8, 16), "Rf": (6, 3), "Og": (6, 17),
    }.items():  # fmt: skip
        assert places[ATOMIC_NUMBERS[symbol] - 1] == place, symbol
    assert sorted(LINE.tolist()) == list(range(1, 119))
    place = {z: position for position, z in enumerate(LINE.tolist())}

    def apart(a, b):
        return abs(place[ATOMIC_NUMBERS[a]] - place[ATOMIC_NUMBERS[b]])

    assert apart("Na", "K") == apart("Cl", "Br") == apart("Ti", "Zr") == apart("Eu", "Gd") == 1
    assert apart("La", "Ce") == apart("Sc", "Y") == apart("B", "Al") == apart("C", "Si") == 1
    assert apart("Na", "Cl") > 60
    assert [place[ATOMIC_NUMBERS[s]] for s in ("H", "He", "Og")] == [0, 111, 117]


def test_distance_of_compositions_is_the_work_of_moving_along_the_line():
    marks = composition_fingerprints(TEXTBOOK)
    found = cdist(marks, marks, metric="cityblock")
    weights = compositions(TEXTBOOK)[:, LINE].astype(float)
    for i, j in np.random.default_rng(0).integers(0, len(TEXTBOOK), size=(60, 2)):
        expected = wasserstein_distance(np.arange(118), np.arange(118), weights[i], weights[j])
        assert found[i, j] == pytest.approx(expected, abs=1e-9)
    sodium, potassium = (NAMES.index(f"{name} (rock salt)") for name in ("NaCl", "KCl"))
    assert found[sodium, potassium] == pytest.approx(0.5)


def drawn(rng, count):
    return Fingerprints(rng.random((count, 5)), np.cumsum(rng.dirichlet(np.ones(4), count), axis=1))


@given(SEEDS, st.floats(0.1, 0.8), st.floats(0.1, 1.0))
def test_near_means_both_distances_within_their_cut_offs(seed, structure, composition):
    rng = np.random.default_rng(seed)
    samples, real = drawn(rng, 7), drawn(rng, 9)
    apart = np.abs(samples.structure[:, None] - real.structure).max(axis=2)
    work = np.abs(samples.composition[:, None] - real.composition).sum(axis=2)
    near = (apart <= structure) & (work <= composition)
    recalled, precise = coverage(samples, real, CutOffs(structure, composition))
    assert recalled.tolist() == near.any(axis=0).tolist()
    assert precise.tolist() == near.any(axis=1).tolist()


def test_cut_offs_reach_the_share_they_were_taken_for(monkeypatch):
    monkeypatch.setattr(fingerprints, "QUANTILE", 0.8)
    for seed in range(30):
        rng = np.random.default_rng(seed)
        test, training = drawn(rng, 50), drawn(rng, 80)
        reached = coverage(training, test, calibrate(test, training))[0].mean()
        # Eight tenths have a composition near them, and of these eight tenths a structure.
        assert 0.6 <= reached <= 0.85
        assert calibrate(test, test) == CutOffs(0.0, 0.0)
    none = test.take(np.arange(0))
    with pytest.raises(DataError, match="no crystals to take cut-offs from"):
        calibrate(none, test)
    assert not coverage(none, test, CutOffs(1.0, 5.0))[0].any()
