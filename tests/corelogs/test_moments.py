from __future__ import annotations

import numpy as np
import polars as pl
from hypothesis import given
from hypothesis import strategies as st

from variolite.corelogs.accumulation import merge_moments, spread

values = st.lists(st.floats(-1e3, 1e3), min_size=1, max_size=8)


@given(st.lists(values, min_size=1, max_size=6), st.sampled_from([0.0, 1e6]))
def test_merged_parts_have_the_moments_of_the_whole(parts: list[list[float]], offset) -> None:
    shifted = [np.array(part) + offset for part in parts]
    partial = pl.DataFrame(
        {
            "hole": "A",
            "bin": 7,
            "density": [part.mean() for part in shifted],
            "density_count": [len(part) for part in shifted],
            "density_m2": [((part - part.mean()) ** 2).sum() for part in shifted],
        }
    )
    merged = merge_moments(partial)
    whole = np.concatenate(shifted)
    assert merged.height == 1
    assert merged["density_count"][0] == len(whole)
    np.testing.assert_allclose(merged["density"][0], whole.mean(), rtol=1e-12, atol=1e-9)
    found = merged.select(spread("density")).item()
    if len(whole) == 1:
        assert found is None
    else:
        np.testing.assert_allclose(found, whole.std(ddof=1), rtol=1e-6, atol=1e-6)


def test_a_constant_far_from_zero_has_no_spread() -> None:
    partial = pl.DataFrame(
        {"hole": "A", "bin": 0, "x": [1e7] * 3, "x_count": [5, 1, 9], "x_m2": [0.0] * 3}
    )
    assert merge_moments(partial).select(spread("x")).item() == 0.0


def test_a_channel_absent_in_one_part_and_in_all() -> None:
    partial = pl.DataFrame(
        {
            "hole": ["A", "A", "B", "B"],
            "bin": [0, 0, 0, 0],
            "x": [None, 2.0, None, None],
            "x_count": [0, 4, 0, 0],
            "x_m2": [None, 8.0, None, None],
        }
    )
    merged = merge_moments(partial).sort("hole").with_columns(spread("x"))
    assert merged["x"].to_list() == [2.0, None]
    assert merged["x_count"].to_list() == [4, 0]
    np.testing.assert_allclose(merged["x_sd"][0], np.sqrt(8 / 3))
    assert merged["x_sd"][1] is None
