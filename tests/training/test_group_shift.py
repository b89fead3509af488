"""Shifts of groups: against direct sums, known answers and draws from the model itself."""

import json
from dataclasses import replace

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import multivariate_normal
from sklearn.mixture import GaussianMixture
from toy_tables import fit, fitted, small

from variolite.training import group_shift
from variolite.training.group_shift import GroupShift, _expect, _maximise, _Mixture, _modes

CENTRES = np.array([[0.0, 0.0, 0.0], [3.0, -2.0, 1.0], [-2.0, 2.0, 3.0]])


def drawn_records(groups=20, rows=60, *, spread=1.0, missing=0.0, seed=0):
    """Records of three rocks, every group shifted; and the shift of every row."""
    source = np.random.default_rng(seed)
    rock = source.integers(0, 3, groups * rows)
    shift = spread * source.normal(size=(groups, 3))
    shift -= shift.mean(axis=0)
    group = np.repeat(np.arange(groups), rows)
    values = CENTRES[rock] + 0.3 * source.normal(size=(len(rock), 3)) + shift[group]
    values[source.random(values.shape) < missing] = np.nan
    frame = pl.DataFrame({name: values[:, i] for i, name in enumerate("abc")})
    frame = frame.with_columns(pl.Series("hole", [f"H{g}" for g in group]))
    columns = {name: {"missing": "mask", "transform": []} for name in "abc"}
    records = fitted(frame, columns | {"hole": {"role": "group"}})[1]
    return records, shift[group[records.row]]


@pytest.mark.parametrize("missing", [0.0, 0.3])
def test_shifts_that_were_put_in_are_found(missing):
    records, true = drawn_records(missing=missing)
    found = GroupShift.fit(records, components=3).shifts(records)
    # Every group counts as 20 rows, so that shifts are drawn towards zero a little.
    assert np.corrcoef(found.ravel(), true.ravel())[0, 1] > 0.97
    assert np.abs(found - true).mean() < 0.25
    new, of_new = drawn_records(missing=missing, seed=3)
    unseen = GroupShift.fit(records, components=3).shifts(new)
    assert np.corrcoef(unseen.ravel(), of_new.ravel())[0, 1] > 0.9


def some_rows(seed, groups=4, rows=25, drift=None):
    records, _ = drawn_records(groups, rows, missing=0.4, seed=seed)
    source = np.random.default_rng(seed)
    records = replace(records, order=source.uniform(0, 90, len(records)))
    place = group_shift._place_of(records, drift)
    square = source.normal(size=(2, 3, 5))
    covariances = square @ square.swapaxes(1, 2) / 5 + 0.1 * np.eye(3)
    mixture = _Mixture(np.array([0.3, 0.7]), source.normal(size=(2, 3)), covariances)
    return (
        group_shift._rows_of(records, place),
        mixture,
        source.normal(size=(groups, place.room, 3)),
    )


@settings(max_examples=5, deadline=None)
@given(st.integers(0, 1000))
def test_responsibilities_are_those_of_the_observed_values(seed):
    rows, mixture, shift = some_rows(seed, drift=30.0)
    share = _expect(rows, shift, mixture)
    expected = np.empty_like(share)
    place = rows.place
    for i, (values, seen) in enumerate(zip(rows.values, rows.observed, strict=True)):
        own = np.vstack([shift[place.code[i]], shift[place.code[i], -1]])
        at = place.knot[i]
        moved = values - own[at] - place.part[i] * (own[at + 1] - own[at])
        density = np.array(
            [
                w * multivariate_normal(m[seen], c[np.ix_(seen, seen)]).pdf(moved[seen])
                for w, m, c in zip(*mixture, strict=True)
            ]
        )
        expected[i] = density / density.sum()
    np.testing.assert_allclose(share, expected, rtol=1e-9)


@pytest.mark.parametrize("drift", [None, 30.0])
def test_the_shift_is_the_maximum_of_its_posterior(drift):
    rows, mixture, _ = some_rows(1, drift=drift)
    place, knots = rows.place, rows.place.room
    assert knots == (1 if drift is None else 4)
    share = np.random.default_rng(0).dirichlet([1, 1], len(rows.values))
    spread = np.diag([1.0, 2.0, 0.5]) + 0.1
    correlation = 0.9 ** np.abs(np.subtract.outer(np.arange(knots), np.arange(knots)))
    precision, pull = np.linalg.inv(np.kron(correlation, spread)), np.zeros(3 * knots)
    own = np.flatnonzero(place.code == 2)
    worth = min(1.0, group_shift.WORTH * max(1, place.knots[2] - 1) / len(own))
    for row in own:
        seen = rows.observed[row]
        weights = np.zeros(knots + 1)
        weights[place.knot[row]] += 1 - place.part[row]
        weights[place.knot[row] + 1] += place.part[row]
        design = np.kron(weights[:knots], np.eye(3))  # from all knots to the shift of the row
        for j in range(2):
            inverse = np.zeros((3, 3))
            inverse[np.ix_(seen, seen)] = np.linalg.inv(mixture.covariances[j][np.ix_(seen, seen)])
            apart = np.where(seen, rows.values[row] - mixture.means[j], 0.0)
            precision = precision + share[row, j] * worth * design.T @ inverse @ design
            pull += share[row, j] * worth * design.T @ inverse @ apart
    found = _modes(rows, mixture, share, spread)
    np.testing.assert_allclose(found[2].ravel(), np.linalg.solve(precision, pull), rtol=1e-7)


