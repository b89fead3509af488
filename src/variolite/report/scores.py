"""What methods and metrics are called and coloured, and scores as tables."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from variolite.errors import counted
from variolite.report.formatting import decimals, places_for, plain, unit_after
from variolite.report.page import Block, Paragraph, Table
from variolite.report.style import ACCENT, CATEGORIES, INK, MUTED

if TYPE_CHECKING:
    from variolite.scoring.scorecard import ScoreRow


BASELINES = ("raw", "pca_whitened", "autoencoder", "no_network")
"""The unsupervised methods a VAE is measured against."""
MOST_METRICS, MOST_LINES, MOST_PLACES = 4, 600, 4

_METHODS = {
    "vae": "VAE",
    "raw": "raw inputs",
    "pca_whitened": "whitened PCA",
    "autoencoder": "plain autoencoder",
    "no_network": "logs, no network",
    "supervised": "supervised reference",
    "reference_draw": "draw from the reference",
    "random_decoration": "random decoration of prototypes",
    "source": "source design",
}
_METHOD_COLOURS = {
    "vae": ACCENT,
    "raw": CATEGORIES[1],
    "pca_whitened": CATEGORIES[2],
    "autoencoder": CATEGORIES[5],
    "no_network": CATEGORIES[4],
    "supervised": INK,
    "random_coordinates": CATEGORIES[1],
    "template": CATEGORIES[2],
    "fixed_template": CATEGORIES[2],
    "nearest_template": CATEGORIES[4],
    "source": CATEGORIES[5],
}
_ALGORITHMS = {
    "kmeans": "k-means",
    "gmm": "Gaussian mixture",
    "hdbscan": "HDBSCAN",
    "hmm": "HMM along depth",
    "gradient_boosting": "gradient boosting",
    "boosting_with_context": "boosting with context",
}
_TASKS = {
    "clustering": "Clustering",
    "paired": "Paired differences, VAE minus baseline on the same groups and seeds",
    "reconstruction": "Reconstruction",
    "likelihood": "Likelihood, per row",
    "generation": "Generation",
    "health": "Latent health",
}


@dataclass(frozen=True)
class Metric:
    """What a metric is called, whether higher is better (None: neither), if it has a unit."""

    title: str
    short: str
    higher_is_better: bool | None
    has_unit: bool = False

    @property
    def axis(self) -> str:
        """Short name and direction, for an axis."""
        better = {True: ", higher is better", False: ", lower is better", None: ""}
        return self.short + better[self.higher_is_better]


_METRICS = {
    "ari": Metric("adjusted Rand index", "ARI", True),
    "ami": Metric("adjusted mutual information", "AMI", True),
    "v_measure": Metric("V-measure", "V-measure", True),
    "homogeneity": Metric("homogeneity", "homogeneity", True),
    "completeness": Metric("completeness", "completeness", True),
    "accuracy": Metric("majority-map accuracy", "accuracy", True),
    "purity": Metric("purity", "purity", True),
    "macro_f1": Metric("macro-averaged F1", "macro F1", True),
    "silhouette": Metric("silhouette", "silhouette", True),
    "r2": Metric("R²", "R²", True),
    "rmse": Metric("root mean square error", "RMSE", False, has_unit=True),
    "mae": Metric("mean absolute error", "MAE", False, has_unit=True),
    "log_likelihood": Metric("log-likelihood", "log-likelihood", True, has_unit=True),
    "evidence_lower_bound": Metric(
        "evidence lower bound", "evidence lower bound", True, has_unit=True
    ),
    "penalty": Metric("penalty score", "penalty score, 0 at best", True),
    "active_units": Metric("active latent dimensions", "active dimensions", None),
    "total_kl": Metric("total KL divergence", "total KL", None),
}
_DERIVED = {
    "_sd": "{}: standard deviation over splits",
    "_p": "{}: p",
    "_wins": "{}: share of groups won",
}


def method_name(method: str) -> str:
    """Return what a method, or a comparison "A vs B" of two, is called in prose."""
    return " against ".join(_METHODS.get(part, plain(part)) for part in method.split(" vs "))


def method_colour(method: str) -> str:
    """Return the colour a method has in every figure."""
    return _METHOD_COLOURS.get(method, MUTED)


def algorithm_name(algorithm: str) -> str:
    """Return what a clustering or prediction algorithm is called in prose."""
    return _ALGORITHMS.get(algorithm, plain(algorithm))


def task_title(task: str) -> str:
    """Return the heading of a task's scores."""
    return _TASKS.get(task, plain(task))


