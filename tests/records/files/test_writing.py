"""Writing: whole files or none, and the same bytes for the same table."""

import os
import resource

import numpy as np
import polars as pl
import pytest

from variolite import records
from variolite.errors import DataError
from variolite.records.files import writing

FRAME = pl.DataFrame({"a": [1.5, float("nan")], "b": ["x", None]})


@pytest.mark.parametrize("ending", ["csv", "csv.gz", "parquet", "feather"])
def test_same_table_same_bytes(tmp_path, ending):
    first, second = tmp_path / f"1.{ending}", tmp_path / f"2.{ending}"
    records.write_table(FRAME, first)
    records.write_table(FRAME, second)
    assert first.read_bytes() == second.read_bytes()
    if ending == "csv":
        assert first.read_text() == "a,b\n1.5,x\n,\n", "NaN is an empty cell"
        records.write_text_atomic(first, "é\nx\n")
        assert first.read_bytes() == b"\xc3\xa9\nx\n"


def test_failure_leaves_the_old_file_and_no_rubbish(tmp_path, monkeypatch):
    def refuse(handle):
        raise OSError(28, "No space left on device")

    path = tmp_path / "t.csv"
    path.write_text("old")
    monkeypatch.setattr(os, "fsync", refuse)
    with pytest.raises(DataError, match="No space left"):
        records.write_table(FRAME, path)
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_refusals_before_and_while_writing(tmp_path):
    (tmp_path / "file").touch()
    for name, message in (
        ("file/no/t.csv", "is no folder"),
        ("t.xlsx", "'.xlsx' files cannot be written.*Use one of"),
        (".", "is a folder"),
    ):
        with pytest.raises(DataError, match=message):
            records.require_writable(tmp_path / name)
        if name != ".":
            with pytest.raises(DataError, match=message):
                records.write_table(FRAME, tmp_path / name)
    with pytest.raises(DataError, match="is a folder"):
        records.write_bytes_atomic(tmp_path, b"")
    records.require_writable(tmp_path / "t.csv")
    nested = pl.DataFrame({"a": [[1, 2]]})
    with pytest.raises(DataError, match=r"cannot be written as \.csv"):
        records.write_table(nested, tmp_path / "t.csv")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
    # A folder is made when something is written in it.
    path = tmp_path / "new" / "newer" / "t.parquet"
    records.require_writable(path)
    assert not (tmp_path / "new").exists()
    records.write_table(nested, path)
    assert records.read_table(path).equals(nested)


def test_formulas_of_spreadsheets_are_guarded_and_read_back(tmp_path):
    text = ["=1+1", "-5", "-5a", "+1e3", "@x", "it's", None, "\tx"]
    frame = pl.DataFrame(
        {"=well": text, "x": [-1.0] * 8, "c": pl.Series(text).cast(pl.Categorical)}
    )
    path = tmp_path / "t.csv"
    records.write_table(frame, path)
    assert path.read_text().splitlines()[:4] == [
        "'=well,x,c",
        "'=1+1,-1.0,'=1+1",
        "-5,-1.0,-5",
        "'-5a,-1.0,'-5a",
    ]
    back = records.read_table(path)
    assert back.columns == frame.columns
    assert back["=well"].to_list() == text
    token = writing.raw_text.set(True)
    records.write_table(frame, path)
    writing.raw_text.reset(token)
    assert path.read_text().startswith("=well,x,c\n=1+1,-1.0,=1+1\n")


@pytest.mark.parametrize("ending", ["csv", "csv.gz", "tsv", "parquet", "feather"])
def test_tables_are_written_in_parts(tmp_path, monkeypatch, ending):
    frame = pl.DataFrame({"a": range(1000), "b": [None, "=x", "y", "é,"] * 250})
    whole, parts = tmp_path / f"whole.{ending}", tmp_path / f"parts.{ending}"
    records.write_table(frame, whole)
    monkeypatch.setattr(writing, "_ROWS", 7)
    records.write_table(frame, parts)
    if ending != "csv.gz":  # where parts change how it is compressed
        assert parts.read_bytes() == whole.read_bytes()
    assert records.read_table(parts).equals(frame)
    records.write_table(frame.clear(), parts)
    if ending == "csv":
        assert parts.read_text() == "a,b\n"


@pytest.mark.parametrize("ending", ["csv", "csv.gz", "parquet", "feather"])
def test_a_full_disk_is_one_line_and_leaves_nothing(tmp_path, ending):
    path = tmp_path / f"t.{ending}"
    frame = pl.DataFrame({"a": np.random.default_rng(0).normal(size=9999)})
    # No file of this process may become larger.
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, limits[1]))
    try:
        with pytest.raises(DataError, match=r"cannot be written.*File too large.*ree space"):
            records.write_table(frame, path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert list(tmp_path.iterdir()) == []
