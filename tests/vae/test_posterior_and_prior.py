"""Closed forms of the posterior and the prior against Monte Carlo and torch.distributions."""

import torch
from closeness import assert_close
from hypothesis import given
from hypothesis import strategies as st
from torch.distributions import Normal, kl_divergence

from variolite.vae import Posterior, StandardNormal

finite = st.floats(-50.0, 50.0)


def _one(mean: float, log_variance: float) -> Posterior:
    return Posterior(
        torch.full((1, 1, 1), mean, dtype=torch.float64),
        torch.full((1, 1, 1), log_variance, dtype=torch.float64),
    )


def _random(members: int = 2, rows: int = 3, latent: int = 4) -> Posterior:
    source = torch.Generator().manual_seed(0)
    shape = (members, rows, latent)
    return Posterior(
        torch.randn(shape, generator=source, dtype=torch.float64),
        torch.randn(shape, generator=source, dtype=torch.float64) - 1.0,
    )


@given(mean=finite, log_variance=finite)
def test_the_divergence_is_never_negative(mean: float, log_variance: float) -> None:
    posterior = _one(mean, log_variance)
    # exp(v) - v - 1 loses its last bit near v = 0.
    assert float(posterior.kl_per_dimension()) >= -1e-15
    _, divergence = StandardNormal().draw(posterior, torch.zeros(1, 1, 1, dtype=torch.float64))
    assert float(divergence) >= -1e-12


def test_the_divergence_of_the_prior_from_itself_is_zero() -> None:
    posterior = _one(0.0, 0.0)
    assert float(posterior.kl_per_dimension()) == 0.0
    _, divergence = StandardNormal().draw(posterior, torch.ones(1, 1, 1, dtype=torch.float64))
    assert float(divergence) == 0.0


def test_both_ways_to_the_divergence_agree_with_torch_distributions() -> None:
    posterior = _random()
    _, summed = StandardNormal().draw(posterior, torch.zeros_like(posterior.mean))
    exact = kl_divergence(
        Normal(posterior.mean, posterior.deviation), Normal(torch.zeros(()), torch.ones(()))
    )
    assert_close(posterior.kl_per_dimension(), exact)
    assert_close(summed, exact.sum(-1))


def test_the_divergence_agrees_with_monte_carlo() -> None:
    posterior, prior = _random(), StandardNormal()
    source = torch.Generator().manual_seed(1)
    draws = []
    for _ in range(4_000):
        noise = torch.randn(posterior.mean.shape, generator=source, dtype=torch.float64)
        z = posterior.sample(noise)
        draws.append(posterior.log_prob(z) - prior.log_prob(z))
    ratio = torch.stack(draws)
    _, exact = prior.draw(posterior, torch.zeros_like(posterior.mean))
    error = ratio.std(0) / len(draws) ** 0.5
    assert ((ratio.mean(0) - exact).abs() < 5.0 * error).all()
    assert (error < 0.1).all()


def test_log_densities_equal_torch_distributions() -> None:
    posterior = _random()
    z = torch.randn(2, 3, 4, generator=torch.Generator().manual_seed(5), dtype=torch.float64)
    exact = Normal(posterior.mean, posterior.deviation).log_prob(z).sum(-1)
    assert_close(posterior.log_prob(z), exact)
    standard = Normal(torch.zeros_like(z), torch.ones_like(z)).log_prob(z).sum(-1)
    assert_close(StandardNormal().log_prob(z), standard)


def test_a_draw_of_the_prior_step_is_a_sample_of_the_posterior() -> None:
    posterior = _random()
    noise = torch.randn(2, 3, 4, generator=torch.Generator().manual_seed(6), dtype=torch.float64)
    z, _ = StandardNormal().draw(posterior, noise)
    assert_close(z, posterior.sample(noise))


def test_samples_have_the_moments_of_the_posterior() -> None:
    posterior = Posterior(torch.full((1, 1, 1), 2.0), torch.full((1, 1, 1), -1.4))
    noise = torch.randn(1, 200_000, 1, generator=torch.Generator().manual_seed(2))
    z = posterior.sample(noise)
    assert abs(float(z.mean()) - 2.0) < 0.005
    assert abs(float(z.std()) - float(posterior.deviation)) < 0.005


def test_an_extreme_log_variance_overflows_nowhere() -> None:
    posterior = Posterior(torch.zeros(1, 1, 2), torch.tensor([[[-1e30, 1e30]]]))
    z, divergence = StandardNormal().draw(posterior, torch.ones(1, 1, 2))
    for value in (posterior.deviation, posterior.log_prob(z), z, divergence):
        assert torch.isfinite(value).all()
    assert_close(divergence, posterior.kl_per_dimension().sum(-1))


def test_prior_samples_are_the_noise_and_own_their_memory() -> None:
    noise = torch.ones(1, 3, 2)
    drawn = StandardNormal().sample(noise)
    noise.zero_()
    assert torch.equal(drawn, torch.ones(1, 3, 2))
