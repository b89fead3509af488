"""What happened to a table on its way to records, in numbers and in words."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

__all__ = ["ApplyReport"]


@dataclass(frozen=True)
class ApplyReport:
    """Counts of everything that was dropped, replaced or ignored.

    Attributes
    ----------
    rows_read, rows_kept
        Rows of the table, and of the records.
    dropped
        Rows by the first reason that dropped them; they add up to the difference.
    missing
        Entries missing in the table itself, by column, before any row is dropped.
    sentinels, out_of_range, outside_domain
        Entries turned into missing ones, by column: equal to a sentinel, outside
        ``valid`` or infinite, or impossible for the column's transform.
    clipped
        Kept entries beyond the training quantiles of ``clip``, by column.
    unseen
        Entries by column and category level that the training rows did not hold.
    absent
        Columns of the schema that the table lacks.
    ignored
        Columns of the table that the schema does not use.
    """

    rows_read: int = 0
    rows_kept: int = 0
    dropped: Mapping[str, int] = field(default_factory=dict)
    missing: Mapping[str, int] = field(default_factory=dict)
    sentinels: Mapping[str, int] = field(default_factory=dict)
    out_of_range: Mapping[str, int] = field(default_factory=dict)
    outside_domain: Mapping[str, int] = field(default_factory=dict)
    clipped: Mapping[str, int] = field(default_factory=dict)
    unseen: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    absent: tuple[str, ...] = ()
    ignored: tuple[str, ...] = ()

    def lines(self) -> list[str]:
        """Return one sentence for each thing worth knowing."""
        kept, read = self.rows_kept, self.rows_read
        found = [f"{kept:,} of {read:,} rows kept"]
        found += [f"{count:,} rows dropped: {reason}" for reason, count in self.dropped.items()]
        masked = {n: c for n, c in self.missing.items() if f"{n} missing" not in self.dropped}
        for counts, meaning in (
            (masked, "entries are missing"),
            (self.sentinels, "entries hold a sentinel and count as missing"),
            (self.out_of_range, "entries are outside the valid range and count as missing"),
            (self.outside_domain, "entries are impossible for its transform, count as missing"),
            (self.clipped, "entries are clipped to the training quantiles"),
        ):
            found += [f"{name}: {count:,} {meaning}" for name, count in counts.items() if count]
        for name, levels in self.unseen.items():
            listed = ", ".join(
                f"{level!r} ({count:,})" for level, count in list(levels.items())[:8]
            )
            more = ", ..." if len(levels) > 8 else ""
            found.append(f"{name}: not met in training: {listed}{more}")
        if self.absent:
            found.append(f"not in the table: {', '.join(self.absent)}")
        if self.ignored:
            found.append(f"columns not used: {', '.join(self.ignored)}")
        return found

    def __str__(self) -> str:
        return "\n".join(self.lines())

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON types."""
        return {
            name: list(value)
            if isinstance(value, tuple)
            else {k: dict(v) if isinstance(v, Mapping) else v for k, v in value.items()}
            if isinstance(value, Mapping)
            else value
            for name, value in vars(self).items()
        }
