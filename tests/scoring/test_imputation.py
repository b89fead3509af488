"""Imputation against Gaussians whose conditional distributions are known."""

from dataclasses import replace

import numpy as np
import polars as pl
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from variolite.errors import TrainingError
from variolite.records import FittedSchema, Schema
from variolite.scoring.imputation import (
    Calibration,
    Errors,
    calibrate,
    few_groups_lines,
    hide,
    impute,
    predict,
)
from variolite.training import Member, TabularModel
from variolite.vae import Architecture, TabularModule

LOADINGS = np.array([0.9, -0.7, 0.5, 0.8])
NOISE = np.sqrt(1.0 - LOADINGS**2)
Z90 = 1.6448536269514722


def factor_rows(rows, *, groups=1, shift=0.0, seed=0):
    """Rows of one factor, each column of variance 1, and a shift of every group in column a."""
    source = np.random.default_rng(seed)
    values = source.normal(size=(rows, 1)) * LOADINGS + source.normal(size=(rows, 4)) * NOISE
    group = np.arange(rows) % groups
    values[:, 0] += shift * source.normal(size=groups)[group]
    columns = dict(zip("abcd", values.T, strict=True))
    return pl.DataFrame({"well": [f"w{g}" for g in group], **columns})


def exact_model(hidden, *, noise=NOISE, offset=0.0, scale=1.0):
    """A model that is this Gaussian, whose encoder is exact where column ``hidden`` is missing.

    In original units the columns are offset + scale times those of `factor_rows`.
    """
    columns = {name: {"missing": "mask"} for name in "abcd"} | {"well": {"role": "group"}}
    steps = {"transform": ["standardise"], "valid": [-1000, 1000]}
    columns = {n: c if n == "well" else c | steps for n, c in columns.items()}
    one = pl.DataFrame({n: [offset - scale, offset + scale] for n in "abcd"} | {"well": ["x", "y"]})
    schema = FittedSchema.fit(Schema(columns=columns), one)
    layout = {"latent": 1, "encoder": (), "decoder": (), "mask_input": True}
    module = TabularModule(Architecture(("gaussian",) * 4, **layout), seed=0)
    seen = np.arange(4) != hidden
    weights = np.where(seen, LOADINGS / noise**2, 0.0)
    precision = 1.0 + (weights * LOADINGS).sum()
    # Inputs are the values and which of them are seen; outputs mean and log-variance.
    first = np.zeros((1, 8, 2))
    first[0, :4, 0] = weights / precision
    state = {
        "encoder.layers.0.weight": first,
        "encoder.layers.0.bias": [[[0.0, -np.log(precision)]]],
        "decoder.layers.0.weight": LOADINGS[None, None],
        "decoder.layers.0.bias": np.zeros((1, 1, 4)),
        "log_scale": np.log(noise)[None, None],
    }
    state = {
        name: torch.tensor(np.asarray(value), dtype=torch.float32) for name, value in state.items()
    }
    module.load_state_dict(state)
    return TabularModel(schema, module.eval(), (Member(0, 1.0, 1),))


def conditional(values, hidden):
    """Mean (n,) and variance of a column given the others, from their joint covariance."""
    joint = np.outer(LOADINGS, LOADINGS) + np.diag(NOISE**2)
    seen = np.arange(4) != hidden
    weights = np.linalg.solve(joint[np.ix_(seen, seen)], joint[seen, hidden])
    return values[:, seen] @ weights, joint[hidden, hidden] - weights @ joint[seen, hidden]


@given(st.integers(0, 3), st.integers(0, 99))
def test_a_hidden_column_has_the_mean_and_variance_of_the_joint_gaussian(hidden, seed):
    frame = factor_rows(20, seed=seed)
    model = exact_model(hidden)
    records = hide(model.schema.apply(frame), hidden)
    mean, deviation = predict(model, records, np.arange(20))
    expected, variance = conditional(frame.select("a", "b", "c", "d").to_numpy(), hidden)
    np.testing.assert_allclose(mean[:, hidden], expected, atol=1e-5)
    np.testing.assert_allclose(deviation[:, hidden], np.sqrt(variance), atol=1e-5)


def test_values_and_intervals_are_in_original_units_and_samples_fill_them():
    frame = factor_rows(30).with_columns(a=None)
    frame = frame.with_columns(pl.col("b", "c", "d") * 7.0 + 50.0)
    model = exact_model(0, offset=50.0, scale=7.0)
    records = model.schema.apply(frame)
    found = impute(model, records, samples=2000)
    observed = frame.select("b", "c", "d").to_numpy()
    mean, variance = conditional(np.c_[np.zeros(30), (observed - 50.0) / 7.0], 0)
    np.testing.assert_allclose(found.value[:, 0], 50.0 + 7.0 * mean, atol=1e-3)
    half = 7.0 * Z90 * np.sqrt(variance)
    np.testing.assert_allclose(found.high[:, 0], 50.0 + 7.0 * mean + half, rtol=1e-3)
    np.testing.assert_allclose(found.low[:, 0], 50.0 + 7.0 * mean - half, rtol=1e-3)
    inside = (found.samples >= found.low) & (found.samples <= found.high)
    assert inside[..., 0].mean() == pytest.approx(0.9, abs=0.01)
    assert found.samples[..., 0].std(0) == pytest.approx(7.0 * np.sqrt(variance), rel=0.1)
    for values in (found.value, found.low, found.high, *found.samples):
        np.testing.assert_array_equal(values[:, 1:], observed)


