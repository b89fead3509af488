"""The set transformer keeps its symmetries; the solver reaches known distributions."""

from itertools import permutations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from variolite.crystals.generation import flow
from variolite.crystals.generation.conditions import Conditions, ConditionTensors, Vocabulary
from variolite.crystals.generation.starts import StartMeans
from variolite.crystals.model.batch import Layout

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def network():
    made = flow.FlowNetwork(flow.FlowShape(5, 4, 2, width=16, layers=2, heads=2))
    random = torch.Generator().manual_seed(0)
    with torch.no_grad():  # fresh ones answer zero to everything
        for parameter in made.parameters():
            parameter.add_(0.2 * torch.randn(parameter.shape, generator=random))
    return made.eval()


def seen(counts, seed):
    """Points, times, layout, conditions and starts of crystals of some sizes."""
    random = torch.Generator().manual_seed(seed)
    atoms, sets = sum(counts), len(counts)
    points, values = (torch.randn(n, generator=random) for n in ((atoms, 5), (sets, 2)))
    tokens = torch.randint(1, 5, (atoms,), generator=random)
    groups = torch.randint(0, 231, (sets,), generator=random)
    known = ConditionTensors(tokens, groups, values, torch.ones(sets, 2))
    means = StartMeans(torch.randn(atoms, 5, generator=random), torch.arange(sets) % 2)
    return (
        points,
        torch.rand(sets, generator=random),
        Layout.of(np.array(counts), CPU),
        known,
        means,
    )


@given(st.lists(st.integers(1, 6), min_size=1, max_size=5), st.integers(0, 99))
@settings(max_examples=20)
@torch.no_grad()
def test_order_and_company_do_not_matter(network, sizes, seed):
    z, time, layout, known, means = seen(sorted(sizes), seed)
    together = network(z, time, layout, known, means)
    random, start = torch.Generator().manual_seed(seed), 0
    for i, size in enumerate(sorted(sizes)):
        mine, own = start + torch.randperm(size, generator=random), torch.tensor([i])
        alone = Layout.of(np.array([size]), CPU)
        taken = known.take(mine, own), means.take(mine, own)
        found = network(z[mine], time[own], alone, *taken)
        np.testing.assert_allclose(found, together[mine], atol=2e-5)
        start += size


@torch.no_grad()
def test_conditions_matter_and_products_are_rounded_in_training(network):
    z, time, layout, known, means = seen([3, 3], 1)
    before = network(z, time, layout, known, means)
    none, every, both = torch.tensor([0, 0]), torch.tensor([1, 1]), torch.ones(2, 2)
    masks = ((none, both), (every, both * 0.0), (none, both * 0.0))
    others = [network(z, time, layout, known.dropped(*each), means) for each in masks]
    others += [network(z, time + 0.5, layout, known, means)]
    others += [network(z, time, layout, known, means._replace(kinds=1 - means.kinds))]
    others += [network(z, time, layout, known, means._replace(base=means.base + 1.0))]
    for other in others:
        assert (other - before).abs().max() > 1e-3
    network.bf16 = True
    assert torch.equal(network(z, time, layout, known, means), before)
    trained = network.train()(z, time, layout, known, means)
    network.eval()
    assert 0.0 < float((trained - before).norm() / before.norm()) < 0.02


def test_the_solver_reaches_a_normal_distribution_and_a_point():
    noise = torch.linspace(-3.0, 3.0, 61).unsqueeze(1)
    mean, deviation = 1.5, 0.4

    def exact(z, time):
        """Answer of a perfect network, from the conditional means of latents and noise."""
        t = float(time)
        off = (z - t * mean) / ((t * deviation) ** 2 + (1.0 - t) ** 2)
        return mean + t * deviation**2 * off - (1.0 - t) * off

    # A deterministic path from one normal to another keeps quantiles.
    np.testing.assert_allclose(flow.integrate(exact, noise, 200), 1.5 + 0.4 * noise, atol=0.02)
    # With one latent the answer is exact. The last step starts before the end, where it is defined.
    ending = flow.integrate(lambda z, t: 2.0 - (z - t * 2.0) / (1.0 - t).clamp_min(1e-9), noise, 8)
    np.testing.assert_allclose(ending, torch.full((61, 1), 2.0), atol=1e-3)


