"""Transforms: exact inverse, monotone, true derivative, plain JSON, clear refusals."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from pydantic import ValidationError
from scipy import stats
from sklearn.preprocessing import QuantileTransformer

from variolite.errors import SchemaError
from variolite.records import TRANSFORMS, fit_transform_chain
from variolite.records.transforms import FittedChain, dump_transform, parse_transform

CHAINS = {
    "identity": ["identity"],
    "log": ["log", "standardise"],
    "log10": ["log10", "standardise"],
    "signed_log": ["signed_log", "standardise"],
    "signed_log_scaled": [{"signed_log": {"scale": 25.0}}, "standardise"],
    "logit": [{"logit": {"lower": -0.5, "upper": 255.5}}, "standardise"],
    "quantile": [{"quantile": {"knots": 20}}, "standardise"],
    "standardise": ["standardise"],
    "empty": [],
}
RANGES = {"log": (1e-6, 1e6), "log10": (1e-6, 1e6), "logit": (-0.499, 255.499)}


def training(name, seed=0):
    rng = np.random.default_rng(seed)
    if name == "logit":
        return rng.uniform(0, 255, 400)
    return rng.gamma(2.0, 10.0, 400) if name in RANGES else rng.normal(3.0, 20.0, 400)


def chain_of(name):
    return fit_transform_chain(CHAINS[name], training(name))


@pytest.mark.parametrize("name", CHAINS)
@given(data=st.data())
def test_inverse_order_and_derivative(name, data):
    chain, (low, high) = chain_of(name), RANGES.get(name, (-1e6, 1e6))
    x = data.draw(arrays(np.float64, st.integers(1, 20), elements=st.floats(low, high)))

    def forward(values):
        return chain.evaluate(values)[0]

    # The inverse undoes it, relative to the size of the value or of the training values, as an
    # affine step cannot keep more digits than the larger of the two has.
    scale = np.maximum(np.abs(x), np.abs(training(name)).max())
    assert np.all(np.abs(chain.inverse(forward(x)) - x) <= 1e-9 * scale)
    # It increases strictly.
    above = x + 1e-4 * (1 + np.abs(x))
    inside = above < (255.499 if name == "logit" else np.inf)
    assert np.all((forward(above) > forward(x))[inside])
    # log_det is the numeric derivative.
    step = 1e-6 * np.where(name in RANGES, np.abs(x), 0.05 + np.abs(x))
    if name == "logit":
        step = 1e-5 * np.minimum(x + 0.5, 255.5 - x)
    if name == "quantile":
        # The derivative jumps at a knot; between knots it is exact.
        knots = np.array(chain.steps[0].x)
        away = np.abs(x[:, None] - knots).min(axis=1) > 2 * step
        x, step = x[away], step[away]
    numeric = (forward(x + step) - forward(x - step)) / (2 * step)
    assert np.allclose(chain.evaluate(x)[1], np.log(numeric), rtol=0, atol=1e-5)


@pytest.mark.parametrize("name", CHAINS)
def test_density_json_and_missing_values(name):
    """p(x) = N(y; 0, 1) |dy/dx| is a density in original units."""
    chain = chain_of(name)
    x = chain.inverse(np.linspace(-9, 9, 200_001))
    x = np.unique(np.concatenate([(x[:-1] + x[1:]) / 2, x]))
    y, log_det = chain.evaluate(x)
    density = np.exp(stats.norm.logpdf(y) + log_det)
    finite = np.isfinite(density)
    assert np.trapezoid(density[finite], x[finite]) == pytest.approx(1.0, abs=2e-3)
    # JSON keeps every digit.
    again = FittedChain.model_validate_json(chain.model_dump_json())
    assert again == chain
    x = training(name, seed=1)
    assert np.array_equal(again.evaluate(x), chain.evaluate(x))
    # What is missing stays missing.
    y, log_det = chain.evaluate([np.nan, 1.0])
    assert np.isnan([y[0], log_det[0]]).all()
    assert np.isfinite([y[1], log_det[1]]).all()


@pytest.mark.parametrize(
    ("spec", "sample", "x", "y"),
    [
        ("signed_log", [0.0], -(math.e - 1), -1.0),
        ("log10", [1.0], 1000.0, 3.0),
        ("log", [1.0], math.e, 1.0),
        ({"logit": {"lower": 0, "upper": 4}}, [1.0], 3.0, math.log(3)),
        ("standardise", [1.0, 2.0, 3.0], 3.0, math.sqrt(1.5)),
    ],
)
def test_known_values(spec, sample, x, y):
    assert fit_transform_chain([spec], sample).evaluate(x)[0] == pytest.approx(y)


def test_quantile_agrees_with_scikit_learn():
    """Where both have their knots, normal scores differ by less than the knot spacing."""
    x = np.random.default_rng(0).lognormal(1.0, 1.5, 20_000)
    ours, _ = fit_transform_chain([{"quantile": {"knots": 1000}}], x).evaluate(x)
    theirs = QuantileTransformer(n_quantiles=1000, output_distribution="normal", subsample=None)
    theirs = theirs.fit_transform(x[:, None])[:, 0]
    middle = np.abs(theirs) < 2.5
    assert np.abs(ours - theirs)[middle].max() < 0.01
    assert stats.kstest(ours, "norm").statistic < 0.005


def test_quantile_knots():
    rng = np.random.default_rng(0)
    x = np.concatenate([np.zeros(300), rng.exponential(1.0, 700)])
    (step,) = fit_transform_chain([{"quantile": {"knots": 100}}], x).steps
    assert np.all(np.diff([step.x, step.y]) > 0)
    # 30 % of the values are 0 and share a knot, so they sit at the normal quantile of 15 %.
    assert step.evaluate(np.array(0.0))[0] == pytest.approx(stats.norm.ppf(0.15), abs=1e-12)
    # Fewer knots than values.
    (step,) = fit_transform_chain(["quantile"], rng.normal(size=200)).steps
    assert len(step.x) == 20


@given(st.lists(st.floats(-1e3, 1e3), min_size=2, max_size=300), st.integers(2, 50))
def test_quantile_fits_whatever_varies(sample, knots):
    x = np.array(sample)
    try:
        chain = fit_transform_chain([{"quantile": {"knots": knots}}], x)
    except SchemaError as error:
        assert "equal" in str(error)  # noqa: PT017
        return
    y, log_det = chain.evaluate(x)
    assert np.isfinite(y).all()
    assert np.isfinite(log_det).all()
    scale = 1e-9 * max(np.abs(x).max(), np.ptp(x))
    assert np.abs(chain.inverse(y) - x).max() <= scale


def test_outside_the_domain_is_nan_and_far_inverse_overflows_quietly():
    log = fit_transform_chain(["log", "standardise"], [1.0, 2.0])
    assert np.isnan(log.evaluate([0.0, -1.0])).all()
    assert log.inverse(1e6) == np.inf
    logit = fit_transform_chain(["logit"], [0.5])
    assert np.isnan(logit.evaluate([0.0, 1.0, -1.0, 2.0])).all()


@pytest.mark.parametrize(
    ("spec", "sample", "says"),
    [
        ("log", [1.0, 0.0], "signed_log"),
        ("log10", [1.0, -2.0], "signed_log"),
        ({"logit": {"lower": 0, "upper": 1}}, [0.5, 1.0], "strictly between 0 and 1"),
        ("standardise", [2.0, 2.0], "spread"),
        ("quantile", [2.0] * 50, "equal"),
        ("standardise", [np.nan], "no value"),
        ("standardise", [1.0, np.inf], "infinite"),
        ("standardize", [1.0], "Did you mean 'standardise'"),
        ({"quantile": {"knot": 3}}, [1.0], "transform 'quantile'.*Did you mean 'knots'"),
        ({"quantile": {"knots": 1}}, [1.0], "greater than or equal to 2.*Its options: knots"),
        ({"logit": {"lower": 2, "upper": 1}}, [1.0], "must be below.*Its options: lower, upper"),
        ({"signed_log": {"scale": 0}}, [1.0], "greater than 0"),
        (3, [1.0], "a transform is a name"),
        ({"a": 1, "b": 2}, [1.0], "a transform is a name"),
    ],
)
def test_refusals_come_with_advice(spec, sample, says):
    with pytest.raises(SchemaError, match=says):
        fit_transform_chain([spec], sample)


def test_specs_round_trip_as_written():
    for written in ("log", {"quantile": {"knots": 7}}, {"logit": {"upper": 255.0}}):
        assert dump_transform(parse_transform(written)) == written
    assert dump_transform(parse_transform({"quantile": None})) == "quantile"
    names = {"identity", "log", "log10", "signed_log", "logit", "quantile", "standardise"}
    assert set(TRANSFORMS) == names


@pytest.mark.parametrize(
    "step",
    [
        {"kind": "exec"},
        {},
        {"kind": "affine", "centre": 0.0, "scale": 0.0},
        {"kind": "affine", "centre": "x", "scale": 1.0},
        {"kind": "piecewise_linear", "x": [0, 0], "y": [0, 1], "lower_slope": 1, "upper_slope": 1},
        {"kind": "piecewise_linear", "x": [0, 1], "y": [0, 1], "lower_slope": 0, "upper_slope": 1},
    ],
)
def test_damaged_steps_are_refused(step):
    with pytest.raises(ValidationError):
        FittedChain.model_validate({"steps": [step]})
