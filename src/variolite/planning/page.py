"""Pages for a lab head: the next batch and its money, and replays of campaigns."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import polars as pl
from markupsafe import Markup
from matplotlib.axes import Axes

from variolite.planning.backtest import Replay, interval, summary
from variolite.planning.campaign import Campaign
from variolite.planning.pool import Pool
from variolite.planning.proposal import Proposal
from variolite.planning.rules import DEFAULT, Settings
from variolite.report.figures import legend, panels
from variolite.report.formatting import counted, percent, significant
from variolite.report.page import (
    Block,
    Bullets,
    Facts,
    Figure,
    Paragraph,
    Section,
    Table,
    missing,
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
    with figure_style():
        sections = [
            Section("batch", "The next batch", _batch(campaign, proposal)),
            Section("money", "Money", [Facts(_money(campaign))]),
            _progress(campaign),
            Section("left-out", "What was left out", _rest(campaign, proposal)),
            Section("intervals", "How far intervals hold", _calibration(proposal)),
        ]
    if proposal.notes:
        sections.append(Section("notes", "Notes", [Bullets(tuple(proposal.notes))]))
    targets = ", ".join(
        f"{t.column} as {'small' if t.minimise else 'large'} as possible"
        for t in campaign.columns.targets
    )
    sentences = [proposal.verdict, campaign.statement()]
    return render_page(title, f"Round {campaign.round}: {targets}", sentences, sections)


def _batch(campaign: Campaign, proposal: Proposal) -> list[Block]:
    head, rows = _laid_out(campaign, proposal.table, "why")
    blocks: list[Block] = [Paragraph("Nothing is ordered.", "missing")]
    if rows:
        blocks = [Table(head, rows, numbers_from=2, sortable=True)]
    target = campaign.columns.targets[0].column
    if f"{target}_predicted" in proposal.table.columns:
        blocks.append(
            Figure(
                "expected",
                _expected(proposal, target),
                "Expected value with its 90 % interval against cost: blue is the batch, grey the "
                "best of those left out, dashed the best value so far.",
            )
        )
    return blocks


def _laid_out(
    campaign: Campaign, table: pl.DataFrame, reason: str
) -> tuple[list[str], list[list[str]]]:
    head = ["name", reason.replace("_", " ")]
    columns: list[list[str]] = [table["name"].to_list(), table[reason].to_list()]
    for column in (*(t.column for t in campaign.columns.targets), "cost"):
        middle = f"{column}_predicted" if column != "cost" else column
        if middle in table.columns:
            head.append(column if column == "cost" else f"{column}, expected (90 %)")
            ends = table.select(middle, f"{column}_low", f"{column}_high").rows()
            columns.append([_range(*end) for end in ends])
    return head, [list(row) for row in zip(*columns, strict=True)]


def _range(mean: float, low: float, high: float) -> str:
    """Write a value with its ends where those differ."""
    if low == high:
        return f"{mean:,.2f}"
    return f"{significant(mean)} ({significant(low)} to {significant(high)})"


def _expected(proposal: Proposal, target: str) -> Markup:
    figure, (axes,) = panels(1, abreast=1, height=260)
    for table, colour in ((proposal.rest, OTHER), (proposal.table, ACCENT)):
        if table.is_empty():
            continue
        middle = table[f"{target}_predicted"].to_numpy()
        ends = np.abs(
            np.stack([table[f"{target}_{e}"].to_numpy() for e in ("low", "high")]) - middle
        )
        axes.errorbar(
            table["cost_high"].to_numpy(), middle, ends, fmt="o", ms=5, color=colour, lw=1.2
        )
    if proposal.best is not None:
        axes.axhline(proposal.best, color=MUTED, lw=1, ls="--")
    axes.set(xlabel="cost, at most", ylabel=target)
    return to_svg(figure, "Expected values and costs")


def _money(campaign: Campaign) -> Mapping[str, str]:
    facts = {name: f"{money:,.2f}" for name, money in campaign.money().items()}
    return facts | {"rounds": f"{campaign.round}"}


def _progress(campaign: Campaign) -> Section:
    done = [o for o in campaign.orders if o.values is not None]
    if len(done) < 2:
        return missing("progress", "Results so far", "Fewer than two results have come back.")
    sign = campaign.columns.targets[0].sign
    values = np.array([o.values[0] for o in done if o.values is not None])
    best = sign * np.maximum.accumulate(sign * values)
    spent = np.cumsum([o.cost for o in done])
    with figure_style():
        figure, (axes,) = panels(1, abreast=1, height=230)
        axes.plot(spent, values, "o", color=OTHER, ms=5)
        axes.step(spent, best, where="post", color=ACCENT, lw=2)
        axes.set(xlabel="money spent on candidates", ylabel=campaign.columns.targets[0].column)
        drawing = to_svg(figure, "Results against money")
    caption = "Each result, grey, and the best so far, blue, against the money spent."
    return Section("progress", "Results so far", [Figure("progress", drawing, caption)])


def _rest(campaign: Campaign, proposal: Proposal) -> list[Block]:
    if proposal.rest.is_empty():
        return [Paragraph("Nothing that scores well was left out.", "missing")]
    head, rows = _laid_out(campaign, proposal.rest, "why_not")
    return [Table(head, rows, numbers_from=2, sortable=True)]


def _calibration(proposal: Proposal) -> list[Block]:
    if not proposal.calibration:
        return [Paragraph("No surrogate is fitted yet.", "missing")]
    rows = [
        [f"{level} % interval", f"{share:.0f} %"] for level, share in proposal.calibration.items()
    ]
    return [
        Paragraph(
            "On measured candidates that the surrogate had not seen, in families where given."
        ),
        Table(["claims", "holds for"], rows, numbers_from=1),
    ]


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
    rows = [
        [
            name,
            *(_with_interval(e, key) for key in _FIGURES),
        ]
        for name, e in found.items()
    ]
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
        recall = np.stack([_held(grid, r.spent, r.recall) for r in mine])
        regret = np.stack([_held(grid, r.spent, np.abs(r.reachable - r.best)) for r in mine])
        for axes, values in zip(drawn, (recall, regret), strict=True):
            _band(axes, grid, values, colours[name], strong=name == DEFAULT)
    drawn[0].set(xlabel="money spent", ylabel="found of the best 5 %", ylim=(0, 1))
    drawn[1].set(xlabel="money spent", ylabel=f"short of the best, {target}")
    key = [(name, colours[name]) for name in names]
    legend(figure, key, 54, 72 * figure.get_figheight() - 28, WIDTH - 54)
    return to_svg(figure, "Recall and regret against money")


def _held(grid: np.ndarray, spent: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Values at the money of a grid: what is known stays until the next batch."""
    return values[np.searchsorted(spent, grid, side="right") - 1]


def _band(axes: Axes, x: np.ndarray, values: np.ndarray, colour: str, *, strong: bool) -> None:
    mean = values.mean(axis=0)
    axes.step(x, mean, where="post", color=colour, lw=2.2 if strong else 1.2)
    if strong:
        low, high = np.transpose([interval(column)[1:] for column in values.T])
        axes.fill_between(x, low, high, step="post", color=colour, alpha=0.15, lw=0)
