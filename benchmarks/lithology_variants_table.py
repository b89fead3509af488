"""The page of the variants: scores of every recipe, and paired differences of two."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from benchmarks.lithology_splits import evaluate_splits
from benchmarks.pages import origin, table, write_page

from variolite.scoring.evaluation import Entry, Evaluation, compare
from variolite.scoring.intervals import Bootstrap

SWITCHES = (
    ("colour beside the physical logs", "v2", "v1"),
    ("distribution-aware scaling", "v2_1", "v2"),
    ("noise .25 for .5 (beta .5 for 1)", "v2_5", "v2_1"),
    ("annealing", "v2_6", "v2_5"),
    ("annealing that ends at a third of beta", "v2_6, beta to .32", "v2_6"),
    ("noise .08 and no annealing for that", "v2_5, noise .08", "v2_6, beta to .32"),
    ("4 latents for 8", "v2_6, 4 latents", "v2_6"),
    ("10 latents for 8", "v2_6_6", "v2_6"),
    ("16 latents for 8", "v2_6, 16 latents", "v2_6"),
    ("no normalisation", "v2_6_7", "v2_6_6"),
    ("late fusion for early", "v3", "v2_1"),
    ("pre-trained encoders, fused late", "v2_6_4", "v2_6"),
    ("transfer from the physical logs", "v2_6_2", "v2_6"),
    ("colour alone", "v2_6_3", "v2_6"),
    ("reflectance and point susceptibility for colour", "v2_6_1", "v2_6"),
    ("depth context", "v2_2", "v2_1"),
    ("learned mixture prior, v2.4", "v2_4", "v2_1"),
    ("learned mixture prior, v2.7", "v2_7", "v2_6"),
    ("contrastive term", "v2_8", "v2_1"),
    ("VampPrior", "v2_10", "v2_6"),
    ("masking groups of logs", "v2_11a", "v2_6"),
    ("masking single values", "v2_11b", "v2_6"),
    ("masking by hole", "v2_11c", "v2_6"),
    ("a decoder per log", "v2_13", "v2_6_7"),
    ("guidance by labels", "v2_14", "v2_6_7"),
    ("shift of each well", "default", "default, no shift"),
    ("samples beside the tracks", "v2_7_mad", "v2_6_7"),
    ("samples alone", "mad_legacy", "v2_1"),
)
"""What is switched, the method with it, and that without."""

BASELINES = ("raw", "pca_whitened", "autoencoder", "supervised")
AGAINST_PCA = "whitened PCA"
BOOTSTRAP = Bootstrap(resamples=400)


def part_of(
    scored: Mapping[str, Sequence[tuple[Evaluation, Mapping[str, Any]]]], title: str
) -> dict[str, Any]:
    """Pool the splits of every method, and compare the methods of every switch.

    ``scored`` has, per method, evaluation and facts of every split.
    """
    pooled = {}
    methods = []
    for method, splits in scored.items():
        evaluations = [_finest(evaluation) for evaluation, _ in splits]
        whole, card = evaluate_splits(evaluations, name=title, bootstrap=BOOTSTRAP)
        pooled[method] = whole
        facts = [facts for _, facts in splits]
        record: dict[str, Any] = {"method": method, "columns": facts[0]["columns"]}
        for name in ("latents", "seconds", "active", "epochs"):
            if name in facts[0]:
                record[name] = float(np.mean([fact[name] for fact in facts]))
        scores: dict[tuple[Any, ...], dict[str, Any]] = {}
        for row in card.rows:
            names = ("task", "algorithm", "k", "rule", "level", "feature")
            key = {n: value for n in names if (value := getattr(row, n)) is not None}
            values = [row.mean] if row.low != row.low else [row.mean, row.low, row.high]
            scores.setdefault(tuple(key.items()), key)[row.metric] = values
        methods.append(record | {"scores": list(scores.values())})
    pairs = [(name, first, less) for name, first, less in SWITCHES if {first, less} <= {*pooled}]
    pairs += [(AGAINST_PCA, m, "pca_whitened") for m in pooled if "pca_whitened" in pooled]
    paired = []
    for switch, first, less in pairs:
        if first == less or "supervised" in (first, less):
            continue
        columns = (scored[name][0][1]["columns"] for name in (first, less))
        for one, other in _common(
            pooled[first], pooled[less], alike=len({*map(tuple, columns)}) == 1
        ):
            metrics = [m for m in ("ari", "ami", "evidence", "r2") if m in one.scored.metrics]
            if switch == AGAINST_PCA and one.key.algorithm != "kmeans":
                continue
            record = {"switch": switch, "method": first, "less": less}
            record |= {n: v for n in ("algorithm", "k", "feature") if (v := getattr(one.key, n))}
            for row in compare(one, other, metrics=metrics, bootstrap=BOOTSTRAP):
                if row.metric in metrics:
                    record[row.metric] = [row.mean, row.low, row.high]
                elif row.metric.endswith("_p"):
                    record[row.metric] = row.mean
            paired.append(record)
    levels = [
        score["level"] for method in methods for score in method["scores"] if "level" in score
    ]
    return {"level": levels[0], "methods": methods, "paired": paired}


def _finest(evaluation: Evaluation) -> Evaluation:
    """Keep the scores at the first level of the labels, and those without labels."""
    levels = [e.key.level for e in evaluation.entries if e.key.level is not None]
    kept = [e for e in evaluation.entries if e.key.level in (None, *levels[:1])]
    wanted = [e for e in kept if e.scored.metrics != ("silhouette",)]
    return Evaluation(tuple(wanted), evaluation.notes)


def _common(first: Evaluation, less: Evaluation, *, alike: bool) -> list[tuple[Entry, Entry]]:
    """Pair what both were scored on: fixed k, factors, and evidence where the logs are alike."""
    names = ("task", "algorithm", "k", "rule", "level", "feature")
    others = {tuple(getattr(e.key, n) for n in names): e for e in less.entries}
    found = []
    for entry in first.entries:
        other = others.get(tuple(getattr(entry.key, n) for n in names))
        if other is None or entry.key.rule not in (None, "fixed"):
            continue
        if entry.key.task == "likelihood" and not alike:
            continue
        found.append((entry, other))
    return found


def write_variants(stem: Path, name: str, part: Mapping[str, Any]) -> None:
    """Put the part of one data set into the page, beside those of the others."""
    path = stem.with_suffix(".json")
    content = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    order = ("force", "kgs", "simulated", "samples")
    content = {
        key: part if key == name else content[key] for key in order if key in {*content, name}
    }
    lines = [line for found in content.values() for line in _section(found)]
    write_page(stem, "Every recipe for boreholes, and what each switch changes", lines, content)


def _section(part: Mapping[str, Any]) -> list[str]:
    fixed = [("kmeans", k) for k in part["ks"]] + [("gmm", k) for k in part["ks"]]
    factors = dict.fromkeys(
        score["feature"] for m in part["methods"] for score in m["scores"] if "feature" in score
    )
    short = {"kmeans": "KM", "gmm": "GMM"}
    heads = [*(f"{short[a]} {k}" for a, k in fixed), "k by the rule", "evidence", "active", "s"]
    recovery = ["R² of factors"] if factors else []
    rows = [
        [
            _name(method["method"]),
            str(len(method["columns"])),
            *(_agreement(_score(method, algorithm=a, k=k, rule="fixed")) for a, k in fixed),
            _agreement(_ruled(method)),
            _interval(_score(method, task="likelihood").get("evidence"), digits=2),
            _number(method.get("active"), 1),
            _number(method.get("seconds"), 0),
            *([_recovered(method, list(factors))] if factors else []),
        ]
        for method in part["methods"]
        if method["method"] != "supervised"
    ]
    supervised = [
        f"Boosting on the labels, the same logs row by row: {_agreement(_score(m))}."
        for m in part["methods"]
        if m["method"] == "supervised"
    ]
    return [
        f"## {part['title']}",
        "",
        origin(part["made"]),
        "",
        f"{part['facts']} Label level `{part['level']}`. ARI (AMI): KM k-means, GMM mixtures with "
        "full covariance, each with two fixed k; then the algorithm of the recipe with the k that "
        "its rule chose without labels. Evidence is the lower bound of the log-likelihood of "
        "held-out rows, nats per row in original units, of the same logs only; active are latent "
        "dimensions with a KL above .01 nats; s are CPU-seconds of training, three seeds together.",
        "",
        *table(["method", "logs", *heads, *recovery], rows),
        "",
        *supervised,
        "",
        "### What each switch changes",
        "",
        "First less second method on the same rows and seeds, with a 95 % interval from "
        "resampling wells and seeds; bold where it excludes zero.",
        "",
        *_paired(part, fixed, bool(factors)),
        "",
        "### Less whitened principal components",
        "",
        *_against_pca(part, fixed),
        "",
    ]


def _name(method: str) -> str:
    return method if method in BASELINES else f"`{method}`"


def _score(method: Mapping[str, Any], **wanted: Any) -> dict[str, Any]:
    """Return the first score of a method that has the values wanted, or an empty one."""
    found = (s for s in method["scores"] if wanted.items() <= s.items())
    return dict(next(found, {}))


def _ruled(method: Mapping[str, Any]) -> dict[str, Any]:
    """Return the score of the clusters that the recipe asks for."""
    chosen = (
        s
        for s in method["scores"]
        if s.get("algorithm") == "prior" or s.get("rule") not in (None, "fixed")
    )
    return next(chosen, {})


def _agreement(score: Mapping[str, Any]) -> str:
    if "ari" not in score:
        return "-"
    spread = f" ± {score['ari_sd'][0]:.3f}" if "ari_sd" in score else ""
    return f"{score['ari'][0]:.3f}{spread} ({score['ami'][0]:.3f})"


def _number(value: float | None, digits: int) -> str:
    return "-" if value is None else f"{value:.{digits}f}"


def _interval(values: Sequence[float] | None, digits: int = 3, sign: str = "") -> str:
    """Write a value with its interval, bold where it is signed and the interval excludes zero."""
    if not values:
        return "-"
    mean, *ends = values
    text = f"{mean:{sign}.{digits}f}"
    if len(ends) == 2 and None not in ends:
        text += f" [{ends[0]:{sign}.{digits}f}, {ends[1]:{sign}.{digits}f}]"
        text = f"**{text}**" if sign and ends[0] * ends[1] > 0 else text
    return text


def _recovered(method: Mapping[str, Any], factors: Sequence[str]) -> str:
    values = [_score(method, feature=f)["r2"][0] for f in factors]
    return ", ".join(f"{value:.2f}" for value in values)


def _paired(part: Mapping[str, Any], fixed: Sequence[tuple[str, int]], recovery: bool) -> list[str]:
    head = ["switch", "methods", "clusters", "ARI", "AMI", "evidence"]
    rows = []
    for switch, first, less in SWITCHES:
        own = [r for r in part["paired"] if (r["switch"], r["method"]) == (switch, first)]
        evidence = next((r["evidence"] for r in own if "evidence" in r), None)
        for algorithm, k in fixed:
            for r in own:
                if (r.get("algorithm"), r.get("k")) == (algorithm, k):
                    top = (algorithm, k) == fixed[0]
                    both = [switch, f"`{first}` less `{less}`"] if top else ["", ""]
                    bound = _interval(evidence, 2, "+") if top else ""
                    values = [_interval(r[metric], sign="+") for metric in ("ari", "ami")]
                    rows.append([*both, f"{algorithm} {k}", *values, bound])
        for r in own if recovery else ():
            if "r2" in r:
                r2 = f"R² {_interval(r['r2'], sign='+')}"
                rows.append(["", "", r["feature"].removeprefix("true_"), r2, "", ""])
    return table(head, rows)


def _against_pca(part: Mapping[str, Any], fixed: Sequence[tuple[str, int]]) -> list[str]:
    shown = [pair for pair in fixed if pair[0] == "kmeans"]
    heads = [f"{metric.upper()}, k-means {k}" for _, k in shown for metric in ("ari", "ami")]
    lines = []
    for method in (m["method"] for m in part["methods"]):
        own = [r for r in part["paired"] if (r["switch"], r["method"]) == (AGAINST_PCA, method)]
        cells = [
            _interval(r[metric], sign="+")
            for algorithm, k in shown
            for r in own
            if (r.get("algorithm"), r.get("k")) == (algorithm, k)
            for metric in ("ari", "ami")
        ]
        if cells:
            lines.append([_name(method), *cells])
    return table(["method", *heads], lines)