def test_a_drift_along_depth_is_found():
    records, constant = drawn_records(12, 200)
    depth = np.tile(np.linspace(0, 3000, 200), 12)
    trend = np.outer((depth - 1500) / 1500, [1.0, -0.5, 0.0])
    drifting = replace(records, order=depth, numeric=records.numeric + trend.astype(np.float32))
    shift = GroupShift.fit(drifting, drift=300.0)
    error = shift.shifts(drifting) - constant - trend
    assert np.abs(error - error.mean(axis=0)).mean() < 0.1
    without = GroupShift.fit(drifting).shifts(drifting) - constant - trend
    assert np.abs(without - without.mean(axis=0)).mean() > 0.24, "all of the trend is left"
    # A shallow group gets the same shift alone and beside deep ones, and depths need not be known.
    part = drifting.take((records.group == "H4") & (depth < 700))
    both = drifting.take((records.group == "H5") | ((records.group == "H4") & (depth < 700)))
    beside = shift.shifts(both)[both.group == "H4"]
    np.testing.assert_allclose(shift.shifts(part), beside, atol=1e-4)
    lost = replace(part, order=np.where(np.arange(len(part)) % 3, part.order, np.nan))
    assert np.isfinite(shift.shifts(lost)).all()
    assert np.isfinite(shift.shifts(replace(part, order=np.full(len(part), np.nan)))).all()
    dates = replace(part, order=1e9 * part.order)
    assert np.isfinite(shift.shifts(dates)).all()
    assert GroupShift.fit(records, drift=300.0).drift is None, "there is no depth"


def test_missing_values_are_integrated_out(monkeypatch):
    # One Gaussian, the second column missing in part: T. W. Anderson's closed form (1957).
    monkeypatch.setattr(group_shift, "RIDGE", 0.0)
    source = np.random.default_rng(5)
    first = source.normal(size=200)
    second = 2.0 + 1.5 * first + 0.5 * source.normal(size=200)
    seen = source.random(200) < np.where(first > 0, 0.9, 0.3)  # missing by the first column
    frame = pl.DataFrame({"a": first, "b": np.where(seen, second, np.nan), "hole": ["H"] * 200})
    columns = {name: {"missing": "mask", "transform": []} for name in "ab"}
    records = fitted(frame, columns | {"hole": {"role": "group"}})[1]
    rows = group_shift._rows_of(records, group_shift._place_of(records, None))
    a, b = rows.values.T
    mixture = _Mixture(np.ones(1), np.zeros((1, 2)), np.eye(2)[None])
    for _ in range(200):
        mixture = _maximise(rows, np.zeros((1, 1, 2)), mixture, np.ones((200, 1)))
    whole = rows.observed[:, 1]
    slope = np.cov(a[whole], b[whole], ddof=0)[0, 1] / a[whole].var()
    left = (b[whole] - slope * a[whole]).var()
    mean = b[whole].mean() + slope * (a.mean() - a[whole].mean())
    np.testing.assert_allclose(mixture.means[0], [a.mean(), mean], rtol=1e-4)
    covariance = [[a.var(), slope * a.var()], [slope * a.var(), left + slope**2 * a.var()]]
    np.testing.assert_allclose(mixture.covariances[0], covariance, rtol=1e-4)


def test_a_shift_depends_on_the_rows_of_its_group_alone():
    records, _ = drawn_records()
    fitted_shift = GroupShift.fit(records)
    every = fitted_shift.shifts(records)
    order = np.random.default_rng(0).permutation(len(records))
    np.testing.assert_allclose(fitted_shift.shifts(records.take(order)), every[order], atol=1e-5)
    one = records.group == "H3"
    np.testing.assert_allclose(fitted_shift.shifts(records.take(one)), every[one], atol=1e-5)
    row = records.take([7])
    alone = fitted_shift.shifts(row)
    assert np.isfinite(alone).all()
    nothing = replace(row, observed=np.zeros_like(row.observed), numeric=np.zeros_like(row.numeric))
    assert np.isfinite(fitted_shift.shifts(nothing)).all()
    assert (fitted_shift.shifts(replace(row, group=None)) == 0).all()
    assert fitted_shift.shifts(records.take([])).shape == (0, 3)


