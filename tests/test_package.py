"""The package itself: cheap to import, its names found when asked for."""

import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import variolite

ROOT = Path(__file__).parents[1]
HEAVY = ("torch", "sklearn", "scipy", "polars", "numpy", "pandas", "pydantic", "yaml", "typer")


def test_import_loads_nothing_heavy_and_costs_little():
    code = "import sys, time; began = time.process_time(); import variolite; "
    code += f"print([m for m in {HEAVY} if m in sys.modules], time.process_time() - began)"
    told = [subprocess.check_output([sys.executable, "-c", code], text=True) for _ in range(3)]
    assert {line.split()[0] for line in told} == {"[]"}
    assert min(float(line.split()[-1]) for line in told) < 0.2


@pytest.mark.parametrize("name", sorted(variolite.__all__))
def test_every_public_name_is_there(name):
    found = getattr(variolite, name)
    assert getattr(found, "__name__", name).rpartition(".")[2] == name
    assert name in dir(variolite)


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match=r"attribute '?TabularVea"):
        _ = variolite.TabularVea


def test_the_version_is_stated_once_and_alike():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert variolite.__version__ == project["version"]
    assert f"\nversion: {variolite.__version__}\n" in (ROOT / "CITATION.cff").read_text()
    assert f"[{variolite.__version__}]" in (ROOT / "CHANGELOG.md").read_text()
