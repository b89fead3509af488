"""Names, profiles and layers of clusters, on rows whose clusters are known."""

import numpy as np
import polars as pl
import pytest

from variolite.corelogs.cluster_table import cluster_table, lines_of, name_of
from variolite.records import FittedSchema, Schema
from variolite.scoring.sequences import Sequences


def described():
    """Two holes of two rocks: layers of 4 rows and of 2 rows, every 50 cm; one gap."""
    source = np.random.default_rng(0)
    cluster = np.tile([0, 0, 0, 0, 1, 1], 20)
    depth = np.tile(0.5 * np.arange(60), 2)
    depth[63:] += 100.0  # within a layer of the second hole
    frame = pl.DataFrame(
        {
            "gamma_ray": np.where(cluster == 1, 120.0, 20.0) + source.normal(size=120),
            "bulk_density": np.where(cluster == 1, 2.2, 2.6) + 0.01 * source.normal(size=120),
            "odd_log": source.normal(size=120),
            "hole": np.repeat(["A", "B"], 60),
            "depth": depth,
            "rock": np.where(cluster == 1, "shale", np.where(depth < 10, "chalk", "limestone")),
        }
    )
    logs = ("gamma_ray", "bulk_density", "odd_log")
    columns = {name: {} for name in logs} | {
        "hole": {"role": "group"},
        "depth": {"role": "order", "unit": "m"},
        "rock": {"role": "label"},
    }
    records = FittedSchema.fit(Schema(columns=columns), frame).apply(frame)
    along = Sequences.of(records.group, records.order)
    sure = np.where(cluster == 1, 0.75, 0.5)
    return cluster_table(records, logs, cluster, sure, along, records.labels["rock"]), frame


def test_clusters_have_names_layers_and_profiles():
    table, frame = described()
    first, second = table.iter_rows(named=True)
    assert first["name"] == "low gamma, dense (mostly limestone 79%)"
    assert second["name"] == "high gamma, light (mostly shale 100%)"
    assert (first["rows"], second["rows"]) == (80, 40)
    assert first["share"] == pytest.approx(2 / 3)
    # A row stands for half a metre; the layer that the gap cuts is two thin ones.
    assert (first["thickness"], second["thickness"]) == (2.0, 1.0)
    assert (first["probability"], second["probability"]) == (0.5, 0.75)
    assert second["labels"] == "shale 100%"
    own = frame.filter(pl.col("rock") == "shale")["gamma_ray"]
    assert second["gamma_ray:50%"] == pytest.approx(own.median())
    assert second["gamma_ray:90%"] == pytest.approx(np.quantile(own, 0.9))
    assert lines_of(table, "m")[1] == (
        "cluster 1: high gamma, light (mostly shale 100%); 33% of rows, layers of 1 m, "
        "mean probability 0.75"
    )


def test_names_are_of_the_logs_that_differ_most():
    assert name_of({"gamma_ray": 0.05}, {}) == "average logs"
    assert name_of({"odd_log": 0.3}, {"ooze": 0.4}) == "high odd log (often ooze 40%)"
    apart = {"red": -0.4, "blue": -0.3, "gamma_ray": 0.2, "neutron_porosity": 0.15, "depth": 0.11}
    assert name_of(apart, {}) == "dark, high gamma, high neutron porosity"
