import numpy as np
import pytest
from crystal_sets import shaken
from hypothesis import given
from hypothesis import strategies as st

from variolite.crystals import Crystals
from variolite.crystals.evaluation.fingerprints import (
    CutOffs,
    Fingerprints,
    calibrate,
    coverage,
    fingerprints_of,
)
from variolite.crystals.files.textbook import textbook_crystals
from variolite.errors import DataError

TEXTBOOK = textbook_crystals()


def drawn(rng: np.random.Generator, count: int) -> Fingerprints:
    return Fingerprints(rng.random((count, 5)), np.cumsum(rng.dirichlet(np.ones(4), count), axis=1))


@given(st.integers(0, 1000), st.floats(0.1, 0.8), st.floats(0.1, 1.0))
def test_near_means_both_distances_within_their_cut_offs(seed, structure, composition):
    rng = np.random.default_rng(seed)
    samples, real = drawn(rng, 7), drawn(rng, 9)
    apart = np.abs(samples.structure[:, None] - real.structure).max(axis=2)
    work = np.abs(samples.composition[:, None] - real.composition).sum(axis=2)
    near = (apart <= structure) & (work <= composition)
    recalled, precise = coverage(samples, real, CutOffs(structure, composition))
    assert recalled.tolist() == near.any(axis=0).tolist()
    assert precise.tolist() == near.any(axis=1).tolist()


@given(st.integers(0, 1000))
def test_cut_offs_reach_the_share_they_were_taken_for(seed):
    rng = np.random.default_rng(seed)
    test, training = drawn(rng, 50), drawn(rng, 80)
    cutoffs = calibrate(test, training, quantile=0.8)
    reached = coverage(training, test, cutoffs)[0].mean()
    # Eight tenths have a composition near them, and of these eight tenths a structure.
    assert 0.6 <= reached <= 0.85
    assert calibrate(test, test) == CutOffs(0.0, 0.0)


def test_a_set_covers_itself_and_its_shaken_copy():
    marks = fingerprints_of(TEXTBOOK)
    moved = fingerprints_of(Crystals.of([shaken(c, i, 0.05) for i, c in enumerate(TEXTBOOK)]))
    recalled, precise = coverage(moved, marks, CutOffs(0.2, 0.0))
    assert recalled.all()
    assert precise.all()
    assert not coverage(marks.take(np.arange(0)), marks, CutOffs(1.0, 5.0))[0].any()


def test_cut_offs_need_crystals():
    marks = fingerprints_of(TEXTBOOK.take(slice(0, 2)))
    with pytest.raises(DataError, match="no crystals to take cut-offs from"):
        calibrate(marks.take(np.arange(0)), marks)
