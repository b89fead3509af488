"""Likelihoods against scipy.stats, their samples against their moments, gradients, and masks."""

import numpy as np
import pytest
import torch
from closeness import assert_close, draws
from scipy import stats
from torch.distributions import Normal

from variolite.vae import Categorical, Gaussian, Joint, Mixed, StudentT

M, B, D = 2, 5, 3
HEAVY = torch.tensor([False, True, False])
X = draws(1, B, D, seed=4)


def _built(kind, rows=1):
    mean, log_scale = draws(M, B, D, seed=1), draws(M, rows, D, seed=2, scale=0.5)
    gaussian = Gaussian(mean, log_scale)
    student = StudentT(mean, log_scale, 2.5 + draws(M, 1, D, seed=3).abs())
    mixed = Mixed(gaussian, student, HEAVY)
    return {"gaussian": gaussian, "student_t": student, "mixed": mixed}[kind]


def _exact(likelihood, x):
    if isinstance(likelihood, Mixed):
        parts = _exact(likelihood.student, x), _exact(likelihood.gaussian, x)
        return np.where(HEAVY.numpy(), *parts)
    place = likelihood.mean.numpy(), likelihood.log_scale.exp().numpy()
    if isinstance(likelihood, Gaussian):
        return stats.norm(*place).logpdf(x)
    return stats.t(likelihood.freedom.numpy(), *place).logpdf(x)


KINDS = pytest.mark.parametrize("kind", ["gaussian", "student_t", "mixed"])
ROWS = pytest.mark.parametrize("rows", [1, B])


@KINDS
@ROWS
@pytest.mark.parametrize("data_members", [1, M])
def test_densities_equal_scipy(kind, rows, data_members):
    likelihood = _built(kind, rows)
    x = 2.0 * draws(data_members, B, D, seed=4)
    exact = _exact(likelihood, x.numpy())
    np.testing.assert_allclose(likelihood.elementwise(x).numpy(), exact, rtol=1e-10)
    np.testing.assert_allclose(likelihood.log_prob(x, None).numpy(), exact.sum(-1), rtol=1e-10)
    everything = torch.ones(1, B, D, dtype=torch.bool)
    assert_close(likelihood.log_prob(x, None), likelihood.log_prob(x, everything))


@KINDS
@ROWS
def test_values_under_the_mask_do_not_matter_and_get_no_gradient(kind, rows):
    likelihood = _built(kind, rows)
    observed = draws(1, B, D, seed=5) > 0.0
    assert observed.any()
    assert not observed.all()
    exact = np.where(observed.numpy(), _exact(likelihood, X.numpy()), 0.0).sum(-1)
    for hidden in (0.0, 1e30, float("inf"), float("nan")):
        spoilt = torch.where(observed, X, torch.tensor(hidden, dtype=torch.float64))
        value = likelihood.log_prob(spoilt, observed)
        np.testing.assert_allclose(value.numpy(), exact, rtol=1e-10)
    if kind != "mixed":
        likelihood.mean.requires_grad_()
        likelihood.log_prob(X, observed).sum().backward()
        assert torch.equal(likelihood.mean.grad != 0.0, observed.expand(M, B, D))


@pytest.mark.parametrize("data_members", [1, 3])
def test_gaussian_log_prob_equals_plain_autograd(data_members):
    x, weight = draws(data_members, 6, 4, seed=1), draws(3, 6, seed=4)
    found = []

    def plain_log_prob(x, mean, log_scale):
        return Normal(mean, log_scale.exp()).log_prob(x).sum(-1)

    def log_prob(x, mean, log_scale):
        return Gaussian(mean, log_scale).log_prob(x, None)

    for function in (log_prob, plain_log_prob):
        mean = draws(3, 6, 4, seed=2).requires_grad_()
        log_scale = draws(3, 1, 4, seed=3).requires_grad_()
        value = function(x, mean, log_scale)
        (weight * value).sum().backward()
        found.append((value, mean.grad, log_scale.grad))
        # A fixed scale still moves the mean.
        fixed = draws(3, 6, 4, seed=2).requires_grad_()
        (weight * function(x, fixed, log_scale.detach())).sum().backward()
        assert_close(fixed.grad, mean.grad)
    for ours, plain in zip(*found, strict=True):
        assert_close(ours, plain, rtol=1e-12, atol=1e-12)
    for value, seed in ((x, 1), (mean, 2), (log_scale, 3)):
        assert torch.equal(value, draws(*value.shape, seed=seed)), "the inputs were changed"


