"""Rows of real data for the tests of crystals; those tests skip where the data are absent."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import polars as pl
import pytest

from variolite.crystals.crystals import Crystals
from variolite.crystals.files.reading import load_crystals


@pytest.fixture(scope="session")
def real_rows(
    shared_data: Path, tmp_path_factory: pytest.TempPathFactory
) -> Callable[[str, int], Crystals]:
    """A function that reads so many rows, evenly spread, of one file of ``shared/data``."""

    def read(name: str, number: int) -> Crystals:
        table = pl.read_csv(shared_data / "crystals" / f"{name}.csv.gz")
        some = table.gather_every(max(1, len(table) // number)).head(number)
        place = tmp_path_factory.mktemp("rows") / "rows.csv"
        some.write_csv(place)
        return load_crystals(place)

    return read
