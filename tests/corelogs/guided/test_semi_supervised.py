"""The semi-supervised model: its bound, and what unlabelled rows add."""

import numpy as np
import torch
from torch.distributions import Normal, kl_divergence
from torch.nn.functional import silu

from variolite.corelogs.guided import semi_supervised as module
from variolite.corelogs.guided.semi_supervised import ClassModel, fit_semi_supervised


def _model(seed=0, logs=3, classes=4):
    torch.manual_seed(seed)
    model = ClassModel(6, logs, classes).eval()
    for embedding in (model.centre, model.offset):
        torch.nn.init.normal_(embedding.weight)
    return model


def _parts(model, x, y, noise):
    """Posterior, prior and likelihood of rows of one class, written out."""
    hidden = silu(model.encode_x(x) + model.encode_y.weight[y])
    mean, log_variance = model.posterior(hidden).chunk(2, -1)
    posterior = Normal(mean, torch.exp(0.5 * log_variance))
    z = mean + posterior.stddev * noise
    decoded = model.mean(silu(model.decode_z(z) + model.decode_y.weight[y]))
    likelihood = Normal(decoded + model.offset.weight[y], torch.exp(0.5 * model.log_variance))
    return posterior, Normal(model.centre.weight[y], 1.0), likelihood, z


@torch.no_grad()
def test_terms_are_those_of_the_distributions():
    model, x = _model(), torch.randn(5, 3)
    noise = torch.randn(5, 4, module.LATENT)
    likelihood, kl = model.bound(x, noise)
    for y in range(4):
        posterior, prior, decoder, _ = _parts(model, x, y, noise[:, y])
        expected = decoder.log_prob(x).sum(-1)
        torch.testing.assert_close(likelihood[:, y], expected, atol=1e-4, rtol=1e-4)
        expected = kl_divergence(posterior, prior).sum(-1)
        torch.testing.assert_close(kl[:, y], expected, atol=1e-4, rtol=1e-4)
    assert (kl >= 0).all()


@torch.no_grad()
def test_the_kl_is_that_of_many_samples_and_the_bound_is_one():
    model, x = _model(1), torch.randn(1, 3)
    noise = torch.randn(20_000, 1, module.LATENT)
    posterior, prior, decoder, z = _parts(model, x, 2, noise)
    ratio = (posterior.log_prob(z) - prior.log_prob(z)).sum(-1)
    kl = model.bound(x, 0.0)[1][0, 2]
    assert abs(ratio.mean() - kl) < 4 * ratio.std() / len(noise) ** 0.5
    log_joint = decoder.log_prob(x).sum(-1) - ratio
    evidence = torch.logsumexp(log_joint[:, 0], 0) - np.log(len(noise))
    assert log_joint.mean() < evidence


def _field(seed=0, rows=300):
    """Three clouds with a little overlap, and context that repeats them."""
    rng = np.random.default_rng(seed)
    kind = rng.integers(0, 3, rows)
    x = 2.5 * np.eye(3)[kind] + rng.normal(size=(rows, 3))
    return np.hstack([x, x + rng.normal(size=x.shape)]), kind


def test_it_classifies_and_keeps_to_the_codes_it_was_given(monkeypatch):
    monkeypatch.setattr(module, "STEPS", 80)
    unlabelled, kind = _field()
    few = np.concatenate([np.flatnonzero(kind == k)[:8] for k in range(3)])
    codes = np.array([1, 2, 4])[kind[few]]
    even = np.full((len(kind), 6), np.log(1 / 3))
    given = (unlabelled, even, unlabelled[few], codes, np.ones(len(few)), 3, 6)
    model = fit_semi_supervised(*given, seed=0)
    new, truth = _field(1)
    found = model.log_probabilities(new, 3)
    assert found.shape == (len(new), 6)
    assert (np.array([1, 2, 4])[truth] == found.argmax(1)).mean() > 0.7
    np.testing.assert_allclose(np.exp(found[:, [1, 2, 4]]).sum(1), 1.0, atol=1e-5)
    np.testing.assert_allclose(found[:, [0, 3, 5]], np.log(1e-6))
    # What the model says depends on the logs alone, and training again gives the same.
    np.testing.assert_allclose(
        model.log_probabilities(np.hstack([new[:, :3], 0 * new[:, 3:]]), 3), found
    )
    again = fit_semi_supervised(*given, seed=0)
    np.testing.assert_array_equal(again.log_probabilities(new, 3), found)
