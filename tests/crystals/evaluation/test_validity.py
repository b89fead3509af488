import numpy as np
import pytest
from crystal_sets import broken, cubic, rewritten
from hypothesis import given
from hypothesis import strategies as st

from variolite.crystals import Crystals
from variolite.crystals.evaluation import distance_validity, shortest_distances
from variolite.crystals.files.formats import to_pymatgen
from variolite.crystals.files.textbook import textbook_crystals
from variolite.crystals.periodic import has_cell

TEXTBOOK = textbook_crystals()


def test_distances_are_those_of_pymatgen():
    skewed = Crystals.of([rewritten(crystal, seed) for seed, crystal in enumerate(TEXTBOOK)])
    for found, crystals in ((shortest_distances(c), c) for c in (TEXTBOOK, skewed)):
        for distance, crystal in zip(found, crystals, strict=True):
            _, _, images, lengths = to_pymatgen(crystal).get_neighbor_list(distance + 0.5)
            assert len(images)
            assert distance == pytest.approx(lengths.min(), abs=1e-9)


@given(st.integers(0, len(TEXTBOOK) - 1), st.integers(0, 10_000), st.integers(1, 3))
def test_distances_do_not_depend_on_how_a_crystal_is_written(place, seed, cells):
    crystal = TEXTBOOK[place]
    both = shortest_distances(Crystals.of([crystal, rewritten(crystal, seed, cells=cells)]))
    assert both[1] == pytest.approx(both[0], abs=1e-6)


def test_an_atom_may_be_too_close_to_another_or_to_its_own_image():
    def pair(apart: float) -> Crystals:
        return Crystals.of([cubic(4.0, [11, 17], [[0, 0, 0.01], [0, 0, 0.01 - apart / 4.0]])])

    assert distance_validity(pair(0.51)).all()
    assert not distance_validity(pair(0.49)).any()
    # Across the border of the cell, too.
    assert shortest_distances(pair(3.7)) == pytest.approx(0.3)
    single = Crystals.of([cubic(0.6, [1], [[0, 0, 0]]), cubic(0.49, [1], [[0, 0, 0]])])
    assert distance_validity(single).tolist() == [True, False]


def test_what_has_no_cell_is_invalid_and_never_an_error():
    crystals, sound = broken()
    assert has_cell(crystals).tolist() == sound.tolist()
    assert distance_validity(crystals).tolist() == sound.tolist()
    assert np.isnan(shortest_distances(crystals)).tolist() == (~sound).tolist()
    assert shortest_distances(crystals.take(slice(0, 0))).shape == (0,)
