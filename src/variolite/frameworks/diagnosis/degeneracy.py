"""What a table cannot teach, whatever the model: constant columns, and the same one twice."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations, permutations

import numpy as np
import polars as pl

from variolite.frameworks.columns import UNITS
from variolite.frameworks.diagnosis.tallies import Layout, Tally, tally
from variolite.scoring.intervals import IntArray

_SAME_ORDER = 0.9999  # rank correlation of columns of which one follows from the other


@dataclass(frozen=True)
class Degeneracy:
    """Sets and categories, their combination, and what is constant or the same twice.

    ``states`` has the number of different values and the share of those seen once; ``functions``
    pairs of a column and another that follows from it; ``information`` the mutual information of
    two over their mean entropy: as it is, and adjusted for chance, since in sparse tables
    everything seems dependent.
    """

    states: dict[str, tuple[int, float]]
    constant: tuple[str, ...]
    functions: tuple[tuple[str, str], ...]
    information: dict[str, tuple[float, float]]


def degeneracy(train: pl.DataFrame, layout: Layout | None = None) -> Degeneracy:
    """Look at a table before anything is trained on it."""
    from sklearn.metrics import adjusted_mutual_info_score, normalized_mutual_info_score

    layout = layout or Layout()
    t = tally(train, train, [train], layout)
    words = [column for column in t.columns.values() if column.kind != "number"]
    constant = [c.name for c in words if len(c.states) == 1]
    varying = [c for c in words if len(c.states) > 1]
    functions = [(a.name, b.name) for a, b in permutations(varying, 2) if _follows(a, b, t.train)]
    information = {}
    for a, b in combinations(varying, 2):
        x, y = a.code[t.train], b.code[t.train]
        both = (x >= 0) & (y >= 0)
        if both.any():
            scores = (normalized_mutual_info_score, adjusted_mutual_info_score)
            plain, adjusted = (float(score(x[both], y[both])) for score in scores)
            information[f"{a.name} x {b.name}"] = (plain, adjusted)
    numbers = [n for n in dict.fromkeys((*layout.numbers, *UNITS)) if n in train.columns]
    ranked = []
    for name in numbers:
        values = train[name].cast(pl.Float64, strict=False)
        distinct = values.drop_nulls().n_unique()
        if distinct == 1:
            constant.append(name)
        elif distinct > 1:
            ranked.append((name, values))
    for (one, first), (other, second) in combinations(ranked, 2):
        pair = pl.DataFrame({"x": first, "y": second}).drop_nulls()
        if pair.height > 2:
            rho = pair.select(pl.corr("x", "y", method="spearman")).item()
            functions += [(one, other)] if abs(rho) > _SAME_ORDER else []
    counts = {c.name: c.counts(t.train) for c in (t.combination, *words)}
    states = {
        name: (int((c > 0).sum()), float((c == 1).sum() / c.size)) for name, c in counts.items()
    }
    return Degeneracy(states, tuple(constant), tuple(functions), information)


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
