"""The benchmarks lie beside the package and are not installed."""

import sys
from pathlib import Path

import numpy as np
import pytest

sys.path += [str(Path(__file__).parents[2]), str(Path(__file__).parents[1] / "crystals")]

from benchmarks.crystals import sets

from variolite.crystals.files.textbook import textbook_crystals


@pytest.fixture
def textbook(monkeypatch):
    """A set of well-known crystals in the place of MP-20."""
    crystals = textbook_crystals()
    order = np.random.default_rng(0).permutation(len(crystals))
    cut = sets.ContestSet("Textbook", crystals.take(order[:60]), crystals.take(order[60:]))
    monkeypatch.setitem(sets.SETS, "mp_20", lambda _: cut)
    return cut
