"""A synthetic run, made once, and copies of it that a test may damage."""

import shutil
from pathlib import Path

import pytest
from synthetic_run import write_synthetic_run


@pytest.fixture(scope="session")
def whole_run(tmp_path_factory):
    """Run folder with every part; read only."""
    return write_synthetic_run(tmp_path_factory.mktemp("runs") / "first-try")


@pytest.fixture(scope="session")
def small_run(tmp_path_factory):
    """Run folder with every part and fewer rows; read only."""
    return write_synthetic_run(tmp_path_factory.mktemp("runs") / "small", rows=420)


@pytest.fixture
def run(small_run, tmp_path):
    """A copy of the small run that the test may change."""
    return Path(shutil.copytree(small_run, tmp_path / "first-try"))
