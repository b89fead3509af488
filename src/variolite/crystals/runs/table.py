"""The scorecard of a crystal run as plain text: one line for each quantity."""

from __future__ import annotations

from variolite.crystals.evaluation.table import format_generation
from variolite.scoring import Scorecard, ScoreRow, format_value

__all__ = ["format_crystal_scorecard"]

_GIVEN = "_given_"


def format_crystal_scorecard(card: Scorecard) -> str:
    """Lay out a card: a line per quantity, a column per method, then the notes.

    What a method was told, besides the latents, stands under its name.
    """
    rows = [row for row in card.rows if row.task == "reconstruction"]
    blocks = []
    if rows:
        groups = max(row.n_groups for row in rows)
        title = f"reconstruction of held-out structures ({groups} formulas; 95 % intervals)"
        blocks.append("\n".join([title, *_lines(rows)]))
    of_samples = Scorecard(card.select(task="generation"), card.notes)
    if of_samples.rows:
        blocks.append(format_generation(of_samples))
    else:
        blocks.append("\n".join(["notes", *(f"  {note}" for note in card.notes)]))
    return "\n\n".join(blocks)


def _lines(rows: list[ScoreRow]) -> list[str]:
    methods = list(dict.fromkeys(_method(row) for row in rows))
    metrics = list(dict.fromkeys(row.metric.split(_GIVEN)[0] for row in rows))
    values = {
        (row.metric.split(_GIVEN)[0], _method(row)): format_value(row.mean, row.low, row.high)
        for row in rows
    }
    units = {row.metric.split(_GIVEN)[0]: row.unit or "" for row in rows}
    table = [
        ["quantity", "unit", *(name for name, _ in methods)],
        ["", "", *(f"given {given}" if given else "" for _, given in methods)],
    ]
    table += [
        [metric, units[metric], *(values.get((metric, method), "") for method in methods)]
        for metric in metrics
    ]
    widths = [max(len(line[column]) for line in table) for column in range(len(table[0]))]
    return [
        "  " + "  ".join(cell.ljust(w) for cell, w in zip(line, widths, strict=True)).rstrip()
        for line in table
        if any(line)
    ]


def _method(row: ScoreRow) -> tuple[str, str]:
    _, _, given = row.metric.partition(_GIVEN)
    return row.method, given.replace("_", ", ")
