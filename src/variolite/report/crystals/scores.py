"""The scores of a crystal run: match rates drawn, every score in tables with its definition."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence

from variolite.report.axes import SIZE, WIDTH, Frame, sheet
from variolite.report.blocks import Block, Figure, Section, fold, paragraph, table
from variolite.report.crystals.metrics import (
    TOLERANCE_NAMES,
    definitions,
    given_of,
    given_words,
    main_match,
    meaning_of,
    metric_title,
    stem_of,
    tolerance_of,
    written,
)
from variolite.report.lettering import text_width
from variolite.report.markup import Markup, element, join
from variolite.report.scorecard_table import score_table, task_title
from variolite.report.whiskers import Whisker, labels_left, whisker_panel
from variolite.report.wording import counted, method_colour, method_name
from variolite.scoring.scorecard import Scorecard, ScoreRow

__all__ = ["scores_section"]

Method = tuple[str, tuple[str, ...]]
"""A method and what it was given."""

TASKS = ("reconstruction", "generation")
MOST_METHODS = 5
MOST_ROWS = 14
ROW, GAP = 26.0, 26.0
_LEADING = ("rmse", "periodic", "length", "angle", "volume", "type", "composition")
"""Quantities that belong in the first table after the main match rates, in this order."""


def scores_section(scorecard: Scorecard | None) -> Section:
    """Return match rates as a figure and all scores as tables, or say that there are none."""
    if scorecard is None:
        missing = paragraph(
            "Not scored yet: run ",
            element("code", "variolite score"),
            " with the data to measure this run on held-out crystals.",
            kind="missing",
        )
        return Section("scorecard", "Scorecard", (missing,))
    blocks: list[Block] = []
    figure = _match_figure([row for row in scorecard.rows if row.task == "reconstruction"])
    if figure is not None:
        blocks.append(figure)
    defined, notes = definitions(scorecard)
    for task in TASKS:
        for split in dict.fromkeys(row.split for row in scorecard.rows if row.task == task):
            chosen = [row for row in scorecard.rows if (row.task, row.split) == (task, split)]
            blocks.append(element("h4", f"{task_title(task)} ({split})"))
            blocks += _tables(chosen, defined)
    for task in dict.fromkeys(row.task for row in scorecard.rows if row.task not in TASKS):
        blocks.append(element("h4", task_title(task)))
        blocks.append(score_table([row for row in scorecard.rows if row.task == task]))
    if scorecard.rows:
        blocks.append(paragraph(_intervals(scorecard.rows), kind="remark"))
    else:
        blocks.append(paragraph("The scorecard holds no scores.", kind="missing"))
    if notes:
        lines = (element("li", note) for note in notes)
        blocks.append(fold("What the scores rest on", element("ul", *lines, class_="remark")))
    return Section("scorecard", "Scorecard", tuple(blocks))


def _tables(rows: Sequence[ScoreRow], defined: Mapping[str, str]) -> list[Block]:
    """Return the table of what matters most, and folded away the rest and the definitions."""
    stems = list(dict.fromkeys(stem_of(row.metric) for row in rows))
    main = [stem for name in TOLERANCE_NAMES if (stem := main_match(rows, name)) is not None]
    of_main = {stem.replace("match_rate_", "").replace("_rms", "") for stem in main}
    leading = [
        stem
        for stem in stems
        if stem not in main
        and (head := stem.partition("_")[0]) in _LEADING
        and (head != "rmse" or stem.removeprefix("rmse_") in of_main)
    ]
    leading.sort(key=lambda stem: _LEADING.index(stem.partition("_")[0]))
    shown = stems if len(stems) <= MOST_ROWS else [*main, *leading]
    rest = [stem for stem in stems if stem not in shown]
    blocks: list[Block] = [_table(rows, shown or stems)]
    if shown and rest:
        blocks.append(
            fold(
                f"{counted(len(rest), 'further quantity', 'further quantities')}",
                _table(rows, rest),
                kind="screen",
            )
        )
    meanings = [(metric_title(stem), defined[stem]) for stem in stems if stem in defined]
    if meanings:
        told = table(("quantity", "what it is"), meanings)
        blocks.append(fold("What these quantities are", told))
    return blocks


def _table(rows: Sequence[ScoreRow], stems: Sequence[str]) -> Markup:
    """Return a line for each quantity and a column for each method."""
    methods = _methods(row for row in rows if stem_of(row.metric) in stems)
    lookup = {(_method(row), stem_of(row.metric)): row for row in rows}
    body = [
        (
            metric_title(stem),
            *(
                written(lookup[method, stem]) if (method, stem) in lookup else ""
                for method in methods[:MOST_METHODS]
            ),
        )
        for stem in stems
    ]
    heads = ("quantity", *(_head(method) for method in methods[:MOST_METHODS]))
    drawn = table(heads, body, numbers_from=1)
    if len(methods) <= MOST_METHODS:
        return drawn
    more = counted(len(methods) - MOST_METHODS, "further method")
    return join((drawn, paragraph(f"{more} left out; scorecard.json holds all.", kind="remark")))


def _method(row: ScoreRow) -> Method:
    return row.method, given_of(row.metric)


def _methods(rows: Iterable[ScoreRow]) -> list[Method]:
    """Return methods in order, the VAE first."""
    return sorted(dict.fromkeys(_method(row) for row in rows), key=lambda key: key[0] != "vae")


def _head(method: Method) -> str:
    name, given = method
    return f"{method_name(name)}, given {given_words(given)}" if given else method_name(name)


def _intervals(rows: Sequence[ScoreRow]) -> str:
    groups = sorted({row.n_groups for row in rows if row.n_groups})
    if not groups:
        return "The scores have no intervals."
    span = f"{groups[0]:,}" if len(groups) == 1 else f"{groups[0]:,} to {groups[-1]:,}"
    seeds = max(row.seeds for row in rows)
    over = f"formulas and {seeds} seeds" if seeds > 1 else "formulas"
    return (
        f"In brackets: 95 % intervals by bootstrap over {over}, since crystals of one formula "
        f"are alike; {span} distinct formulas stand behind a score."
    )


def _match_figure(rows: Sequence[ScoreRow]) -> Figure | None:
    """Draw the match rate of every method at every tolerance; None where there is none."""
    rows = [row for row in rows if row.split == rows[0].split]
    chosen = [
        (name, stem) for name in TOLERANCE_NAMES if (stem := main_match(rows, name)) is not None
    ]
    if not chosen:
        return None
    stems = {stem for _, stem in chosen}
    rows = [row for row in rows if stem_of(row.metric) in stems]
    lookup = {(_method(row), stem_of(row.metric)): row for row in rows}
    methods = _methods(rows)
    labels = [(method_name(name), name == "vae") for name, _ in methods]
    room = min(max(text_width(name, SIZE, bold=True) for name, _ in labels) + 4, 240)
    width = (WIDTH - room - 40 - GAP * (len(chosen) - 1)) / len(chosen)
    drawn: list[Markup] = []
    for index, (name, stem) in enumerate(chosen):
        frame = Frame(room + 14 + index * (width + GAP), 26, width, ROW * len(methods))
        whiskers = [_whisker(lookup.get((method, stem))) for method in methods]
        title = f"{TOLERANCE_NAMES[name]} tolerance"
        drawn.append(whisker_panel(whiskers, frame, title, "share matched (%)"))
        if not index:
            drawn.append(labels_left(labels, frame, room))
    meanings = "; ".join(
        f"{TOLERANCE_NAMES[name]}: {meaning_of(tolerance)}"
        for name, stem in chosen
        if (tolerance := tolerance_of(stem)) is not None
    )
    given = "; ".join(f"{method_name(name)}: {given_words(told)}" for name, told in methods if told)
    told = f" Given besides the number of atoms, {given}." if given else ""
    groups = max(row.n_groups for row in rows)
    caption = (
        "Share of held-out crystals whose reconstruction matches the original, higher is better "
        f"({rows[0].split}). Dots are shares, whiskers 95 % intervals by bootstrap over {groups:,} "
        f"formulas; the interval of the VAE is shaded. Tolerances: {meanings}; a free length "
        f"is the cube root of the volume per atom.{told} Every panel has its own axis."
    )
    drawing = sheet(26 + ROW * len(methods) + 40, *drawn, title="Match rates by method")
    return Figure("match-rates", drawing, caption)


def _whisker(row: ScoreRow | None) -> Whisker | None:
    if row is None or not math.isfinite(row.mean):
        return None
    return Whisker(
        mean=100 * row.mean,
        low=100 * row.low,
        high=100 * row.high,
        colour=method_colour(row.method),
        note=f"{method_name(row.method)}: {written(row)}",
        strong=row.method == "vae",
    )
