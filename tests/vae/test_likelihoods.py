"""Likelihoods against scipy.stats, their samples against their moments, and masks."""

import numpy as np
import pytest
import torch
from closeness import assert_close
from scipy import stats

from variolite.vae import Categorical, Gaussian, Joint, Mixed, StudentT

M, B, D = 2, 5, 3


def _draws(*shape: int, seed: int) -> torch.Tensor:
    source = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=source, dtype=torch.float64)


def _gaussian(rows: int = 1, members: int = M) -> Gaussian:
    return Gaussian(_draws(members, B, D, seed=1), 0.5 * _draws(members, rows, D, seed=2))


def _student(rows: int = 1, members: int = M) -> StudentT:
    freedom = 2.5 + _draws(members, 1, D, seed=3).abs()
    return StudentT(_draws(members, B, D, seed=1), 0.5 * _draws(members, rows, D, seed=2), freedom)


HEAVY = torch.tensor([False, True, False])


def _mixed(rows: int = 1, members: int = M) -> Mixed:
    student = _student(rows, members)
    return Mixed(Gaussian(student.mean, student.log_scale), student, HEAVY)


def _frozen_normal(likelihood: Gaussian):
    return stats.norm(likelihood.mean.numpy(), likelihood.log_scale.exp().numpy())


def _frozen_t(likelihood: StudentT):
    return stats.t(
        likelihood.freedom.numpy(), likelihood.mean.numpy(), likelihood.log_scale.exp().numpy()
    )


BUILDERS = {"gaussian": _gaussian, "student_t": _student, "mixed": _mixed}
EXACT = {
    "gaussian": lambda p, x: _frozen_normal(p).logpdf(x),
    "student_t": lambda p, x: _frozen_t(p).logpdf(x),
    "mixed": lambda p, x: np.where(
        HEAVY.numpy(), _frozen_t(p.student).logpdf(x), _frozen_normal(p.gaussian).logpdf(x)
    ),
}


@pytest.mark.parametrize("kind", BUILDERS)
@pytest.mark.parametrize("rows", [1, B])
@pytest.mark.parametrize("data_members", [1, M])
def test_densities_equal_scipy(kind: str, rows: int, data_members: int) -> None:
    likelihood = BUILDERS[kind](rows)
    x = 2.0 * _draws(data_members, B, D, seed=4)
    exact = EXACT[kind](likelihood, x.numpy())
    np.testing.assert_allclose(likelihood.elementwise(x).numpy(), exact, rtol=1e-10)
    np.testing.assert_allclose(likelihood.log_prob(x, None).numpy(), exact.sum(-1), rtol=1e-10)


@pytest.mark.parametrize("kind", BUILDERS)
@pytest.mark.parametrize("rows", [1, B])
def test_values_under_the_mask_do_not_matter(kind: str, rows: int) -> None:
    likelihood = BUILDERS[kind](rows)
    x = _draws(1, B, D, seed=4)
    observed = _draws(1, B, D, seed=5) > 0.0
    assert observed.any()
    assert not observed.all()
    exact = np.where(observed.numpy(), EXACT[kind](likelihood, x.numpy()), 0.0).sum(-1)
    for hidden in (0.0, 1e30, float("inf"), float("nan")):
        spoilt = torch.where(observed, x, torch.tensor(hidden, dtype=torch.float64))
        value = likelihood.log_prob(spoilt, observed)
        np.testing.assert_allclose(value.numpy(), exact, rtol=1e-10)


@pytest.mark.parametrize("kind", BUILDERS)
def test_a_complete_mask_changes_nothing(kind: str) -> None:
    likelihood, x = BUILDERS[kind](), _draws(1, B, D, seed=4)
    everything = torch.ones(1, B, D, dtype=torch.bool)
    assert_close(likelihood.log_prob(x, None), likelihood.log_prob(x, everything))


@pytest.mark.parametrize("kind", ["gaussian", "student_t"])
def test_masked_entries_give_no_gradient(kind: str) -> None:
    likelihood = BUILDERS[kind](B)
    likelihood.mean.requires_grad_()
    observed = torch.zeros(1, B, D, dtype=torch.bool)
    observed[:, 0, 0] = True
    likelihood.log_prob(_draws(1, B, D, seed=4), observed).sum().backward()
    assert (likelihood.mean.grad[:, 0, 0] != 0.0).all()
    assert int((likelihood.mean.grad != 0.0).sum()) == M


def test_a_mixed_likelihood_takes_each_column_from_its_own_family() -> None:
    likelihood = _mixed()
    gaussian, student = likelihood.gaussian, likelihood.student
    expected = torch.where(HEAVY, student.deviation, gaussian.deviation)
    assert torch.equal(likelihood.deviation, expected)
    assert torch.equal(likelihood.mean, gaussian.mean)
    n = 100_000
    wide = Mixed(
        Gaussian(torch.zeros(1, n, D), torch.zeros(1, 1, D)),
        StudentT(torch.zeros(1, n, D), torch.zeros(1, 1, D), torch.full((1, 1, D), 2.5)),
        HEAVY,
    )
    drawn = wide.sample(torch.Generator().manual_seed(0))[0].numpy()
    for column, heavy in zip(drawn.T, HEAVY, strict=True):
        exact = stats.t(2.5) if heavy else stats.norm()
        assert stats.kstest(column, exact.cdf).statistic < 2.0 / np.sqrt(n)


