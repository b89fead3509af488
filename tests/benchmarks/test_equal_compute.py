"""The budgeted loop and the way of crystals through the rebuilt source and back."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from baseline_batches import CPU, TINY, TINY_MESSAGES, mixed
from benchmarks.crystals import equal_compute as training_module
from benchmarks.crystals.baseline_chemeleon2 import (
    KL_WEIGHT,
    BaselineModule,
    niggli,
    reconstruct,
)
from benchmarks.crystals.baseline_chemeleon2.network import BaselineOutput
from benchmarks.crystals.equal_compute import Budget, constant_rate, train_within

from variolite.crystals.crystals import Crystals, cell_parameters
from variolite.crystals.files.formats import to_pymatgen
from variolite.crystals.files.textbook import textbook_crystals
from variolite.crystals.model.batch import CrystalBatch, CrystalBatches
from variolite.errors import DataError, TrainingError


def _train(architecture=TINY, *, seed=0, steps=16):
    module = BaselineModule(architecture, seed)
    batches = CrystalBatches(CrystalBatch.of(mixed(), CPU), 5, 8, seed)
    snapshots = train_within(
        module,
        module.loss,
        batches,
        Budget(steps=steps),
        rate=constant_rate(3e-3),
        beta=KL_WEIGHT,
    )
    return module, snapshots


@pytest.mark.parametrize("architecture", [TINY, TINY_MESSAGES])
def test_seed_zero_repeats_to_the_bit(architecture):
    (_, first), (_, again) = _train(architecture), _train(architecture)
    for one, other in zip(first, again, strict=True):
        assert (one.reconstruction, one.divergence) == (other.reconstruction, other.divergence)
        assert all(torch.equal(one.weights[k], other.weights[k]) for k in one.weights)
    _, different = _train(architecture, seed=1)
    assert different[-1].reconstruction != first[-1].reconstruction


def test_snapshots_lie_at_the_shares_and_the_loss_falls():
    module, snapshots = _train(steps=64)
    assert [s.steps for s in snapshots] == [8, 16, 32, 64]
    assert [s.share for s in snapshots] == [0.125, 0.25, 0.5, 1.0]
    assert snapshots[-1].epochs == 32.0
    assert snapshots[-1].reconstruction < 0.5 * snapshots[0].reconstruction
    last = module.state_dict()
    assert all(torch.equal(last[k], v) for k, v in snapshots[-1].weights.items())


def test_a_budget_of_seconds_counts_the_time_of_the_processor(monkeypatch):
    now = [5.0]
    said: list[str] = []
    module = BaselineModule(TINY, 0)

    def one_second(batch, beta):
        now[0] += 1.0
        return module.loss(batch, beta)

    def log(text):
        now[0] += 100.0
        said.append(text)

    monkeypatch.setattr(training_module.time, "process_time", lambda: now[0])
    snapshots = train_within(
        module,
        one_second,
        CrystalBatches(CrystalBatch.of(mixed(), CPU), 5, 8, 0),
        Budget(seconds=8.0, steps=100),
        rate=constant_rate(1e-3),
        beta=1e-5,
        log=log,
    )
    # What is done at a snapshot is not counted.
    assert [s.seconds for s in snapshots] == [1.0, 2.0, 4.0, 8.0]
    assert [s.steps for s in snapshots] == [1, 2, 4, 8]
    assert said[-1].startswith("1 of the budget: 8 CPU-s, 8 steps, 4.0 epochs")


def test_the_rate_follows_the_share_of_the_budget():
    asked: list[float] = []

    def rate(share):
        asked.append(share)
        return 1e-3

    module = BaselineModule(TINY, 0)
    batches = CrystalBatches(CrystalBatch.of(mixed(), CPU), 5, 8, 0)
    train_within(module, module.loss, batches, Budget(steps=4), rate=rate, beta=1e-5)
    assert asked == [0.0, 0.0, 0.25, 0.5, 0.75]


def test_training_that_cannot_end_or_goes_astray_is_refused():
    with pytest.raises(TrainingError, match="a budget without an end"):
        Budget()
    module = BaselineModule(TINY, 0)
    with torch.no_grad():
        module.species.bias[0] = math.nan
    batches = CrystalBatches(CrystalBatch.of(mixed(), CPU), 5, 8, 0)
    with pytest.raises(TrainingError, match="not a finite number after 1 steps"):
        train_within(
            module, module.loss, batches, Budget(steps=8), rate=constant_rate(1e-3), beta=1e-5
        )


def test_niggli_cells_are_those_of_pymatgen_in_one_orientation():
    crystals = textbook_crystals(conventional=True).take(slice(0, 20))
    skewed = _skewed(crystals)
    frame = niggli(skewed)
    found = cell_parameters(frame.crystals.lattices)
    for i, crystal in enumerate(skewed):
        structure = to_pymatgen(crystal)
        reduced = structure.get_reduced_structure()
        expected = [*sorted(reduced.lattice.abc), *sorted(reduced.lattice.angles)]
        np.testing.assert_allclose(
            [*np.sort(found[i, :3]), *np.sort(found[i, 3:])], expected, atol=1e-5
        )
    lattices = frame.crystals.lattices
    np.testing.assert_allclose(lattices[:, 2, :2], 0.0, atol=1e-12)
    np.testing.assert_allclose(lattices[:, 0, 1], 0.0, atol=1e-12)
    assert (np.linalg.det(lattices) > 0).all()


def _skewed(crystals):
    """The same crystals in longer cells."""
    change = np.array([[1, 2, 0], [0, 1, 1], [0, -1, 0]])
    return Crystals(
        crystals.species,
        crystals.coordinates @ np.linalg.inv(change),
        change @ crystals.lattices,
        crystals.offsets,
        crystals.names,
    )


def test_a_perfect_decoder_gives_the_crystal_back(monkeypatch):
    crystals = _skewed(textbook_crystals())
    reduced = niggli(crystals).crystals
    parameters = cell_parameters(reduced.lattices)
    module = BaselineModule(TINY, 0)
    tensors = CrystalBatch.of(reduced, CPU)

    def perfect(z, layout):  # the crystals of this layout, sorted by size
        order = np.argsort(reduced.counts, kind="stable")
        atoms = reduced.atoms_of(order)
        logits = torch.nn.functional.one_hot(tensors.species[atoms], 100).float()
        scaled = parameters[order, :3] / reduced.counts[order, None] ** (1 / 3)
        return BaselineOutput(
            logits,
            tensors.coordinates[atoms],
            torch.from_numpy(scaled).float(),
            torch.from_numpy(np.radians(parameters[order, 3:])).float(),
        )

    monkeypatch.setattr(module, "output", perfect)
    found = reconstruct(module, crystals)
    assert (found.species == crystals.species).all()
    np.testing.assert_allclose(found.lattices, crystals.lattices, atol=1e-4)
    moved = found.coordinates - crystals.coordinates
    np.testing.assert_allclose(moved, np.rint(moved), atol=1e-5)


def test_an_element_beyond_the_table_is_named():
    crystals = textbook_crystals().take(slice(0, 1))
    heavy = replace(crystals, species=np.full_like(crystals.species, 101))
    with pytest.raises(DataError, match="atomic number 101 is not in the table of 100"):
        reconstruct(BaselineModule(TINY, 0), heavy)
