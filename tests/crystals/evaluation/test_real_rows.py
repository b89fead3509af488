"""Scores of rows of MP-20, where the folder of real data is there."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
import pytest

from variolite.crystals import Crystals
from variolite.crystals.evaluation import (
    Matcher,
    charge_balance,
    distance_validity,
    find_novelty,
    read_hull,
)
from variolite.crystals.evaluation.stability import element_fractions
from variolite.crystals.files.reading import load_crystals


@pytest.fixture(scope="module")
def rows(shared_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Crystals:
    table = shared_data / "crystals" / "mp_20" / "biternary_test_a.csv.gz"
    few = tmp_path_factory.mktemp("rows") / "rows.csv"
    pl.read_csv(table).gather_every(9).write_csv(few)
    return load_crystals(few)


def test_real_crystals_are_valid_and_mostly_balanced(rows: Crystals):
    assert len(rows) == 396
    assert distance_validity(rows).all()
    found = charge_balance(rows)
    assert 0.90 < found.balanced[found.evaluated].mean() < 0.96
    assert found.unknown == ("Pm",)


def test_real_crystals_differ_from_each_other_and_are_known_to_themselves(rows: Crystals):
    some = rows.take(slice(0, 80))
    found = find_novelty(some, rows, Matcher())
    assert found.unique.mean() > 0.97
    assert not found.novel.any()


def test_energies_above_the_hull_are_those_of_the_materials_project(
    rows: Crystals, shared_data: Path
):
    hull = read_hull(shared_data / "crystals" / "hull" / "mp20_hull.parquet")
    energy = rows.properties["formation_energy_per_atom"]
    found = hull.above(element_fractions(rows), energy, rows.names)
    listed = rows.properties["e_above_hull"]
    assert 0.7 < (found.removed > 0).mean() < 0.9
    # Listed values are never negative, and this hull has fewer phases than theirs.
    error = np.maximum(found.above, 0.0) - listed
    assert np.abs(error).mean() < 0.005
    assert error.max() < 1e-3
    assert found.missing == ()