@pytest.mark.parametrize("kind", BUILDERS)
@pytest.mark.parametrize("rows", [1, 100_000])
def test_samples_follow_the_distribution(kind: str, rows: int) -> None:
    n = 100_000
    mean = torch.full((1, n, 1), 1.5)
    log_scale = torch.full((1, rows, 1), -0.7)
    likelihood = (
        Gaussian(mean, log_scale)
        if kind == "gaussian"
        else StudentT(mean, log_scale, torch.full((1, 1, 1), 5.0))
    )
    drawn = likelihood.sample(torch.Generator().manual_seed(0))
    assert drawn.shape == (1, n, 1)
    scale = float(np.exp(-0.7))
    exact = stats.norm(1.5, scale) if kind == "gaussian" else stats.t(5.0, 1.5, scale)
    # Kolmogorov's statistic has standard error 0.87 / sqrt(n): this allows about 2.3 of them.
    assert stats.kstest(drawn.numpy().ravel(), exact.cdf).statistic < 2.0 / np.sqrt(n)
    deviation = float(likelihood.deviation.reshape(-1)[0])
    assert deviation == pytest.approx(exact.std(), rel=1e-5)


def test_samples_repeat_with_the_seed_and_differ_between_rows() -> None:
    for build in BUILDERS.values():
        likelihood = build()
        first = likelihood.sample(torch.Generator().manual_seed(3))
        again = likelihood.sample(torch.Generator().manual_seed(3))
        other = likelihood.sample(torch.Generator().manual_seed(4))
        assert torch.equal(first, again)
        assert not torch.equal(first, other)
        assert first.unique().numel() == first.numel()


def test_student_t_nears_the_gaussian_as_freedom_grows() -> None:
    gaussian = _gaussian()
    student = StudentT(
        gaussian.mean, gaussian.log_scale, torch.full((M, 1, D), 1e7, dtype=torch.float64)
    )
    x = _draws(1, B, D, seed=4)
    assert_close(student.elementwise(x), gaussian.elementwise(x), rtol=1e-4, atol=1e-4)
    assert_close(student.deviation.expand(M, 1, D), gaussian.deviation, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("code_members", [1, M])
def test_categorical_equals_the_log_softmax(code_members: int) -> None:
    logits = _draws(M, B, 4, seed=6)
    source = torch.Generator().manual_seed(7)
    codes = torch.randint(0, 4, (code_members, B), generator=source)
    exact = stats.multinomial(1, torch.softmax(logits, -1).numpy()).logpmf(
        np.eye(4)[np.broadcast_to(codes.numpy(), (M, B))]
    )
    np.testing.assert_allclose(Categorical(logits).log_prob(codes).numpy(), exact, rtol=1e-8)


@pytest.mark.parametrize("code", [-1, -2])
def test_a_missing_or_unseen_category_counts_nothing(code: int) -> None:
    logits = _draws(M, B, 4, seed=6).requires_grad_()
    codes = torch.zeros(1, B, dtype=torch.int64)
    codes[0, 2] = code
    value = Categorical(logits).log_prob(codes)
    assert (value[:, 2] == 0.0).all()
    assert (value[:, [0, 1, 3, 4]] < 0.0).all()
    value.sum().backward()
    assert (logits.grad[:, 2] == 0.0).all()


def test_categorical_samples_follow_the_probabilities() -> None:
    probability = torch.tensor([0.6, 0.3, 0.1, 0.0])
    logits = probability.log().expand(2, 50_000, 4)
    drawn = Categorical(logits).sample(torch.Generator().manual_seed(1))
    assert drawn.shape == (2, 50_000)
    for member in drawn:
        share = torch.bincount(member, minlength=4) / 50_000
        assert (share - probability).abs().max() < 0.01
        assert share[3] == 0.0
    assert_close(Categorical(logits).mean[0, 0], probability)


def test_joint_adds_its_parts_and_skips_what_is_missing() -> None:
    gaussian = _gaussian()
    first, second = Categorical(_draws(M, B, 4, seed=6)), Categorical(_draws(M, B, 3, seed=7))
    x = _draws(1, B, D, seed=4)
    observed = _draws(1, B, D, seed=5) > 0.0
    category = torch.tensor([[[0, 2], [1, -1], [-1, -1], [3, 0], [2, 1]]])
    joint = Joint(gaussian, (first, second))
    exact = (
        gaussian.log_prob(x, observed)
        + first.log_prob(category[..., 0])
        + second.log_prob(category[..., 1])
    )
    assert_close(joint.log_prob(x, observed, category), exact)
    nothing = torch.zeros_like(observed)
    missing = torch.full_like(category, -1)
    assert (joint.log_prob(x, nothing, missing) == 0.0).all()


def test_joint_of_categories_alone_and_of_numbers_alone() -> None:
    gaussian, categorical = _gaussian(), Categorical(_draws(M, B, 4, seed=6))
    x, codes = _draws(1, B, D, seed=4), torch.zeros(1, B, 1, dtype=torch.int64)
    assert_close(
        Joint(None, (categorical,)).log_prob(x, None, codes), categorical.log_prob(codes[..., 0])
    )
    assert_close(Joint(gaussian).log_prob(x, None, None), gaussian.log_prob(x, None))
