"""The flat Adam against torch.optim.Adam, member by member."""

import math

import numpy as np
import pytest
import torch
from torch import nn
from torch.optim.adam import adam as torch_adam

from variolite.training.optimiser import Adam, FlatParameters

OFF = 1e30
"""A clip that no gradient reaches."""


def _assert_close(found: torch.Tensor, expected: torch.Tensor) -> None:
    found, expected = found.detach().numpy(), expected.detach().numpy()
    np.testing.assert_allclose(found, expected, rtol=2e-6, atol=2e-6)


class _Small(nn.Module):
    """Members with a matrix and a vector each, and a frozen parameter."""

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
        self.first, self.second = ([torch.zeros_like(p) for p in self.parameters] for _ in "12")
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


def _ours(module: _Small, rates: list[float], clip: float = OFF) -> Adam:
    return Adam(FlatParameters(module, len(rates)), torch.tensor(rates), clip)


def _run(module: _Small, optimiser: Adam, steps: range) -> None:
    for step in steps:
        optimiser.parameters.collect(module.loss(step).sum())
        optimiser.step()


@pytest.mark.parametrize("rates", [[0.03], [0.03, 0.0, 0.1]])
def test_fifty_steps_of_every_member_equal_torch_at_its_own_rate(rates: list[float]) -> None:
    ours, start = _Small(len(rates)), _Small(len(rates))
    optimiser = _ours(ours, rates)
    found = []
    for step in range(50):
        if step == 10:  # the rate may change
            optimiser.learning_rate = optimiser.learning_rate * 0.5
        _run(ours, optimiser, range(step, step + 1))
        found.append((ours.matrix.detach().clone(), ours.vector.detach().clone()))
    for m, rate in enumerate(rates):
        alone = _Small(1)
        with torch.no_grad():
            alone.matrix.copy_(start.matrix[m : m + 1])
            alone.vector.copy_(start.vector[m : m + 1])
        reference = _Torch(alone, rate)
        for step, (matrix, vector) in enumerate(found):
            reference.rate = rate if step < 10 else 0.5 * rate
            reference.step(step)
            if step in (0, 9, 19, 49):
                _assert_close(matrix[m], alone.matrix[0])
                _assert_close(vector[m], alone.vector[0])
    assert (ours.matrix - start.matrix)[0].abs().min() > 0.01


def test_the_gradient_of_each_member_is_clipped_by_its_own_norm() -> None:
    module = _Small(3)
    with torch.no_grad():
        module.matrix[1] *= 100.0
        module.matrix[2] = 0.1
        module.vector[2] = 1e-3
    optimiser = _ours(module, [1e-3] * 3, 20.0)
    flat = optimiser.parameters
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
    module, before = _Small(2), _Small(2)
    flat = FlatParameters(module, 2)
    expected = torch.cat([before.matrix.reshape(2, -1), before.vector.reshape(2, -1)], dim=1)
    assert torch.equal(flat.values, expected)
    flat.values.zero_()
    assert not module.matrix.any()
    assert not module.vector.any()
    assert (module.frozen == 1.0).all()
    with torch.no_grad():
        module.vector[1].fill_(3.0)
    assert (flat.values[1, -4:] == 3.0).all()


def test_a_stored_state_is_resumed_bit_for_bit() -> None:
    whole, resumed = _Small(2), _Small(2, seed=9)
    optimiser, other = _ours(whole, [0.03, 0.01], 20.0), _ours(resumed, [0.0, 0.0], 20.0)
    _run(whole, optimiser, range(7))
    other.restore({name: value.clone() for name, value in optimiser.state().items()}, 7)
    assert optimiser.steps == 7
    _run(whole, optimiser, range(7, 15))
    _run(resumed, other, range(7, 15))
    assert torch.equal(whole.matrix, resumed.matrix)
    assert torch.equal(whole.vector, resumed.vector)
