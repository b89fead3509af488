"""Transforms: exact inverse, monotone, true derivative, plain JSON, clear refusals."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy import stats
from sklearn.preprocessing import QuantileTransformer

from variolite.errors import ModelFileError, SchemaError
from variolite.records import TRANSFORMS, FittedChain, fit_transform_chain
from variolite.records.transforms import dump_transform, parse_transform

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
POSITIVE = {"log", "log10", "logit"}


def training(name: str, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    if name == "logit":
        return rng.uniform(0, 255, 400)
    return rng.gamma(2.0, 10.0, 400) if name in POSITIVE else rng.normal(3.0, 20.0, 400)


def values(name: str) -> st.SearchStrategy[np.ndarray]:
    low, high = {"log": (1e-6, 1e6), "log10": (1e-6, 1e6), "logit": (-0.499, 255.499)}.get(
        name, (-1e6, 1e6)
    )
    return arrays(np.float64, st.integers(1, 20), elements=st.floats(low, high))


def chain_of(name: str) -> FittedChain:
    return fit_transform_chain(CHAINS[name], training(name))


@pytest.mark.parametrize("name", CHAINS)
@given(data=st.data())
def test_inverse_undoes_forward(name: str, data: st.DataObject) -> None:
    chain, x = chain_of(name), data.draw(values(name))
    # Relative to the size of the value or of the training values, as an affine step
    # cannot keep more digits than the larger of the two has.
    scale = np.maximum(np.abs(x), np.abs(training(name)).max())
    assert np.all(np.abs(chain.inverse(chain.forward(x)) - x) <= 1e-9 * scale)


@pytest.mark.parametrize("name", CHAINS)
@given(data=st.data())
def test_strictly_increasing(name: str, data: st.DataObject) -> None:
    chain, x = chain_of(name), data.draw(values(name))
    low, high = x, x + 1e-4 * (1 + np.abs(x))
    inside = high < 255.499 if name == "logit" else np.full(x.shape, True)
    assert np.all((chain.forward(high) > chain.forward(low))[inside])


@pytest.mark.parametrize("name", CHAINS)
@given(data=st.data())
def test_log_det_is_the_numeric_derivative(name: str, data: st.DataObject) -> None:
    chain, x = chain_of(name), data.draw(values(name))
    step = 1e-6 * np.where(name in POSITIVE, np.abs(x), 0.05 + np.abs(x))
    if name == "logit":
        step = 1e-5 * np.minimum(x + 0.5, 255.5 - x)
    numeric = (chain.forward(x + step) - chain.forward(x - step)) / (2 * step)
    if name == "quantile":
        # The derivative jumps at a knot; between knots it is exact.
        knots = np.array(chain.steps[0].to_dict()["x"])
        away = np.abs(x[:, None] - knots).min(axis=1) > 2 * step
        x, numeric = x[away], numeric[away]
    assert np.allclose(chain.log_det(x), np.log(numeric), rtol=0, atol=1e-5)


@pytest.mark.parametrize("name", CHAINS)
def test_density_integrates_to_one(name: str) -> None:
    """p(x) = N(y; 0, 1) |dy/dx| is a density in original units."""
    chain = chain_of(name)
    y = np.linspace(-9, 9, 200_001)
    x = chain.inverse(y)
    x = np.concatenate([(x[:-1] + x[1:]) / 2, x])
    x.sort()
    x = x[np.concatenate([[True], np.diff(x) > 0])]
    y, log_det = chain.evaluate(x)
    density = np.exp(stats.norm.logpdf(y) + log_det)
    assert np.trapezoid(density[np.isfinite(density)], x[np.isfinite(density)]) == pytest.approx(
        1.0, abs=2e-3
    )


@pytest.mark.parametrize("name", CHAINS)
def test_json_round_trip_is_exact(name: str) -> None:
    chain = chain_of(name)
    again = FittedChain.from_dict(json.loads(json.dumps(chain.to_dict())))
    x = training(name, seed=1)
    assert again == chain
    assert np.array_equal(again.forward(x), chain.forward(x))


@pytest.mark.parametrize("name", CHAINS)
def test_missing_stays_missing(name: str) -> None:
    chain = chain_of(name)
    y, log_det = chain.evaluate([np.nan, 1.0])
    assert np.isnan([y[0], log_det[0]]).all()
    assert np.isfinite([y[1], log_det[1]]).all()


def test_known_values() -> None:
    assert fit_transform_chain(["signed_log"], [0.0]).forward(-(math.e - 1)) == pytest.approx(-1)
    assert fit_transform_chain(["log10"], [1.0]).forward(1000.0) == pytest.approx(3)
    assert fit_transform_chain(["log"], [1.0]).forward(math.e) == pytest.approx(1)
    logit = fit_transform_chain([{"logit": {"lower": 0, "upper": 4}}], [1.0])
    assert logit.forward(3.0) == pytest.approx(math.log(3))
    standard = fit_transform_chain(["standardise"], [1.0, 2.0, 3.0])
    assert standard.forward(3.0) == pytest.approx(math.sqrt(1.5))


def test_quantile_agrees_with_scikit_learn() -> None:
    """Where both have their knots, normal scores differ by less than the knot spacing."""
    x = np.random.default_rng(0).lognormal(1.0, 1.5, 20_000)
    ours = fit_transform_chain([{"quantile": {"knots": 1000}}], x).forward(x)
    theirs = QuantileTransformer(n_quantiles=1000, output_distribution="normal", subsample=None)
    theirs = theirs.fit_transform(x[:, None])[:, 0]
    middle = np.abs(theirs) < 2.5
    assert np.abs(ours - theirs)[middle].max() < 0.01
    assert stats.kstest(ours, "norm").statistic < 0.005


def test_quantile_shares_one_knot_among_ties() -> None:
    rng = np.random.default_rng(0)
    x = np.concatenate([np.zeros(300), rng.exponential(1.0, 700)])
    (step,) = fit_transform_chain([{"quantile": {"knots": 100}}], x).steps
    knots = step.to_dict()
    assert np.all(np.diff(knots["x"]) > 0)
    assert np.all(np.diff(knots["y"]) > 0)
    # 30 % of the values are 0, so they sit at the normal quantile of 15 %.
    assert step.forward(np.array(0.0)) == pytest.approx(stats.norm.ppf(0.15), abs=1e-12)


def test_quantile_keeps_fewer_knots_than_values() -> None:
    x = np.random.default_rng(0).normal(size=200)
    (step,) = fit_transform_chain(["quantile"], x).steps
    assert len(step.to_dict()["x"]) == 20


@given(
    st.lists(st.floats(-1e3, 1e3), min_size=2, max_size=300),
    st.integers(2, 50),
)
def test_quantile_fits_whatever_varies(sample: list[float], knots: int) -> None:
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


def test_outside_the_domain_is_nan_and_far_inverse_overflows_quietly() -> None:
    log = fit_transform_chain(["log"], [1.0, 2.0])
    assert np.isnan(log.forward([0.0, -1.0])).all()
    assert np.isnan(log.log_det([0.0, -1.0])).all()
    assert log.inverse(1e6) == np.inf


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
    ],
)
def test_fitting_refuses_with_advice(spec: object, sample: list[float], says: str) -> None:
    with pytest.raises(SchemaError, match=says):
        fit_transform_chain([spec], sample)


@pytest.mark.parametrize(
    ("spec", "says"),
    [
        ("standardize", "Did you mean 'standardise'"),
        ({"quantile": {"knot": 3}}, "Its options: knots"),
        ({"quantile": {"knots": 1}}, "greater than or equal to 2"),
        ({"logit": {"lower": 2, "upper": 1}}, "must be below"),
        ({"signed_log": {"scale": 0}}, "greater than 0"),
        (3, "a transform is a name"),
        ({"a": 1, "b": 2}, "a transform is a name"),
    ],
)
def test_parsing_refuses_with_advice(spec: object, says: str) -> None:
    with pytest.raises(SchemaError, match=says):
        parse_transform(spec)


def test_specs_round_trip_as_written() -> None:
    for written in ("log", {"quantile": {"knots": 7}}, {"logit": {"upper": 255.0}}):
        assert dump_transform(parse_transform(written)) == written
    assert dump_transform(parse_transform({"quantile": None})) == "quantile"
    assert set(TRANSFORMS) == {
        "identity",
        "log",
        "log10",
        "signed_log",
        "logit",
        "quantile",
        "standardise",
    }


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
def test_damaged_steps_are_refused(step: dict[str, object]) -> None:
    with pytest.raises(ModelFileError, match="cannot be read"):
        FittedChain.from_dict({"steps": [step]})
