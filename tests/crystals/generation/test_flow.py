"""The set transformer keeps its symmetries; the solver reaches known distributions."""

from __future__ import annotations

import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from variolite.crystals.crystals import Latents
from variolite.crystals.generation.conditions import Conditions, ConditionTensors, Vocabulary
from variolite.crystals.generation.flow import ConditionDropout, LatentBatches, LatentSet
from variolite.crystals.generation.flow_network import (
    FlowNetwork,
    FlowShape,
    integrate,
    point_and_velocity,
    training_times,
)
from variolite.crystals.model.batch import Layout
from variolite.crystals.model.latents import LatentStatistics

CPU = torch.device("cpu")


def network() -> FlowNetwork:
    made = FlowNetwork.seeded(FlowShape(5, 4, 2, width=16, layers=2, heads=2), seed=0)
    with torch.no_grad():  # fresh ones answer zero to everything
        for parameter in made.parameters():
            parameter.add_(0.2 * torch.randn(parameter.shape, generator=GENERATOR))
    return made.eval()


GENERATOR = torch.Generator().manual_seed(0)
NETWORK = network()


def conditions(atoms: int, sets: int, generator: torch.Generator) -> ConditionTensors:
    return ConditionTensors(
        torch.randint(0, 5, (atoms,), generator=generator),
        torch.randint(0, 231, (sets,), generator=generator),
        torch.randn(sets, 2, generator=generator),
        torch.ones(sets, 2),
    )


