"""Shortest distances between elements, against pymatgen and by hand."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from crystal_sets import broken, cubic, rewritten
from hypothesis import given
from hypothesis import strategies as st

from variolite.crystals import Crystals
from variolite.crystals.evaluation.validity import minimum_distances
from variolite.crystals.files.formats import to_pymatgen
from variolite.crystals.files.textbook import textbook_crystals
from variolite.errors import DataError

TEXTBOOK = textbook_crystals()
KNOWN = minimum_distances(TEXTBOOK)


def test_the_shortest_are_those_of_pymatgen():
    found: dict[tuple[int, int], float] = {}
    for crystal in TEXTBOOK:
        radius = 2.0 * float(np.cbrt(abs(np.linalg.det(crystal.lattice))))
        centres, points, _, lengths = to_pymatgen(crystal).get_neighbor_list(radius)
        for a, b, length in zip(centres, points, lengths, strict=True):
            pair = (int(crystal.species[a]), int(crystal.species[b]))
            found[pair] = min(found.get(pair, np.inf), length)
    assert len(found) > 50
    for (a, b), length in found.items():
        place = np.searchsorted(KNOWN.elements, (a, b))
        assert KNOWN.distances[tuple(place)] == pytest.approx(length, abs=1e-6)
    np.testing.assert_array_equal(KNOWN.distances, KNOWN.distances.T)


def test_elements_never_seen_together_come_as_close_as_their_radii():
    salts = Crystals.of([cubic(4.0, [3, 9], [[0, 0, 0], [0.5, 0, 0]]), cubic(3.0, [29], [[0] * 3])])
    found = minimum_distances(salts)
    assert found.elements.tolist() == [3, 9, 29]
    expected = [[4.0, 2.0, 2.5], [2.0, 4.0, 2.5], [2.5, 2.5, 3.0]]
    np.testing.assert_allclose(found.distances, expected)


def test_known_crystals_are_no_closer_than_known():
    ratios = KNOWN.closeness(TEXTBOOK)
    assert (ratios >= 1.0 - 1e-9).all()
    squeezed = Crystals.of([cubic(3.0, [3, 9], [[0, 0, 0], [0.5, 0, 0]])])
    salt = Crystals.of([cubic(4.0, [3, 9], [[0, 0, 0], [0.5, 0, 0]])])
    assert minimum_distances(salt).closeness(squeezed) == pytest.approx([0.75])


@given(st.integers(0, len(TEXTBOOK) - 1), st.integers(0, 10_000), st.floats(0.7, 1.3))
def test_closeness_scales_with_the_cell_and_nothing_else(place, seed, scale):
    crystal = TEXTBOOK[place]
    other = rewritten(crystal, seed)
    scaled = Crystals.of([replace(other, lattice=scale * other.lattice)])
    plain = KNOWN.closeness(Crystals.of([crystal]))
    assert KNOWN.closeness(scaled) == pytest.approx(scale * plain, rel=1e-6)


def test_what_has_no_cell_has_no_ratio():
    strange = cubic(4.0, [118], [[0, 0, 0]])
    found = KNOWN.closeness(Crystals.of([*broken()[0].take(slice(1, None)), strange]))
    assert np.isnan(found).all()
    with pytest.raises(DataError, match="have a cell"):
        minimum_distances(broken()[0])
