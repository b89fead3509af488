"""Pages for a lab head: the next batch and its money, and replays of campaigns."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import polars as pl
from markupsafe import Markup
from matplotlib.axes import Axes

from variolite.errors import counted
from variolite.planning.backtest import Replay, interval, summary
from variolite.planning.campaign import Campaign
from variolite.planning.pool import Pool
from variolite.planning.proposal import Proposal
from variolite.planning.rules import DEFAULT, Settings
from variolite.report.figures import legend, panels
from variolite.report.formatting import percent, significant
from variolite.report.page import (
    Block,
    Bullets,
    Facts,
    Figure,
    Paragraph,
    Section,
    Table,
    render_page,
)
from variolite.report.style import ACCENT, CATEGORIES, MUTED, OTHER, WIDTH, figure_style, to_svg
from variolite.text_table import text_table

_FIGURES = {
    "recall_top5": "found of the best 5 %",
    "best_found": "best found",
    "regret": "short of the best",
    "spent": "spent",
    "area_under_recall": "mean recall over money",
}
_SHOWN = {
    **{key: _FIGURES[key] for key in ("recall_top5", "best_found", "spent")},
    "coverage_90": "90 % intervals hold",
}
_GRID = 60


def campaign_page(campaign: Campaign, proposal: Proposal, title: str) -> str:
    """Return the page of a batch."""
    targets = campaign.columns.targets
    batch = [_candidates(campaign, proposal.table, "why", "Nothing is ordered.")]
    rest = _candidates(campaign, proposal.rest, "why_not", "Nothing that scores well was left out.")
    with figure_style():
        if f"{targets[0].column}_predicted" in proposal.table.columns:
            batch.append(_expected(proposal, targets[0].column))
        results = _results(campaign)
    money = {name: f"{amount:,.2f}" for name, amount in campaign.money().items()}
    sections = [
        Section("batch", "The next batch", batch),
        Section("money", "Money", [Facts(money | {"rounds": f"{campaign.round}"})]),
        Section("progress", "Results so far", [results]),
        Section("left-out", "What was left out", [rest]),
        Section("intervals", "How far intervals hold", _calibration(proposal)),
    ]
    if proposal.notes:
        sections.append(Section("notes", "Notes", [Bullets(tuple(proposal.notes))]))
    sought = (f"{t.column} as {'small' if t.minimise else 'large'} as possible" for t in targets)
    sentences = [proposal.verdict, campaign.statement()]
    return render_page(title, f"Round {campaign.round}: {', '.join(sought)}", sentences, sections)


def _candidates(campaign: Campaign, table: pl.DataFrame, reason: str, nothing: str) -> Block:
    """Lay out candidates with what is expected of them, or say that there are none."""
    if table.is_empty():
        return Paragraph(nothing, "missing")
    head = ["name", reason.replace("_", " ")]
    columns: list[list[str]] = [table["name"].to_list(), table[reason].to_list()]
    if "measure" in table.columns:
        head.append("measure")
        columns.append(table["measure"].to_list())
    words = len(head)
    for column in (*(t.column for t in campaign.columns.measurable), "cost"):
        middle = f"{column}_predicted" if column != "cost" else column
        if middle in table.columns:
            head.append(column if column == "cost" else f"{column}, expected (90 %)")
            ends = table.select(middle, f"{column}_low", f"{column}_high").rows()
            columns.append([_range(*end) for end in ends])
    return Table(head, [*zip(*columns, strict=True)], numbers_from=words, sortable=True)


def _range(mean: float, low: float, high: float) -> str:
    """Write a value with its ends where those differ."""
    if low == high:
        return f"{mean:,.2f}"
    return f"{significant(mean)} ({significant(low)} to {significant(high)})"


def _expected(proposal: Proposal, target: str) -> Figure:
    figure, (axes,) = panels(1, abreast=1, height=260)
    for table, colour in ((proposal.rest, OTHER), (proposal.table, ACCENT)):
        cost, middle, low, high = (
            table[name].to_numpy()
            for name in ("cost_high", f"{target}_predicted", f"{target}_low", f"{target}_high")
        )
        ends = np.abs([low - middle, high - middle])
        axes.errorbar(cost, middle, ends, fmt="o", ms=5, color=colour, lw=1.2)
    if proposal.best is not None:
        axes.axhline(proposal.best, color=MUTED, lw=1, ls="--")
    axes.set(xlabel="cost, at most", ylabel=target)
    caption = (
        "Expected value with its 90 % interval against cost: blue is the batch, grey the best of "
        "those left out, dashed the best value so far."
    )
    return Figure("expected", to_svg(figure, "Expected values and costs"), caption)


def _results(campaign: Campaign) -> Block:
    target = campaign.columns.targets[0]
    back = [o for o in campaign.orders if o.values is not None]
    real = np.array([o.measure in (None, target.column) for o in back], dtype=bool)
    if real.sum() < 2:
        return Paragraph("Fewer than two results have come back.", "missing")
    values = np.array([o.values[0] for o in back if o.values])[real]
    spent = np.cumsum([o.cost for o in back])[real]
    best = target.sign * np.maximum.accumulate(target.sign * values)
    figure, (axes,) = panels(1, abreast=1, height=230)
    axes.plot(spent, values, "o", color=OTHER, ms=5)
    axes.step(spent, best, where="post", color=ACCENT, lw=2)
    axes.set(xlabel="money spent on candidates", ylabel=target.column)
    caption = "Each result, grey, and the best so far, blue, against the money spent."
    return Figure("progress", to_svg(figure, "Results against money"), caption)


def _calibration(proposal: Proposal) -> list[Block]:
    if not proposal.calibration:
        return [Paragraph("No surrogate is fitted yet.", "missing")]
    rows = [(f"{n} % interval", f"{share:.0f} %") for n, share in proposal.calibration.items()]
    words = "On measured candidates that the surrogate had not seen, in families where given."
    return [Paragraph(words), Table(["claims", "holds for"], rows, numbers_from=1)]


def backtest_text(found: Mapping[str, Any]) -> str:
    """Lay out the summary of replays as a table."""
    header = ("strategy", *_SHOWN.values())
    rows = []
    for name, entry in found["strategies"].items():
        cells = [_with_interval(entry, key) for key in _SHOWN]
        rows.append((f"{name} (default)" if name == found["default"] else name, *cells))
    return text_table(header, rows)


def _with_interval(entry: Mapping[str, float], key: str) -> str:
    if key not in entry:
        return ""
    return _range(*(entry[f"{key}{end}"] for end in ("", "_low", "_high")))


def backtest_page(replays: Sequence[Replay], pool: Pool, settings: Settings) -> str:
    """Return the page of replays: curves over money, and a table."""
    found = summary(replays)["strategies"]
    head = ["strategy", *_FIGURES.values()]
    rows = [[name, *(_with_interval(e, key) for key in _FIGURES)] for name, e in found.items()]
    target = pool.columns.targets[0].column
    with figure_style():
        figure = Figure(
            "recall",
            _curves(replays, target),
            "Means over seeds, with 95 % intervals for ours, against the money spent: the share of "
            "the best 5 % that was found, and how far the best found is from the best there is.",
        )
    best = found[DEFAULT]
    shares = {name: percent(e["recall_top5"]) for name, e in found.items()}
    ends = f"{percent(best['recall_top5_low'])} to {percent(best['recall_top5_high'])}"
    sentences = [
        f"With {settings.budget:,.2f} to spend, {DEFAULT} finds {shares[DEFAULT]} of the best 5 % "
        f"({ends}), greedy {shares['greedy']} and drawing at random {shares['random']}.",
        f"Its 90 % intervals hold for {percent(best['coverage_90'])} of the rows held out "
        f"({percent(best['coverage_90_low'])} to {percent(best['coverage_90_high'])}).",
    ]
    about = (
        f"{counted(len(pool), 'candidate')}, {settings.start} known at the start, "
        f"{percent(settings.held_out)} held out, {settings.seeds} seeds"
    )
    return render_page(
        f"Campaigns for {target}, replayed",
        about,
        sentences,
        [
            Section("curves", "Found for the money", [figure]),
            Section("table", "At the end", [Table(head, rows, numbers_from=1, sortable=True)]),
        ],
    )


def _curves(replays: Sequence[Replay], target: str) -> Markup:
    names = list(dict.fromkeys(r.strategy for r in replays))
    most = max(r.spent[-1] for r in replays)
    grid = np.linspace(0.0, most, _GRID)
    colours = dict(zip(names, [ACCENT, MUTED, *CATEGORIES[1:]], strict=False))
    figure, drawn = panels(2, abreast=2, height=260, foot=28)
    for name in names:
        mine = [r for r in replays if r.strategy == name]
        # What is known stays until the next batch, (seeds, grid).
        known = [np.searchsorted(r.spent, grid, side="right") - 1 for r in mine]
        recall = np.stack([r.recall[k] for r, k in zip(mine, known, strict=True)])
        regret = np.stack(
            [np.abs(r.reachable - r.best[k]) for r, k in zip(mine, known, strict=True)]
        )
        for axes, values in zip(drawn, (recall, regret), strict=True):
            _band(axes, grid, values, colours[name], strong=name == DEFAULT)
    drawn[0].set(xlabel="money spent", ylabel="found of the best 5 %", ylim=(0, 1))
    drawn[1].set(xlabel="money spent", ylabel=f"short of the best, {target}")
    key = [(name, colours[name]) for name in names]
    legend(figure, key, 54, 72 * figure.get_figheight() - 28, WIDTH - 54)
    return to_svg(figure, "Recall and regret against money")


def _band(axes: Axes, x: np.ndarray, values: np.ndarray, colour: str, *, strong: bool) -> None:
    mean = values.mean(axis=0)
    axes.step(x, mean, where="post", color=colour, lw=2.2 if strong else 1.2)
    if strong:
        low, high = np.transpose([interval(column)[1:] for column in values.T])
        axes.fill_between(x, low, high, step="post", color=colour, alpha=0.15, lw=0)