def test_batches_hold_every_atom_with_its_own_conditions_or_none():
    # Twelve atoms whose latents are their numbers, in five crystals.
    random = np.random.default_rng(0)
    species, groups = random.integers(1, 5, 12), np.array([1, 2, 0, 4, 5])
    known = Conditions(np.array([3, 1, 2, 2, 4]), species, groups, random.normal(size=(5, 2)))
    mean = np.repeat(np.arange(12, dtype=np.float32)[:, None], 3, axis=1)
    tensors = ConditionTensors.of(known, Vocabulary.of(known, ["a", "b"]), CPU)
    z, kinds = torch.from_numpy(mean), torch.tensor([0, 1, 0, 1, 1])
    five = flow.LatentSet(z, tensors, known.offsets, StartMeans(z + 100.0, kinds))
    batch = five.batch(np.arange(5), torch.Generator())
    assert batch.layout.counts.tolist() == [1, 2, 2, 3, 4]
    atoms = batch.latents[:, 0].round().long()
    assert atoms.tolist() == [3, 4, 5, 6, 7, 0, 1, 2, 8, 9, 10, 11]
    assert batch.conditions.tokens.tolist() == five.conditions.tokens[atoms].tolist()
    assert batch.conditions.space_groups.tolist() == [2, 0, 4, 1, 5]
    assert (batch.means.base - batch.latents).eq(100.0).all()
    assert batch.means.kinds.tolist() == [1, 0, 1, 0, 1]
    assert batch.noise.shape == (12 + 5, 3)
    # As generation has it: no property is known that nobody asked for.
    assert not batch.conditions.given.any()
    assert not batch.conditions.values.any()
    data = flow.LatentBatches(five, np.arange(5), 2, seed=3)
    first, again, other = ([batch.noise for batch in data.epoch(number)] for number in (1, 1, 2))
    assert len(first) == 2
    assert all(bool((a == b).all()) for a, b in zip(first, again, strict=True))
    assert first[0].shape != other[0].shape or bool((first[0] != other[0]).any())
    # Conditions are dropped as often as documented.
    data = flow.LatentBatches(five, np.arange(5), 5, seed=0)
    found = [batch.conditions for number in range(300) for batch in data.epoch(number)]
    dropped = [float(torch.stack(part).eq(0).float().mean()) for part in zip(*found, strict=True)]
    dropped[1] -= 0.2 * 0.9  # one of five never has a space group
    np.testing.assert_allclose(np.delete(dropped, 2), [0.0, 0.1, 0.58], atol=0.05)


def test_starts_go_to_the_nearest_latents_of_equal_atoms():
    random = np.random.default_rng(0)
    layout, tokens = Layout.of(np.array([2, 2, 5]), CPU), np.array([1, 2, 1, 1, 3, 1, 3, 3, 1])
    z, start = (torch.from_numpy(random.normal(size=(9, 4))) for _ in range(2))
    order = flow.matched(start, z, layout, torch.from_numpy(tokens)).numpy()
    assert sorted(order.tolist()) == list(range(9))
    owner = layout.owner.numpy()
    np.testing.assert_array_equal(owner[order], owner)
    np.testing.assert_array_equal(tokens[order], tokens)

    def total(places, atoms):
        return float(((start[list(places)] - z[list(atoms)]) ** 2).sum())

    for atoms in ((0,), (1,), (2, 3), (4, 6, 7), (5, 8)):
        best = min(total(places, atoms) for places in permutations(atoms))
        assert total(order[list(atoms)], atoms) == pytest.approx(best)
