"""The metrics of generated crystals: what each is, its interval over formulas, and their table."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from textwrap import wrap

import numpy as np
from numpy.typing import NDArray

from variolite.scoring import (
    Interval,
    Scorecard,
    ScoreKey,
    ScoreRow,
    bootstrap_interval,
    format_value,
)
from variolite.text_table import text_table

Floats = NDArray[np.float64]
Mask = NDArray[np.bool_]
Statistic = Callable[[Floats], Floats]
"""From weights of n crystals, (R, n), each row summing to 1, to values (R,)."""

METASTABLE = 0.1  # energy above the hull in eV/atom up to which a crystal counts as metastable
RELAXED = "_relaxed"  # ending of the metrics of samples after relaxation

WIDTH = 100
CHUNK = 4_000_000  # weights of resampled crystals held at once

_WASSERSTEIN = (
    "First Wasserstein distance of the {} of the valid samples from that of the test crystals"
)
_DEFINITIONS: Mapping[str, Mapping[str, str]] = {
    "count": {
        "asked": "Structures that were to be scored, unreadable ones included",
        "unreadable": "Structures that could not be read; invalid",
    },
    "share": {
        "distance_valid": "Share of all samples with no two atoms closer than 0.5 Angstrom, "
        "periodic images included, and a cell of at least 0.1 cubic Angstrom",
        "composition_valid": "Share of the samples whose elements the rules know that have a "
        "neutral choice of oxidation states with every cation less electronegative than every "
        "anion; elements and alloys of metals pass (SMACT)",
        "valid": "Share of all samples valid by distance and by composition; those whose "
        "composition is not evaluated do not count as valid",
        "unique": "Share of the samples valid by distance that no earlier sample is the same as; "
        "the same means StructureMatcher.fit at default tolerances (stol 0.3, ltol 0.2, angle 5 "
        "degrees, cells made primitive and scaled to one volume)",
        "novel": "Share of the samples valid by distance that no reference crystal is the same as",
        "valid_unique_novel": "Share of all samples that are valid by distance, unique and novel",
        "coverage_recall": "Share of the test crystals that have a sample near them in structure "
        "and composition (interval over their formulas); it grows with the number of samples",
        "coverage_precision": "Share of all samples that have a test crystal near them in "
        "structure and composition",
        "elements_total_variation": "Half the sum over the elements of the absolute difference of "
        "their shares among the atoms, every crystal counting alike, valid samples against test "
        "crystals",
        "space_groups_total_variation": "Half the sum over the space groups (spglib, symprec 0.1 "
        "Angstrom; no group counts as one more) of the absolute difference of their shares, valid "
        "samples against test crystals",
        "stable": "Share of all samples whose energy above the hull is at most 0 ({which})",
        "metastable": f"Share of all samples at most {METASTABLE} eV/atom above the hull, stable "
        "ones included ({which})",
        "sun": "S.U.N.: share of all samples that are stable, unique and novel ({which})",
        "msun": "M.S.U.N.: share of all samples that are metastable, unique and novel ({which})",
    },
    "g/cm3": {"density_wasserstein": _WASSERSTEIN.format("density")},
    "angstrom3": {"volume_per_atom_wasserstein": _WASSERSTEIN.format("volume per atom")},
    "1": {
        "n_elements_wasserstein": _WASSERSTEIN.format("number of elements"),
        "n_atoms_wasserstein": _WASSERSTEIN.format("number of atoms in the cell as given"),
    },
    "bit": {
        "elements_jensen_shannon": "Jensen-Shannon divergence, base 2, of the same shares of the "
        "elements"
    },
    "eV/atom": {
        "e_above_hull_median": "Median energy above the hull, of those evaluated ({which}); "
        "negative below the hull of all other phases"
    },
}
METRICS: Mapping[str, tuple[str, str]] = {
    name: (unit, text) for unit, texts in _DEFINITIONS.items() for name, text in texts.items()
}
"""Unit and definition of every metric.

