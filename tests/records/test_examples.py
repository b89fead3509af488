"""The examples in docstrings do what they show."""

from __future__ import annotations

import doctest
import importlib
import pkgutil

import pytest

import variolite.records

MODULES = [module.name for module in pkgutil.iter_modules(variolite.records.__path__)]


@pytest.mark.parametrize("name", MODULES)
def test_examples(name: str) -> None:
    module = importlib.import_module(f"variolite.records.{name}")
    assert doctest.testmod(module).failed == 0


def test_the_main_functions_have_examples() -> None:
    for name in ("read_table", "Schema", "FittedSchema", "split_groups", "propose_schema"):
        assert ">>>" in (getattr(variolite.records, name).__doc__ or "")


def test_everything_public_is_listed_and_documented() -> None:
    for name in variolite.records.__all__:
        thing = getattr(variolite.records, name)
        assert callable(thing) is False or thing.__doc__
