"""A synthetic run, made once, and copies of it that a test may damage."""

import shutil
from pathlib import Path

import pytest
from synthetic_run import write_synthetic_run


@pytest.fixture(scope="session")
def whole_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Run folder with every part; read only."""
    return write_synthetic_run(tmp_path_factory.mktemp("runs") / "first-try")


@pytest.fixture
def run(whole_run: Path, tmp_path: Path) -> Path:
    """A copy of the whole run that the test may change."""
    return Path(shutil.copytree(whole_run, tmp_path / "first-try"))
