"""Rows of real data for the tests of crystals, and a synthetic run for those of its report.

Tests of real data skip where the data are absent.
"""

import shutil
from pathlib import Path

import polars as pl
import pytest
from synthetic_crystal_run import write_synthetic_crystal_run

from variolite.crystals.files.reading import load_crystals


@pytest.fixture(scope="session")
def real_rows(shared_data, tmp_path_factory):
    """A function that reads so many rows, evenly spread, of one file of ``shared/data``."""

    def read(name, number):
        table = pl.read_csv(shared_data / "crystals" / f"{name}.csv.gz")
        some = table.gather_every(max(1, len(table) // number)).head(number)
        place = tmp_path_factory.mktemp("rows") / "rows.csv"
        some.write_csv(place)
        return load_crystals(place)

    return read


@pytest.fixture(scope="session")
def whole_crystal_run(tmp_path_factory):
    """Run folder with every part; read only."""
    return write_synthetic_crystal_run(tmp_path_factory.mktemp("runs") / "first-try", count=300)


@pytest.fixture
def crystal_run(whole_crystal_run, tmp_path):
    """A copy of it that the test may change."""
    return Path(shutil.copytree(whole_crystal_run, tmp_path / "first-try"))
