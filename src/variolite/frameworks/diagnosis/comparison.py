"""Figures about generated rows beside what real rows show, each with its interval.

Intervals are over held-out families and seeds; what is random is drawn from one stream of numbers.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import combinations, product
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import ArrayLike

from variolite.frameworks.diagnosis import diversity
from variolite.frameworks.diagnosis.findings import Figure
from variolite.frameworks.diagnosis.tallies import Tallies, Tally, joint_rows, joint_shares
from variolite.scoring.intervals import Bootstrap, FloatArray, IntArray, Interval

DISTINCT_AT, COVERED_AT = (50, 1000), (1000, 10_000)
"""Numbers of draws at which diversity and coverage are reported, as far as there are as many."""

_MOST_TIMES = 100  # as many draws as training rows: far more show the same again and again
_SUBSETS = 10  # equally large subsets of real and generated rows that are compared
_NAN = float("nan")


class Comparison:
    """The first ``seeds`` samples of ``t`` against its real rows; one more is by argmax."""

    def __init__(self, t: Tallies, seeds: int, plan: Bootstrap) -> None:
        self.t, self.samples, self.argmax = t, t.samples[:seeds], t.samples[seeds:]
        self.plan, self.rng = plan, np.random.default_rng([plan.seed, 7])
        names, self.group = np.unique(t.families[t.held_out], return_inverse=True)
        self.groups = len(names)
        # How often each held-out family counts, (1 + B, G): once, then as resampled.
        self.weights = np.vstack([np.ones(self.groups), plan.groups(self.groups)])
        self.least = min(map(len, self.samples))

    def figure(
        self, quantity: str, of: str, values: ArrayLike, reference: float = _NAN,
        against: str = "", *, n: int | None = None, spread: ArrayLike = (_NAN, _NAN),
        shown: bool = True,
    ) -> Figure:  # fmt: skip
        """Make a figure from its values (S,) by seed, or (1 + B, S) with those of resamples."""
        array = np.atleast_2d(np.asarray(values, dtype=np.float64))
        mean, resampled = float(array[0].mean()), array[1:]
        if len(array) == 1 and array.shape[1] > 1:
            resampled = np.tile(array, (self.plan.resamples, 1))
        found = Interval(mean)
        if len(resampled) and (len(array) == 1 or self.groups > 1):
            found = self.plan.interval(mean, self.plan.over_seeds(resampled))
        low, high = np.ravel(spread).tolist()
        return Figure(
            quantity=quantity, of=of, n=n, value=mean,
            low=np.maximum(found.low, 0.0 if (array >= 0).all() else -np.inf), high=found.high,
            reference=reference, reference_low=low, reference_high=high, against=against,
            shown=shown,
        )  # fmt: skip

    def upto(self, sizes: Sequence[int]) -> list[int]:
        """Sizes that every sample has, and that a table as small as this says something of."""
        train = len(self.t.train)
        most = min(self.least, _MOST_TIMES * train)
        return [n for n in sizes if n <= most] or [min(self.least, train)]

    # How many there are.

    def distinct(self) -> Iterator[Figure]:
        """Count different combinations among n draws, beside those that n real draws show."""
        column = self.t.combination
        real = column.counts(self.t.train)
        p, support, one = diversity.shares(real), int((real > 0).sum()), "n training rows"
        made = [column.counts(rows) for rows in self.samples]
        for n in self.upto(DISTINCT_AT):
            seen = np.array([diversity.chance_of_being_seen(counts, n) for counts in made])
            every, known = seen.sum(axis=1), seen[:, real > 0].sum(axis=1)
            expected, ceiling = diversity.expected_distinct(p, n), min(n, support)
            drawn = (self.rng.multinomial(n, p, size=200) > 0).sum(axis=1)
            spread = np.percentile(drawn, [2.5, 97.5])
            yield self.figure("distinct", column.name, every, expected, one, n=n, spread=spread)
            spread = spread / expected
            for part, count in (("distinct", every), ("known", known)):
                name, ratio = f"{part} over expected", count / expected
                yield self.figure(name, column.name, ratio, 1.0, one, n=n, spread=spread)
            name, most = "known over ceiling", f"{one}; of {ceiling} possible"
            best = expected / ceiling
            yield self.figure(name, column.name, known / ceiling, best, most, n=n)

    def effective(self) -> Iterator[Figure]:
        """Effective numbers of states of equally many generated rows and draws of real ones."""
        for column in (*self.t.words, self.t.combination):
            real, *counts = [column.counts(s) for s in (self.t.train, *self.samples)]
            n = int(min(real.sum(), *(c.sum() for c in counts)))
            if n:
                redrawn = self.rng.multinomial(n, diversity.shares(real), size=20)
                drawn = np.mean([diversity.effective_number(c) for c in redrawn])
                found = [diversity.rarefied_number(c, n, self.rng) for c in counts]
                beside = (float(drawn), "n training rows")
                yield self.figure("effective number N1", column.name, found, *beside, n=n)

    # How far from held-out rows.

    def marginals(self) -> Iterator[Figure]:
        """Total variation of every column from held-out rows, beside its bootstrap floor.

        The floor is what as many rows drawn from all real rows show against families drawn from
        them as often as there are held-out ones.
        """
        t, seeds = self.t, len(self.samples)
        for column in t.columns.values():
            kinds = {column.name: self._whole(column)}
            if column.kind == "set":
                kinds[f"{column.name}, members"] = column
            for of, shared in kinds.items():
                rows, floor = shared.rows, self._floor(shared)
                beside = (float(floor.mean()), "bootstrap floor")
                spread = np.percentile(floor, [2.5, 97.5])
                q = np.stack([_mean(rows(s)) for s in (*self.samples, t.train, *self.argmax)])
                held = self._by_family(rows(t.held_out))
                values = self._distances(held, q[:, None])  # samples, training rows, argmax
                yield self.figure("marginal TVD", of, values[:, :seeds], *beside, spread=spread)
                name, trained = "marginal TVD, training rows", values[:, [seeds]]
                yield self.figure(name, of, trained, *beside, shown=False)
                if self.argmax and of == column.name and column.kind != "number":
                    yield self.figure("argmax TVD", of, values[:, [seeds + 1]], *beside)

    def _whole(self, column: Tally) -> Tally:
        """The column with shares over states of real rows; all others are one state together."""
        real = np.flatnonzero(column.counts(np.r_[self.t.train, self.t.held_out]))
        place = np.full(column.states, len(real))
        place[real] = np.arange(len(real))
        return replace(column, profile=np.eye(len(real) + 1)[place])

    def _by_family(self, rows: FloatArray) -> FloatArray:
        """Sums (G, K) of rows (n, K) over held-out families."""
        return _sums(rows, self.group, self.groups)

    def _distances(self, held: FloatArray, q: FloatArray) -> FloatArray:
        """TVD of shares q (S, R, K) from held-out families (G, K), as (1 + B, S): mean over R."""
        p = diversity.shares(self.weights @ held)
        far = [[diversity.total_variation(p, one) for one in some] for some in q]
        return np.asarray(np.mean(far, axis=1).T)

    def _floor(self, column: Tally) -> FloatArray:
        """TVD (200,) of draws of all real rows from as many families as are held out."""
        names, family = np.unique(self.t.families, return_inverse=True)
        pooled = _sums(column.rows(np.r_[self.t.train, self.t.held_out]), family, len(names))
        often = self.rng.multinomial(self.groups, np.full(len(names), 1 / len(names)), 200)
        drawn = self.rng.multinomial(self.least, _mean(pooled), 200)
        return diversity.total_variation(diversity.shares(often @ pooled), diversity.shares(drawn))

    def joints(self) -> Iterator[Figure]:
        """Total variation of pairs and triples of columns, at equal numbers of rows.

        Sparse tables of few rows differ more from one another, so that n rows of every sample
        stand beside n rows of half the training families, which differ from held-out rows by
        sampling alone, and beside those with every column shuffled by itself. Means over 10
        subsets, and over the pairs or triples of a kind.
        """
        t, names = self.t, self.t.families[self.t.train]
        families, halves = np.unique(names), []
        # Of a stream of their own: all generators meet the same halves.
        rng = np.random.default_rng([self.plan.seed, 13])
        for _ in range(_SUBSETS):
            kept = rng.permutation(families)[: max(1, len(families) // 2)]
            halves.append(rng.permutation(t.train[np.isin(names, kept)]))
        n = min(self.least, *map(len, halves))
        real = [half[:n] for half in halves]
        model = [[self.rng.choice(s, n, replace=False) for _ in halves] for s in self.samples]
        numbers = [column for column in t.numbers if column.states > 1]
        sets = [column for column in t.words if column.kind == "set"][:2]
        kinds: dict[str, list[tuple[Tally, ...]]] = {
            "pairs": [*combinations(t.words, 2), *product(numbers, t.words)],
            "pairs of numbers": list(combinations(numbers, 2)),
            "triples": [(number, *sets) for number in numbers if len(sets) > 1],
        }
        for kind, groups in kinds.items():
            # Of each group of columns (1 + B, S + 2): the samples, real rows, and those shuffled.
            found = []
            for columns in groups:
                tied = [[[rows] * len(columns) for rows in some] for some in (*model, real)]
                loose = [[self.rng.permutation(rows) for _ in columns] for rows in real]
                q = [[joint_shares(columns, rows) for rows in some] for some in (*tied, loose)]
                held = joint_rows(columns, [t.held_out] * len(columns))
                found.append(self._distances(self._by_family(held), np.array(q)))
            if found:
                far = np.mean(found, axis=0)
                model_far, real_far, apart = far[:, :-2], far[:, [-2]], far[:, [-1]]
                beside: Any = (float(real_far[0].mean()), one := "n real rows")
                yield self.figure("joint TVD", kind, model_far, *beside, n=n)
                yield self.figure("joint TVD, independent marginals", kind, apart, *beside, n=n)
                with np.errstate(invalid="ignore", divide="ignore"):
                    ratio = model_far / real_far
                yield self.figure("joint TVD over that of real rows", kind, ratio, 1.0, one, n=n)

    # What is hit, and what is new.

    def coverage(self) -> Iterator[Figure]:
        """Share of head, tail and new held-out states that n draws show, and what is novel.

        States are combinations, and members of sets; each counts once.
        """
        t = self.t
        for column in (t.combination, *(one for one in t.words if one.kind == "set")):
            whole = column is t.combination
            of = column.name if whole else f"{column.name}, members"
            real, held = column.member_counts(t.train), column.member_counts(t.held_out)
            p = real / column.known(t.train)
            new = np.flatnonzero((held > 0) & (real == 0)) if whole else np.arange(0)
            parts = {"head": diversity.head_of(real)} if whole else {}
            parts["tail"] = diversity.tail_of(real)
            for n in self.upto(COVERED_AT):
                counts = [(column.member_counts(s), column.known(s)) for s in self.samples]
                seen = np.array([diversity.chance_of_being_seen(c, n, k) for c, k in counts])
                for part, states in parts.items():
                    if len(states):
                        best = float((1.0 - (1.0 - p[states]) ** n).mean())
                        hit, name = seen[:, states].mean(axis=1), f"{part} coverage"
                        yield self.figure(name, of, hit, best, "n training rows", n=n)
                if len(new):
                    # Which of them the drawn families have, (1 + B, new).
                    held_by = (column.code[t.held_out][:, None] == new).astype(np.float64)
                    there = np.sign(self.weights @ self._by_family(held_by))
                    with np.errstate(invalid="ignore"):
                        hit = there @ seen[:, new].T / there.sum(axis=1, keepdims=True)
                    possible, against = self._recombined(new), f"known members, of {len(new)}"
                    name = "new held-out found"
                    yield self.figure(name, of, hit, possible, against, n=n)
            strange = column.content @ (real == 0) > 0
            codes = [column.code[rows] for rows in (t.held_out, *self.samples)]
            novel = [strange[c[c >= 0]].mean() if (c >= 0).any() else _NAN for c in codes]
            yield self.figure("novel rows", of, novel[1:], float(novel[0]), "held-out rows")

    def _recombined(self, states: IntArray) -> float:
        """Share of combinations made of members of training rows: the others nothing can find."""
        known = np.ones(self.t.combination.states)
        code = self.t.combination.code[self.t.held_out]
        for part in self.t.combined:
            strange = part.content @ (part.member_counts(self.t.train) == 0) > 0
            known[code[code >= 0]] *= ~strange[part.code[self.t.held_out[code >= 0]]]
        return float(known[states].mean())

    def repeats(self) -> Iterator[Figure]:
        """Rows equal in all columns, numbers to 4 digits, to an earlier or to a training row."""
        exact = self.t.frame.with_columns(pl.selectors.float().round_sig_figs(4))
        real, *made = [exact[rows] for rows in (self.t.train, *self.samples)]
        n = min(DISTINCT_AT[-1], self.least)
        again = [1 - table.head(n).unique().height / n for table in made]
        before = 1 - real.unique().height / real.height
        yield self.figure("repeated rows", "all columns", again, before, "training rows", n=n)
        joined = [t.join(real, on=exact.columns, how="semi", nulls_equal=True) for t in made]
        same = [j.height / t.height for j, t in zip(joined, made, strict=True)]
        yield self.figure("copies of training rows", "all columns", same)


def _sums(rows: FloatArray, group: IntArray, groups: int) -> FloatArray:
    """Sums (G, K) of rows (n, K) over their groups (n,)."""
    out = np.zeros((groups, rows.shape[1]))
    np.add.at(out, group, rows)
    return out


def _mean(rows: FloatArray) -> FloatArray:
    return diversity.shares(rows.sum(axis=0))
