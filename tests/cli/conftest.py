"""One tiny scored run for all tests of the command line, and a way to call the program."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from calling import TINY, Example, Program

from variolite.cli import main
from variolite.corelogs import bin_tables, simulate_cores, write_instrument_tables


@pytest.fixture
def program(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Program:
    return Program(monkeypatch, capsys)


@pytest.fixture(scope="session")
def example(tmp_path_factory: pytest.TempPathFactory) -> Example:
    folder = tmp_path_factory.mktemp("program")
    paths = write_instrument_tables(simulate_cores(holes=6, metres=30, seed=1), folder / "raw")
    data = folder / "binned.parquet"
    bin_tables(list(paths.values()), join="outer").table.write_parquet(data)
    made = Example(folder / "raw", data, folder / "run")
    with pytest.MonkeyPatch.context() as patch:
        for arguments in (
            ("fit", "corelogs/default", "--data", data, "--out", made.run, "--members", 2, *TINY),
            ("score", made.run, "--data", data),
        ):
            patch.setattr("sys.argv", ["variolite", *map(str, arguments)])
            with pytest.raises(SystemExit) as end:
                main()
            assert not end.value.code
    return made


@pytest.fixture
def copied(example: Example, tmp_path: Path) -> Example:
    """The example with a copy of its run that a test may spoil."""
    shutil.copytree(example.run, tmp_path / "run")
    return Example(example.instruments, example.data, tmp_path / "run")
