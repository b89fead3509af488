"""What is the matter with generated frameworks: the data, the decoding, or the model.

Three things are called mode collapse. A table with few states can show no more of them; argmax
decoding shows the most frequent state, whatever the model has learnt; a decoder that ignores its
latents has collapsed. Each has figures of its own here, all with n, seeds and an interval, beside
what real rows reach. Any generator of sets, categories and numbers can be looked at.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from itertools import combinations, product
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import ArrayLike
from pydantic import BaseModel, ConfigDict

from variolite.frameworks.columns import split
from variolite.frameworks.diagnosis import diversity
from variolite.frameworks.diagnosis.degeneracy import Degeneracy, degeneracy
from variolite.frameworks.diagnosis.findings import Figure, Finding, ModelFacts, findings_of
from variolite.frameworks.diagnosis.tallies import Layout, Tallies, Tally, joint_rows, tally
from variolite.frameworks.optional import is_there
from variolite.scoring.intervals import Bootstrap, FloatArray, IntArray, Interval
from variolite.text_table import text_table

DISTINCT_AT, COVERED_AT = (50, 1000), (1000, 10_000)
"""Numbers of draws at which diversity and coverage are reported, as far as there are as many."""

_SUBSETS = 10  # equally large subsets of real and generated rows that are compared
_ALIKE = 300  # rows of which similarities are computed
_NAN = float("nan")
_Rows = Callable[[IntArray], FloatArray]


class Diagnosis(BaseModel):
    """Figures, and what follows from them, most upstream first: the content of diagnosis.json."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    rows: dict[str, int]
    columns: Degeneracy
    figures: tuple[Figure, ...] = ()
    findings: tuple[Finding, ...] = ()

    def figure(self, quantity: str, of: str | None = None, n: int | None = None) -> Figure:
        """Return the first figure of that name. Raises KeyError if there is none."""
        for one in self.figures:
            if one.quantity == quantity and of in (None, one.of) and n in (None, one.n):
                return one
        raise KeyError((quantity, of, n))

    def to_dict(self) -> dict[str, Any]:
        """Return the content of diagnosis.json; numbers that are undefined are None."""
        content: dict[str, Any] = json.loads(self.model_dump_json())
        return content

    def lines(self) -> list[str]:
        """Lay out the figures, then the findings with advice."""
        r = self.rows
        head = (
            f"{r['sample']:,} generated rows ({r['seeds']} seeds), {r['held_out']:,} held-out rows "
            f"of {r['held_out_families']:,} families, {r['train']:,} training rows"
        )
        cells = [figure.cells() for figure in self.figures if figure.shown]
        heads = ("figure", "of", "draws", "value", "95 %", "beside", "")
        table = text_table(heads, cells, right=("draws", "value", "beside"), indent=2)
        return [head, *table.splitlines(), *(str(finding) for finding in self.findings)]


def diagnose(
    train: pl.DataFrame,
    held_out: pl.DataFrame,
    generated: pl.DataFrame | Sequence[pl.DataFrame],
    *,
    argmax: pl.DataFrame | None = None,
    model: ModelFacts | None = None,
    layout: Layout | None = None,
    bootstrap: Bootstrap | None = None,
) -> Diagnosis:
    """Compare generated rows, one table for every seed, with real ones.

    ``argmax`` are rows of the same generator that decode to the most probable category. Intervals
    are over held-out families (column ``family``) and seeds. Raises DataError on empty tables.
    """
    tables = [generated] if isinstance(generated, pl.DataFrame) else list(generated)
    plan, layout = bootstrap or Bootstrap(resamples=200), layout or Layout()
    extra = [] if argmax is None else [argmax]
    t = tally(train, held_out, [*tables, *extra], layout)
    mode = t.samples[len(tables)] if extra else None
    table = degeneracy(train, layout)
    look = _Comparison(t, t.samples[: len(tables)], plan)
    look.distinct()
    look.effective()
    look.marginals(mode)
    look.joints()
    look.coverage()
    _repeats(look)
    _similarity(look)
    figures = [*look.figures, *(model.figures() if model else ())]
    return Diagnosis(
        rows={
            "train": train.height,
            "held_out": held_out.height,
            "held_out_families": look.groups,
            "sample": look.least,
            "seeds": len(tables),
        },
        columns=table,
        figures=tuple(figures),
        findings=findings_of(figures, table, model, t.combination.name, t.left_out),
    )


