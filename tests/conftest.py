"""Settings that hold for every test; the environment is set before torch can be imported."""

import os

os.environ["OMP_NUM_THREADS"] = "1"
os.environ.setdefault("POLARS_MAX_THREADS", "2")

import signal
import sys
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


@pytest.fixture(autouse=True)
def signals_as_before():
    """The program, which many tests call, takes over signals until its process ends."""
    numbers = (signal.SIGINT, signal.SIGTERM)
    before, hook = [signal.getsignal(number) for number in numbers], sys.unraisablehook
    yield
    for number, handler in zip(numbers, before, strict=True):
        signal.signal(number, handler)
    sys.unraisablehook = hook


@pytest.fixture(scope="session")
def shared_data():
    """Folder of real data beside the repository; a test that needs it skips without it."""
    folder = Path(__file__).resolve().parents[2] / "shared" / "data"
    if not folder.is_dir():
        pytest.skip("the folder of real data, ../shared/data beside the repository, is absent")
    return folder
