"""A measured quantity with its definition and its interval over formulas, and tables of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from textwrap import wrap

import numpy as np
import polars as pl
from numpy.typing import NDArray

from variolite.crystals.crystals import Crystals
from variolite.crystals.elements import reduced_formulas
from variolite.crystals.evaluation.novelty import Newness
from variolite.crystals.evaluation.stability import Stability
from variolite.crystals.evaluation.validity import ChargeBalance
from variolite.scoring import (
    Bootstrap,
    Interval,
    Scorecard,
    ScoreKey,
    ScoreRow,
    bootstrap_interval,
    format_value,
)
from variolite.text_table import text_table

# A measured quantity with its definition and its interval over formulas.


Floats = NDArray[np.float64]

CHUNK = 4_000_000
"""Weights of resampled crystals held at once."""


@dataclass(frozen=True)
class Measure:
    """One number about a set of generated crystals.

    Attributes
    ----------
    metric
        Its name, which says what it is.
    unit
        Of the value: "share", "count", "angstrom", "g/cm3", "eV/atom", "1".
    definition
        What exactly was computed, in one or two sentences.
    interval
        The value with its interval; the interval is NaN where there is none.
    n
        Crystals behind it.
    n_groups
        Distinct reduced formulas among them, the units that are resampled.
    """

    metric: str
    unit: str
    definition: str
    interval: Interval
    n: int
    n_groups: int

    def row(self, method: str, split: str) -> ScoreRow:
        """Return it as a row of a scorecard."""
        key = ScoreKey("generation", method, split, unit=self.unit)
        return key.row(self.metric, self.interval, self.n_groups, seeds=1)


def count(metric: str, value: int, definition: str) -> Measure:
    """Return a count: exact, hence without an interval."""
    nan = float("nan")
    return Measure(metric, "count", definition, Interval(float(value), nan, nan), value, value)


def share(
    metric: str,
    holds: NDArray[np.bool_],
    groups: NDArray[np.str_],
    definition: str,
    *,
    asked: NDArray[np.bool_] | None = None,
    bootstrap: Bootstrap | None = None,
) -> Measure:
    """Return the share of crystals of which something holds, with an interval over formulas.

    Parameters
    ----------
    metric, definition
        Name and definition.
    holds
        Whether it holds, shape (n,).
    groups
        Formula of each crystal, shape (n,).
    asked
        Crystals that count at all; all by default, shape (n,).
    bootstrap
        How to resample.
    """
    kept = np.ones(len(holds), dtype=bool) if asked is None else asked
    return resampled(
        metric,
        "share",
        definition,
        groups[kept],
        lambda weights: weights @ holds[kept].astype(np.float64),
        bootstrap=bootstrap,
        bounds=(0.0, 1.0),
    )


def resampled(
    metric: str,
    unit: str,
    definition: str,
    groups: NDArray[np.str_],
    statistic: Callable[[Floats], Floats],
    *,
    bootstrap: Bootstrap | None = None,
    bounds: tuple[float, float] = (-np.inf, np.inf),
) -> Measure:
    """Return a statistic of weighted crystals with an interval over their formulas.

    Parameters
    ----------
    metric, unit, definition
        Name, unit and definition.
    groups
        Formula of each crystal, shape (n,).
    statistic
        Function of weights (R, n), each row summing to 1, to values (R,).
    bootstrap
        How to resample.
    bounds
        Range of the quantity, within which its interval is kept.
    """
    n = len(groups)
    nan = float("nan")
    if not n:
        return Measure(metric, unit, definition, Interval(nan, nan, nan), 0, 0)
    names, group = np.unique(groups, return_inverse=True)

    def of_groups(drawn: Floats) -> Floats:
        values = np.empty(len(drawn))
        step = max(1, CHUNK // n)
        for start in range(0, len(drawn), step):
            weights = drawn[start : start + step][:, group]
            weights = weights / weights.sum(axis=1, keepdims=True)
            values[start : start + step] = statistic(weights)
        return values[:, None]

    found = bootstrap_interval(of_groups, len(names), bootstrap=bootstrap)
    low, high = np.clip([found.low, found.high], *bounds)
    kept = Interval(found.mean, float(low), float(high))
    return Measure(metric, unit, definition, kept, n, len(names))


# Scores of generated crystals as a plain-text table: one line for each quantity.


WIDTH = 100


def format_generation(card: Scorecard) -> str:
    """Lay out the rows about generated crystals: a line per quantity, a column per method.

    Parameters
    ----------
    card
        A scorecard; its notes, definitions among them, follow the table.
    """
    rows = [row for row in card.rows if row.task == "generation"]
    methods = list(dict.fromkeys(row.method for row in rows))
    lines = []
    for metric in dict.fromkeys(row.metric for row in rows):
        found = {row.method: row for row in rows if row.metric == metric}
        unit = next(iter(found.values())).unit or ""
        cells = [_cell(found[method]) if method in found else "" for method in methods]
        lines.append([metric, unit, *cells])
    title = "generation (95 % intervals by bootstrap over formulas)"
    metrics = {row.metric for row in rows}
    said: dict[bool, list[str]] = {True: [], False: []}
    for note in card.notes:
        said[note.split(":", 1)[0] in metrics].append(note)
    blocks = [title, text_table(("quantity", "unit", *methods), lines, indent=2)]
    for heading, notes in (("notes", said[False]), ("definitions", said[True])):
        if notes:
            blocks += ["", heading, *_wrapped(notes)]
    return "\n".join(blocks)


def _wrapped(notes: list[str]) -> list[str]:
    return [
        line
        for note in notes
        for line in wrap(note, WIDTH, initial_indent="  ", subsequent_indent="    ")
    ]


def _cell(row: ScoreRow) -> str:
    if row.unit == "count":
        return f"{row.mean:.0f}"
    return format_value(row.mean, row.low, row.high)


# One row for each sample: what was found about it.


Mask = NDArray[np.bool_]


def verdict_columns(
    samples: Crystals, shortest: NDArray[np.float64], valid: Mask, balance: ChargeBalance
) -> pl.DataFrame:
    """Return the table of B samples with what is known of their validity."""
    return pl.DataFrame(
        {
            "name": samples.names.tolist(),
            "formula": reduced_formulas(samples).tolist(),
            "n_atoms": samples.counts,
            "shortest_distance": pl.Series(shortest).fill_nan(None),
            "distance_valid": valid,
            "composition_valid": [
                bool(good) if known else None
                for good, known in zip(balance.balanced, balance.judged, strict=True)
            ],
        }
    )


def newness_columns(
    valid: Mask, newness: Newness, kept: Crystals, known: Crystals
) -> list[pl.Series]:
    """Return columns on uniqueness and novelty; empty where a sample is not valid."""
    return [
        _spread("unique", valid, newness.unique.tolist()),
        _spread("repeats", valid, _named(newness.earlier.of, kept)),
        _spread("novel", valid, newness.novel.tolist()),
        _spread("known_as", valid, _named(newness.known.of, known)),
    ]


def energy_columns(valid: Mask, stability: Stability, suffix: str) -> list[pl.Series]:
    """Return columns of energies in eV/atom; empty where a sample is not judged."""
    return [
        _spread(f"{name}{suffix}", valid, [float(v) if np.isfinite(v) else None for v in values])
        for name, values in (
            ("formation_energy_per_atom", stability.formation),
            ("e_above_hull", stability.above),
        )
    ]


def _named(places: NDArray[np.int64], crystals: Crystals) -> list[str | None]:
    return [str(crystals.names[place]) if place >= 0 else None for place in places]


def _spread(name: str, valid: Mask, values: Sequence[object]) -> pl.Series:
    """A column of all samples from values of the valid ones."""
    column: list[object] = [None] * len(valid)
    for place, value in zip(np.flatnonzero(valid), values, strict=True):
        column[place] = value
    return pl.Series(name, column)