# Kolmogorov's statistic has standard error 0.87 / sqrt(n): 2 allows about 2.3 of them.
@pytest.mark.parametrize("kind", ["gaussian", "student_t"])
@pytest.mark.parametrize("rows", [1, 100_000])
def test_samples_follow_the_distribution(kind, rows):
    n, scale = 100_000, float(np.exp(-0.7))
    place = torch.full((1, n, 1), 1.5), torch.full((1, rows, 1), -0.7)
    if kind == "gaussian":
        likelihood, exact = Gaussian(*place), stats.norm(1.5, scale)
    else:
        likelihood, exact = StudentT(*place, torch.full((1, 1, 1), 5.0)), stats.t(5.0, 1.5, scale)
    drawn = likelihood.sample(torch.Generator().manual_seed(0))
    assert drawn.shape == (1, n, 1)
    assert stats.kstest(drawn.numpy().ravel(), exact.cdf).statistic < 2.0 / np.sqrt(n)
    assert float(likelihood.deviation.reshape(-1)[0]) == pytest.approx(exact.std(), rel=1e-5)


def test_a_mixed_likelihood_takes_each_column_from_its_own_family():
    likelihood = _built("mixed")
    gaussian, student = likelihood.gaussian, likelihood.student
    expected = torch.where(HEAVY, student.deviation, gaussian.deviation)
    assert torch.equal(likelihood.deviation, expected)
    assert torch.equal(likelihood.mean, gaussian.mean)
    n = 100_000
    place = torch.zeros(1, n, D), torch.zeros(1, 1, D)
    wide = Mixed(Gaussian(*place), StudentT(*place, torch.full((1, 1, D), 2.5)), HEAVY)
    drawn = wide.sample(torch.Generator().manual_seed(0))[0].numpy()
    for column, heavy in zip(drawn.T, HEAVY, strict=True):
        exact = stats.t(2.5) if heavy else stats.norm()
        assert stats.kstest(column, exact.cdf).statistic < 2.0 / np.sqrt(n)


@pytest.mark.parametrize("code_members", [1, M])
def test_categorical_equals_the_log_softmax(code_members):
    logits = draws(M, B, 4, seed=6)
    source = torch.Generator().manual_seed(7)
    codes = torch.randint(0, 4, (code_members, B), generator=source)
    drawn = np.eye(4)[np.broadcast_to(codes.numpy(), (M, B))]
    exact = stats.multinomial(1, torch.softmax(logits, -1).numpy()).logpmf(drawn)
    np.testing.assert_allclose(Categorical(logits).log_prob(codes).numpy(), exact, rtol=1e-8)


@pytest.mark.parametrize("code", [-1, -2])
def test_a_missing_or_unseen_category_counts_nothing(code):
    logits = draws(M, B, 4, seed=6).requires_grad_()
    value = Categorical(logits).log_prob(torch.tensor([[0, 0, code, 0, 0]]))
    assert (value[:, 2] == 0.0).all()
    assert (value[:, [0, 1, 3, 4]] < 0.0).all()
    value.sum().backward()
    assert (logits.grad[:, 2] == 0.0).all()


def test_categorical_samples_follow_the_probabilities():
    probability = torch.tensor([0.6, 0.3, 0.1, 0.0])
    logits = probability.log().expand(2, 50_000, 4)
    drawn = Categorical(logits).sample(torch.Generator().manual_seed(1))
    assert drawn.shape == (2, 50_000)
    for member in drawn:
        share = torch.bincount(member, minlength=4) / 50_000
        assert (share - probability).abs().max() < 0.01
        assert share[3] == 0.0
    assert_close(Categorical(logits).mean[0, 0], probability)


def test_joint_adds_its_parts_and_skips_what_is_missing():
    gaussian = _built("gaussian")
    first, second = Categorical(draws(M, B, 4, seed=6)), Categorical(draws(M, B, 3, seed=7))
    observed = draws(1, B, D, seed=5) > 0.0
    category = torch.tensor([[[0, 2], [1, -1], [-1, -1], [3, 0], [2, 1]]])
    joint = Joint(gaussian, (first, second))
    numeric = gaussian.log_prob(X, observed)
    levels = first.log_prob(category[..., 0]) + second.log_prob(category[..., 1])
    assert_close(joint.log_prob(X, observed, category), numeric + levels)
    assert_close(Joint(None, (first, second)).log_prob(X, None, category), levels)
    assert_close(Joint(gaussian).log_prob(X, observed, None), numeric)
    nothing, missing = torch.zeros_like(observed), torch.full_like(category, -1)
    assert (joint.log_prob(X, nothing, missing) == 0.0).all()
