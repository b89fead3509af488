"""The budgeted loop and the way of crystals through the rebuilt source and back."""

import math
from dataclasses import replace
from unittest.mock import Mock

import numpy as np
import pytest
import torch
from baseline_batches import CPU, TINY, TINY_MESSAGES, mixed
from benchmarks.crystals import equal_compute as training_module
from benchmarks.crystals.baseline_chemeleon2 import KL_WEIGHT, BaselineModule, niggli, reconstruct
from benchmarks.crystals.baseline_chemeleon2.network import BaselineOutput
from benchmarks.crystals.equal_compute import Budget, constant_rate, train_within

from variolite.crystals.crystals import cell_parameters
from variolite.crystals.files.formats import to_pymatgen
from variolite.crystals.files.textbook import textbook_crystals
from variolite.crystals.model.batch import CrystalBatch, CrystalBatches
from variolite.errors import DataError, TrainingError


def _train(architecture=TINY, seed=0, steps=16, seconds=math.inf, loss=lambda m: m.loss, **options):
    """Snapshots of a network that is trained in a budget, and its weights at the end."""
    budget = Budget(seconds=seconds, steps=steps)
    module = BaselineModule(architecture, seed)
    batches = CrystalBatches(CrystalBatch.of(mixed(), CPU), 5, 8, seed)
    options = {"rate": constant_rate(3e-3), "beta": KL_WEIGHT, **options}
    return train_within(module, loss(module), batches, budget, **options), module.state_dict()


@pytest.mark.parametrize("architecture", [TINY, TINY_MESSAGES])
def test_seed_zero_repeats_to_the_bit(architecture):
    (first, _), (again, _) = _train(architecture), _train(architecture)
    for one, other in zip(first, again, strict=True):
        assert (one.reconstruction, one.divergence) == (other.reconstruction, other.divergence)
        assert all(torch.equal(one.weights[k], other.weights[k]) for k in one.weights)
    different, _ = _train(architecture, seed=1)
    assert different[-1].reconstruction != first[-1].reconstruction


def test_snapshots_lie_at_the_shares_and_the_loss_falls():
    snapshots, last = _train(steps=64)
    assert [s.steps for s in snapshots] == [8, 16, 32, 64]
    assert [s.share for s in snapshots] == [0.125, 0.25, 0.5, 1.0]
    assert snapshots[-1].epochs == 32.0
    assert snapshots[-1].reconstruction < 0.5 * snapshots[0].reconstruction
    assert all(torch.equal(last[k], v) for k, v in snapshots[-1].weights.items())


def test_a_budget_of_seconds_counts_the_time_of_the_processor(monkeypatch):
    now, said = [5.0], []

    def one_second(module):
        def loss(batch, beta):
            now[0] += 1.0
            return module.loss(batch, beta)

        return loss

    def log(text):
        now[0] += 100.0
        said.append(text)

    monkeypatch.setattr(training_module.time, "process_time", lambda: now[0])
    snapshots, _ = _train(steps=100, seconds=8.0, loss=one_second, log=log)
    # What is done at a snapshot is not counted.
    assert [s.seconds for s in snapshots] == [1.0, 2.0, 4.0, 8.0]
    assert [s.steps for s in snapshots] == [1, 2, 4, 8]
    assert said[-1].startswith("1 of the budget: 8 CPU-s, 8 steps, 4.0 epochs")


def test_the_rate_follows_the_share_of_the_budget():
    rate = Mock(return_value=1e-3)
    _train(steps=4, rate=rate)
    assert [asked.args[0] for asked in rate.call_args_list] == [0.0, 0.0, 0.25, 0.5, 0.75]


def test_training_that_cannot_end_or_goes_astray_is_refused():
    with pytest.raises(TrainingError, match="a budget without an end"):
        Budget()

    def astray(module):
        with torch.no_grad():
            module.species.bias[0] = math.nan
        return module.loss

    with pytest.raises(TrainingError, match="not a finite number after 1 steps"):
        _train(steps=8, loss=astray)


def test_niggli_cells_are_those_of_pymatgen_in_one_orientation():
    skewed = _skewed(textbook_crystals(conventional=True).take(slice(0, 20)))
    lattices = niggli(skewed).crystals.lattices
    for crystal, found in zip(skewed, cell_parameters(lattices), strict=True):
        reduced = to_pymatgen(crystal).get_reduced_structure().lattice
        expected = [*sorted(reduced.abc), *sorted(reduced.angles)]
        np.testing.assert_allclose(np.sort(found.reshape(2, 3)).ravel(), expected, atol=1e-5)
    np.testing.assert_allclose(lattices[:, 2, :2], 0.0, atol=1e-12)
    np.testing.assert_allclose(lattices[:, 0, 1], 0.0, atol=1e-12)
    assert (np.linalg.det(lattices) > 0).all()


def _skewed(crystals):
    """The same crystals in longer cells."""
    change = np.array([[1, 2, 0], [0, 1, 1], [0, -1, 0]])
    coordinates = crystals.coordinates @ np.linalg.inv(change)
    return replace(crystals, coordinates=coordinates, lattices=change @ crystals.lattices)


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
        cells = (torch.from_numpy(p).float() for p in (scaled, np.radians(parameters[order, 3:])))
        return BaselineOutput(logits, tensors.coordinates[atoms], *cells)

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