def test_a_row_gets_the_same_alone_and_in_any_table():
    frame = factor_rows(40).with_columns(a=None)
    model = exact_model(0)
    records = model.schema.apply(frame)
    whole = impute(model, records).value
    for rows in ([7], [7, 3, 30]):
        np.testing.assert_allclose(impute(model, records.take(rows)).value, whole[rows], rtol=1e-6)


@pytest.mark.parametrize(("noise", "shift"), [(NOISE, 0.0), (0.5 * NOISE, 0.0), (NOISE, 1.0)])
def test_intervals_hold_on_new_groups_whatever_the_model_believes(noise, shift):
    model = exact_model(0, noise=noise)
    known, new = (
        model.schema.apply(factor_rows(12_000, groups=150, shift=shift, seed=seed))
        for seed in (1, 2)
    )
    calibration = calibrate(model, known, known)
    for level in (0.5, 0.9, 0.95):
        found = impute(model, hide(new, 0), calibration, level=level)
        inside = (found.low <= new.raw) & (new.raw <= found.high)
        assert inside[:, 0].mean() == pytest.approx(level, abs=0.025)


def test_what_a_group_shares_is_measured_and_sampled():
    model = exact_model(0)
    _, variance = conditional(np.zeros((1, 4)), 0)
    held = model.schema.apply(factor_rows(40_000, groups=200, shift=1.0, seed=3))
    calibration = calibrate(model, held, held)
    shared = 1.0 / (1.0 + variance)
    assert calibration.of("a").shared == pytest.approx(shared, abs=0.08)
    records = hide(model.schema.apply(factor_rows(400, groups=20, seed=4)), 0)
    found = impute(model, records, calibration, samples=50)
    errors = (found.samples - found.value)[..., 0]
    groups = np.unique(records.group, return_inverse=True)[1]
    means = np.stack([errors[:, groups == g].mean(1) for g in range(20)], 1)
    assert means.var() == pytest.approx(1.0, rel=0.2)
    assert errors.var() == pytest.approx(1.0 + variance, rel=0.2)


def test_where_nothing_informs_the_interval_is_that_of_the_training_rows():
    model = exact_model(0)
    # A model in which the columns share nothing.
    with torch.no_grad():
        model.module.decoder.layers[0].weight.zero_()
        model.module.log_scale.zero_()
    known = model.schema.apply(factor_rows(4000, groups=10))
    calibration = calibrate(model, known, known)
    found = impute(model, hide(known, 0), calibration)
    assert found.unexplained[:, 0].all()
    assert not found.unexplained[:, 1:].any()
    np.testing.assert_allclose(found.high[0, 0] - found.low[0, 0], 2 * Z90, rtol=0.05)
    assert calibration.of("a").r2 == pytest.approx(0.0, abs=0.02)
    informed = impute(exact_model(0), hide(known, 0), calibration)
    assert not informed.unexplained.any()


def test_values_stay_within_the_declared_range():
    model = exact_model(0)
    columns = model.schema.schema.columns
    limited = {"a": columns["a"].model_copy(update={"valid": (0.0, None)})}
    schema = model.schema.schema.model_copy(update={"columns": columns | limited})
    model = replace(model, schema=replace(model.schema, schema=schema))
    found = impute(model, model.schema.apply(factor_rows(50).with_columns(a=None)), samples=3)
    assert found.value[:, 0].min() == found.low[:, 0].min() == found.samples[..., 0].min() == 0.0


def test_a_model_of_complete_rows_does_not_impute():
    model = exact_model(0)
    module = TabularModule(replace(model.module.architecture, mask_input=False), seed=0)
    model = replace(model, module=module)
    records = model.schema.apply(factor_rows(10))
    np.testing.assert_array_equal(impute(model, records).value, records.raw)
    with pytest.raises(TrainingError, match="complete rows"):
        impute(model, hide(records, 1))
    assert calibrate(model, records, records).errors == {}


def test_inputs_that_no_held_out_group_has_keep_the_spread_of_the_model():
    model = exact_model(0)
    records = model.schema.apply(factor_rows(50))
    assert calibrate(model, records, None).of("a") == Errors()
    calibration = calibrate(model, records, hide(records, 2))
    assert set(calibration.errors) == {"a", "b", "d"}
    assert Calibration.model_validate(calibration.model_dump(mode="json")) == calibration


def test_inputs_that_few_groups_measured_are_named():
    groups = {"a": 9, "b": 8, "c": 2, "d": 20}
    headers = {name: name.upper() for name in groups}
    calibration = Calibration(errors={name: Errors(groups=n) for name, n in groups.items()})
    (line,) = few_groups_lines(calibration, headers)
    assert "imputed B, C are calibrated on 2 to 8 validation groups" in line
    assert "at 90 %: that takes 9" in line
    (line,) = few_groups_lines(calibration, headers, 0.95)
    assert "imputed A, B, C are calibrated on 2 to 9" in line
    assert few_groups_lines(calibration, headers, 0.5) == []
    assert "on 0 validation groups" in few_groups_lines(Calibration(), headers)[0]
