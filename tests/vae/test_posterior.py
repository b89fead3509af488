"""Posterior and prior: hand-written gradients against autograd, closed forms and Monte Carlo."""

import pytest
import torch
from closeness import assert_close, draws
from hypothesis import given
from hypothesis import strategies as st
from torch.distributions import Normal, kl_divergence

from variolite.vae import Posterior
from variolite.vae.distributions import LOG_VARIANCE_RANGE, prior_log_prob

LOW, HIGH = LOG_VARIANCE_RANGE
SHAPE = (3, 7, 4)
finite = st.floats(-50.0, 50.0)


def _draw(mean, log_variance, noise):
    return Posterior(mean, log_variance).draw(noise)


def _plain(mean, log_variance, noise):
    posterior = Normal(mean, torch.exp(0.5 * log_variance.clamp(LOW, HIGH)))
    standard = Normal(torch.zeros_like(mean), torch.ones_like(mean))
    return mean + posterior.stddev * noise, kl_divergence(posterior, standard).sum(-1)


# The widest scale puts many entries beyond the clamp on both sides; a weight of 0 leaves one of
# the two outputs without a gradient.
@pytest.mark.parametrize("log_variance_scale", [0.5, 3.0, 20.0])
@pytest.mark.parametrize("weights", [(1.0, 1.0), (1.0, 0.0), (0.0, 1.0)])
def test_reparameterise_equals_plain_autograd(log_variance_scale, weights):
    noise = draws(*SHAPE, seed=3)
    before = noise.clone()
    weight_z, weight_kl = draws(*SHAPE, seed=4), draws(3, 7, seed=5)
    found = []
    for function in (_draw, _plain):
        mean = draws(*SHAPE, seed=1).requires_grad_()
        log_variance = draws(*SHAPE, seed=2, scale=log_variance_scale).requires_grad_()
        z, kl = function(mean, log_variance, noise)
        total = weights[0] * (weight_z * z).sum() + weights[1] * (weight_kl * kl).sum()
        total.backward()
        found.append((z, kl, mean.grad, log_variance.grad))
    for ours, plain in zip(*found, strict=True):
        assert_close(ours, plain, rtol=1e-12, atol=1e-12)
    assert torch.equal(noise, before)
    assert torch.equal(mean, draws(*SHAPE, seed=1)), "the inputs were changed"


def test_beyond_the_clamp_values_hold_and_gradients_vanish():
    given = [LOW - 1e30, LOW - 0.1, LOW + 0.1, HIGH - 0.1, HIGH + 0.1, HIGH + 1e30]
    log_variance = torch.tensor([[given]], requires_grad=True)
    z, kl = _draw(torch.zeros(1, 1, 6), log_variance, torch.ones(1, 1, 6))
    held = torch.tensor([[[LOW, LOW, LOW + 0.1, HIGH - 0.1, HIGH, HIGH]]])
    assert_close(z, torch.exp(0.5 * held))
    assert torch.isfinite(kl).all()
    (z.sum() + kl.sum()).backward()
    assert log_variance.grad is not None
    assert (log_variance.grad[0, 0] != 0.0).tolist() == [False, False, True, True, False, False]


@given(mean=finite, log_variance=finite)
def test_the_kl_is_never_negative(mean, log_variance):
    one = torch.ones(1, 1, 1, dtype=torch.float64)
    posterior = Posterior(mean * one, log_variance * one)
    # exp(v) - v - 1 loses its last bit near v = 0.
    assert float(posterior.kl_per_dimension()) >= -1e-15
    assert float(posterior.draw(one)[1]) >= -1e-12
    prior = Posterior(0.0 * one, 0.0 * one)
    assert float(prior.kl_per_dimension()) == float(prior.draw(one)[1]) == 0.0


def test_closed_forms_equal_torch_distributions():
    mean, log_variance, z, noise = (draws(2, 3, 4, seed=seed) for seed in (0, 1, 5, 6))
    posterior = Posterior(mean, log_variance - 1.0)
    drawn, summed = posterior.draw(noise)
    own = Normal(posterior.mean, posterior.deviation)
    exact = kl_divergence(own, Normal(torch.zeros(()), torch.ones(())))
    assert_close(posterior.kl_per_dimension(), exact)
    assert_close(summed, exact.sum(-1))
    assert_close(drawn, posterior.sample(noise))
    assert_close(posterior.log_prob(z), own.log_prob(z).sum(-1))
    standard = Normal(torch.zeros_like(z), torch.ones_like(z)).log_prob(z).sum(-1)
    assert_close(prior_log_prob(z), standard)
