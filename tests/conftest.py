"""Settings that hold for every test; the environment is set before torch can be imported."""

import os

os.environ["OMP_NUM_THREADS"] = "1"
os.environ.setdefault("POLARS_MAX_THREADS", "2")

from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

settings.register_profile(
    "variolite",
    deadline=None,
    max_examples=50,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
settings.load_profile("variolite")


@pytest.fixture(scope="session")
def shared_data():
    """Folder of real data beside the repository; a test that needs it skips without it."""
    folder = Path(__file__).resolve().parents[2] / "shared" / "data"
    if not folder.is_dir():
        pytest.skip("the folder of real data, ../shared/data beside the repository, is absent")
    return folder
