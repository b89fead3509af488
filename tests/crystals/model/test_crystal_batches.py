"""Batches hold every crystal whole, in groups of one size, and repeat themselves."""

import numpy as np
import torch
from drawn_crystals import drawn_crystals, drawn_sets
from hypothesis import given
from hypothesis import strategies as st

from variolite.crystals.model import CrystalBatch, CrystalBatches, Layout, evaluation_batches
from variolite.crystals.model import batch as batch_module
from variolite.crystals.model.batch import log_metric_tensor

CPU = torch.device("cpu")


def _check(batch, crystals):
    """Every crystal of a batch is the one that ``order`` names."""
    order = batch.order.numpy()
    counts = batch.layout.counts.numpy()
    assert (np.diff(counts) >= 0).all()
    assert sum(b for b, _ in batch.layout.groups) == len(order)
    expected = [size for number, size in batch.layout.groups for _ in range(number)]
    assert counts.tolist() == expected
    assert batch.layout.owner.tolist() == np.repeat(np.arange(len(order)), counts).tolist()
    atoms = crystals.atoms_of(order)
    np.testing.assert_array_equal(batch.species.numpy(), crystals.species[atoms])
    np.testing.assert_array_equal(batch.coordinates, crystals.coordinates[atoms].astype(np.float32))
    np.testing.assert_array_equal(batch.lattice, crystals.lattices[order].astype(np.float32))
    metric = log_metric_tensor(crystals.lattices, crystals.counts)[order]
    np.testing.assert_array_equal(batch.log_metric, metric.astype(np.float32))


@given(crystals=drawn_sets(), seed=st.integers(0, 100), data=st.data())
def test_a_batch_holds_the_crystals_that_were_chosen(crystals, seed, data):
    places = st.lists(st.integers(0, len(crystals) - 1), min_size=1, max_size=8)
    chosen = np.array(data.draw(places))
    batch = CrystalBatch.of(crystals, CPU).take(chosen)
    _check(batch, crystals)
    assert sorted(batch.order.tolist()) == sorted(chosen.tolist())


def test_evaluation_gives_every_crystal_once(monkeypatch):
    crystals = drawn_crystals(0, 60, 9)
    tensors = CrystalBatch.of(crystals, CPU)
    for most in (1, 7, 50, 10_000):
        monkeypatch.setattr(batch_module, "EVALUATION_ATOMS", most)
        batches = list(evaluation_batches(tensors, 3, noise_seed=None))
        for batch in batches:
            _check(batch, crystals)
            assert batch.noise.shape == (len(batch.species), 3)
            assert not batch.noise.any()
        assert sorted(int(i) for b in batches for i in b.order) == list(range(60))
        # No batch is much larger than asked for: at most by one crystal.
        assert max(len(b.species) for b in batches) <= most + 2 * 9
    nothing = CrystalBatch.of(crystals.take(slice(0, 0)), CPU)
    assert list(evaluation_batches(nothing, 3, noise_seed=None)) == []
    # Fixed noise is fixed and standard normal.
    tensors = CrystalBatch.of(drawn_crystals(0, 400, 9), CPU)
    one, two = ([b.noise for b in evaluation_batches(tensors, 8, noise_seed=5)] for _ in range(2))
    assert all(torch.equal(a, b) for a, b in zip(one, two, strict=True))
    noise = torch.cat(one)
    assert abs(float(noise.mean())) < 0.03
    assert abs(float(noise.std()) - 1.0) < 0.03


def test_an_epoch_repeats_itself_and_no_other():
    crystals = drawn_crystals(0, 50, 6)
    tensors = CrystalBatch.of(crystals, CPU)
    source = CrystalBatches(tensors, 16, 4, seed=0)
    assert source.steps == 3
    first = list(source.epoch(2))
    assert len(first) == 3
    for batch, again in zip(first, source.epoch(2), strict=True):
        _check(batch, crystals)
        assert torch.equal(batch.order, again.order)
        assert torch.equal(batch.noise, again.noise)
    seen = [int(i) for batch in first for i in batch.order]
    assert len(set(seen)) == 48
    other = [int(i) for batch in source.epoch(3) for i in batch.order]
    reseeded = [int(i) for batch in CrystalBatches(tensors, 16, 4, 1).epoch(2) for i in batch.order]
    assert seen != other
    assert seen != reseeded
    all_five = CrystalBatches(tensors.take(np.arange(5)), 100, 2, seed=0)
    assert (all_five.steps, all_five.batch_size) == (1, 5)
    assert sorted(next(all_five.epoch(0)).order.tolist()) == [0, 1, 2, 3, 4]


def test_features_go_with_their_atoms_and_pairs_with_the_features():
    crystals = drawn_crystals(0, 9, 5)
    features = np.arange(len(crystals.species) * 2, dtype=np.float32).reshape(-1, 2)
    tensors = CrystalBatch.of(crystals, CPU, features)
    batch = tensors.take(np.array([7, 2, 2, 5]))
    atoms = crystals.atoms_of(batch.order.numpy())
    np.testing.assert_array_equal(batch.features, features[atoms])
    drawn = batch.drawn(3, torch.Generator().manual_seed(0))
    assert drawn.chance.shape == (2, 4 * len(atoms))
    assert bool(((drawn.chance >= 0) & (drawn.chance < 1)).all())
    assert CrystalBatch.of(crystals, CPU).take(np.array([0])).drawn(3, None).chance is None


def test_layouts_by_hand():
    layout = Layout.of(np.array([1, 1, 4, 7, 7, 7]), CPU)
    assert layout.groups == ((2, 1), (1, 4), (3, 7))
    assert layout.owner.tolist() == [0, 1, *[2] * 4, *[3] * 7, *[4] * 7, *[5] * 7]
