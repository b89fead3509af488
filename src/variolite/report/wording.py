"""How methods, metrics and intervals are called and coloured wherever they appear on the page."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from variolite.report.lettering import decimals, plain
from variolite.report.palette import ACCENT, CATEGORIES, INK, MUTED
from variolite.scoring.scorecard import ScoreRow

__all__ = [
    "BASELINES",
    "Metric",
    "algorithm_name",
    "counted",
    "interval_wording",
    "is_derived",
    "listed",
    "method_colour",
    "method_name",
    "metric_of",
    "percent",
    "places_for",
    "unit_after",
    "with_interval",
]

BASELINES = ("raw", "pca_whitened", "autoencoder")
"""The unsupervised methods a VAE is measured against."""

_METHODS = {
    "vae": "VAE",
    "raw": "raw inputs",
    "pca_whitened": "whitened PCA",
    "autoencoder": "plain autoencoder",
    "supervised": "supervised reference",
    "reference_draw": "draw from the reference",
    "source": "source design",
}
_METHOD_COLOURS = {
    "vae": ACCENT,
    "raw": CATEGORIES[1],
    "pca_whitened": CATEGORIES[2],
    "autoencoder": CATEGORIES[5],
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
    "gradient_boosting": "gradient boosting",
}


@dataclass(frozen=True)
class Metric:
    """What a metric is called, whether higher is better (None: neither), if it has a unit."""

    title: str
    short: str
    higher_is_better: bool | None
    has_unit: bool = False


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


def places_for(low: float, high: float, mean: float) -> int:
    """Return decimals that give an interval about two significant digits of its half-width."""
    width = (high - low) / 2
    if not (math.isfinite(width) and width > 0):
        width = abs(mean) / 10 if math.isfinite(mean) and mean != 0 else 0.1
    return min(max(1 - math.floor(math.log10(width)), 0), 6)


def with_interval(row: ScoreRow, places: int | None = None) -> str:
    """Write a score with its interval, and its unit where it has one."""
    if places is None:
        places = places_for(row.low, row.high, row.mean)
    unit = unit_after(row.unit) if metric_of(row.metric).has_unit else ""
    value = decimals(row.mean, places)
    if not (math.isfinite(row.low) and math.isfinite(row.high)):
        return f"{value}{unit}" if math.isfinite(row.mean) else value
    return f"{value} ({decimals(row.low, places)} to {decimals(row.high, places)}){unit}"


def percent(share: float) -> str:
    """Write a share as a whole per cent, and what would round to nothing as "<1%"."""
    return "<1%" if 0 < share < 0.005 else f"{share:.0%}"


def unit_after(unit: str | None) -> str:
    """Return a unit to stand after a number; one that begins with a digit goes in brackets."""
    if not unit:
        return ""
    if unit == "°":
        return unit
    return f" ({unit})" if unit[0].isdigit() else f" {unit}"


def counted(count: int, singular: str, plural: str | None = None) -> str:
    """Write a count with its noun in the right number."""
    return f"{count:,} {singular if count == 1 else plural or singular + 's'}"


def listed(names: tuple[str, ...] | list[str]) -> str:
    """Join names with commas and a last "and"."""
    if len(names) < 2:
        return "".join(names)
    return f"{', '.join(names[:-1])} and {names[-1]}"


def interval_wording(rows: Sequence[ScoreRow]) -> str:
    """Say what the whiskers of a figure are."""
    groups = sorted({row.n_groups for row in rows if row.n_groups})
    seeds = sorted({row.seeds for row in rows if row.seeds})
    sources = [
        f"{_span(values)} {noun}{'' if values == [1] else 's'}"
        for values, noun in ((groups, "held-out group"), (seeds, "seed"))
        if values
    ]
    over = f" over {' and '.join(sources)}" if sources else ""
    return f"Dots are means, whiskers bootstrap intervals{over}."


def _span(values: list[int]) -> str:
    return str(values[0]) if len(values) == 1 else f"{values[0]} to {values[-1]}"
