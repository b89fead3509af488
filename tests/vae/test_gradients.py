"""The hand-written gradients against plain autograd, torch.distributions and finite differences."""

import pytest
import torch
from closeness import assert_close, numeric_gradient
from torch.distributions import Normal, kl_divergence

from variolite.vae.likelihoods import gaussian_log_prob
from variolite.vae.posterior import LOG_VARIANCE_RANGE, reparameterise

LOW, HIGH = LOG_VARIANCE_RANGE


def _draws(*shape: int, seed: int = 0, scale: float = 1.0) -> torch.Tensor:
    source = torch.Generator().manual_seed(seed)
    return scale * torch.randn(*shape, generator=source, dtype=torch.float64)


def _plain_reparameterise(mean, log_variance, noise):
    clamped = log_variance.clamp(LOW, HIGH)
    posterior = Normal(mean, torch.exp(0.5 * clamped))
    standard = Normal(torch.zeros_like(mean), torch.ones_like(mean))
    return mean + posterior.stddev * noise, kl_divergence(posterior, standard).sum(-1)


def _plain_log_prob(x, mean, log_scale):
    return Normal(mean, log_scale.exp()).log_prob(x).sum(-1)


@pytest.mark.parametrize("log_variance_scale", [0.5, 3.0, 20.0])
def test_reparameterise_equals_plain_autograd(log_variance_scale: float) -> None:
    # The widest scale puts many entries beyond the clamp on both sides.
    shape = (3, 7, 4)
    noise = _draws(*shape, seed=3)
    weight_z, weight_kl = _draws(*shape, seed=4), _draws(3, 7, seed=5)
    found = []
    for function in (reparameterise, _plain_reparameterise):
        mean = _draws(*shape, seed=1).requires_grad_()
        log_variance = _draws(*shape, seed=2, scale=log_variance_scale).requires_grad_()
        z, divergence = function(mean, log_variance, noise)
        ((weight_z * z).sum() + (weight_kl * divergence).sum()).backward()
        found.append((z, divergence, mean.grad, log_variance.grad))
    for ours, plain in zip(*found, strict=True):
        assert_close(ours, plain, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("output", [0, 1])
def test_each_output_of_reparameterise_has_its_own_gradient(output: int) -> None:
    found = []
    for function in (reparameterise, _plain_reparameterise):
        mean = _draws(2, 5, 3, seed=1).requires_grad_()
        log_variance = _draws(2, 5, 3, seed=2).requires_grad_()
        function(mean, log_variance, _draws(2, 5, 3, seed=3))[output].sum().backward()
        found.append((mean.grad, log_variance.grad))
    for ours, plain in zip(*found, strict=True):
        assert_close(ours, plain, rtol=1e-12, atol=1e-12)


def test_reparameterise_agrees_with_finite_differences() -> None:
    noise, weight = _draws(2, 3, 2, seed=3), _draws(2, 3, 2, seed=4)

    def scalar(mean: torch.Tensor, log_variance: torch.Tensor) -> torch.Tensor:
        z, divergence = reparameterise(mean, log_variance, noise)
        return (weight * z).sum() + divergence.square().sum()

    mean = _draws(2, 3, 2, seed=1).requires_grad_()
    log_variance = _draws(2, 3, 2, seed=2).requires_grad_()
    scalar(mean, log_variance).backward()
    by_mean = numeric_gradient(lambda v: scalar(v, log_variance), mean.detach())
    by_log = numeric_gradient(lambda v: scalar(mean, v), log_variance.detach())
    assert_close(mean.grad, by_mean, rtol=1e-6, atol=1e-6)
    assert_close(log_variance.grad, by_log, rtol=1e-6, atol=1e-6)


def test_beyond_the_clamp_values_hold_and_gradients_vanish() -> None:
    given = [LOW - 1e6, LOW - 0.1, LOW + 0.1, HIGH - 0.1, HIGH + 0.1, HIGH + 1e6]
    log_variance = torch.tensor([[given]], requires_grad=True)
    mean, noise = torch.zeros(1, 1, 6), torch.ones(1, 1, 6)
    z, divergence = reparameterise(mean, log_variance, noise)
    held = torch.tensor([[[LOW, LOW, LOW + 0.1, HIGH - 0.1, HIGH, HIGH]]])
    assert_close(z, torch.exp(0.5 * held))
    assert torch.isfinite(divergence).all()
    (z.sum() + divergence.sum()).backward()
    assert log_variance.grad is not None
    moves = log_variance.grad[0, 0] != 0.0
    assert moves.tolist() == [False, False, True, True, False, False]


@pytest.mark.parametrize("data_members", [1, 3])
def test_gaussian_log_prob_equals_plain_autograd(data_members: int) -> None:
    x = _draws(data_members, 6, 4, seed=1)
    weight = _draws(3, 6, seed=4)
    found = []
    for function in (gaussian_log_prob, _plain_log_prob):
        mean = _draws(3, 6, 4, seed=2).requires_grad_()
        log_scale = _draws(3, 1, 4, seed=3).requires_grad_()
        value = function(x, mean, log_scale)
        (weight * value).sum().backward()
        found.append((value, mean.grad, log_scale.grad))
    for ours, plain in zip(*found, strict=True):
        assert_close(ours, plain, rtol=1e-12, atol=1e-12)


def test_gaussian_log_prob_agrees_with_finite_differences() -> None:
    x = _draws(1, 5, 3, seed=1)

    def scalar(mean: torch.Tensor, log_scale: torch.Tensor) -> torch.Tensor:
        return torch.tanh(0.1 * gaussian_log_prob(x, mean, log_scale)).sum()

    mean = _draws(2, 5, 3, seed=2).requires_grad_()
    log_scale = _draws(2, 1, 3, seed=3).requires_grad_()
    scalar(mean, log_scale).backward()
    by_mean = numeric_gradient(lambda v: scalar(v, log_scale), mean.detach())
    by_scale = numeric_gradient(lambda v: scalar(mean, v), log_scale.detach())
    assert_close(mean.grad, by_mean, rtol=1e-6, atol=1e-6)
    assert_close(log_scale.grad, by_scale, rtol=1e-6, atol=1e-6)


def test_gaussian_log_prob_with_a_fixed_scale_still_moves_the_mean() -> None:
    x, log_scale = _draws(1, 5, 3, seed=1), _draws(1, 1, 3, seed=3)
    mean = _draws(1, 5, 3, seed=2).requires_grad_()
    gaussian_log_prob(x, mean, log_scale).sum().backward()
    expected = (x - mean.detach()) * torch.exp(-2.0 * log_scale)
    assert_close(mean.grad, expected, rtol=1e-12, atol=1e-12)


def test_the_inputs_are_left_as_they_were() -> None:
    x, mean, log_scale = _draws(1, 5, 3, seed=1), _draws(2, 5, 3, seed=2), _draws(2, 1, 3, seed=3)
    log_variance, noise = _draws(2, 5, 3, seed=4, scale=20.0), _draws(2, 5, 3, seed=5)
    given = (x, mean, log_scale, log_variance, noise)
    before = [value.clone() for value in given]
    mean.requires_grad_()
    log_scale.requires_grad_()
    log_variance.requires_grad_()
    z, divergence = reparameterise(mean, log_variance, noise)
    (gaussian_log_prob(x, mean, log_scale).sum() + z.sum() + divergence.sum()).backward()
    for value, copy in zip(given, before, strict=True):
        assert torch.equal(value, copy)
