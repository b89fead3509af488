"""What is the matter with generated frameworks: the data, the decoding, or the model.

Three things are called mode collapse. A table with few states can show no more of them; argmax
decoding shows the most frequent state, whatever the model has learnt; a decoder that ignores its
latents has collapsed. Each has figures of its own here, all with n, seeds and an interval, beside
what real rows reach. Any generator of sets, categories and numbers can be looked at.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import numpy as np
import polars as pl
from pydantic import BaseModel, ConfigDict

from variolite.frameworks.diagnosis.comparison import Comparison
from variolite.frameworks.diagnosis.findings import Figure, Finding, ModelFacts, findings_of
from variolite.frameworks.diagnosis.tallies import Layout, tally
from variolite.scoring.intervals import Bootstrap, Interval
from variolite.scoring.scorecard import ScoreKey, ScoreRow
from variolite.text_table import text_table


class Diagnosis(BaseModel):
    """Figures, and what follows from them, most upstream first: the content of health.json.

    ``states`` are of training rows: how many a set, a category or the combination has, and the
    share of them that is seen once.
    """

    model_config = ConfigDict(frozen=True, extra="ignore")

    rows: dict[str, int]
    states: dict[str, tuple[int, float]] = {}
    figures: tuple[Figure, ...] = ()
    findings: tuple[Finding, ...] = ()

    def figure(self, quantity: str, of: str | None = None, n: int | None = None) -> Figure:
        """Return the first figure of that name. Raises KeyError if there is none."""
        for one in self.figures:
            if one.quantity == quantity and of in (None, one.of) and n in (None, one.n):
                return one
        raise KeyError((quantity, of, n))

    def to_dict(self) -> dict[str, Any]:
        """Return the content of health.json; numbers that are undefined are None."""
        content: dict[str, Any] = json.loads(self.model_dump_json())
        return content

    def score_rows(self, split: str, *, model: bool = False) -> tuple[ScoreRow, ...]:
        """The figures as scores; what they stand beside is a method of its own.

        Those of a ``model``, such as its KL divergence, on demand.
        """
        rows = list[ScoreRow]()
        for figure in self.figures:
            if not figure.shown or (figure.of == "model" and not model):
                continue
            of = figure.of if figure.n is None else f"{figure.of}, {figure.n:,} draws"
            beside = Interval(figure.reference, figure.reference_low, figure.reference_high)
            values = {"vae": Interval(figure.value, figure.low, figure.high)}
            values |= {figure.against: beside} if np.isfinite(figure.reference) else {}
            for method, value in values.items():
                key = ScoreKey("generation", method, split, feature=of, unit="1")
                counts = (self.rows["held_out_families"], self.rows["seeds"])
                rows.append(key.row(figure.quantity, value, *counts))
        return tuple(rows)

    def lines(self) -> list[str]:
        """Lay out the figures, then the findings with advice."""
        r = self.rows
        head = (
            f"{r['sample']:,} generated rows ({r['seeds']} seeds), {r['held_out']:,} held-out rows "
            f"of {r['held_out_families']:,} families, {r['train']:,} training rows"
        )
        cells = score_cells(self.score_rows("held-out families", model=True))
        table = text_table(HEADS, cells, right=("value", "beside"), indent=2)
        return [head, *table.splitlines(), *(str(finding) for finding in self.findings)]


HEADS = ("metric", "of", "value", "95 %", "beside", "which is")


def score_cells(rows: Sequence[ScoreRow]) -> list[tuple[str, ...]]:
    """Cells under `HEADS`: a line per quantity, what it stands beside to its right."""
    beside = {(row.metric, row.feature): row for row in rows if row.method != "vae"}
    cells: list[tuple[str, ...]] = []
    for row in rows:
        if row.method == "vae":
            other = beside.get((row.metric, row.feature))
            spread = f"{row.low:.3g} to {row.high:.3g}" if np.isfinite(row.low) else ""
            against = (f"{other.mean:.3g}", other.method) if other else ("", "")
            cells.append((row.metric, row.feature or "", f"{row.mean:.3g}", spread, *against))
    return cells


def diagnose(
    train: pl.DataFrame,
    held_out: pl.DataFrame,
    generated: pl.DataFrame | Sequence[pl.DataFrame],
    *,
    argmax: pl.DataFrame | None = None,
    model: ModelFacts | None = None,
    layout: Layout | None = None,
    bootstrap: Bootstrap | None = None,
) -> Diagnosis:
    """Compare generated rows, one table for every seed, with real ones.

    ``argmax`` are rows of the same generator that decode to the most probable category. Intervals
    are over held-out families (column ``family``) and seeds. Raises DataError on empty tables.
    """
    tables = [generated] if isinstance(generated, pl.DataFrame) else list(generated)
    extra = [] if argmax is None else [argmax]
    t = tally(train, held_out, [*tables, *extra], layout or Layout())
    look = Comparison(t, len(tables), bootstrap or Bootstrap(resamples=200))
    # In this order, since they draw from one stream of random numbers.
    figures = [*look.distinct(), *look.effective(), *look.marginals(), *look.joints()]
    figures += [*look.coverage(), *look.repeats(), *(model.figures() if model else ())]
    counts = {c.name: c.counts(t.train) for c in (t.combination, *t.words)}
    states = {
        n: (int((c > 0).sum()), float((c == 1).sum() / (c > 0).sum())) for n, c in counts.items()
    }
    return Diagnosis(
        rows={
            "train": train.height,
            "held_out": held_out.height,
            "held_out_families": look.groups,
            "sample": look.least,
            "seeds": len(tables),
        },
        states=states,
        figures=tuple(figures),
        findings=findings_of(figures, states, model, t.combination.name, t.left_out),
    )
