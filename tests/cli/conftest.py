"""Tiny runs for all tests of the command line, and a way to call the program."""

import shutil

import pytest
from calling import TINY, Example, Program, run_program
from crystal_example import DNG, CrystalExample, options

from variolite.corelogs import bin_tables, simulate_cores, write_instrument_tables
from variolite.crystals.files.store import write_store
from variolite.crystals.files.textbook import textbook_crystals
from variolite.crystals.generation import composition, properties


@pytest.fixture
def program(monkeypatch, capsys):
    return Program(monkeypatch, capsys)


@pytest.fixture(scope="session")
def example(tmp_path_factory):
    folder = tmp_path_factory.mktemp("program")
    paths = write_instrument_tables(simulate_cores(holes=6, metres=30, seed=1), folder / "raw")
    data = folder / "binned.parquet"
    bin_tables(list(paths.values()), join="outer").table.write_parquet(data)
    made = Example(folder / "raw", data, folder / "run")
    fit = ("fit", "corelogs/default", "--data", data, "--out", made.run, "--members", 2, *TINY)
    run_program(*fit)
    run_program("score", made.run, "--data", data)
    return made


@pytest.fixture
def copied(example, tmp_path):
    """The example with a copy of its run that a test may spoil."""
    shutil.copytree(example.run, tmp_path / "run")
    return Example(example.instruments, example.data, tmp_path / "run")


@pytest.fixture(scope="session")
def made(tmp_path_factory):
    """Textbook crystals and a run without a prior on them."""
    folder = tmp_path_factory.mktemp("crystals")
    found = CrystalExample(folder / "textbook.crystals", folder / "run")
    write_store(found.data, textbook_crystals())
    run_program("fit", DNG, "--data", found.data, "--out", found.run, *options())
    return found


@pytest.fixture
def copied_crystals(made, tmp_path):
    """The example of crystals with a copy of its run that a test may spoil."""
    shutil.copytree(made.run, tmp_path / "copy")
    return CrystalExample(made.data, tmp_path / "copy")


@pytest.fixture(scope="module")
def short_priors():
    """Compositions and properties are learned in a few steps."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(composition, "EPOCHS", 1)
        patch.setattr(composition, "FEWEST_STEPS", 5)
        patch.setattr(properties, "EPOCHS", 2)
        yield
