"""Files larger than the memory are refused in one line; polars would end the process."""

import gzip
import subprocess
import sys

import polars as pl
import pytest

from variolite.errors import DataError
from variolite.records import read_table, write_table
from variolite.records.files import memory

FRAME = pl.DataFrame({"a": [1.5, 2.5] * 5000, "b": ["x", "y"] * 5000})


@pytest.mark.parametrize("ending", ["csv", "parquet", "feather"])
def test_a_table_that_does_not_fit_is_refused(ending, tmp_path, monkeypatch):
    path = tmp_path / f"t.{ending}"
    write_table(FRAME, path)
    monkeypatch.setattr(memory, "available_memory", lambda: path.stat().st_size + 10)
    with pytest.raises(DataError, match=rf"t.{ending}: .* takes about 0.0 GiB of memory, and 0.0"):
        read_table(path)
    monkeypatch.setattr(memory, "available_memory", lambda: None)
    assert read_table(path).equals(FRAME)


def test_a_limit_on_address_space_counts():
    script = (
        "import resource; from variolite.records.files.memory import available_memory as free;"
        "resource.setrlimit(resource.RLIMIT_AS, (8 << 30, 8 << 30)); a = free();"
        "x = bytes(1 << 30);"
        "print(a < 8 << 30, (a - free()) >> 20)"
    )
    answer = subprocess.check_output([sys.executable, "-c", script], text=True)
    assert answer.split() == ["True", "1024"]


def test_gzip_stops_at_its_limit_and_damage_is_named(tmp_path, monkeypatch):
    monkeypatch.setattr(memory, "_SMALL", 1000)
    path = tmp_path / "bomb.csv.gz"
    path.write_bytes(gzip.compress(bytes(2_000_000)))
    with pytest.raises(DataError, match=r"bomb.csv.gz: its 1,9\d\d bytes decompress to more than"):
        read_table(path)
    whole = gzip.compress(b"a,b\n") + gzip.compress(b"1,2\n")
    path.write_bytes(whole)
    assert read_table(path).rows() == [(1, 2)]
    damaged = bytearray(whole)
    damaged[12] ^= 255
    for content in (whole[:-3], bytes(damaged), b"x" + whole):
        path.write_bytes(content)
        with pytest.raises(DataError, match=r"bomb.csv.gz: cannot be decompressed"):
            read_table(path)
