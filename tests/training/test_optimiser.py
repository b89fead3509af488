"""The flat Adam against torch.optim.Adam, member by member."""

import math

import numpy as np
import pytest
import torch
from torch import nn
from torch.optim.adam import adam as torch_adam

from variolite.training.optimiser import Adam, FlatParameters


def _assert_close(found: torch.Tensor, expected: torch.Tensor) -> None:
    np.testing.assert_allclose(
        found.detach().numpy(), expected.detach().numpy(), rtol=2e-6, atol=2e-6
    )


OFF = 1e30
"""A clip that no gradient reaches."""


class _Small(nn.Module):
    """Members with a matrix and a vector each, and a fixed buffer."""

    def __init__(self, members: int, seed: int = 0) -> None:
        super().__init__()
        source = torch.Generator().manual_seed(seed)
        self.matrix = nn.Parameter(torch.randn(members, 3, 2, generator=source))
        self.vector = nn.Parameter(torch.randn(members, 1, 4, generator=source))
        self.frozen = nn.Parameter(torch.ones(members, 5), requires_grad=False)

    def loss(self, step: int) -> torch.Tensor:
        """A curved loss of every member, shape (M,), another one at every step."""
        target = math.sin(step)
        curved = (self.matrix - target).square().sum((1, 2)) * (1.0 + 0.1 * step)
        return curved + (self.vector.abs() * torch.arange(1.0, 5.0)).sum((1, 2))


class _Torch:
    """torch's Adam by its function: the class loads a compiler first."""

    def __init__(self, module: _Small, rate: float) -> None:
        self.module, self.rate = module, rate
        self.parameters = [module.matrix, module.vector]
        self.first = [torch.zeros_like(p) for p in self.parameters]
        self.second = [torch.zeros_like(p) for p in self.parameters]
        self.steps = [torch.tensor(0.0) for _ in self.parameters]

    def step(self, number: int) -> None:
        gradients = torch.autograd.grad(self.module.loss(number).sum(), self.parameters)
        with torch.no_grad():
            torch_adam(
                self.parameters,
                list(gradients),
                self.first,
                self.second,
                [],
                self.steps,
                foreach=False,
                amsgrad=False,
                beta1=0.9,
                beta2=0.999,
                lr=self.rate,
                weight_decay=0.0,
                eps=1e-8,
                maximize=False,
            )


@pytest.mark.parametrize("members", [1, 3])
def test_fifty_steps_equal_torch(members: int) -> None:
    ours, theirs = _Small(members), _Small(members)
    flat = FlatParameters(ours, members)
    optimiser = Adam(flat, torch.full((members,), 0.03), OFF)
    reference = _Torch(theirs, 0.03)
    for step in range(50):
        flat.collect(ours.loss(step).sum())
        optimiser.step()
        reference.step(step)
        if step in (0, 9, 49):
            _assert_close(ours.matrix, theirs.matrix)
            _assert_close(ours.vector, theirs.vector)
    assert (ours.matrix - _Small(members).matrix).abs().min() > 0.01


def test_every_member_has_a_rate_of_its_own() -> None:
    rates = [0.03, 0.0, 0.1]
    together = _Small(3)
    flat = FlatParameters(together, 3)
    optimiser = Adam(flat, torch.tensor(rates), OFF)
    for step in range(20):
        flat.collect(together.loss(step).sum())
        optimiser.step()
    start = _Small(3)
    for m, rate in enumerate(rates):
        alone = _Small(1)
        with torch.no_grad():
            alone.matrix.copy_(start.matrix[m : m + 1])
            alone.vector.copy_(start.vector[m : m + 1])
        reference = _Torch(alone, rate)
        for step in range(20):
            reference.step(step)
        _assert_close(together.matrix[m], alone.matrix[0])
        _assert_close(together.vector[m], alone.vector[0])


def test_a_rate_may_change_between_steps() -> None:
    ours, theirs = _Small(1), _Small(1)
    flat = FlatParameters(ours, 1)
    optimiser = Adam(flat, torch.tensor([0.03]), OFF)
    reference = _Torch(theirs, 0.03)
    for step in range(20):
        if step == 10:
            optimiser.learning_rate = optimiser.learning_rate * 0.5
            reference.rate = 0.015
        flat.collect(ours.loss(step).sum())
        optimiser.step()
        reference.step(step)
    _assert_close(ours.matrix, theirs.matrix)


def test_the_gradient_of_each_member_is_clipped_by_its_own_norm() -> None:
    module = _Small(3)
    with torch.no_grad():
        module.matrix[1] *= 100.0
        module.matrix[2] = 0.1
        module.vector[2] = 1e-3
    flat = FlatParameters(module, 3)
    optimiser = Adam(flat, torch.full((3,), 1e-3), 20.0)
    flat.collect(module.loss(0).sum())
    raw = flat.gradients.clone()
    optimiser.step()
    norms = raw.norm(dim=1)
    assert norms[1] > 20.0 > norms[2]
    expected = raw * (20.0 / norms.clamp(min=20.0)).unsqueeze(1)
    _assert_close(flat.gradients, expected)
    _assert_close(optimiser.first, 0.1 * expected)
    _assert_close(optimiser.second, 0.001 * expected.square())


def test_parameters_are_views_and_frozen_ones_are_left_alone() -> None:
    module = _Small(2)
    before = _Small(2)
    flat = FlatParameters(module, 2)
    assert flat.values.shape == (2, 3 * 2 + 4)
    for m in range(2):
        expected = torch.cat([before.matrix[m].reshape(-1), before.vector[m].reshape(-1)])
        assert torch.equal(flat.values[m], expected)
    flat.values.zero_()
    assert (module.matrix == 0.0).all()
    assert (module.vector == 0.0).all()
    assert (module.frozen == 1.0).all()
    with torch.no_grad():
        module.vector[1].fill_(3.0)
    assert (flat.values[1, -4:] == 3.0).all()


def test_stored_state_goes_on_bit_for_bit() -> None:
    def run(module: _Small, optimiser: Adam, steps: range) -> None:
        for step in steps:
            optimiser.parameters.collect(module.loss(step).sum())
            optimiser.step()

    whole = _Small(2)
    optimiser = Adam(FlatParameters(whole, 2), torch.tensor([0.03, 0.01]), 20.0)
    run(whole, optimiser, range(7))
    stored = {name: value.clone() for name, value in optimiser.state().items()}
    steps = optimiser.steps
    run(whole, optimiser, range(7, 15))
    resumed = _Small(2, seed=9)
    other = Adam(FlatParameters(resumed, 2), torch.zeros(2), 20.0)
    other.restore(stored, steps)
    run(resumed, other, range(7, 15))
    assert torch.equal(whole.matrix, resumed.matrix)
    assert torch.equal(whole.vector, resumed.vector)
