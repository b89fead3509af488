"""Writing: whole files or none, and the same bytes for the same table."""

from __future__ import annotations

import os
from pathlib import Path

import polars as pl
import pytest

from variolite.errors import DataError
from variolite.records import (
    read_table,
    require_writable,
    write_bytes_atomic,
    write_table,
    write_text_atomic,
)

FRAME = pl.DataFrame({"a": [1.5, float("nan")], "b": ["x", None]})


def test_nan_is_an_empty_csv_cell(tmp_path: Path) -> None:
    write_table(FRAME, tmp_path / "t.csv")
    assert (tmp_path / "t.csv").read_text() == "a,b\n1.5,x\n,\n"


@pytest.mark.parametrize("ending", ["csv", "csv.gz", "parquet", "feather"])
def test_same_table_same_bytes(tmp_path: Path, ending: str) -> None:
    first, second = tmp_path / f"1.{ending}", tmp_path / f"2.{ending}"
    write_table(FRAME, first)
    write_table(FRAME, second)
    assert first.read_bytes() == second.read_bytes()


def test_text_keeps_line_feeds_and_accents(tmp_path: Path) -> None:
    write_text_atomic(tmp_path / "t.txt", "é\nx\n")
    assert (tmp_path / "t.txt").read_bytes() == b"\xc3\xa9\nx\n"


def test_failure_leaves_the_old_file_and_no_rubbish(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "t.csv"
    path.write_text("old")

    def refuse(handle: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", refuse)
    with pytest.raises(DataError, match="No space left"):
        write_table(FRAME, path)
    assert path.read_text() == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["t.csv"]


def test_refusals(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="does not exist"):
        write_table(FRAME, tmp_path / "no" / "t.csv")
    with pytest.raises(DataError, match="Use one of"):
        write_table(FRAME, tmp_path / "t.xlsx")
    with pytest.raises(DataError, match="is a folder"):
        write_bytes_atomic(tmp_path, b"")
    nested = pl.DataFrame({"a": [[1, 2]]})
    with pytest.raises(DataError, match=r"cannot be written as \.csv"):
        write_table(nested, tmp_path / "t.csv")
    assert not (tmp_path / "t.csv").exists()
    write_table(nested, tmp_path / "t.parquet")
    assert read_table(tmp_path / "t.parquet").equals(nested)


@pytest.mark.parametrize(
    ("place", "message"),
    [("table.xlsx", "'.xlsx' files cannot be written"), ("no/t.csv", "does not exist")],
)
def test_a_place_can_be_judged_before_there_is_a_table(
    tmp_path: Path, place: str, message: str
) -> None:
    with pytest.raises(DataError, match=message):
        require_writable(tmp_path / place)
    with pytest.raises(DataError, match="is a folder"):
        require_writable(tmp_path)
    require_writable(tmp_path / "t.csv")
    assert list(tmp_path.iterdir()) == []
