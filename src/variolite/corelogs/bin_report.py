"""What became of every reading between the instrument tables and the binned table."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class TableCounts:
    """Rows of one instrument table.

    Attributes
    ----------
    path, instrument
        The file and what it was recognised as.
    rows
        Rows of the table: those left out, by the first reason that holds, and those used.
    missing_depth, missing_label, missing_value, out_of_range
        Rows left out.
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

    def line(self) -> str:
        """Return the account of the table as a line of text."""
        reasons = {
            "without depth": self.missing_depth,
            "without lithology": self.missing_label,
            "without value": self.missing_value,
            "out of range": self.out_of_range,
        }
        left_out = ", ".join(f"{count:,} {reason}" for reason, count in reasons.items() if count)
        return (
            f"{self.instrument}: {self.used:,} of {self.rows:,} readings, "
            f"{self.bins:,} bins, {self.holes:,} holes"
            + (f"; left out: {left_out}" if left_out else "")
            + (f"; {self.unreadable:,} numbers were text" if self.unreadable else "")
        )


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

    def lines(self) -> tuple[str, ...]:
        """Return the account as lines of text for a terminal."""
        lines = [table.line() for table in self.tables]
        lines += [
            f"+ {step.instrument}: {step.matched:,} bins match ({step.rate:.1%} of the smaller "
            f"side), {step.rows:,} rows"
            for step in self.joins
        ]
        lines.append(
            f"{self.bins:,} bins of {self.spacing:g} m in {self.holes:,} holes, "
            f"{self.lithologies:,} lithologies"
        )
        counts = {
            f"dropped by the rule '{self.outliers}'": self.outlier_bins,
            "lost their label: not pure enough": self.impure_bins,
            "have no label": self.unlabelled_bins,
        }
        lines += [f"{count:,} bins {fate}" for fate, count in counts.items() if count]
        for how, levels in (
            ("grouped by their last word", self.guessed),
            ("in no group", self.unmapped),
        ):
            for level, names in levels.items():
                more = f" and {len(names) - 5} more" if len(names) > 5 else ""
                lines.append(f"{level}: {how}: {', '.join(names[:5])}{more}")
        return tuple(lines)