def metric_of(name: str) -> Metric:
    """Return a metric's wording; one we do not know keeps its own name and no direction."""
    for suffix, wording in _DERIVED.items():
        stem = name.removesuffix(suffix)
        if stem != name and stem in _METRICS:
            derived = wording.format(_METRICS[stem].short)
            return Metric(derived, derived, None)
    return _METRICS.get(name, Metric(plain(name), plain(name), None, has_unit=True))


def is_derived(name: str) -> bool:
    """Return whether a metric only qualifies another: a spread, a p-value or a share of wins."""
    return name.endswith(tuple(_DERIVED))


def with_interval(row: ScoreRow, places: int | None = None) -> str:
    """Write a score with its interval, and its unit where it has one."""
    if places is None:
        places = places_for(row.low, row.high, row.mean)
    unit = unit_after(row.unit) if metric_of(row.metric).has_unit else ""
    if row.metric == "r2" and (row.unit or "").startswith(("ln ", "log", "signed log")):
        unit = f" in {row.unit}"
    value = decimals(row.mean, places)
    if not (math.isfinite(row.low) and math.isfinite(row.high)):
        return f"{value}{unit}" if math.isfinite(row.mean) else value
    return f"{value} ({decimals(row.low, places)} to {decimals(row.high, places)}){unit}"


def interval_wording(rows: Sequence[ScoreRow]) -> str:
    """Say what the whiskers of a figure are."""
    sources = []
    for noun, name in (("held-out group", "n_groups"), ("seed", "seeds")):
        values = sorted({getattr(row, name) for row in rows} - {0})
        if values:
            to = f"{values[0]} to " if len(values) > 1 else ""
            sources.append(to + counted(values[-1], noun))
    over = f" over {' and '.join(sources)}" if sources else ""
    return f"Dots are means, whiskers bootstrap intervals{over}."


_COLUMNS: dict[str, tuple[str, Callable[[str], str]]] = {
    "split": ("split", str),
    "level": ("label level", plain),
    "fit": ("fit", str),
    "rule": ("k chosen by", str),
    "k": ("k", str),
    "clusters": ("clusters", str),
    "rows": ("rows", str),
    "feature": ("input", plain),
    "method": ("method", method_name),
    "algorithm": ("algorithm", algorithm_name),
}
"""What describes a score: heading of its column, and how a value is written."""


def score_table(rows: Sequence[ScoreRow]) -> list[Block]:
    """Return scores as one line per method and set-up and one column per metric.

    A describing column that is the same in every line is left out: the caption says it.
    """
    metrics = list(dict.fromkeys(row.metric for row in rows))
    keys = list(dict.fromkeys(_described(row) for row in rows))
    places: dict[tuple[str, str | None], int] = {}
    for row in rows:
        own = places_for(row.low, row.high, row.mean)
        kind = (row.metric, row.feature)
        places[kind] = min(max(places.get(kind, 0), own), MOST_PLACES)
    cells = {
        (_described(row), row.metric): with_interval(row, places[row.metric, row.feature])
        for row in rows
    }
    shown = [
        index
        for index, name in enumerate(_COLUMNS)
        if name == "method" or len({key[index] for key in keys} - {""}) > 1
    ]
    heads = [head for index, (head, _) in enumerate(_COLUMNS.values()) if index in shown]
    blocks: list[Block] = []
    for start in range(0, len(metrics), MOST_METRICS):
        part = metrics[start : start + MOST_METRICS]
        body = [
            (*(key[index] for index in shown), *(cells.get((key, metric), "") for metric in part))
            for key in keys
            if any((key, metric) in cells for metric in part)
        ]
        head = (*heads, *(metric_of(metric).short for metric in part))
        blocks.append(Table(head, body[:MOST_LINES], numbers_from=len(heads)))
        if len(body) > MOST_LINES:
            more = counted(len(body) - MOST_LINES, "further line")
            remark = f"{more} left out; scorecard.json holds all of them."
            blocks.append(Paragraph(remark, "remark"))
    return blocks


def _described(row: ScoreRow) -> tuple[str, ...]:
    return tuple(
        "" if value is None else write(str(value))
        for name, (_, write) in _COLUMNS.items()
        for value in (getattr(row, name),)
    )
