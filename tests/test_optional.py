"""Packages of the extra: one line says how to get them, also where they are broken."""

import sys

import pytest

from variolite.errors import DataError
from variolite.optional import load


def test_a_package_that_is_broken_is_named(tmp_path, monkeypatch):
    (tmp_path / "raspalib.py").write_text("raise ImportError('libfoo.so is missing')")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "raspalib", raising=False)
    with pytest.raises(DataError, match=r"raspalib .* cannot be imported \(libfoo.so is missing\)"):
        load("raspalib")
