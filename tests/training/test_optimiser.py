"""The flat Adam against the algorithm of the paper, member by member."""

import math

import numpy as np
import pytest
import torch
from torch import nn

from variolite.training.optimiser import Adam, FlatParameters

OFF = 1e30
"""A clip that no gradient reaches."""


def _assert_close(found, expected):
    found, expected = found.detach().numpy(), expected.detach().numpy()
    np.testing.assert_allclose(found, expected, rtol=2e-6, atol=2e-6)


class _Small(nn.Module):
    """Members with a matrix and a vector each, and a frozen parameter."""

    def __init__(self, members, seed=0):
        super().__init__()
        source = torch.Generator().manual_seed(seed)
        self.matrix = nn.Parameter(torch.randn(members, 3, 2, generator=source))
        self.vector = nn.Parameter(torch.randn(members, 1, 4, generator=source))
        self.frozen = nn.Parameter(torch.ones(members, 5), requires_grad=False)

    def loss(self, step):
        """A curved loss of every member, shape (M,), another one at every step."""
        target = math.sin(step)
        curved = (self.matrix - target).square().sum((1, 2)) * (1.0 + 0.1 * step)
        return curved + (self.vector.abs() * torch.arange(1.0, 5.0)).sum((1, 2))


class _Paper:
    """Algorithm 1 of Kingma and Ba (2015), one parameter after the other."""

    def __init__(self, module):
        self.module, self.steps = module, 0
        self.moments = {p: [torch.zeros_like(p)] * 2 for p in (module.matrix, module.vector)}

    def step(self, number, rate):
        self.steps += 1
        gradients = torch.autograd.grad(self.module.loss(number).sum(), list(self.moments))
        for (parameter, (first, second)), g in zip(self.moments.items(), gradients, strict=True):
            first, second = 0.9 * first + 0.1 * g, 0.999 * second + 0.001 * g * g
            self.moments[parameter] = [first, second]
            corrected = first / (1.0 - 0.9**self.steps)
            deviation = (second / (1.0 - 0.999**self.steps)).sqrt()
            parameter.data -= rate * corrected / (deviation + 1e-8)


def _ours(module, rates, clip=OFF):
    return Adam(FlatParameters(module, len(rates)), torch.tensor(rates), clip)


def _run(module, optimiser, steps):
    for step in steps:
        optimiser.parameters.collect(module.loss(step).sum())
        optimiser.step()


@pytest.mark.parametrize("rates", [[0.03], [0.03, 0.0, 0.1]])
def test_fifty_steps_of_every_member_equal_the_paper_at_its_own_rate(rates):
    ours, start = _Small(len(rates)), _Small(len(rates))
    optimiser = _ours(ours, rates)
    alone = [_Small(1) for _ in rates]
    for module, matrix, vector in zip(alone, start.matrix, start.vector, strict=True):
        module.matrix.data, module.vector.data = matrix[None].clone(), vector[None].clone()
    references = [_Paper(module) for module in alone]
    for step in range(50):
        if step == 10:  # the rate may change
            optimiser.learning_rate = optimiser.learning_rate * 0.5
        _run(ours, optimiser, range(step, step + 1))
        for m, reference in enumerate(references):
            reference.step(step, rates[m] if step < 10 else 0.5 * rates[m])
            _assert_close(ours.matrix[m], alone[m].matrix[0])
            _assert_close(ours.vector[m], alone[m].vector[0])
    assert (ours.matrix - start.matrix)[0].abs().min() > 0.01


def test_the_gradient_of_each_member_is_clipped_by_its_own_norm():
    module = _Small(3)
    module.matrix.data[1] *= 100.0
    module.matrix.data[2] = 0.1
    module.vector.data[2] = 1e-3
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


def test_parameters_are_views_and_frozen_ones_are_left_alone():
    module, before = _Small(2), _Small(2)
    flat = FlatParameters(module, 2)
    expected = torch.cat([before.matrix.reshape(2, -1), before.vector.reshape(2, -1)], dim=1)
    assert torch.equal(flat.values, expected)
    flat.values.zero_()
    assert not torch.cat([module.matrix.flatten(), module.vector.flatten()]).any()
    assert (module.frozen == 1.0).all()
    with torch.no_grad():
        module.vector[1].fill_(3.0)
    assert (flat.values[1, -4:] == 3.0).all()


def test_a_stored_state_is_resumed_bit_for_bit():
    whole, resumed = _Small(2), _Small(2, seed=9)
    optimiser, other = _ours(whole, [0.03, 0.01], 20.0), _ours(resumed, [0.0, 0.0], 20.0)
    _run(whole, optimiser, range(7))
    other.restore({name: value.clone() for name, value in optimiser.state().items()}, 7)
    assert optimiser.steps == 7
    _run(whole, optimiser, range(7, 15))
    _run(resumed, other, range(7, 15))
    assert torch.equal(whole.matrix, resumed.matrix)
    assert torch.equal(whole.vector, resumed.vector)