def test_there_is_no_shift_without_groups_to_compare():
    records, _ = drawn_records(3)
    assert GroupShift.fit(replace(records, group=None)) is None
    assert GroupShift.fit(records.take(records.group == "H1")) is None


def test_tools_are_told_from_rocks_by_what_stands_apart_more_clearly():
    """Groups of three rocks each, moved by tools; and groups of one rock of six each."""
    records, _ = drawn_records(missing=0.2)
    assert GroupShift.fit(records).clarity(records) > 0.1
    source = np.random.default_rng(0)
    rock = np.repeat(np.arange(20) % 6, 60)
    values = 3.0 * source.normal(size=(6, 3))[rock] + 0.3 * source.normal(size=(1200, 3))
    sorted_by_rock = replace(records, numeric=values.astype(np.float32)[: len(records)])
    assert GroupShift.fit(sorted_by_rock).clarity(sorted_by_rock) < -0.1


@settings(max_examples=5, deadline=None)
@given(st.integers(0, 1000), st.floats(0.5, 2.0))
def test_structure_is_that_of_scikit_learn_whatever_the_scale(seed, scale):
    records, _ = drawn_records(8, seed=seed)
    rows = group_shift._rows_of(records, group_shift._place_of(records, None))
    found = group_shift._structure(rows, 3, 0)
    mixture = GaussianMixture(3, n_init=3, random_state=0).fit(rows.values)
    one = GaussianMixture(1).fit(rows.values)
    # The ridge of the covariances costs likelihood; the mixtures may end in other places.
    assert found == pytest.approx(mixture.score(rows.values) - one.score(rows.values), abs=0.25)
    scaled = rows._replace(values=scale * rows.values)
    assert group_shift._structure(scaled, 3, 0) == pytest.approx(found, abs=0.25)


def test_a_shift_is_chosen_by_itself_and_said():
    """Rows of one rock a group keep what moves them; those of many rocks lose it."""
    tools, _ = drawn_records()
    rock = np.repeat(np.arange(20) % 6, 60)
    source = np.random.default_rng(0)
    values = 3.0 * source.normal(size=(6, 3))[rock] + 0.3 * source.normal(size=(1200, 3))
    for values_of, taken in ((tools.numeric, True), (values, False)):
        frame = pl.DataFrame({n: values_of[:, i] for i, n in enumerate("abc")})
        frame = frame.with_columns(hole=pl.Series(tools.group))
        columns = {name: {"transform": []} for name in "abc"} | {"hole": {"role": "group"}}
        schema, records = fitted(frame, columns)
        said = []
        model = fit(
            schema, records, model=small(shift="auto"), epochs=1, beta={"kind": "constant"},
            on_start=said.append,
        ).model  # fmt: skip
        assert (model.shift is not None) is taken
        assert ("is taken out" in said[0]) is taken
        assert ("stays in" in said[0]) is not taken


def test_it_comes_back_from_json_and_fits_together_or_is_refused():
    records, _ = drawn_records(5)
    shift = GroupShift.fit(records)
    again = GroupShift.from_dict(json.loads(json.dumps(shift.to_dict())))
    assert np.array_equal(again.shifts(records), shift.shifts(records))
    with pytest.raises(ValueError, match="do not fit"):
        GroupShift.from_dict(shift.to_dict() | {"start": [0.0]})
    drifting = replace(shift, drift=12.5)
    assert GroupShift.from_dict(json.loads(json.dumps(drifting.to_dict()))).drift == 12.5


def test_a_model_encodes_less_the_shift_and_reconstructs_with_it(tmp_path):
    from variolite.training import load_model, save_model

    records, _ = drawn_records(8, missing=0.1)
    columns = {name: {"missing": "mask", "transform": []} for name in "abc"}
    frame = pl.DataFrame({n: records.raw[:, i] for i, n in enumerate("abc")})
    frame = frame.with_columns(hole=pl.Series(records.group))
    schema, records = fitted(frame, columns | {"hole": {"role": "group"}})
    model = fit(
        schema, records, model=small(shift="group"), epochs=3, beta={"kind": "constant"}
    ).model
    plain = replace(model, shift=None)
    moved = model.shift.removed(records)
    assert np.array_equal(model.encode(records), plain.encode(moved))
    assert not np.allclose(model.encode(records), plain.encode(records), atol=0.1)
    expected = plain.reconstruct(moved) + model.shift.shifts(records)
    np.testing.assert_allclose(model.reconstruct(records), expected, atol=1e-5)
    save_model(tmp_path / "model", model)
    again = load_model(tmp_path / "model")
    assert np.array_equal(again.reconstruct(records), model.reconstruct(records))
