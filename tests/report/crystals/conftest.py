"""A synthetic crystal run, made once, and copies of it that a test may damage."""

import shutil
from pathlib import Path

import pytest
from synthetic_crystal_run import write_synthetic_crystal_run


@pytest.fixture(scope="session")
def whole_crystal_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Run folder with every part; read only."""
    return write_synthetic_crystal_run(tmp_path_factory.mktemp("runs") / "first-try", count=300)


@pytest.fixture
def crystal_run(whole_crystal_run: Path, tmp_path: Path) -> Path:
    """A copy of it that the test may change."""
    return Path(shutil.copytree(whole_crystal_run, tmp_path / "first-try"))
