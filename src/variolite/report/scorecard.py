"""The section of the page that holds the scores."""

from __future__ import annotations

from variolite.report.blocks import Block, Section, paragraph
from variolite.report.headline import Setup, comparable_rows
from variolite.report.markup import element
from variolite.report.score_by_k import figure_by_k
from variolite.report.scorecard_figure import summary_figure
from variolite.report.scorecard_table import every_score, score_table
from variolite.report.wording import counted
from variolite.scoring.scorecard import Scorecard

__all__ = ["scorecard_section"]

FEW_GROUPS = 6


def scorecard_section(scorecard: Scorecard | None, setup: Setup | None) -> Section:
    """Return the scores as figures and tables, or say that there are none yet."""
    if scorecard is None:
        missing = paragraph(
            "Not scored yet: run ",
            element("code", "variolite score"),
            " with the data to measure this run on its held-out groups.",
            kind="missing",
        )
        return Section("scorecard", "Scorecard", (missing,))
    blocks: list[Block] = []
    if setup is not None:
        blocks.append(summary_figure(scorecard, setup))
        blocks.append(score_table(comparable_rows(scorecard, setup, any_algorithm=True)))
        by_k = figure_by_k(scorecard, setup)
        if by_k is not None:
            blocks.append(by_k)
        few = min(row.n_groups for row in comparable_rows(scorecard, setup))
        if few < FEW_GROUPS:
            blocks.append(
                paragraph(
                    f"Only {counted(few, 'held-out group')}: intervals over so few are rough. "
                    "Confirm on further splits what this page calls clear.",
                    kind="remark",
                )
            )
    if scorecard.notes:
        notes = (element("li", note) for note in scorecard.notes)
        blocks.append(element("ul", *notes, class_="remark"))
    if scorecard.rows:
        blocks.append(every_score(scorecard))
    else:
        blocks.append(paragraph("The scorecard holds no scores.", kind="missing"))
    return Section("scorecard", "Scorecard", tuple(blocks))
