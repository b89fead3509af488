"""The package itself: cheap to import, its names found when asked for."""

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import variolite

ROOT = Path(__file__).parents[1]
HEAVY = ("torch", "sklearn", "scipy", "polars", "numpy", "pandas", "pydantic", "yaml", "typer")


def run(code):
    """Run Python in a process of its own, as a user's first line would."""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return done.stdout.strip()


def test_import_loads_nothing_heavy():
    code = f"import sys, variolite; print([m for m in {HEAVY} if m in sys.modules])"
    assert run(code) == "[]"


def test_import_costs_little():
    code = (
        "import time; began = time.process_time(); import variolite; "
        "print(time.process_time() - began)"
    )
    assert min(float(run(code)) for _ in range(3)) < 0.2


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
    citation = (ROOT / "CITATION.cff").read_text()
    assert re.search(r"^version: (.+)$", citation, re.MULTILINE).group(1) == variolite.__version__  # type: ignore[union-attr]
    assert f"[{variolite.__version__}]" in (ROOT / "CHANGELOG.md").read_text()
