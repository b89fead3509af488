"""Finding the table column that holds a meaning, by name and never by position."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from variolite.errors import SchemaError, nearest
from variolite.records.column import Column
from variolite.records.units import split_header

__all__ = ["check_mapping", "find_source", "suggest"]


def check_mapping(mapping: Mapping[str, str], columns: Mapping[str, Column]) -> None:
    """Refuse a mapping of a meaning that the schema does not have."""
    for meaning in mapping:
        if meaning not in columns:
            raise SchemaError(
                f"{meaning!r} is not a column of the schema",
                where="column mapping",
                mend=suggest(meaning, columns, "The schema has"),
            )


def find_source(column: Column, available: Sequence[str], mapped: str | None = None) -> str | None:
    """Return the table column that holds ``column``, or None.

    Tried in turn: the mapping, ``source``, then name and aliases as they stand,
    without regard to case, and against headers stripped of a unit in brackets.
    """
    if mapped is not None:
        if mapped in ("", "-"):
            if not column.optional:
                raise SchemaError(
                    f"{column.name!r} is not optional and cannot be left out",
                    where="column mapping",
                )
            return None
        if mapped not in available:
            raise SchemaError(
                f"{column.name!r} is mapped to {mapped!r}, which the table does not have",
                where="column mapping",
                mend=suggest(mapped, available, "The table has"),
            )
        return mapped
    if column.source is not None:
        if column.source in available:
            return column.source
        if column.optional:
            return None
        raise SchemaError(
            f"{column.name!r} is held by {column.source!r}, which the table does not have",
            mend=suggest(column.source, available, "The table has"),
        )
    wanted = (column.name, *column.aliases)
    for name in wanted:
        if name in available:
            return name
    for fold in (str.casefold, lambda text: split_header(text)[0].casefold()):
        headers: dict[str, list[str]] = {}
        for header in available:
            headers.setdefault(fold(header), []).append(header)
        for name in wanted:
            match = headers.get(name.strip().casefold(), [])
            if len(match) > 1:
                raise SchemaError(
                    f"{column.name!r} could be any of the columns {', '.join(map(repr, match))}",
                    mend=f"Say which with {column.name}=COLUMN",
                )
            if match:
                return match[0]
    return None


def suggest(name: str, candidates: Sequence[str] | Mapping[str, object], lead: str) -> str:
    names = list(candidates)
    close = nearest(name, names)
    hint = f"Did you mean {close!r}? " if close else ""
    shown = ", ".join(names[:12]) + (", ..." if len(names) > 12 else "")
    return f"{hint}{lead}: {shown}"
