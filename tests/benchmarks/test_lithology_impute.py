"""Sums over holes as figures of the page, and features that leave the hidden log out."""

import numpy as np
import polars as pl
import pytest
from benchmarks.lithology_impute import HEADERS, METHODS, MODEL, features_of, page, summarise

RIVAL = "nearest neighbours"


@pytest.fixture(scope="module")
def rows():
    """Rows of 12 holes in two splits, with predictions of two methods."""
    source = np.random.default_rng(0)
    frame = pl.DataFrame({"hole": [f"h{i % 12}" for i in range(600)], "y": source.normal(size=600)})
    frame = frame.with_columns(split=pl.int_range(600) % 2)
    return frame.with_columns(
        (pl.col("y") + pl.Series(noise * source.normal(size=600))).alias(method)
        for method, noise in ((MODEL, 0.3), (RIVAL, 0.6))
    )


def sums_of(rows):
    tables = []
    for method in (MODEL, RIVAL):
        error = pl.col("y") - pl.col(method)
        sums = rows.group_by("hole", "split").agg(
            squares=(error**2).sum(),
            total=(pl.col("y") ** 2).sum(),
            units=(4 * error**2).sum(),
            inside=(error.abs() < 0.5).sum().cast(pl.Float64),
            width=pl.len() * 1.0,
            n=pl.len(),
        )
        keys = {"set": "force", "target": "sonic_slowness", "method": method}
        tables.append(sums.sort("hole").with_columns(**{k: pl.lit(v) for k, v in keys.items()}))
    return pl.concat(tables)


def test_figures_are_those_of_all_rows(rows):
    entries = {entry["method"]: entry for entry in summarise(sums_of(rows))}
    ours, rival = entries[MODEL], entries[RIVAL]
    assert (ours["target"], ours["method"], rival["best_baseline"]) == ("DTC", MODEL, True)
    y, errors = rows["y"].to_numpy(), {m: (rows["y"] - rows[m]).to_numpy() for m in (MODEL, RIVAL)}
    for entry in (ours, rival):
        squares = errors[entry["method"]] ** 2
        assert entry["r2"] == pytest.approx(1.0 - squares.sum() / (y**2).sum())
        assert entry["rmse"] == pytest.approx(2.0 * np.sqrt(squares.mean()))
        assert entry["r2_interval"][0] < entry["r2"] < entry["r2_interval"][1]
    assert ours["gain"] == pytest.approx(ours["r2"] - rival["r2"])
    low, high = ours["gain_interval"]
    assert 0.0 < low < ours["gain"] < high
    assert ours["coverage"] == pytest.approx((np.abs(errors[MODEL]) < 0.5).mean())
    assert ours["width"] == 1.0
    lines = page([ours, rival], ["chosen"], {"DTC": "us/ft"})
    assert any(line.startswith(f"| DTC, {RIVAL} (best baseline)") for line in lines)


def test_blocks_of_features_are_inputs_in_order_and_context_is_of_the_logs_as_they_are():
    source = np.random.default_rng(0)
    values = source.normal(size=(40, 3)) + np.array([0.0, 5.0, 9.0])
    group, order = np.repeat(["a", "b"], 20), np.tile(np.arange(20.0), 2)
    found = features_of(values, group, order)
    np.testing.assert_allclose(found["context"][:, :3], values, rtol=1e-6)
    np.testing.assert_allclose(found["context"][2, 3:6], values[:5].mean(0), rtol=1e-5)
    assert {name for candidates in METHODS.values() for name, _ in candidates} <= set(found)
    assert all(part.shape[1] % 3 == 0 for part in found.values())


def test_every_target_has_a_header():
    assert set(HEADERS.values()) == {"NPHI", "RHOB", "DTC", "vp"}
