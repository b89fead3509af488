"""The checks pass where a model is invariant, and fail at the very place where it is not."""

import doctest
from dataclasses import replace

import numpy as np
import pytest
from drawn_crystals import drawn_crystals, model_for

from variolite.crystals import invariance as checks
from variolite.crystals.files.textbook import textbook_crystals
from variolite.crystals.invariance import check_invariance
from variolite.errors import DataError

NAMES = ["rotation", "reflection", "whole cells", "origin", "order of atoms", "cell"]
DRAWN = drawn_crystals(2, 20, 5)


def _names(report):
    return [change.name for change in report.failures()]


@pytest.mark.parametrize("conventional", [False, True])
def test_our_model_passes_on_the_most_symmetric_crystals(conventional):
    crystals = textbook_crystals(conventional=conventional)
    model = model_for(crystals)
    report = check_invariance(model.encode, crystals, reconstruct=model.reconstruct, alone=20)
    assert report.passes(1e-5), str(report)
    assert report.crystals == 78
    assert max(change.largest for change in report.latents) < 1e-5
    assert [change.name for change in report.latents] == [*NAMES, "alone or with others"]
    assert [change.name for change in report.shapes] == NAMES
    # A strained crystal is another one: its latents move, and most only a little.
    for change in report.residuals:
        assert change.median > 1e-5
        assert change.moved is not None
        assert change.moved < 0.6


def test_our_model_passes_on_crystals_without_symmetry():
    crystals = drawn_crystals(1, 120, 12)
    model = model_for(crystals, latent=12)
    report = check_invariance(model.encode, crystals, reconstruct=model.reconstruct, seed=3)
    assert report.passes(1e-5), str(report)


@pytest.mark.parametrize(
    "name", ["mp_20/biternary_test_a", "mpts_52/val", "perov_5/test", "carbon_24/htl_train"]
)
def test_our_model_passes_on_real_crystals(real_rows, name):
    crystals = real_rows(name, 60)
    model = model_for(crystals)
    report = check_invariance(model.encode, crystals, reconstruct=model.reconstruct, alone=10)
    assert report.passes(1e-4), str(report)


@pytest.mark.parametrize(
    ("name", "rows"),
    [
        ("rotation", lambda c: c.lattices[:, 0, :1] * np.sign(np.linalg.det(c.lattices))[:, None]),
        ("reflection", lambda c: np.sign(np.linalg.det(c.lattices))[:, None]),
        ("whole cells", lambda c: c.coordinates),
        ("order of atoms", lambda c: np.arange(len(c.species)) - c.offsets[c.owner]),
        ("alone or with others", lambda c: np.full(len(c.species), len(c))),
    ],
)
def test_each_fault_is_found_by_its_name(name, rows):
    def spoilt(crystals):
        found = rows(crystals).reshape(len(rows(crystals)), -1)
        return found[crystals.owner] if len(found) == len(crystals) else found

    assert name in _names(check_invariance(spoilt, DRAWN))


def test_latents_of_any_size_are_compared_alike():
    for scale in (1e-9, 1.0, 1e9):
        report = check_invariance(lambda c, s=scale: s * (c.coordinates % 1.0), DRAWN)
        assert _names(report) == ["origin", "cell"]
    assert check_invariance(lambda c: np.ones((len(c.species), 2)), DRAWN).passes(0.0)
    broken = check_invariance(lambda c: np.full((len(c.species), 2), np.nan), DRAWN)
    assert not broken.passes(1e30)
    assert not broken.passes()


def test_reconstructions_that_depend_on_the_setting_or_are_no_cells_are_found():
    encode = model_for(DRAWN).encode

    def along_x(given):
        return replace(given, lattices=given.lattices @ np.diag([1.1, 1.0, 1.0]))

    def flat(given):
        return replace(given, lattices=0.0 * given.lattices)

    report = check_invariance(encode, DRAWN, reconstruct=along_x)
    assert {change.name for change in report.failures()} == {"rotation", "reflection"}
    report = check_invariance(encode, DRAWN, reconstruct=flat)
    assert [change.compared for change in report.failures()] == ["shape"] * 6


def test_functions_that_change_their_input_are_found():
    def spoils(given):
        given.coordinates[:] = 0.0
        return np.ones((len(given.species), 2))

    report = check_invariance(spoils, drawn_crystals(2, 5, 5))
    assert report.mutated
    assert not report.passes()
    assert "CHANGED" in str(report)


def test_functions_that_return_something_else():
    def rows(given):
        return np.ones((len(given.species), 2))

    with pytest.raises(DataError, match="one row for every atom"):
        check_invariance(lambda c: np.ones((len(c), 2)), DRAWN)
    with pytest.raises(DataError, match="other sizes"):
        check_invariance(rows, DRAWN, reconstruct=lambda c: c.take([0]))
    with pytest.raises(DataError, match="no crystal"):
        check_invariance(rows, DRAWN.take(slice(0, 0)))


def test_the_report_as_text_and_as_numbers():
    crystals = drawn_crystals(2, 5, 5)
    model = model_for(crystals)
    report = check_invariance(model.encode, crystals, reconstruct=model.reconstruct)
    text = str(report)
    for words in (*NAMES, "5 crystals", "95 %", "strain of 0.3%", "noise of 0.01 Angstrom"):
        assert words in text
    assert report.crystals == 5
    assert len(report.latents) == 7
    again = check_invariance(model.encode, crystals, reconstruct=model.reconstruct)
    assert str(report) == str(again)
    assert doctest.testmod(checks).failed == 0
