"""Scores of generated crystals as a plain-text table: one line for each quantity."""

from __future__ import annotations

from textwrap import wrap

from variolite.scoring import Scorecard, ScoreRow, format_value

__all__ = ["format_generation"]

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
    lines = [["quantity", "unit", *methods]]
    for metric in dict.fromkeys(row.metric for row in rows):
        found = {row.method: row for row in rows if row.metric == metric}
        unit = next(iter(found.values())).unit or ""
        cells = [_cell(found[method]) if method in found else "" for method in methods]
        lines.append([metric, unit, *cells])
    widths = [max(len(line[column]) for line in lines) for column in range(len(lines[0]))]
    text = [
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
        for line in lines
    ]
    title = "generation (95 % intervals by bootstrap over formulas)"
    metrics = {row.metric for row in rows}
    said: dict[bool, list[str]] = {True: [], False: []}
    for note in card.notes:
        said[note.split(":", 1)[0] in metrics].append(note)
    blocks = [title, *(f"  {line}" for line in text)]
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