Those of stability come a second time, with `RELAXED`. Behind them, in brackets, stands the
potential: ``msun_relaxed (CHGNet 0.3.0)``.
"""

_RANGES = {"share": (0.0, 1.0), "bit": (0.0, 1.0), "eV/atom": (-np.inf, np.inf)}
"""Range of the intervals by unit; distances are not negative."""


def named(name: str, potential: str | None) -> str:
    """Return the full name of a metric by a potential, or of one that is by none."""
    return f"{name} ({potential})" if potential else name


def parted(name: str) -> tuple[str, str]:
    """Part a full name into the metric and the potential, which may be empty."""
    metric, _, potential = name.partition(" (")
    return metric, potential.removesuffix(")")


def definition(name: str) -> str:
    """Return what a metric is, after relaxation and by a potential too."""
    metric, potential = parted(name)
    which = "relaxed samples" if metric.endswith(RELAXED) else "samples as they are"
    which += f"; energies by {potential}" * bool(potential)
    return METRICS[metric.removesuffix(RELAXED)][1].format(which=which)


def count_row(name: str, value: int) -> ScoreRow:
    """Return a count: exact, hence without an interval."""
    key = ScoreKey("generation", "samples", "test", unit="count")
    return key.row(name, Interval(float(value)), value, seeds=1)


def score_row(name: str, formulas: NDArray[np.str_], statistic: Statistic) -> ScoreRow:
    """Return a metric of crystals with its interval over their formulas, (n,)."""
    unit, _ = METRICS[parted(name)[0].removesuffix(RELAXED)]
    interval = formula_interval(formulas, statistic, bounds=_RANGES.get(unit, (0.0, np.inf)))
    key = ScoreKey("generation", "samples", "test", unit=unit)
    return key.row(name, interval, len(np.unique(formulas)), seeds=1)


def formula_interval(
    formulas: NDArray[np.str_],
    statistic: Statistic,
    *,
    bounds: tuple[float, float] = (-np.inf, np.inf),
) -> Interval:
    """Return a statistic of crystals and its interval over their formulas, (n,); NaN if none."""
    n = len(formulas)
    if not n:
        return Interval(np.nan)
    names, group = np.unique(formulas, return_inverse=True)

    def of_groups(drawn: Floats) -> Floats:
        # From how often each formula is drawn, (R, G), to weights of the crystals, (R, n),
        # some rows at a time.
        values = np.empty(len(drawn))
        step = max(1, CHUNK // n)
        for start in range(0, len(drawn), step):
            weights = drawn[start : start + step][:, group]
            weights = weights / weights.sum(axis=1, keepdims=True)
            values[start : start + step] = statistic(weights)
        return values[:, None]

    found = bootstrap_interval(of_groups, len(names))
    low, high = np.clip([found.low, found.high], *bounds)
    return Interval(found.mean, float(low), float(high))


def weighted_spearman(first: Floats, second: Floats) -> Statistic:
    """Return the statistic that is the rank correlation of values (n,), weighted by crystals."""
    from scipy.stats import rankdata

    a, b = rankdata(first), rankdata(second)

    def correlation(weights: Floats) -> Floats:
        x = a - (weights @ a)[:, None]
        y = b - (weights @ b)[:, None]
        product = (weights * x * y).sum(axis=1)
        norm = (weights * x**2).sum(axis=1) * (weights * y**2).sum(axis=1)
        return np.asarray(product / np.sqrt(np.maximum(norm, 1e-300)))

    return correlation


def weighted_median(values: Floats) -> Statistic:
    """Return the statistic whose value is the weighted median of values (n,)."""
    order = np.argsort(values)

    def median(weights: Floats) -> Floats:
        # The slack keeps the middle of an even number from hanging on rounding.
        reached = np.cumsum(weights[:, order], axis=1) >= 0.5 - 1e-12
        return np.asarray(values[order][np.argmax(reached, axis=1)])

    return median


@dataclass(frozen=True)
class Requested:
    """Samples of which metrics are shares: reduced formulas of those that could be read, (B,), and
    the number of those that could not, of which nothing good holds."""

    formulas: NDArray[np.str_]
    unreadable: int = 0

    @property
    def total(self) -> int:
        """All samples."""
        return len(self.formulas) + self.unreadable

    def share_of_all(self, name: str, holds: Mask) -> ScoreRow:
        """Return the share of all samples; ``holds`` is about those that could be read, (B,)."""
        everything = np.append(holds.astype(np.float64), np.zeros(self.unreadable))
        # Each unreadable one is a formula of its own.
        unread = [f"unreadable {place}" for place in range(self.unreadable)]
        formulas = np.append(self.formulas, np.array(unread, dtype=np.str_))
        return score_row(name, formulas, lambda weights: weights @ everything)

    def share_of_some(self, name: str, holds: Mask, among: Mask) -> ScoreRow:
        """Return the share of some of the samples that could be read, shapes (B,)."""
        held = holds[among].astype(np.float64)
        return score_row(name, self.formulas[among], lambda weights: weights @ held)


def score_table(rows: Sequence[ScoreRow]) -> str:
    """A line per quantity, a column per method, and under its name what the method was given."""
    cells: dict[str, dict[tuple[str, str], str]] = {}
    units: dict[str, str] = {}
    for row in rows:
        metric, _, given = row.metric.partition("_given_")
        exact = f"{row.mean:.0f}" if row.unit == "count" else ""
        units.setdefault(metric, row.unit or "")
        method = (row.method, given.replace("_", ", "))
        cells.setdefault(metric, {})[method] = exact or format_value(row.mean, row.low, row.high)
    methods = list(dict.fromkeys(method for found in cells.values() for method in found))
    under = ["", "", *(f"given {given}" if given else "" for _, given in methods)]
    lines = [
        [metric, units[metric], *(found.get(method, "") for method in methods)]
        for metric, found in cells.items()
    ]
    heads = ("quantity", "unit", *(name for name, _ in methods))
    return text_table(heads, [under, *lines] if any(under) else lines, indent=2)


def format_generation(card: Scorecard) -> str:
    """Lay out the rows about generated crystals as a table, followed by the notes of the card."""
    rows = card.select(task="generation")
    blocks = ["generation (95 % intervals by bootstrap over formulas)", score_table(rows)]
    cells = {row.metric for row in rows}
    for heading, defining in (("notes", False), ("definitions", True)):
        texts = [note for note in card.notes if (note.split(":", 1)[0] in cells) == defining]
        blocks += ["", heading] if texts else []
        for text in texts:
            blocks += wrap(text, WIDTH, initial_indent="  ", subsequent_indent="    ")
    return "\n".join(blocks)