class _Comparison:
    """The samples, one array of rows for every seed, against the real rows of ``t``."""

    def __init__(self, t: Tallies, samples: Sequence[IntArray], plan: Bootstrap) -> None:
        self.t, self.samples, self.plan = t, samples, plan
        self.figures: list[Figure] = []
        self.rng = np.random.default_rng([plan.seed, 7])
        names, self.group = np.unique(t.families[t.held_out], return_inverse=True)
        self.groups = len(names)
        self.weights = np.vstack([np.ones(self.groups), plan.groups(self.groups)])
        self.least = min(len(sample) for sample in samples)
        self.words = [column for column in t.columns.values() if column.kind != "number"]

    def add(
        self,
        quantity: str,
        of: str,
        values: ArrayLike,
        reference: float = _NAN,
        against: str = "",
        *,
        n: int | None = None,
        spread: ArrayLike = (_NAN, _NAN),
        shown: bool = True,
    ) -> None:
        """Add a figure from its values (S,) by seed, or (1 + B, S) with those of resamples."""
        array = np.asarray(values, dtype=np.float64)
        resampled = array.ndim == 2 and self.groups > 1
        array = array if array.ndim == 2 else array[None]
        found = Interval(float(array[0].mean()))
        if resampled:
            found = self.plan.interval(found.mean, self.plan.over_seeds(array[1:]))
        elif array.shape[1] > 1:
            drawn = np.tile(array[:1], (self.plan.resamples, 1))
            found = self.plan.interval(found.mean, self.plan.over_seeds(drawn))
        least = 0.0 if (array >= 0).all() else -np.inf
        beside = dict(zip(("reference_low", "reference_high"), np.ravel(spread), strict=True))
        self.figures.append(
            Figure(
                quantity=quantity,
                of=of,
                n=n,
                value=found.mean,
                low=np.maximum(found.low, least),
                high=found.high,
                reference=reference,
                **beside,
                against=against,
                shown=shown,
            )
        )

    def upto(self, sizes: Sequence[int]) -> list[int]:
        """Sizes that every sample has, or all of it."""
        return [n for n in sizes if n <= self.least] or [self.least]

    # How many there are.

    def distinct(self) -> None:
        """Count different combinations among n draws, beside those that n real draws show."""
        column = self.t.combination
        real = column.counts(self.t.train)
        p, support = diversity.shares(real), int((real > 0).sum())
        for n in self.upto(DISTINCT_AT):
            seen = [diversity.chance_of_being_seen(column.counts(s), n) for s in self.samples]
            every = np.array([s.sum() for s in seen])
            known = np.array([s[real > 0].sum() for s in seen])
            expected, ceiling = diversity.expected_distinct(p, n), min(n, support)
            drawn = (self.rng.multinomial(n, p, size=200) > 0).sum(axis=1)
            spread = np.percentile(drawn, [2.5, 97.5])
            of, one = column.name, "n training rows"
            self.add("distinct", of, every, expected, one, n=n, spread=spread)
            spread = spread / expected
            self.add("distinct over expected", of, every / expected, 1.0, one, n=n, spread=spread)
            self.add("known over expected", of, known / expected, 1.0, one, n=n, spread=spread)
            most = f"n training rows; of {ceiling} possible"
            self.add("known over ceiling", of, known / ceiling, expected / ceiling, most, n=n)

    def effective(self) -> None:
        """Effective numbers of states of equally many generated rows and draws of real ones."""
        for column in (*self.words, self.t.combination):
            real, *counts = [column.counts(s) for s in (self.t.train, *self.samples)]
            n = int(min(real.sum(), *(c.sum() for c in counts)))
            if n:
                redrawn = self.rng.multinomial(n, diversity.shares(real), size=20)
                drawn = [diversity.effective_numbers(diversity.shares(c)) for c in redrawn]
                found = [diversity.rarefied_numbers(c, n, self.rng) for c in counts]
                for order, name in enumerate(("effective number N1", "effective number N2")):
                    reference = float(np.mean([pair[order] for pair in drawn]))
                    values = [pair[order] for pair in found]
                    rest: dict[str, Any] = {"n": n, "shown": not order}
                    self.add(name, column.name, values, reference, "n training rows", **rest)

    # How far from held-out rows.

    def marginals(self, mode: IntArray | None) -> None:
        """Total variation of every column from held-out rows, beside its bootstrap floor.

        The floor is what as many rows drawn from all real rows show against families drawn from
        them as often as there are held-out ones.
        """
        t = self.t
        for column in t.columns.values():
            kinds = {column.name: self._whole(column)}
            if column.kind == "set":
                kinds[f"{column.name}, members"] = column.rows
            for of, rows in kinds.items():
                held = self._by_family(rows(t.held_out))
                floor = self._floor(rows)
                beside = (float(floor.mean()), "bootstrap floor")
                spread = np.percentile(floor, [2.5, 97.5])
                extra = [] if mode is None else [mode]
                q = np.stack([_mean(rows(s)) for s in (*self.samples, t.train, *extra)])
                values = self._distances(held, q[:, None])
                s = len(self.samples)
                self.add("marginal TVD", of, values[:, :s], *beside, spread=spread)
                trained = values[:, s : s + 1]
                self.add("marginal TVD, training rows", of, trained, *beside, shown=False)
                if extra and of == column.name and column in self.words:
                    self.add("argmax TVD", of, values[:, s + 1 :], *beside)
            if column in self.words:
                p = diversity.shares(column.counts(t.train))
                heats = [diversity.fitted_temperature(p, column.counts(s)) for s in self.samples]
                self.add("fitted temperature", column.name, heats, 1.0, "training rows")

    def _whole(self, column: Tally) -> _Rows:
        """Rows over the states of real rows; all others are one state together."""
        real = np.flatnonzero(column.counts(np.r_[self.t.train, self.t.held_out]))
        place = np.full(len(column.states) + 1, len(real))
        place[real] = np.arange(len(real))
        unit = np.eye(len(real) + 1)

        def rows(which: IntArray) -> FloatArray:
            code = column.code[which]
            return np.asarray(np.where(code[:, None] < 0, 0.0, unit[place[code]]))

        return rows

    def _by_family(self, rows: FloatArray) -> FloatArray:
        """Sums (G, K) of rows (n, K) over held-out families."""
        out = np.zeros((self.groups, rows.shape[1]))
        np.add.at(out, self.group, rows)
        return out

    def _distances(self, held: FloatArray, q: FloatArray) -> FloatArray:
        """TVD of shares q (S, R, K) from held-out families (G, K), as (1 + B, S): mean over R."""
        p = diversity.shares(self.weights @ held)
        return np.stack(
            [np.mean([diversity.total_variation(p, one) for one in some], axis=0) for some in q],
            axis=1,
        )

    def _floor(self, rows: _Rows) -> FloatArray:
        names, family = np.unique(self.t.families, return_inverse=True)
        values = rows(np.r_[self.t.train, self.t.held_out])
        pooled = np.zeros((len(names), values.shape[1]))
        np.add.at(pooled, family, values)
        often = self.rng.multinomial(self.groups, np.full(len(names), 1 / len(names)), 200)
        drawn = self.rng.multinomial(self.least, _mean(pooled), 200)
        return diversity.total_variation(diversity.shares(often @ pooled), diversity.shares(drawn))

    def joints(self) -> None:
        """Total variation of pairs and triples of columns, at equal numbers of rows.

        Sparse tables of few rows differ more from one another, so that n rows of every sample
        stand beside n rows of half the training families, which differ from held-out rows by
        sampling alone, and beside those with every column shuffled by itself. Means over 10
        subsets.
        """
        t = self.t
        names = t.families[t.train]
        families = np.unique(names)
        halves = []
        # Of a stream of their own: all generators meet the same halves.
        rng = np.random.default_rng([self.plan.seed, 13])
        for _ in range(_SUBSETS):
            kept = rng.permutation(families)[: max(1, len(families) // 2)]
            halves.append(rng.permutation(t.train[np.isin(names, kept)]))
        n = min(self.least, *map(len, halves))
        real = [[half[:n] for half in halves]]
        model = [[self.rng.choice(s, n, replace=False) for _ in halves] for s in self.samples]
        numbers = [c for c in t.columns.values() if c.kind == "number" and len(c.states) > 1]
        sets = [c for c in self.words if c.kind == "set"][:2]
        kinds: dict[str, list[tuple[Tally, ...]]] = {
            "pairs": [*combinations(self.words, 2), *product(self.words, numbers)],
            "pairs of numbers": list(combinations(numbers, 2)),
            "triples": [(*sets, number) for number in numbers if len(sets) > 1],
        }
        for kind, groups in kinds.items():
            parts = []
            for columns in groups:
                held = self._by_family(joint_rows(columns, [t.held_out] * len(columns)))
                loose = [[[self.rng.permutation(r) for _ in columns] for r in real[0]]]
                tied = [
                    [[[r] * len(columns) for r in some] for some in way] for way in (model, real)
                ]
                q = [
                    np.array([[_mean(joint_rows(columns, rows)) for rows in some] for some in way])
                    for way in (*tied, loose)
                ]
                parts.append([self._distances(held, one) for one in q])
                of = " x ".join(column.name for column in columns)
                self._joint(of, parts[-1], n, shown=False)
            if parts:
                mean = [np.mean([part[way] for part in parts], axis=0) for way in range(3)]
                self._joint(kind, mean, n, shown=True)

    def _joint(self, of: str, found: Sequence[FloatArray], n: int, shown: bool) -> None:
        model, real, apart = found
        what: dict[str, Any] = {"n": n, "shown": shown}
        noise = (float(real[0].mean()), "n real rows")
        self.add("joint TVD", of, model, *noise, **what)
        self.add("joint TVD, independent marginals", of, apart, *noise, **what)
        with np.errstate(invalid="ignore", divide="ignore"):
            self.add(
                "joint TVD over that of real rows", of, model / real, 1.0, "n real rows", **what
            )
            best = float((1 - real / apart)[0].mean())
            gain = 1 - model / apart
        what["shown"] = False
        self.add("gain over independent marginals", of, gain, best, "n real rows", **what)

    # What is hit, and what is new.

    def coverage(self) -> None:
        """Share of head, tail and new held-out states that n draws show, and what is novel.

        States are combinations, and members of sets. Each counts once; by mass, as often as real
        rows have it.
        """
        t = self.t
        for column in (t.combination, *(one for one in self.words if one.kind == "set")):
            of = f"{column.name}, members" if column.kind == "set" else column.name
            real, held = column.member_counts(t.train), column.member_counts(t.held_out)
            p = real / column.known(t.train)
            new = np.flatnonzero((held > 0) & (real == 0))
            hits = column.content[column.code[t.held_out]][:, new].toarray()
            mass = self.weights @ self._by_family(hits * (column.code[t.held_out] >= 0)[:, None])
            within = self._of_known_members(column, new)
            for n in self.upto(COVERED_AT):
                seen = np.stack(
                    [
                        diversity.chance_of_being_seen(column.member_counts(s), n, column.known(s))
                        for s in self.samples
                    ]
                )
                expected = 1.0 - (1.0 - p) ** n
                kinds = (("head", diversity.head_of(real)), ("tail", diversity.tail_of(real)))
                for part, states in kinds:
                    for word, w in (("", np.ones(len(states))), (" by mass", p[states])):
                        if len(states):
                            best = float(np.average(expected[states], weights=w))
                            values = np.average(seen[:, states], axis=1, weights=w)
                            name = f"{part} coverage{word}"
                            shown = not word and (part == "tail" or column.kind != "set")
                            self.add(name, of, values, best, "n training rows", n=n, shown=shown)
                for word, w in (("", np.sign(mass)), (" by mass", mass)):
                    if len(new):
                        with np.errstate(invalid="ignore"):
                            found = w @ seen[:, new].T / w.sum(axis=1, keepdims=True)
                        name, beside = f"new held-out found{word}", f"known members, of {len(new)}"
                        possible = float(np.average(within, weights=w[0]))
                        shown = not word and possible > 0
                        self.add(name, of, found, possible, beside, n=n, shown=shown)
            strange = column.content @ (real == 0) > 0
            novel = []
            for rows in (t.held_out, *self.samples):
                code = column.code[rows]
                novel.append(float(strange[code[code >= 0]].mean()) if (code >= 0).any() else _NAN)
            self.add("novel rows", of, novel[1:], novel[0], "held-out rows")

    def _of_known_members(self, column: Tally, states: IntArray) -> FloatArray:
        """Whether states consist of what training rows have: others nothing can recombine."""
        if column is not self.t.combination:
            return np.zeros(len(states))
        known = np.ones(len(column.states))
        rows = self.t.held_out[column.code[self.t.held_out] >= 0]
        for part in self.t.combined:
            strange = part.content @ (part.member_counts(self.t.train) == 0) > 0
            known[column.code[rows]] *= ~strange[part.code[rows]]
        return np.asarray(known[states])


def _mean(rows: FloatArray) -> FloatArray:
    return diversity.shares(rows.sum(axis=0))


def _repeats(look: _Comparison) -> None:
    """Rows equal in all columns, numbers to four digits, to an earlier one or to a training row."""
    exact = pl.DataFrame({name: column.exact for name, column in look.t.columns.items()})
    real, *made = [exact[rows] for rows in (look.t.train, *look.samples)]
    n = min(DISTINCT_AT[-1], look.least)
    again = [1 - table.head(n).unique().height / n for table in made]
    same = [t.join(real, on=exact.columns, how="semi").height / t.height for t in made]
    before = 1 - real.unique().height / real.height
    look.add("repeated rows", "all columns", again, before, "training rows", n=n)
    look.add("copies of training rows", "all columns", same)


def _similarity(look: _Comparison) -> None:
    """Vendi number over similarity of linkers times that of metals, at equal numbers of rows.

    Without RDKit there is none, nor of rows whose linkers are no molecules.
    """
    metals, linkers = (look.t.columns.get(name) for name in ("metals", "linkers"))
    if metals is None or linkers is None or not is_there("rdkit"):
        return
    from variolite.frameworks.linkers import FINGERPRINT, linker_features, read_linker, tanimoto

    molecules = np.array([all(read_linker(x).parsed for x in split(s)) for s in linkers.states])
    known = molecules[linkers.code] & (linkers.code >= 0) & (metals.code >= 0)
    usable = [rows[known[rows]] for rows in (look.t.train, *look.samples)]
    n = min(_ALIKE, *map(len, usable))
    numbers = []
    for rows in usable if n > 1 else ():
        # With replacement, as a generator that has learnt all would repeat rows.
        chosen = look.rng.choice(rows, n)
        texts = [split(linkers.states[code]) for code in linkers.code[chosen]]
        counts = [np.expm1(linker_features(some)[:, :FINGERPRINT]).sum(axis=0) for some in texts]
        elements = metals.content[metals.code[chosen]].toarray()
        counted = np.array(counts, dtype=np.float64)
        kernel = tanimoto(counted, counted) * tanimoto(elements, elements)
        numbers.append(diversity.vendi_number(kernel))
    if numbers:
        look.add(
            "Vendi number", "metals x linkers", numbers[1:], numbers[0], "n training rows", n=n
        )
