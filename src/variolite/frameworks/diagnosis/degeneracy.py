"""What a table cannot teach, whatever the model: constant columns, and the same one twice."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import permutations

import numpy as np
import polars as pl

from variolite.frameworks.columns import UNITS
from variolite.frameworks.diagnosis.tallies import Tallies, Tally
from variolite.scoring.intervals import IntArray


@dataclass(frozen=True)
class Degeneracy:
    """Sets and categories of training rows, their combination, and what is constant or a function.

    ``states`` has the number of different values and the share of those seen once; ``functions``
    pairs of a column and another that follows from it.
    """

    states: dict[str, tuple[int, float]]
    constant: tuple[str, ...]
    functions: tuple[tuple[str, str], ...]


def degeneracy(t: Tallies, train: pl.DataFrame) -> Degeneracy:
    """Look at training rows; their numeric columns are all those that a unit is known of."""
    counts = {c.name: c.counts(t.train) for c in (t.combination, *t.words)}
    states = {
        n: (int((c > 0).sum()), float((c == 1).sum() / (c > 0).sum())) for n, c in counts.items()
    }
    constant = [c.name for c in t.words if states[c.name][0] == 1]
    constant += [n for n in UNITS if n in train.columns and train[n].drop_nulls().n_unique() == 1]
    varying = [c for c in t.words if c.name not in constant]
    functions = [(a.name, b.name) for a, b in permutations(varying, 2) if _follows(a, b, t.train)]
    return Degeneracy(states, tuple(constant), tuple(functions))


def _follows(given: Tally, other: Tally, rows: IntArray) -> bool:
    """Whether the conditional entropy of ``other`` is zero, in states that are seen again."""
    x, y = given.code[rows], other.code[rows]
    both = (x >= 0) & (y >= 0)
    x, y = x[both], y[both]
    again = np.bincount(x, minlength=1)[x] > 1
    # A state seen once determines everything; a table of such states would be all functions.
    if again.sum() < 0.5 * len(x) or len(np.unique(y[again])) < 2:
        return False
    pairs = np.unique(np.stack([x, y], axis=1), axis=0)
    return len(pairs) == len(np.unique(x))
