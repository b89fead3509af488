"""The examples in docstrings do what they show, and what is public has a docstring."""

from __future__ import annotations

import doctest

import variolite.records
from variolite.records import schema, tables


def test_examples_and_docstrings() -> None:
    for module in (schema, tables):
        found = doctest.testmod(module)
        assert found.attempted
        assert not found.failed
    for name in variolite.records.__all__:
        thing = getattr(variolite.records, name)
        assert not callable(thing) or thing.__doc__
