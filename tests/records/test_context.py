"""Depth context against a search row by row; gaps, unsorted rows and missing depths."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from variolite.errors import DataError
from variolite.records import DepthContext, Records
from variolite.records.context import LONGEST_STEP, runs


def _records(depth, group=None, *, seed=0, columns=2):
    source = np.random.default_rng(seed)
    n = len(depth)
    observed = source.random((n, columns)) < 0.7
    raw = np.where(observed, source.normal(size=(n, columns)), np.nan)
    return Records(
        numeric=np.nan_to_num(raw).astype(np.float32),
        observed=observed,
        raw=raw,
        log_det=np.zeros((n, columns)),
        category=np.empty((n, 0), np.int64),
        condition=np.empty((n, 0), np.float32),
        row=np.arange(n),
        group=np.zeros(n, "U1") if group is None else np.asarray(group),
        order=np.asarray(depth, np.float64),
    )


def _slow_runs(group, depth):
    """Stretches of rows without a gap, as lists of row numbers by depth."""
    found = []
    for name in sorted(set(group)):
        rows = [i for i in range(len(group)) if group[i] == name and not np.isnan(depth[i])]
        rows.sort(key=lambda i: depth[i])
        steps = [depth[b] - depth[a] for a, b in pairwise(rows)]
        usual = np.median([s for s in steps if s > 0] or [0.0])
        for place, row in enumerate(rows):
            if place == 0 or steps[place - 1] > LONGEST_STEP * usual:
                found.append([])
            found[-1].append(row)
    return found + [[i] for i in range(len(group)) if np.isnan(depth[i])]


step = st.sampled_from([0.2, 0.2, 0.2, 0.5, 0.9, 30.0])
holes = st.lists(st.lists(step, min_size=1, max_size=12), min_size=1, max_size=3)


@given(holes=holes, lacking=st.integers(0, 3), seed=st.integers(0, 99))
def test_context_equals_a_search_row_by_row(holes, lacking, seed):
    depth = np.concatenate([np.cumsum(steps) for steps in holes])
    group = np.repeat([f"h{i}" for i in range(len(holes))], [len(steps) for steps in holes])
    source = np.random.default_rng(seed)
    depth[source.integers(0, len(depth), lacking)] = np.nan
    shuffled = source.permutation(len(depth))
    records = _records(depth[shuffled], group[shuffled], seed=seed)
    sides = DepthContext(kind="neighbours").of(records)
    windows = DepthContext(kind="windows", rows=(3, 4)).of(records)
    n, d = records.numeric.shape
    values = records.raw
    for run in _slow_runs(records.group, records.order):
        for place, row in enumerate(run):
            beside = [run[place - 1] if place else None, *run[place + 1 : place + 2], None][:2]
            for column in range(d):
                expected = []
                for other in beside:
                    known = other is not None and records.observed[other, column]
                    expected += [values[other, column] if known else 0.0, float(known)]
                found = sides[row].reshape(d, 4)[column]
                np.testing.assert_allclose(found, expected, rtol=1e-5)
                expected = []
                for width in (3, 4):
                    # Centred; an even window has its extra row above.
                    first = place - width // 2
                    inside = [run[i] for i in range(first, first + width) if 0 <= i < len(run)]
                    some = values[inside, column]
                    some = some[~np.isnan(some)]
                    expected += (
                        [some.mean(), np.log(some.std() + 0.05)] if len(some) else [0.0, 0.0]
                    )
                found = windows[row].reshape(d, 4)[column]
                np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-4)
    assert sides.shape == windows.shape == (n, 4 * d)


def test_a_gap_ends_a_run_and_the_usual_step_is_of_the_hole():
    depth = [0.0, 1.0, 2.0, 5.0, 8.1, 9.1, 0.0, 10.0, 20.0]
    by_depth, run = runs(np.array([*"aaaaaabbb"]), np.array(depth))
    assert by_depth.tolist() == [*range(9)]
    assert run.tolist() == [0, 0, 0, 0, 1, 1, 2, 2, 2]  # 3 steps are no gap, 3.1 are


def test_without_an_order_it_says_how_to_give_one():
    records = _records([0.0, 1.0])
    with pytest.raises(DataError, match="no depth") as raised:
        DepthContext(kind="windows").of(
            Records(**{name: value for name, value in vars(records).items() if name != "order"})
        )
    assert "--map depth=COLUMN" in raised.value.hint
