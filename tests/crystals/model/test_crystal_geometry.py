"""Cells and positions as smooth numbers, against closed forms and other libraries."""

import numpy as np
import pytest
import torch
from drawn_crystals import drawn_sets
from hypothesis import assume, example, given
from hypothesis import strategies as st
from scipy.linalg import expm

from variolite.crystals.crystals import cell_parameters
from variolite.crystals.invariance import rotation
from variolite.crystals.model import batch


@given(crystals=drawn_sets())
def test_cells_come_back_from_their_log_metric(crystals):
    entries = batch.log_metric_tensor(crystals.lattices, crystals.counts)
    found = batch.lattices_of(entries, crystals.counts)
    parameters = [cell_parameters(cells) for cells in (found, crystals.lattices)]
    np.testing.assert_allclose(*parameters, rtol=1e-9, atol=1e-7)
    np.testing.assert_array_equal(np.triu(found, 1), 0.0)
    assert (np.diagonal(found, axis1=1, axis2=2) > 0.0).all()


@example(entries=[0.0, 2.0, 4.0, 4.0, 4.0, 4.0], atoms=200)
@given(entries=st.lists(st.floats(-4.0, 4.0), min_size=6, max_size=6), atoms=st.integers(1, 500))
def test_any_six_numbers_come_back_from_their_cell(entries, atoms):
    xx, yy, zz, xy, xz, yz = entries
    sizes = np.linalg.eigvalsh([[xx, xy, xz], [xy, yy, yz], [xz, yz, zz]]) + np.log(atoms) / 3
    assume(np.abs(sizes).max() <= 12.0)  # longer and shorter cells are cut off there
    given_, counts = np.array([entries]), np.array([atoms])
    cells = batch.lattices_of(given_, counts)
    volume = np.linalg.det(cells)[0]
    assert volume > 0.0
    assert np.log(volume / atoms) == pytest.approx(sum(entries[:3]), abs=1e-6)
    np.testing.assert_allclose(batch.log_metric_tensor(cells, counts), given_, atol=1e-4)


def test_outputs_of_any_size_are_finite_cells_and_others_are_none():
    random = np.random.default_rng(0)
    for scale in (3.0, 100.0, 1e30):
        counts = random.integers(1, 53, size=10_000)
        cells = batch.lattices_of(scale * random.normal(size=(10_000, 6)), counts)
        assert np.isfinite(cells).all()
        assert (np.diagonal(cells, axis1=1, axis2=2) > 0.0).all()
        assert scale > 100.0 or (np.linalg.det(cells) > 0.0).all()
    for absurd in (np.nan, np.inf, -np.inf):
        entries = np.zeros((3, 6))
        entries[1, 4] = absurd
        cells = batch.lattices_of(entries, np.array([1, 2, 3]))
        assert np.isnan(cells[1]).all()
        np.testing.assert_allclose(np.linalg.det(cells[[0, 2]]), [1.0, 3.0])


@given(crystals=drawn_sets())
def test_it_is_the_logarithm_of_the_matrix(crystals):
    found = batch.log_metric_tensor(crystals.lattices, crystals.counts)
    for lattice, atoms, entries in zip(crystals.lattices, crystals.counts, found, strict=True):
        half = np.log(atoms) / 3 * np.eye(3)
        for value, (i, j) in zip(entries, batch.METRIC_ENTRIES, strict=True):
            half[i, j] += value
            half[j, i] = half[i, j]
        np.testing.assert_allclose(expm(2.0 * half), lattice @ lattice.T, rtol=1e-9, atol=1e-9)
    volumes = np.log(crystals.volumes / crystals.counts)
    np.testing.assert_allclose(found[:, :3].sum(axis=1), volumes, atol=1e-10)
    turned = rotation(crystals).apply(crystals)
    again = batch.log_metric_tensor(turned.lattices, crystals.counts)
    np.testing.assert_allclose(again, found, atol=1e-10)


PLACES, CELLS = (
    st.tuples(each, each, each) for each in (st.floats(-3.0, 3.0), st.integers(-50, 50))
)


@given(PLACES, CELLS, st.integers(1, 6))
def test_torus_features_are_periodic(place, whole, waves):
    x = torch.tensor([place], dtype=torch.float64)
    moved = x + torch.tensor([whole], dtype=torch.float64)
    found = batch.fourier_features(x, waves)
    assert found.shape == (1, 6 * waves)
    np.testing.assert_allclose(found, batch.fourier_features(moved, waves), atol=1e-11)
    each = np.arange(1, waves + 1)
    expected = np.concatenate([f(2 * np.pi * each * v) for v in place for f in (np.cos, np.sin)])
    np.testing.assert_allclose(found[0], expected, atol=1e-11)


@given(st.tuples(*[st.floats(0.0, 1.0, exclude_max=True)] * 3), st.floats(1e-3, 1e3))
def test_coordinates_come_back_from_their_cosines_and_sines(place, length):
    phase = 2.0 * torch.pi * torch.tensor([place], dtype=torch.float64)
    found = batch.coordinates_of(length * torch.cat([phase.cos(), phase.sin()], dim=1))
    difference = (found - torch.tensor([place], dtype=torch.float64)).numpy()
    assert np.abs(difference - np.rint(difference)).max() < 1e-12
    assert bool(((found >= 0.0) & (found <= 1.0)).all())


@given(st.floats(-1e3, 1e3))
def test_wrapped_differences_are_to_the_nearest_image(difference):
    found = float(batch.wrapped(torch.tensor(difference, dtype=torch.float64)))
    assert abs(found) <= 0.5
    nearest = min((difference - n for n in (np.floor(difference), np.ceil(difference))), key=abs)
    assert found == pytest.approx(nearest, abs=1e-9) or abs(found) == pytest.approx(0.5)
