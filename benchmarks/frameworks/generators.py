"""Generators without a neural network, which every other has to beat.

All are fitted on rows of the table of frameworks and sample rows of the same columns: sets,
categories and numbers of a `Layout`. Nothing here knows held-out rows.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from itertools import combinations
from typing import Protocol

import numpy as np
import polars as pl
from numpy.typing import NDArray

from variolite.frameworks.columns import join, split
from variolite.frameworks.diagnosis import Layout

BINS = 8  # of numbers, by quantiles of training rows
STRENGTHS = (0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 100.0)
"""Weights of the marginal in conditional frequencies, of which the best is taken."""
COMPONENTS = (1, 6, 12, 25, 50, 100)
_SHUFFLES = 20
_EPS = 1e-12

Codes = NDArray[np.int64]
Floats = NDArray[np.float64]


class Generator(Protocol):
    """What is fitted on rows and samples rows."""

    def fit(self, rows: pl.DataFrame, seed: int) -> Generator:
        """Learn from training rows."""
        ...

    def sample(self, n: int, seed: int) -> pl.DataFrame:
        """Draw rows."""
        ...


def columns_of(rows: pl.DataFrame, layout: Layout) -> list[str]:
    """Columns of the layout that the table has."""
    names = (*layout.sets, *layout.categories, *layout.numbers)
    return [n for n in names if n in rows.columns and rows[n].null_count() < rows.height]


class FrequencyTable:
    """Draws training rows as they are."""

    def __init__(self, layout: Layout | None = None) -> None:
        self.layout = layout or Layout()

    def fit(self, rows: pl.DataFrame, seed: int) -> FrequencyTable:  # noqa: ARG002
        """Keep the rows."""
        self.rows = rows.select(columns_of(rows, self.layout))
        return self

    def sample(self, n: int, seed: int) -> pl.DataFrame:
        """Draw rows with replacement."""
        return self.rows[np.random.default_rng(seed).integers(0, self.rows.height, n)]


class IndependentMarginals(FrequencyTable):
    """Draws every column by itself; sets as a whole."""

    def sample(self, n: int, seed: int) -> pl.DataFrame:
        """Draw the columns of different rows."""
        rng = np.random.default_rng(seed)
        drawn = {
            c: self.rows[c].gather(rng.integers(0, self.rows.height, n)) for c in self.rows.columns
        }
        return pl.DataFrame(drawn)


class _Discrete:
    """Rows as states: categories, bins of numbers, whole sets, and linkers as sets of members."""

    SETS = "linkers"

    def __init__(self, layout: Layout | None = None) -> None:
        self.layout = layout or Layout()

    def _encode(self, rows: pl.DataFrame) -> None:
        self.rows = rows.select(columns_of(rows, self.layout))
        self.states: dict[str, list[str]] = {}
        self.code: dict[str, Codes] = {}
        for name in self.rows.columns:
            if name in self.layout.numbers:
                values = self.rows[name].to_numpy().astype(float)
                known = values[np.isfinite(values)]
                edges = np.unique(np.quantile(known, np.linspace(0, 1, BINS + 1)[1:-1]))
                words = np.where(
                    np.isfinite(values), np.searchsorted(edges, values, side="right"), -1
                ).astype(str)
            else:
                words = self.rows[name].fill_null("").to_numpy().astype(str)
            if name == self.SETS:
                self._encode_sets([split(word) for word in words])
                continue
            found, code = np.unique(words, return_inverse=True)
            self.states[name], self.code[name] = found.tolist(), code
        self.places = {
            name: [np.flatnonzero(self.code[name] == s) for s in range(len(states))]
            for name, states in self.states.items()
        }

    def _encode_sets(self, sets: Sequence[tuple[str, ...]]) -> None:
        counts = Counter(member for members in sets for member in members)
        # The most common member comes first: the one that a set is known by.
        self.members = sorted(counts, key=lambda member: (-counts[member], member))
        place = {member: index for index, member in enumerate(self.members)}
        self.holds = np.zeros((len(sets), len(self.members)))
        for row, members in enumerate(sets):
            self.holds[row, [place[member] for member in members]] = 1.0
        self.sizes = self.holds.sum(axis=1).astype(np.int64)

    def _decode(
        self, drawn: dict[str, Codes], sets: Sequence[Sequence[int]], rng: np.random.Generator
    ) -> pl.DataFrame:
        out: dict[str, pl.Series] = {}
        for name in self.rows.columns:
            if name == self.SETS:
                out[name] = pl.Series([join(self.members[m] for m in some) for some in sets])
            elif name in self.layout.numbers:
                # A number of the bin: any of the training rows that fell into it.
                chosen = [rng.choice(self.places[name][state]) for state in drawn[name]]
                out[name] = self.rows[name].gather(chosen)
            else:
                words = np.array(self.states[name], dtype=object)[drawn[name]]
                out[name] = pl.Series(words.tolist(), dtype=pl.String).replace("", None)
        return pl.DataFrame(out)


def _draw(p: Floats, rng: np.random.Generator) -> Codes:
    """One state for every row of probabilities (n, K)."""
    edges = p.cumsum(axis=1)
    return (
        (edges < rng.random(len(p))[:, None] * edges[:, -1:]).sum(axis=1).clip(max=p.shape[1] - 1)
    )


def backed_off(table: Floats) -> Floats:
    """Conditional probabilities (S, K) from counts (S, K), mixed with the marginal.

    The weight of the marginal is the one of the best leave-one-out likelihood.
    """
    total, per_state = table.sum(axis=0), table.sum(axis=1, keepdims=True)

    def conditional(strength: float, left: float) -> Floats:
        # A row that is left out is missing in its cell, its state and the marginal.
        base = (total - left + 0.5) / (total.sum() - left + 0.5 * len(total))
        return np.maximum(table - left + strength * base, _EPS) / (
            np.maximum(per_state - left, 0) + strength
        )

    seen = table > 0
    best = max(
        STRENGTHS, key=lambda s: float((table[seen] * np.log(conditional(s, 1.0)[seen])).sum())
    )
    base = total / total.sum()
    return (table + best * base) / (per_state + best)


def information(x: Codes, y: Codes, rng: np.random.Generator) -> float:
    """Mutual information of two columns in nats, less what shuffled ones have."""

    def plain(y: Codes) -> float:
        table = np.zeros((x.max() + 1, y.max() + 1))
        np.add.at(table, (x, y), 1.0)
        p = table / table.sum()
        outer = p.sum(axis=1, keepdims=True) * p.sum(axis=0)
        seen = p > 0
        return float((p[seen] * np.log(p[seen] / outer[seen])).sum())

    return plain(y) - float(np.mean([plain(rng.permutation(y)) for _ in range(_SHUFFLES)]))


class BayesNet(_Discrete):
    """Chow-Liu tree over sets, categories and bins; linkers are drawn one after the other.

    C. Chow, C. Liu, IEEE Trans. Inf. Theory 14 (1968) 462, with information corrected for
    chance. A set is known to its neighbours by its most common member; the members after the
    first come from sets that share it, or else from the same parent.
    """

    def fit(self, rows: pl.DataFrame, seed: int) -> BayesNet:
        """Find the tree and its conditional frequencies."""
        rng = np.random.default_rng(seed)
        self._encode(rows)
        code = dict(self.code)
        if self.SETS in self.rows.columns:
            code[self.SETS] = self.holds.argmax(axis=1)
        names = list(self.rows.columns)
        weights = {
            pair: information(code[pair[0]], code[pair[1]], rng) for pair in combinations(names, 2)
        }
        self.order: list[tuple[str, str | None]] = [(names[0], None)]
        inside = {names[0]}
        while len(inside) < len(names):
            pairs = [p for p in weights if len(inside & set(p)) == 1]
            best = max(pairs, key=lambda pair: weights[pair])
            child, parent = best if best[1] in inside else best[::-1]
            self.order.append((child, parent))
            inside.add(child)
        self.tables: dict[str, Floats] = {}
        for child, parent in self.order:
            given = code[parent] if parent else np.zeros(len(rows), dtype=np.int64)
            states = 1
            if parent is not None:
                states = len(self.members if parent == self.SETS else self.states[parent])
            if child == self.SETS:
                self.given = backed_off(_sum_by(given, self.holds, states))
                values = np.eye(9)[self.sizes.clip(max=8)]
            else:
                values = np.eye(len(self.states[child]))[code[child]]
            self.tables[child] = backed_off(_sum_by(given, values, states))
        if self.SETS in names:
            together = self.holds.T @ self.holds
            np.fill_diagonal(together, 0.0)
            self.together = together
        return self

    def sample(self, n: int, seed: int) -> pl.DataFrame:
        """Draw from the root downwards."""
        rng = np.random.default_rng(seed)
        drawn: dict[str, Codes] = {}
        sets: list[list[int]] = []
        for child, parent in self.order:
            given = drawn[parent] if parent else np.zeros(n, dtype=np.int64)
            states = _draw(self.tables[child][given], rng)
            if child == self.SETS:
                sets = self._sets(states, given, rng)
                drawn[child] = np.array([min(some) for some in sets])
            else:
                drawn[child] = states
        return self._decode(drawn, sets, rng)

    def _sets(self, sizes: Codes, given: Codes, rng: np.random.Generator) -> list[list[int]]:
        held = np.zeros((len(given), len(self.members)))
        out: list[list[int]] = [[] for _ in given]
        first = np.zeros(len(given), dtype=np.int64)
        for step in range(int(sizes.max())):
            rows = np.flatnonzero(sizes > step) if step else np.arange(len(given))
            p = self.given[given[rows]]
            if step:
                known = self.together[first[rows]]
                # One row's worth of the parent's distribution: pairs that never met are possible.
                p = (known + p) * (1.0 - held[rows])
            chosen = _draw(p, rng)
            first = chosen if not step else first
            held[rows, chosen] = 1.0
            for row, member in zip(rows, chosen, strict=True):
                out[row].append(int(member))
        return out


def _sum_by(given: Codes, values: Floats, states: int) -> Floats:
    out = np.zeros((states, values.shape[1]))
    np.add.at(out, given, values)
    return out


class MixtureOfProducts(_Discrete):
    """Latent classes within which all columns, and the members of a set, are independent.

    Fitted by expectation-maximisation, every frequency mixed with the marginal at the weight of
    one row; the number of classes is the one of the best likelihood of left-out families.
    """

    def fit(self, rows: pl.DataFrame, seed: int) -> MixtureOfProducts:
        """Choose the number of classes, then fit all rows."""
        rng = np.random.default_rng(seed)
        self._encode(rows)
        blocks = [np.eye(len(s))[self.code[n]] for n, s in self.states.items()]
        if self.SETS in self.rows.columns:
            blocks += [self.holds, np.eye(9)[self.sizes.clip(max=8)]]
        families = rows["family"].to_numpy() if "family" in rows.columns else np.arange(len(rows))
        unique = np.unique(families)
        left = np.isin(families, rng.permutation(unique)[: len(unique) // 5])
        scores = {}
        for k in COMPONENTS:
            weights, tables = _fit_classes([b[~left] for b in blocks], blocks, k, rng)
            scores[k] = float(np.mean(_log_likelihood(blocks, weights, tables)[1][left]))
        self.k = max(scores, key=lambda k: scores[k])
        self.weights, self.tables = _fit_classes(blocks, blocks, self.k, rng)
        return self

    def sample(self, n: int, seed: int) -> pl.DataFrame:
        """Draw a class, then its columns."""
        rng = np.random.default_rng(seed)
        c = rng.choice(self.k, n, p=self.weights)
        drawn = {
            name: _draw(table[c], rng)
            for name, table in zip(self.states, self.tables, strict=False)
        }
        sets: list[list[int]] = []
        if self.SETS in self.rows.columns:
            sizes = _draw(self.tables[-1][c], rng)
            members = self.tables[-2]
            sets = [
                rng.choice(len(self.members), max(size, 1), replace=False, p=members[k]).tolist()
                for size, k in zip(sizes, c, strict=True)
            ]
        return self._decode(drawn, sets, rng)


def _fit_classes(
    blocks: Sequence[Floats], everything: Sequence[Floats], k: int, rng: np.random.Generator
) -> tuple[Floats, list[Floats]]:
    """Weights (k,) and tables (k, K) per block, of the best of three starts."""
    # States that only left-out rows have keep a little probability.
    base = [
        (b.sum(axis=0) + 0.5 * (a.sum(axis=0) > 0)) for b, a in zip(blocks, everything, strict=True)
    ]
    base = [b / b.sum() for b in base]
    best: tuple[float, Floats, list[Floats]] | None = None
    for _ in range(3):
        r = rng.dirichlet(np.full(k, 0.3), len(blocks[0]))
        for _ in range(60):
            weights = (r.sum(axis=0) + 1.0) / (len(r) + k)
            tables = [
                (r.T @ block + prior) / ((r.T @ block).sum(axis=1, keepdims=True) + 1.0)
                for block, prior in zip(blocks, base, strict=True)
            ]
            r, value = _log_likelihood(blocks, weights, tables)
        if best is None or value.sum() > best[0]:
            best = (float(value.sum()), weights, tables)
    assert best is not None
    return best[1], best[2]


def _log_likelihood(
    blocks: Sequence[Floats], weights: Floats, tables: Sequence[Floats]
) -> tuple[Floats, Floats]:
    """Responsibilities (n, k) and log-likelihoods (n,)."""
    joint = np.log(weights) + sum(
        block @ np.log(np.maximum(table, _EPS)).T
        for block, table in zip(blocks, tables, strict=True)
    )
    top = joint.max(axis=1, keepdims=True)
    value = top[:, 0] + np.log(np.exp(joint - top).sum(axis=1))
    return np.exp(joint - value[:, None]), value


BASELINES: dict[str, type[Generator]] = {
    "frequency table": FrequencyTable,
    "independent marginals": IndependentMarginals,
    "Bayes net": BayesNet,
    "mixture of products": MixtureOfProducts,
}
