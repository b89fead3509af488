"""A proposed schema with the reasons for it, as text and as YAML."""

from __future__ import annotations

import textwrap
from dataclasses import dataclass

from variolite.records.column import Column
from variolite.records.schema import Schema
from variolite.records.transforms import dump_transform

__all__ = ["Proposal", "Remark"]


@dataclass(frozen=True)
class Remark:
    """One observation about a column of the table, in plain words."""

    column: str
    text: str


@dataclass(frozen=True)
class Proposal:
    """A schema for a table, and why.

    Attributes
    ----------
    schema
        Bound to nothing; finds its columns by name and alias.
    remarks
        What was seen, in the order of the table.
    left_out
        Table columns that the schema does not use.
    """

    schema: Schema
    remarks: tuple[Remark, ...] = ()
    left_out: tuple[str, ...] = ()

    def remarks_on(self, column: str) -> list[str]:
        """Return the remarks on one column of the table."""
        return [remark.text for remark in self.remarks if remark.column == column]

    def __str__(self) -> str:
        """Return a table of the columns, then every remark."""
        header = ("column", "role", "unit", "transform", "missing")
        rows = [header, *(_cells(column) for column in self.schema.columns.values())]
        widths = [max(len(row[i]) for row in rows) for i in range(len(header))]
        lines = [
            "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
            for row in rows
        ]
        lines.append("")
        for remark in self.remarks:
            lines += textwrap.wrap(
                f"{remark.column}: {remark.text}",
                width=96,
                subsequent_indent="    ",
                break_long_words=False,
                break_on_hyphens=False,
            )
        return "\n".join(lines)

    def to_yaml(self) -> str:
        """Return the schema as YAML that loads back, with the remarks as comments."""
        body = self.schema.to_yaml().splitlines()
        by_name: dict[str, list[str]] = {}
        for name, column in self.schema.columns.items():
            headers = {header.casefold() for header in (name, *column.aliases)}
            by_name[name] = [r.text for r in self.remarks if r.column.casefold() in headers]
        lines: list[str] = []
        for line in body:
            key = line.strip().rstrip(":").split(":")[0].strip("'\"")
            if line.startswith("  ") and not line.startswith("   ") and key in by_name:
                for text in by_name[key]:
                    lines += _comment(text, "  ")
            lines.append(line)
        for header in self.left_out:
            for text in self.remarks_on(header):
                lines += _comment(f"{header}: {text}", "")
        return "\n".join(lines) + "\n"


def _cells(column: Column) -> tuple[str, ...]:
    steps = [dump_transform(step) for step in column.transform]
    shown = [step if isinstance(step, str) else next(iter(step)) for step in steps]
    return (column.name, column.role, column.unit or "", ", ".join(shown), column.missing)


def _comment(text: str, indent: str) -> list[str]:
    plain = " ".join(text.split())
    return textwrap.wrap(plain, 96, initial_indent=f"{indent}# ", subsequent_indent=f"{indent}# ")
