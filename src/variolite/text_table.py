"""Tables as plain text, for every command that prints one."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from variolite.errors import printable


def text_table(
    heads: Sequence[str],
    rows: Iterable[Sequence[str]],
    *,
    right: Iterable[str] = (),
    indent: int = 0,
) -> str:
    """Lay out cells in columns, two spaces apart; those named in ``right`` are set flush right.

    A column without a filled cell is left out. Lines are never cut or wrapped: a terminal, a
    pipe and a file get the same text. ``indent`` spaces stand before every line.
    """
    columns = zip(heads, *([printable(cell) for cell in row] for row in rows), strict=True)
    aligned = []
    for head, *cells in columns:
        if any(cells):
            width = max(map(len, (head, *cells)))
            set_flush = str.rjust if head in right else str.ljust
            aligned.append([set_flush(cell, width) for cell in (head, *cells)])
    return "\n".join(
        (" " * indent + "  ".join(line)).rstrip() for line in zip(*aligned, strict=True)
    )
