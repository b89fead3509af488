"""Priors against torch.distributions and Monte Carlo; the same in training and evaluation."""

import numpy as np
import pytest
import torch
from closeness import assert_close, draws
from torch.distributions import Categorical, Independent, MixtureSameFamily, Normal

from variolite.errors import TrainingError
from variolite.vae import Architecture, Batch, Posterior, TabularModule, member, stack
from variolite.vae.priors import NormalMixture, StandardNormal

PRIORS = ("standard", "mixture", "vamp")


def _module(prior, *, seed=0, **changes):
    components = 0 if prior == "standard" else 5
    sizes = {"latent": 3, "encoder": (6,), "decoder": (6,), "prior": prior}
    return TabularModule(
        Architecture(("gaussian",) * 4, components=components, **sizes | changes), seed
    )


def _mixture(seed=0):
    weights = torch.log_softmax(draws(2, 4, seed=seed), dim=-1)
    return NormalMixture(weights, draws(2, 4, 3, seed=seed + 1), draws(2, 4, 3, seed=seed + 2))


def _reference(mixture):
    normal = Normal(mixture.mean, torch.exp(0.5 * mixture.log_variance))
    return MixtureSameFamily(Categorical(logits=mixture.log_weights), Independent(normal, 1))


def test_a_mixture_equals_torch_distributions():
    mixture, z = _mixture(), 2.0 * draws(2, 6, 3, seed=9)
    reference = _reference(mixture)
    assert_close(mixture.log_prob(z), reference.log_prob(z.transpose(0, 1)).T)
    mean, variance = mixture.moments()
    assert_close(mean, reference.mean)
    assert_close(variance, reference.variance)
    drawn = mixture.sample(20_000, torch.Generator().manual_seed(0))
    assert drawn.mean(1).numpy() == pytest.approx(mean.numpy(), abs=0.06)
    assert drawn.var(1).numpy() == pytest.approx(variance.numpy(), rel=0.1)
    # Responsibilities by Bayes' rule, a component at a time.
    joint = mixture.log_joint(z)
    for k in range(4):
        density = Normal(
            mixture.mean[:, k, None], torch.exp(0.5 * mixture.log_variance[:, k, None])
        )
        assert_close(joint[..., k], mixture.log_weights[:, k, None] + density.log_prob(z).sum(-1))


@pytest.mark.parametrize("prior", PRIORS)
@torch.no_grad()
def test_the_kl_equals_monte_carlo_and_is_not_negative(prior):
    module = _module(prior)
    mean, log_variance = draws(1, 7, 3, seed=1).float(), draws(1, 7, 3, seed=2).float()
    draws_each = 40_000
    source = torch.Generator().manual_seed(0)
    kl = torch.zeros(7)
    for _ in range(20):  # the estimate by one z, averaged
        noise = torch.randn(1, 7 * draws_each // 20, 3, generator=source)
        wide = Posterior(*(part.repeat(1, draws_each // 20, 1) for part in (mean, log_variance)))
        kl += module.prior().draw(wide, noise)[1].view(-1, 7).mean(0) / 20
    q = Independent(Normal(mean[0], torch.exp(0.5 * log_variance[0])), 1)
    z = q.base_dist.loc + q.base_dist.scale * torch.randn((draws_each, 7, 3), generator=source)
    if prior == "standard":
        p = Independent(Normal(torch.zeros(3), torch.ones(3)), 1)
    else:
        mixture = module.prior()
        p = _reference(
            NormalMixture(mixture.log_weights[0], mixture.mean[0], mixture.log_variance[0])
        )
    expected = (q.log_prob(z) - p.log_prob(z)).mean(0)
    assert kl.numpy() == pytest.approx(expected.numpy(), rel=0.02, abs=0.05)
    assert (kl > 0.0).all()


def test_the_kl_of_a_component_from_itself_is_zero():
    mixture = NormalMixture(torch.zeros(1, 1), draws(1, 1, 3), draws(1, 1, 3, seed=1))
    posterior = Posterior(mixture.mean, mixture.log_variance)
    wide = Posterior(*(part.expand(1, 50_000, 3) for part in (mixture.mean, mixture.log_variance)))
    _, kl = mixture.draw(wide, draws(1, 50_000, 3, seed=2))
    assert float(kl.mean()) == pytest.approx(0.0, abs=0.02)
    assert mixture.kl_per_dimension(posterior).abs().max() < 1e-9


@pytest.mark.parametrize("prior", PRIORS)
def test_training_and_evaluation_share_one_prior(prior):
    module = _module(prior, dropout=0.5, norm="layer")
    module.train()
    training = module.prior().moments()
    batch = Batch(torch.randn(1, 9, 4), None, None, None, generators=[torch.Generator()])
    module.infer(batch)  # rows that were met leave no trace
    module.eval()
    for before, after in zip(training, module.prior().moments(), strict=True):
        assert torch.equal(before, after)


@pytest.mark.parametrize("prior", PRIORS)
def test_every_parameter_of_a_prior_is_trained(prior):
    module = _module(prior)
    batch = Batch(torch.randn(1, 9, 4), None, None, None, torch.randn(1, 9, 3))
    module.loss(batch, torch.ones(1)).total.sum().backward()
    for name, parameter in module.named_parameters():
        assert (parameter.grad != 0.0).any(), name


@pytest.mark.parametrize("prior", PRIORS)
@torch.no_grad()
def test_members_have_priors_of_their_own(prior):
    alone = [_module(prior, seed=seed) for seed in range(3)]
    joined = stack(alone)
    z = torch.randn(3, 5, 3)
    found = joined.prior().log_prob(z)
    for place, module in enumerate(alone):
        assert_close(found[place : place + 1], module.prior().log_prob(z[place : place + 1]))
        again = member(joined, place, 3).prior().log_prob(z[place : place + 1])
        assert_close(again, found[place : place + 1])


def test_members_of_different_latent_size_need_the_standard_prior():
    stack([_module("standard"), _module("standard", latent=2)])
    with pytest.raises(TrainingError, match="standard prior"):
        stack([_module("mixture"), _module("mixture", latent=2)])


def test_a_standard_prior_draws_as_before():
    source = [torch.Generator().manual_seed(3) for _ in range(2)]
    expected = torch.randn((1, 4, 2), generator=source[0])
    assert torch.equal(StandardNormal(1, 2).sample(4, source[1]), expected)
    assert np.array_equal(StandardNormal(2, 3).moments()[1].numpy(), np.ones((2, 3)))
