"""Tables of the lithology benchmark: JSON for programs, Markdown for people."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import product
from pathlib import Path
from typing import Any

from benchmarks.lithology_splits import evaluate_splits
from benchmarks.pages import table, write_page

from variolite.scoring.evaluation import Evaluation, compare
from variolite.scoring.scorecard import Scorecard, ScoreRow

ORDER = ("raw_standardised", "raw", "pca_whitened", "autoencoder")
METRICS = (
    "ari",
    "ari_sd",
    "ami",
    "ami_sd",
    "v_measure",
    "accuracy",
    "accuracy_sd",
    "macro_f1",
    "penalty",
    "silhouette",
)
KEY = (
    *("task", "method", "algorithm", "level", "k", "rule", "rows", "clusters"),
    *("n_groups", "seeds"),
)
"""What distinguishes the rows of one card."""

AGAINST = ("pca_whitened", "raw", "autoencoder")


def write_results(
    stem: Path,
    title: str,
    evaluations: Sequence[Evaluation],
    log: Sequence[str],
    made: Mapping[str, Any],
    *,
    facts: str,
) -> None:
    """Pool the splits, compare the default with the baselines, and write both files."""
    pooled, card = evaluate_splits(evaluations, name=title)
    level = _finest(card)
    rows: list[ScoreRow] = []
    parts = dict.fromkeys(row.rows for row in card.select(method="default", level=level))
    for part, algorithm in product(parts, ("kmeans", "gmm")):
        for k in _ks(card, algorithm):
            wanted = {"algorithm": algorithm, "k": k, "rule": "fixed", "level": level, "rows": part}
            ours = pooled.find(method="default", **wanted)
            for other in AGAINST:
                pair = compare(ours, pooled.find(method=other, **wanted), metrics=("ari", "ami"))
                rows += pair
    paired = Scorecard(tuple(rows))
    kept = Scorecard(tuple(row for row in card.rows if row.metric in METRICS), card.notes)
    lines = [
        f"{facts}. Label level `{level}`. ARI ± standard deviation over splits (AMI); "
        "'silhouette' (k-means) and 'BIC' (mixture) are the k chosen by that rule without labels, "
        "'oracle' is the best k by the held-out labels, not attainable in use.",
        "",
        *(line for part in parts for line in _section(card, paired, level, part)),
        "## Training",
        "",
        *(f"- {line}" for line in log),
    ]
    write_page(stem, title, lines, values_of_card(kept.merge(paired)), made)


def values_of_card(card: Scorecard) -> dict[str, Any]:
    """Return mean, low and high of every metric, those of one clustering in one record."""
    records: dict[tuple[Any, ...], dict[str, Any]] = {}
    for row in card.rows:
        key = {name: value for name in KEY if (value := getattr(row, name)) is not None}
        values = [row.mean] if row.low != row.low else [row.mean, row.low, row.high]
        records.setdefault(tuple(key.items()), key)[row.metric] = values
    return {"rows": list(records.values()), "notes": list(card.notes)}


def _section(card: Scorecard, paired: Scorecard, level: str, part: str | None) -> list[str]:
    """Return the tables of one part of the held-out rows."""
    name = {"all": "All rows", "complete": "Complete rows", "with gaps": "Rows with gaps"}
    own = Scorecard(card.select(rows=part))
    return [
        f"## {name.get(part or '', 'Scores')}",
        "",
        *_main_table(own, level),
        "",
        *_supervised_table(own, level),
        "",
        "corelogs/default minus the baselines: ARI and AMI with a 95 % interval from resampling "
        "wells and seeds; p from sign flips over wells, seeds averaged. The p leaves out the "
        "spread over seeds, so that a difference counts only where interval and p agree.",
        "",
        *_paired_table(Scorecard(paired.select(rows=part))),
        "",
    ]


def _finest(card: Scorecard) -> str:
    """Return the first level: the labels as written, or their names."""
    return next(row.level for row in card.rows if row.level is not None)


def _ks(card: Scorecard, algorithm: str) -> list[int]:
    found = {row.k for row in card.select(algorithm=algorithm, rule="fixed")}
    return sorted(k for k in found if k is not None)


def _main_table(card: Scorecard, level: str) -> list[str]:
    columns = [(a, k, "fixed") for a in ("kmeans", "gmm") for k in _ks(card, a)]
    columns += [("kmeans", None, "silhouette"), ("gmm", None, "bic"), ("kmeans", None, "oracle")]
    short = {"kmeans": "KM", "gmm": "GMM"}
    heads = [f"{short[a]} {k or rule}" for a, k, rule in columns]
    lines = []
    methods = dict.fromkeys(row.method for row in card.rows if row.method != "supervised")
    ordered = [m for m in ORDER if m in methods] + [m for m in methods if m not in ORDER]
    for method in ordered:
        cells = []
        for algorithm, k, rule in columns:
            found = card.select(method=method, algorithm=algorithm, rule=rule, level=level)
            values = {r.metric: r.mean for r in found if k is None or r.k == k}
            cells.append(_cell(values))
        name = method if method in ORDER else f"corelogs/{method}"
        lines.append([name, *cells])
    return table(["method", *heads], lines)


def _supervised_table(card: Scorecard, level: str) -> list[str]:
    """Return one line per classifier, and one for that which validation wells chose."""
    lines = []
    every = card.select(method="supervised", level=level)
    for algorithm in dict.fromkeys(row.algorithm for row in every):
        found = {r.metric: r.mean for r in every if r.algorithm == algorithm}
        accuracy = f"{found['accuracy']:.3f} ± {found['accuracy_sd']:.3f}"
        name = "chosen on validation wells" if algorithm == "chosen" else str(algorithm)
        lines.append([name, _cell(found), accuracy, f"{found['macro_f1']:.3f}"])
    return table(["supervised", "ARI (AMI)", "accuracy", "macro-F1"], lines)


def _cell(values: dict[str, float]) -> str:
    if "ari" not in values:
        return "-"
    spread = f" ± {values['ari_sd']:.3f}" if "ari_sd" in values else ""
    return f"{values['ari']:.3f}{spread} ({values['ami']:.3f})"


def _paired_table(paired: Scorecard) -> list[str]:
    lines = []
    keys = dict.fromkeys((row.method, row.algorithm, row.k) for row in paired.rows)
    for method, algorithm, k in keys:
        found = {r.metric: r for r in paired.select(method=method, algorithm=algorithm, k=k)}
        cells = []
        for metric in ("ari", "ami"):
            row = found[metric]
            cells.append(f"{row.mean:+.3f} [{row.low:+.3f}, {row.high:+.3f}]")
            cells.append(f"{found[f'{metric}_p'].mean:.2f}")
        lines.append([f"{method}, {algorithm} {k}", *cells])
    return table(["comparison", "ARI", "p", "AMI", "p"], lines)
