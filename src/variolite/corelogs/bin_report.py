"""What became of every reading between the instrument tables and the binned table."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class TableCounts:
    """Rows of one instrument table: those left out, by the first reason that holds, and used.

    ``unreadable`` are numbers that were text, such as ``<0.1``; they count as missing.
    ``bins`` and ``holes`` hold at least one used reading.
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
    """One instrument joined to those before it: bins before, of its own, in both, and after."""

    instrument: str
    left: int
    right: int
    matched: int
    rows: int

    @property
    def rate(self) -> float:
        """Matched bins as a fraction of the smaller side, 0 to 1."""
        smaller = min(self.left, self.right)
        return self.matched / smaller if smaller else 0.0


@dataclass(frozen=True)
class BinReport:
    """Account of one binning with a bin width of ``spacing`` m and the rule ``outliers``.

    ``tables`` counts per file; the first instrument has no step in ``joins``. ``label_source``
    is the instrument whose descriptions gave the label, None where no table has any. Of the
    bins of the result, ``unlabelled_bins`` have no label and ``impure_bins`` lost theirs;
    ``outlier_bins`` were dropped by a rule that applies to bins. ``guessed`` and ``unmapped``
    are, per level of labels, the lithologies that only their last word maps, and that nothing
    maps.
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
        kinds = {"grouped by their last word": self.guessed, "in no group": self.unmapped}
        for how, levels in kinds.items():
            for level, names in levels.items():
                more = f" and {len(names) - 5} more" if len(names) > 5 else ""
                lines.append(f"{level}: {how}: {', '.join(names[:5])}{more}")
        return tuple(lines)
