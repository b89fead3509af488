"""What became of every reading between the instrument tables and the binned table."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass


@dataclass(frozen=True)
class TableCounts:
    """Rows of one instrument table; the five kinds below add up to ``rows``.

    Attributes
    ----------
    path, instrument
        The file and what it was recognised as.
    rows
        Rows of the table.
    missing_depth, missing_label, missing_value, out_of_range
        Rows left out, each counted under the first reason that holds.
    used
        Rows that entered a mean.
    unreadable
        Numbers that were text, such as ``<0.1``; they count as missing.
    bins, holes
        Bins and holes that hold at least one used reading.
    """

    path: str
    instrument: str
    rows: int
    missing_depth: int
    missing_label: int
    missing_value: int
    out_of_range: int
    used: int
    unreadable: int
    bins: int
    holes: int


@dataclass(frozen=True)
class JoinStep:
    """One instrument joined to those before it.

    Attributes
    ----------
    instrument
        The instrument joined.
    left, right
        Bins before, and bins of this instrument.
    matched
        Bins present in both.
    rows
        Bins after the join.
    """

    instrument: str
    left: int
    right: int
    matched: int
    rows: int

    @property
    def rate(self) -> float:
        """Matched bins as a share of the smaller side, 0 to 1."""
        smaller = min(self.left, self.right)
        return self.matched / smaller if smaller else 0.0


@dataclass(frozen=True)
class BinReport:
    """Account of one binning.

    Attributes
    ----------
    spacing
        Bin width, m.
    join
        ``"inner"`` or ``"outer"``.
    outliers
        Name of the outlier rule.
    label_source
        Instrument whose descriptions gave the label; None where no table has any.
    tables
        Counts per file.
    joins
        Steps of the join, in order; the first instrument has no step.
    bins, holes, lithologies
        Size of the result.
    outlier_bins
        Bins dropped by a rule that applies to bins.
    unlabelled_bins
        Bins of the result without a label.
    impure_bins
        Bins whose label was withdrawn because its purity was too low.
    guessed, unmapped
        Level of labels to the lithologies that only their last word maps, and to
        those that nothing maps.
    """

    spacing: float
    join: str
    outliers: str
    label_source: str | None
    tables: tuple[TableCounts, ...]
    joins: tuple[JoinStep, ...]
    bins: int
    holes: int
    lithologies: int
    outlier_bins: int
    unlabelled_bins: int
    impure_bins: int
    guessed: Mapping[str, tuple[str, ...]]
    unmapped: Mapping[str, tuple[str, ...]]

    def to_dict(self) -> dict[str, object]:
        """Return the account as plain dictionaries and lists."""
        return asdict(self)

    def lines(self) -> tuple[str, ...]:
        """Return the account as lines of text for a terminal."""
        return (
            *(_table_line(table) for table in self.tables),
            *(_join_line(step) for step in self.joins),
            *self._result_lines(),
        )

    def _result_lines(self) -> tuple[str, ...]:
        lines = [
            f"{self.bins:,} bins of {self.spacing:g} m in {self.holes:,} holes, "
            f"{self.lithologies:,} lithologies"
        ]
        if self.outlier_bins:
            lines.append(f"{self.outlier_bins:,} bins dropped by the rule '{self.outliers}'")
        if self.impure_bins:
            lines.append(f"{self.impure_bins:,} bins lost their label: not pure enough")
        if self.unlabelled_bins:
            lines.append(f"{self.unlabelled_bins:,} bins have no label")
        for level, names in self.guessed.items():
            lines.append(f"{level}: grouped by their last word: {_listed(names)}")
        for level, names in self.unmapped.items():
            lines.append(f"{level}: in no group: {_listed(names)}")
        return tuple(lines)


def _listed(names: tuple[str, ...], shown: int = 5) -> str:
    more = f" and {len(names) - shown} more" if len(names) > shown else ""
    return ", ".join(names[:shown]) + more


def _table_line(table: TableCounts) -> str:
    reasons = {
        "without depth": table.missing_depth,
        "without lithology": table.missing_label,
        "without value": table.missing_value,
        "out of range": table.out_of_range,
    }
    left_out = ", ".join(f"{count:,} {reason}" for reason, count in reasons.items() if count)
    line = (
        f"{table.instrument}: {table.used:,} of {table.rows:,} readings, "
        f"{table.bins:,} bins, {table.holes:,} holes"
    )
    if left_out:
        line += f"; left out: {left_out}"
    if table.unreadable:
        line += f"; {table.unreadable:,} numbers were text"
    return line


def _join_line(step: JoinStep) -> str:
    return (
        f"+ {step.instrument}: {step.matched:,} bins match ({step.rate:.1%} of the smaller "
        f"side), {step.rows:,} rows"
    )
