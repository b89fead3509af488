"""What a run says in three plain sentences, and the set-up that they are about."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from variolite.report.contents import KeptClustering
from variolite.report.held_out import HeldOut
from variolite.report.lettering import plain
from variolite.report.wording import (
    BASELINES,
    algorithm_name,
    counted,
    method_name,
    metric_of,
    with_interval,
)
from variolite.scoring.scorecard import Scorecard, ScoreRow

__all__ = ["Setup", "comparable_rows", "headline", "main_setup", "verdict"]

HEADLINE_METRICS = ("ari", "ami")
SIGNIFICANT = 0.05
_INTRODUCED = {
    "ari": "adjusted Rand index (ARI, 0 by chance, 1 perfect)",
    "ami": "adjusted mutual information (AMI)",
}
_UNSUPERVISED_RULES = ("stability", "silhouette", "bic")


@dataclass(frozen=True)
class Setup:
    """What has to be equal for two clustering scores to be set side by side."""

    split: str
    level: str | None
    fit: str | None
    rule: str | None
    k: int | None
    algorithm: str | None

    def describe(self, *further: str) -> str:
        """Say the set-up in words: algorithm, k, how k was chosen, and anything further."""
        algorithm = algorithm_name(self.algorithm) if self.algorithm else "clustering"
        chosen = _RULES.get(self.rule or "", f"by {plain(self.rule)}" if self.rule else "")
        number = f"k = {self.k}" if self.k is not None else ""
        inner = ", ".join(part for part in (number, chosen, *further) if part)
        return f"{algorithm} ({inner})" if inner else algorithm


_RULES = {
    "fixed": "fixed beforehand",
    "bic": "chosen by BIC",
    "silhouette": "chosen by silhouette",
    "stability": "chosen by stability",
    "oracle": "chosen with the labels: an oracle",
}


def main_setup(
    scorecard: Scorecard, held_out: HeldOut | None, recipe: Mapping[str, object] | None = None
) -> Setup | None:
    """Choose the VAE's clustering set-up that the page is about.

    Scores fitted on training groups come first, never an oracle if anything
    else is there; then the algorithm and rule that the recipe asks for; then
    the set-up whose k is the number of clusters in ``held_out.parquet``; then
    a k chosen without labels; then the order of the file.
    """
    clusters = len(held_out.clusters) if held_out and held_out.clusters else None
    level = held_out.level if held_out else None
    rows = [row for row in scorecard.rows if row.task == "clustering" and row.method == "vae"]
    if not rows:
        return None
    asked = (recipe or {}).get("clustering")
    wanted = asked if isinstance(asked, Mapping) else {}
    best = min(
        rows,
        key=lambda row: (
            row.fit == "transductive",
            row.rule == "oracle",
            level is not None and row.level != level,
            "algorithm" in wanted and row.algorithm != wanted["algorithm"],
            "rule" in wanted and row.rule != wanted["rule"],
            row.k != clusters,
            row.rule not in _UNSUPERVISED_RULES,
        ),
    )
    return Setup(best.split, best.level, best.fit, best.rule, best.k, best.algorithm)


def comparable_rows(
    scorecard: Scorecard, setup: Setup, *, any_algorithm: bool = False
) -> list[ScoreRow]:
    """Return the clustering rows of every method under one set-up.

    A rule that chooses k may give every method its own k, so k must be equal
    only where it was fixed. Rows without a rule (the supervised reference)
    always belong.
    """
    return [
        row
        for row in scorecard.rows
        if row.task == "clustering"
        and row.split == setup.split
        and row.level == setup.level
        and (row.rule is None or row.fit == setup.fit)
        and (row.rule is None or row.rule == setup.rule)
        and (row.rule != "fixed" or row.k == setup.k)
        and (any_algorithm or row.rule is None or row.algorithm == setup.algorithm)
    ]


def headline(
    scorecard: Scorecard | None,
    held_out: HeldOut | None,
    setup: Setup | None,
    kept: KeptClustering | None = None,
) -> list[str]:
    """Say in three paragraphs what was clustered, how well, and whether that beats a baseline.

    ``kept`` is the clustering stored in the run; where it is not the scored
    one, the first paragraph says so.
    """
    if scorecard is None:
        return ["The run has not been scored yet, so nothing is claimed about it."]
    if setup is None:
        return ["No clustering of this run has been scored, so nothing is claimed about it."]
    rows = comparable_rows(scorecard, setup)
    sentences = [_found(setup, held_out, kept), _agreement(rows, setup)]
    sentences.append(verdict(scorecard, setup))
    return [sentence for sentence in sentences if sentence]


def verdict(scorecard: Scorecard, setup: Setup) -> str:
    """Say in which headline metrics the VAE differs clearly from the best unsupervised baseline."""
    rows = comparable_rows(scorecard, setup)
    parts: list[str] = []
    for metric in HEADLINE_METRICS:
        own = _of(rows, "vae", metric)
        rivals = [
            row
            for row in rows
            if row.method in BASELINES and row.metric == metric and math.isfinite(row.mean)
        ]
        if own is not None and rivals:
            best = max(rivals, key=lambda row: row.mean)
            paired = _paired(scorecard, setup, metric, best.method)
            p_value = _paired(scorecard, setup, f"{metric}_p", best.method)
            parts.append(_compared(own, best, paired, p_value))
    if not parts:
        return "No baseline was scored in the same way, so it is open whether the VAE helps."
    return " ".join(parts)


def _compared(
    own: ScoreRow, best: ScoreRow, paired: ScoreRow | None, p_value: ScoreRow | None
) -> str:
    """Say how the VAE stands to one baseline in one metric."""
    rival = (
        f"In {metric_of(own.metric).short} the best baseline is {method_name(best.method)} with "
        f"{with_interval(best)}"
    )
    if paired is None or not (math.isfinite(paired.low) and math.isfinite(paired.high)):
        overlap = own.low <= best.high and best.low <= own.high
        seen = "overlap" if overlap else "do not overlap"
        return f"{rival}; the intervals {seen}, and no paired difference was scored."
    return f"{rival}; VAE minus baseline is {with_interval(paired)}, {_judgement(paired, p_value)}."


def _judgement(paired: ScoreRow, p_value: ScoreRow | None) -> str:
    """Call a difference clear only where the interval and, if there is one, the test agree."""
    if paired.low <= 0 <= paired.high:
        return "not a clear difference"
    if p_value is not None and p_value.mean > SIGNIFICANT:
        side = "above" if paired.low > 0 else "below"
        groups = counted(paired.n_groups, "group")
        return f"{side} zero, but with p = {p_value.mean:.2g} over {groups} not clear"
    return f"so the VAE is clearly {'better' if paired.low > 0 else 'worse'}"


def _found(setup: Setup, held_out: HeldOut | None, kept: KeptClustering | None) -> str:
    where = "the held-out rows" if held_out is None else held_out.extent
    fitted = {
        "inductive": "fitted on training groups only",
        "transductive": "fitted on the very rows it is scored on",
    }.get(setup.fit or "", "")
    how = setup.describe(fitted)
    drawn = held_out.clusters if held_out is not None else None
    if kept is not None and (kept.algorithm, kept.k) != (setup.algorithm, setup.k or kept.k):
        return (
            f"The clusters that the run keeps, and that are drawn below, are {kept.k} of "
            f"{algorithm_name(kept.algorithm)}; the scores are those of {how} on the VAE's latent "
            f"means of {where}."
        )
    number = len(drawn) if drawn is not None else setup.k
    found = "clusters" if number is None else counted(number, "cluster")
    return f"On the VAE's latent means, {how} found {found} in {where}."


def _agreement(rows: list[ScoreRow], setup: Setup) -> str:
    parts = [
        f"{_INTRODUCED[name]} of {with_interval(row)}"
        for name in HEADLINE_METRICS
        if (row := _of(rows, "vae", name)) is not None
    ]
    if not parts:
        return ""
    level = f" “{plain(setup.level)}”" if setup.level else ""
    note = " (k was chosen with the labels, so this is an upper bound)"
    sentence = f"The scored clusters agree with the label{level} at an {' and an '.join(parts)}"
    reference = _of(rows, "supervised", "ari") or _of(rows, "supervised", "ami")
    ceiling = (
        f"; a supervised reference reaches {metric_of(reference.metric).short} "
        f"{with_interval(reference)}"
        if reference
        else ""
    )
    return f"{sentence}{note if setup.rule == 'oracle' else ''}{ceiling}."


def _of(rows: list[ScoreRow], method: str, metric: str) -> ScoreRow | None:
    return next((row for row in rows if row.method == method and row.metric == metric), None)


def _paired(scorecard: Scorecard, setup: Setup, metric: str, baseline: str) -> ScoreRow | None:
    """Find the paired difference against one baseline; None entries are those that differed."""
    for row in scorecard.rows:
        if (
            row.task == "paired"
            and row.metric == metric
            and row.method == f"vae vs {baseline}"
            and row.split == setup.split
            and row.level in (None, setup.level)
            and row.fit in (None, setup.fit)
            and row.rule in (None, setup.rule)
            and row.k in (None, setup.k)
            and row.algorithm in (None, setup.algorithm)
        ):
            return row
    return None
