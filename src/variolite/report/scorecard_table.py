"""Scores as tables: one line per method and set-up, one column per metric."""

from __future__ import annotations

from collections.abc import Sequence

from variolite.report.blocks import fold, table
from variolite.report.lettering import plain
from variolite.report.markup import Markup, element, join
from variolite.report.wording import (
    algorithm_name,
    counted,
    method_name,
    metric_of,
    places_for,
    with_interval,
)
from variolite.scoring.scorecard import Scorecard, ScoreRow

__all__ = ["every_score", "score_table", "task_title"]

MOST_METRICS = 4
MOST_LINES = 600
MOST_PLACES = 4

_TASKS = {
    "clustering": "Clustering",
    "paired": "Paired differences, VAE minus baseline on the same groups and seeds",
    "reconstruction": "Reconstruction",
    "likelihood": "Likelihood, per row",
    "generation": "Generation",
    "health": "Latent health",
}
_DESCRIBING = ("split", "level", "fit", "rule", "k", "feature", "method", "algorithm")
_HEADS = {
    "split": "split",
    "level": "label level",
    "fit": "fit",
    "rule": "k chosen by",
    "k": "k",
    "feature": "input",
    "method": "method",
    "algorithm": "algorithm",
}
_WRITTEN = {"method": method_name, "algorithm": algorithm_name, "feature": plain, "level": plain}


def score_table(rows: Sequence[ScoreRow]) -> Markup:
    """Return scores as one line per method and set-up and one column per metric.

    A describing column that is the same in every line is left out, as it
    belongs to the caption.
    """
    metrics = list(dict.fromkeys(row.metric for row in rows))
    keys = list(dict.fromkeys(_key(row) for row in rows))
    places: dict[tuple[str, str | None], int] = {}
    for row in rows:
        own = places_for(row.low, row.high, row.mean)
        kind = (row.metric, row.feature)
        places[kind] = min(max(places.get(kind, 0), own), MOST_PLACES)
    cells = {
        (_key(row), row.metric): with_interval(row, places[row.metric, row.feature]) for row in rows
    }
    shown = [
        index
        for index, name in enumerate(_DESCRIBING)
        if name == "method" or len({key[index] for key in keys} - {""}) > 1
    ]
    heads = [_HEADS[_DESCRIBING[index]] for index in shown]
    tables = []
    for start in range(0, len(metrics), MOST_METRICS):
        part = metrics[start : start + MOST_METRICS]
        body = [
            (
                *(key[index] for index in shown),
                *(cells.get((key, metric), "") for metric in part),
            )
            for key in keys
            if any((key, metric) in cells for metric in part)
        ]
        tables.append(
            table(
                (*heads, *(metric_of(metric).short for metric in part)),
                body[:MOST_LINES],
                numbers_from=len(heads),
            )
        )
        if len(body) > MOST_LINES:
            tables.append(
                element(
                    "p",
                    f"{counted(len(body) - MOST_LINES, 'further line')} left out; "
                    "scorecard.json holds all of them.",
                    class_="remark",
                )
            )
    return join(tables)


def task_title(task: str) -> str:
    """Return the heading of a task's scores."""
    return _TASKS.get(task, plain(task))


def every_score(scorecard: Scorecard) -> Markup:
    """Return all rows of the scorecard by task, folded away."""
    parts: list[Markup] = []
    for task in dict.fromkeys(row.task for row in scorecard.rows):
        rows = [row for row in scorecard.rows if row.task == task]
        parts.append(element("h4", task_title(task)))
        parts.append(score_table(rows))
    return fold(
        f"All {counted(len(scorecard.rows), 'score')} of scorecard.json", *parts, kind="screen"
    )


def _key(row: ScoreRow) -> tuple[str, ...]:
    return tuple(
        "" if value is None else _WRITTEN.get(name, str)(str(value))
        for name in _DESCRIBING
        for value in (getattr(row, name),)
    )
