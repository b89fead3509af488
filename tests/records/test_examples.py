"""The examples in docstrings do what they show."""

from __future__ import annotations

import doctest
import importlib
import pkgutil

import pytest

import variolite.records


@pytest.mark.parametrize("name", [m.name for m in pkgutil.iter_modules(variolite.records.__path__)])
def test_examples(name: str) -> None:
    assert doctest.testmod(importlib.import_module(f"variolite.records.{name}")).failed == 0


def test_the_main_functions_have_examples() -> None:
    for name in ("read_table", "Schema"):
        assert ">>>" in getattr(variolite.records, name).__doc__
    for name in variolite.records.__all__:
        thing = getattr(variolite.records, name)
        assert not callable(thing) or thing.__doc__