@given(st.lists(st.integers(1, 6), min_size=1, max_size=5), st.integers(0, 99))
@settings(max_examples=20)
def test_order_and_company_do_not_matter(sizes: list[int], seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    counts = np.sort(np.array(sizes))
    layout = Layout.of(counts, CPU)
    atoms = int(counts.sum())
    z, time = torch.randn(atoms, 5, generator=generator), torch.rand(len(counts))
    known = conditions(atoms, len(counts), generator)
    with torch.no_grad():
        together = NETWORK(z, time, layout, known)
        start = 0
        for i, size in enumerate(counts.tolist()):
            mine = start + torch.randperm(size, generator=generator)
            alone = NETWORK(
                z[mine],
                time[i : i + 1],
                Layout.of(np.array([size]), CPU),
                ConditionTensors(
                    known.tokens[mine],
                    known.space_groups[i : i + 1],
                    known.values[i : i + 1],
                    known.given[i : i + 1],
                ),
            )
            np.testing.assert_allclose(alone, together[mine], atol=2e-5)
            start += size


def test_products_are_rounded_in_training_alone() -> None:
    generator = torch.Generator().manual_seed(2)
    layout = Layout.of(np.array([4, 4]), CPU)
    seen = (torch.randn(8, 5, generator=generator), torch.tensor([0.3, 0.6]), layout)
    known = conditions(8, 2, generator)
    rounded = network()
    with torch.no_grad():
        plain = rounded(*seen, known)
        rounded.bf16 = True
        assert torch.equal(rounded(*seen, known), plain)
        trained = rounded.train()(*seen, known)
    error = float((trained - plain).norm() / plain.norm())
    assert 0.0 < error < 0.02


def test_every_condition_matters() -> None:
    generator = torch.Generator().manual_seed(1)
    layout = Layout.of(np.array([3, 3]), CPU)
    z, time = torch.randn(6, 5, generator=generator), torch.tensor([0.3, 0.3])
    known = conditions(6, 2, generator)
    with torch.no_grad():
        before = NETWORK(z, time, layout, known)
        none = torch.zeros(2, dtype=torch.int64)
        every = torch.ones(2, dtype=torch.int64)
        known.tokens.clamp_(min=1)
        forgotten = [
            known.dropped(layout, none, every, torch.ones(2, 2)),
            known.dropped(layout, every, none, torch.ones(2, 2)),
            known.dropped(layout, every, every, torch.tensor([[0.0, 1.0]])),
            known.free(),
        ]
        for other in forgotten:
            assert (NETWORK(z, time, layout, other) - before).abs().max() > 1e-3
        assert (NETWORK(z, time + 0.5, layout, known) - before).abs().max() > 1e-3
    assert known.any
    assert not known.free().any


def test_the_solver_reaches_a_normal_distribution() -> None:
    mean, deviation = 1.5, 0.4

    def exact(z: Tensor, time: Tensor) -> Tensor:
        """Answer of a perfect network, from the conditional means of latents and noise."""
        t = float(time)
        variance = (t * deviation) ** 2 + (1.0 - t) ** 2
        off = (z - t * mean) / variance
        return mean + t * deviation**2 * off - (1.0 - t) * off

    noise = torch.linspace(-3.0, 3.0, 61).unsqueeze(1)
    found = integrate(exact, noise, 200)
    # A deterministic path from one normal to another keeps quantiles.
    np.testing.assert_allclose(found, 1.5 + 0.4 * noise, atol=0.02)


def test_examples_are_what_the_solver_expects() -> None:
    latents, noise = torch.randn(2, 50, 3, generator=torch.Generator().manual_seed(2))
    times = training_times(torch.linspace(0.0, 1.0, 50))
    assert bool((times >= 0.0).all() & (times <= 1.0).all())
    at_start, _ = point_and_velocity(latents, noise, torch.zeros(50, 1))
    at_end, _ = point_and_velocity(latents, noise, torch.ones(50, 1))
    np.testing.assert_allclose(at_start, noise, atol=1e-6)
    np.testing.assert_allclose(at_end, latents, atol=1e-6)
    # With one latent vector the answer is exact, and following it leads there.
    target = latents[:1]

    def velocity(z: Tensor, time: Tensor) -> Tensor:
        return target - (z - time * target) / max(1.0 - float(time), 1e-9)

    # The last step starts before the end, where the answer is still defined.
    np.testing.assert_allclose(integrate(velocity, noise[:1], 8), target, atol=1e-3)


def latents_of_five() -> LatentSet:
    random = np.random.default_rng(0)
    counts = np.array([3, 1, 2, 2, 4])
    offsets = np.concatenate([[0], np.cumsum(counts)])
    known = Conditions(
        counts, random.integers(1, 5, 12), np.array([1, 2, 0, 4, 5]), random.normal(size=(5, 2))
    )
    latents = Latents(
        np.arange(12, dtype=np.float32)[:, None] * np.ones(3, dtype=np.float32),
        np.full((12, 3), -40.0, dtype=np.float32),
        offsets,
        np.array(list("abcde")),
    )
    statistics = LatentStatistics(np.zeros(3), np.ones(3), np.full(3, np.nan))
    return LatentSet.of(latents, known, Vocabulary.of(known, ["a", "b"]), statistics, CPU)


def test_batches_hold_every_atom_with_its_own_conditions() -> None:
    data = latents_of_five()
    batch = data.batch(np.arange(5), torch.Generator())
    assert batch.layout.counts.tolist() == [1, 2, 2, 3, 4]
    atoms = batch.latents[:, 0].round().long()
    assert atoms.tolist() == [3, 4, 5, 6, 7, 0, 1, 2, 8, 9, 10, 11]
    assert batch.conditions.tokens.tolist() == data.conditions.tokens[atoms].tolist()
    assert batch.conditions.space_groups.tolist() == [2, 0, 4, 1, 5]


def test_an_epoch_depends_on_its_number_and_the_seed_alone() -> None:
    data = LatentBatches(latents_of_five(), np.arange(5), 2, 3, ConditionDropout(0.5))
    first, again, other = ([batch.noise for batch in data.epoch(number)] for number in (1, 1, 2))
    assert len(first) == 2
    assert all(bool((a == b).all()) for a, b in zip(first, again, strict=True))
    assert first[0].shape != other[0].shape or bool((first[0] != other[0]).any())


def test_conditions_are_dropped_as_often_as_asked_for() -> None:
    data = LatentBatches(latents_of_five(), np.arange(5), 5, 0, ConditionDropout(0.2, 0.4, 0.5))
    dropped = np.zeros(3)
    for number in range(300):
        for batch in data.epoch(number):
            found = batch.conditions
            dropped += [
                (found.tokens == 0).float().mean(),
                (found.space_groups == 0).float().mean() - 0.2 * 0.3,  # one never has one
                (found.given == 0).float().mean(),
            ]
    np.testing.assert_allclose(dropped / 300, [0.2, 0.7, 0.7], atol=0.05)
