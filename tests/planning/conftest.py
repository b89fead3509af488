"""Pools that are made up: uptake grows with pore size, and costs do not follow it."""

import numpy as np
import polars as pl
import pytest

from variolite.planning import surrogate


def made_up_pool(rows=120, measured=30, seed=0):
    random = np.random.default_rng(seed)
    pores, density = random.uniform(2, 12, rows), random.uniform(0.4, 2, rows)
    uptake = 6 * np.exp(-((pores - 7) ** 2) / 6) / density**0.5 + random.normal(0, 0.1, rows)
    known = np.arange(rows) < measured
    metals = random.choice(["Zn", "Fe", "Cu"], rows)
    return pl.DataFrame(
        {
            "name": [f"M{i:03d}" for i in range(rows)],
            "pores": pores,
            "density": density,
            "metal": metals,
            "cost": random.uniform(10, 90, rows).round(2),
            "uptake": np.where(known, uptake, np.nan),
        }
    ).with_columns(pl.col("uptake").fill_nan(None)), uptake


@pytest.fixture
def made_up():
    return made_up_pool()


@pytest.fixture(autouse=True)
def few_trees(monkeypatch):
    monkeypatch.setattr(surrogate, "_TREES", 25)
