"""The examples in docstrings do what they show, and everything public is documented."""

from __future__ import annotations

import doctest
import importlib
import pkgutil

import pytest

from variolite.crystals import files

MODULES = [module.name for module in pkgutil.iter_modules(files.__path__)]


@pytest.mark.parametrize("name", MODULES)
def test_examples(name: str) -> None:
    module = importlib.import_module(f"variolite.crystals.files.{name}")
    assert doctest.testmod(module).failed == 0


def test_everything_public_is_listed_and_documented() -> None:
    for name in files.__all__:
        thing = getattr(files, name)
        assert not callable(thing) or thing.__doc__


def test_nothing_optional_is_loaded_with_it() -> None:
    import subprocess
    import sys

    heavy = ("pymatgen", "ase", "spglib", "chgnet", "torch", "lightning")
    code = (
        "import sys, variolite.crystals.files; "
        f"print([name for name in {heavy} if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
