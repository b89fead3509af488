"""The page of a run on tables or boreholes: what it says, its scores, and all its figures."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace

import polars as pl

from variolite.corelogs.held_out_rows import HeldOut, held_out_of
from variolite.corelogs.report.cluster_figures import (
    contingency_section,
    latent_section,
    profiles_section,
)
from variolite.corelogs.report.model_figures import (
    health_section,
    parity_figure,
    reconstruction_scores,
)
from variolite.corelogs.report.strip_log import strip_log_section
from variolite.errors import counted
from variolite.report import figures, scores
from variolite.report.formatting import plain
from variolite.report.page import (
    Block,
    Bullets,
    Figure,
    Fold,
    Heading,
    Paragraph,
    Section,
    missing,
    render_page,
)
from variolite.report.run_sections import about_run, provenance_section, training_section
from variolite.report.style import WIDTH, figure_style, to_svg
from variolite.scoring.health import Health
from variolite.scoring.scorecard import Scorecard, ScoreRow, caution_of
from variolite.training.run_folder import Clustering, RunFiles


def table_page(files: RunFiles) -> str:
    """Return the whole page of a run as HTML.

    Parts that are not there yet, such as scores or held-out rows, are named as missing.
    """
    run = files.run
    scorecard = run.read(run.scorecard_file, Scorecard.read)
    health = run.health(Health)
    held_out = held_out_of(files, scorecard)
    setup = main_setup(scorecard, held_out, files.recipe) if scorecard else None
    with figure_style():
        sections = (
            scorecard_section(scorecard, setup),
            strip_log_section(held_out),
            contingency_section(held_out),
            profiles_section(held_out, run.read(run.cluster_table_file, pl.read_csv)),
            latent_section(held_out),
            reconstruction_section(scorecard, held_out),
            health_section(health),
            training_section(files.history, files.provenance, files.members),
            provenance_section(files),
        )
    return render_page(
        files.name,
        about_run(files),
        headline(scorecard, held_out, setup, files.clustering),
        sections,
        simulated=files.simulated,
    )


# What the run says, and the set-up that it is about

HEADLINE_METRICS = ("ari", "ami")
SIGNIFICANT = 0.05
_INTRODUCED = {
    "ari": "adjusted Rand index (ARI, 0 by chance, 1 perfect)",
    "ami": "adjusted mutual information (AMI)",
}
_CRITERIA = ("BIC", "silhouette", "stability")
_UNSUPERVISED_RULES = {name.lower(): f"chosen by {name}" for name in _CRITERIA}
_RULES = _UNSUPERVISED_RULES | {
    "fixed": "fixed beforehand",
    "oracle": "chosen with the labels: an oracle",
}


def main_setup(
    scorecard: Scorecard, held_out: HeldOut | None, recipe: Mapping[str, object] | None = None
) -> ScoreRow | None:
    """Choose the clustering score of the VAE whose set-up the page is about.

    Scores fitted on training groups come first, never an oracle if anything else is there; then
    the algorithm and rule that the recipe asks for; then the number of clusters in
    ``held_out.parquet``; then a k chosen without labels; then the order of the file.
    """
    clusters = len(held_out.clusters) if held_out and held_out.clusters else None
    level = held_out.level if held_out else None
    asked = (recipe or {}).get("clustering")
    wanted = asked if isinstance(asked, Mapping) else {}
    rows = [row for row in scorecard.rows if (row.task, row.method) == ("clustering", "vae")]
    return min(
        rows,
        key=lambda row: (
            row.fit == "transductive",
            row.rows not in ("all", None),
            row.rule == "oracle",
            level is not None and row.level != level,
            row.algorithm != wanted.get("algorithm", row.algorithm),
            row.rule != wanted.get("rule", row.rule),
            row.k != clusters,
            row.rule not in _UNSUPERVISED_RULES,
        ),
        default=None,
    )


def _described(setup: ScoreRow, *further: str) -> str:
    """Say a set-up in words: algorithm, k, how k was chosen, and anything further."""
    algorithm = scores.algorithm_name(setup.algorithm) if setup.algorithm else "clustering"
    chosen = _RULES.get(setup.rule or "", f"by {plain(setup.rule)}" if setup.rule else "")
    number = f"k = {setup.k}" if setup.k is not None else ""
    inner = ", ".join(part for part in (number, chosen, *further) if part)
    return f"{algorithm} ({inner})" if inner else algorithm


def comparable_rows(
    scorecard: Scorecard, setup: ScoreRow, *, any_algorithm: bool = False, any_rows: bool = False
) -> list[ScoreRow]:
    """Return the clustering rows of every method under one set-up, scored on the same rows.

    A rule that chooses k may give every method its own k, so k must be equal only where it was
    fixed. Rows without a rule (the supervised reference) always belong.
    """
    return [
        row
        for row in scorecard.rows
        if (row.task, row.split, row.level) == ("clustering", setup.split, setup.level)
        and (any_rows or row.rows == setup.rows)
        and (
            row.rule is None
            or (
                (row.fit, row.rule) == (setup.fit, setup.rule)
                and (row.rule != "fixed" or row.k == setup.k)
                and (any_algorithm or row.algorithm == setup.algorithm)
            )
        )
    ]


def headline(
    scorecard: Scorecard | None, held_out: HeldOut | None, setup: ScoreRow | None,
    kept: Clustering | None = None,
) -> list[str]:  # fmt: skip
    """Say in three paragraphs what was clustered, how well, and whether that beats a baseline.

    ``kept`` is the clustering stored in the run, which may not be the scored one.
    """
    if scorecard is None:
        return ["The run has not been scored yet, so nothing is claimed about it."]
    if setup is None:
        return ["No clustering of this run has been scored, so nothing is claimed about it."]
    agreement = _agreement(comparable_rows(scorecard, setup), setup)
    claims = [_found(setup, held_out, kept), agreement, verdict(scorecard, setup)]
    return [claim for claim in claims if claim]


def verdict(scorecard: Scorecard, setup: ScoreRow) -> str:
    """Say in which headline metrics the VAE differs clearly from the best unsupervised baseline."""
    # Simple baselines of a hidden Markov model are clustered by k-means.
    rows = comparable_rows(scorecard, setup, any_algorithm=setup.algorithm == "hmm")
    parts: list[str] = []
    for metric in HEADLINE_METRICS:
        own = _of(rows, "vae", metric)
        scored = [row for row in rows if row.metric == metric and math.isfinite(row.mean)]
        rivals = [row for row in scored if row.method in scores.BASELINES]
        if own is not None and rivals:
            best = max(rivals, key=lambda row: row.mean)
            paired = _paired(scorecard, setup, metric, best.method)
            p_value = _paired(scorecard, setup, f"{metric}_p", best.method)
            parts.append(_compared(own, best, paired, p_value))
            same = _paired(scorecard, replace(setup, rule=None), metric, best.method)
            if setup.rule is not None and same is not None:
                parts.append(f"With k = {own.k} for both it is {scores.with_interval(same)}.")
    none = "No baseline was scored in the same way, so it is open whether the VAE helps."
    return " ".join(parts) or none


def _compared(
    own: ScoreRow, best: ScoreRow, paired: ScoreRow | None, p_value: ScoreRow | None
) -> str:
    """Say how the VAE stands to one baseline in one metric."""
    name, by = scores.method_name(best.method), scores.metric_of(own.metric).short
    rival = f"In {by} the best baseline is {name} with {scores.with_interval(best)}"
    if paired is None or not (math.isfinite(paired.low) and math.isfinite(paired.high)):
        overlap = own.low <= best.high and best.low <= own.high
        seen = "overlap" if overlap else "do not overlap"
        return f"{rival}; the intervals {seen}, and no paired difference was scored."
    difference = f"{scores.with_interval(paired)}, {_judgement(paired, p_value)}"
    return f"{rival}; VAE minus baseline is {difference}."


def _judgement(paired: ScoreRow, p_value: ScoreRow | None) -> str:
    """Call a difference clear only where the interval and, if there is one, the test agree."""
    if paired.low <= 0 <= paired.high:
        return "not a clear difference"
    if p_value is not None and p_value.mean > SIGNIFICANT:
        side = "above" if paired.low > 0 else "below"
        groups = counted(paired.n_groups, "group")
        return f"{side} zero, but with p = {p_value.mean:.2g} over {groups} not clear"
    return f"so the VAE is clearly {'better' if paired.low > 0 else 'worse'}"


def _found(setup: ScoreRow, held_out: HeldOut | None, kept: Clustering | None) -> str:
    where = "the held-out rows" if held_out is None else held_out.extent
    fitted = {
        "inductive": "fitted on training groups only",
        "transductive": "fitted on the very rows it is scored on",
    }.get(setup.fit or "", "")
    how = _described(setup, fitted)
    drawn = held_out.clusters if held_out is not None else None
    if kept is not None and (kept.algorithm, kept.k) != (setup.algorithm, setup.k or kept.k):
        return (
            f"The clusters that the run keeps, and that are drawn below, are {kept.k} of "
            f"{scores.algorithm_name(kept.algorithm)}; the scores are those of {how} on the VAE's "
            f"latent means of {where}."
        )
    number = len(drawn) if drawn is not None else setup.k
    found = "clusters" if number is None else counted(number, "cluster")
    return f"On the VAE's latent means, {how} found {found} in {where}."


def _agreement(rows: list[ScoreRow], setup: ScoreRow) -> str:
    parts = [
        f"{_INTRODUCED[name]} of {scores.with_interval(row)}"
        for name in HEADLINE_METRICS
        if (row := _of(rows, "vae", name)) is not None
    ]
    if not parts:
        return ""
    level = f" “{plain(setup.level)}”" if setup.level else ""
    note = " (k was chosen with the labels, so this is an upper bound)"
    sentence = f"The scored clusters agree with the label{level} at an {' and an '.join(parts)}"
    reference = _of(rows, "supervised", "ari") or _of(rows, "supervised", "ami")
    ceiling = ""
    if reference:
        best = f"{scores.metric_of(reference.metric).short} {scores.with_interval(reference)}"
        ceiling = f"; a supervised reference reaches {best}"
    return f"{sentence}{note if setup.rule == 'oracle' else ''}{ceiling}."


def _of(rows: list[ScoreRow], method: str, metric: str) -> ScoreRow | None:
    return next((row for row in rows if row.method == method and row.metric == metric), None)


def _paired(scorecard: Scorecard, setup: ScoreRow, metric: str, baseline: str) -> ScoreRow | None:
    """Find the paired difference against one baseline; None entries are those that differed."""
    key = ("paired", metric, f"vae vs {baseline}", setup.split, setup.rule, setup.rows)
    varied = ("level", "fit", "k", "algorithm")
    for row in scorecard.rows:
        found = (row.task, row.metric, row.method, row.split, row.rule, row.rows)
        if found == key and all(
            getattr(row, name) in (None, getattr(setup, name)) for name in varied
        ):
            return row
    return None


# The scores

PANELS, ROWS, FEWEST_K = 6, 24, 3


def scorecard_section(scorecard: Scorecard | None, setup: ScoreRow | None) -> Section:
    """Return the scores as figures and tables, or say that there are none yet."""
    anchor, title = "scorecard", "Scorecard"
    if scorecard is None:
        reason = (
            "Not scored yet: run `variolite score` with the data to measure this run on its "
            "held-out groups."
        )
        return missing(anchor, title, reason)
    blocks: list[Block] = []
    if setup is not None:
        rows = comparable_rows(scorecard, setup, any_algorithm=True)
        by_k = figure_by_k(scorecard, setup)
        every = comparable_rows(scorecard, setup, any_algorithm=True, any_rows=True)
        blocks += [summary_figure(rows, setup), *scores.score_table(every)]
        if by_k is not None:
            blocks.append(by_k)
        few = min(row.n_groups for row in comparable_rows(scorecard, setup))
        if caution := caution_of(few):
            blocks.append(Paragraph(caution, "remark"))
    if scorecard.notes:
        blocks.append(Bullets(tuple(scorecard.notes)))
    if scorecard.rows:
        summary = f"All {counted(len(scorecard.rows), 'score')} of scorecard.json"
        blocks.append(Fold(summary, _by_task(scorecard.rows), "screen"))
    else:
        blocks.append(Paragraph("The scorecard holds no scores.", "missing"))
    return Section(anchor, title, blocks)


def reconstruction_section(scorecard: Scorecard | None, held_out: HeldOut | None) -> Section:
    """Return reconstruction scores and small multiples, or say what is missing."""
    tasks = ("reconstruction", "likelihood")
    rows = [row for row in (scorecard.rows if scorecard else ()) if row.task in tasks]
    blocks: list[Block] = []
    if held_out is not None and held_out.reconstructions:
        blocks.append(parity_figure(held_out))
    by_input = reconstruction_scores(rows)
    if by_input is not None:
        blocks.append(by_input)
    blocks += _by_task(rows)
    if not blocks:
        reason = "Not scored yet: run `variolite score` to reconstruct the held-out rows."
        return missing("reconstruction", "Reconstruction", reason)
    return Section("reconstruction", "Reconstruction", blocks)


def _by_task(rows: Sequence[ScoreRow]) -> list[Block]:
    blocks: list[Block] = []
    for task in dict.fromkeys(row.task for row in rows):
        blocks.append(Heading(scores.task_title(task)))
        blocks += scores.score_table([row for row in rows if row.task == task])
    return blocks


Key = tuple[str, str | None, int | None]
"""Method, algorithm and k: one row of the figure."""


def summary_figure(rows: Sequence[ScoreRow], setup: ScoreRow) -> Figure:
    """Draw every method under one set-up: a row per method and algorithm, a panel per metric."""
    scored = dict.fromkeys(row.metric for row in rows if row.method == "vae")
    shown = [name for name in scored if not scores.is_derived(name)][:PANELS]
    metrics = {name: scores.metric_of(name) for name in shown}
    lookup = {(row.method, row.algorithm, row.k, row.metric): row for row in rows}

    def rank(key: Key) -> tuple[bool, bool, str, int, str, int]:
        """Sort the main algorithm first, in it the VAE first, the supervised reference last."""
        method, algorithm, k = key
        place = ("vae", "pca_whitened", "raw", "autoencoder", method).index(method)
        last, other = method == "supervised", algorithm != setup.algorithm
        return last, other, algorithm or "", place, method, k or 0

    def name(method: str, algorithm: str | None, k: int | None) -> str:
        by = f", {scores.algorithm_name(algorithm)}" if algorithm else ""
        of = f" (k = {k})" if setup.rule != "fixed" and k else ""
        return f"{scores.method_name(method)}{by}{of}"

    keys = sorted({(row.method, row.algorithm, row.k) for row in rows}, key=rank)[:ROWS]
    main = ("vae", setup.algorithm, setup.k)

    def whisker(key: Key, metric: str) -> figures.Whisker | None:
        row = lookup.get((*key, metric))
        if row is None:
            return None
        colour = scores.method_colour(row.method)
        hollow = row.method == "supervised"
        return figures.Whisker(row.mean, row.low, row.high, colour, hollow, strong=key == main)

    panels = [
        figures.IntervalPanel(metric.title, metric.axis, [whisker(key, name) for key in keys])
        for name, metric in metrics.items()
    ]
    labels = [figures.RowLabel(name(*key), place, key == main) for place, key in enumerate(keys)]
    drawing = figures.interval_figure(labels, panels, title="Scores with intervals, by method")
    level = f" with the label “{plain(setup.level)}”" if setup.level else ""
    parts = [f"split: {setup.split}", f"fit: {setup.fit or 'not named'}"]
    parts += [f"{setup.rows} rows"] if setup.rows else []
    supervised = any(row.method == "supervised" for row in rows)
    hollow = " Hollow: the supervised reference, which learned from labels." if supervised else ""
    caption = (
        f"Agreement of the clusters{level} ({', '.join(parts)}). "
        f"{scores.interval_wording(rows)} Bold: the set-up this page is about, "
        f"VAE with {_described(setup)}; its interval is shaded.{hollow}"
    )
    return Figure("scorecard", drawing, caption)


def figure_by_k(scorecard: Scorecard, setup: ScoreRow) -> Figure | None:
    """Draw scores against k for the algorithm of ``setup``; None with fewer than three k."""
    same = ("clustering", "fixed", setup.split, setup.level, setup.fit, setup.algorithm, setup.rows)
    rows = [
        row
        for row in scorecard.rows
        if (row.task, row.rule, row.split, row.level, row.fit, row.algorithm, row.rows) == same
        and (row.k is not None and row.metric in HEADLINE_METRICS and math.isfinite(row.mean))
    ]
    counts = sorted({row.k or 0 for row in rows})
    if len(counts) < FEWEST_K:
        return None
    metrics = [name for name in HEADLINE_METRICS if any(row.metric == name for row in rows)]
    methods = list(dict.fromkeys(row.method for row in rows))
    key = [(scores.method_name(method), scores.method_colour(method)) for method in methods]
    foot = figures.legend_height([name for name, _ in key], WIDTH - 60) + 4
    figure, drawn = figures.panels(
        len(metrics), abreast=len(metrics), height=210, top=12, foot=foot,
        xlabel="number of clusters k", xlim=(-0.5, len(counts) - 0.5),
    )  # fmt: skip
    for axes, metric in zip(drawn, metrics, strict=True):
        axes.grid(axis="y")
        axes.set_ylabel(scores.metric_of(metric).title)
        axes.set_xticks(range(len(counts)), [str(k) for k in counts])
        own = [row for row in rows if row.metric == metric]
        marks = [x for row in own for x in (row.mean, row.low, row.high)]
        axes.set_ylim(figures.interval_limits(marks))
        figures.number_axis(axes, "y")
        for index, method in enumerate(methods):
            curve = sorted((row for row in own if row.method == method), key=lambda row: row.k or 0)
            shift = (index - (len(methods) - 1) / 2) * min(0.5 / len(methods), 0.14)
            x = [counts.index(row.k or 0) + shift for row in curve]
            colour = scores.method_colour(method)
            axes.plot(x, [row.mean for row in curve], "o-", color=colour, lw=1.6, ms=7.2, mew=0)
            ends = [row.low for row in curve], [row.high for row in curve]
            axes.vlines(x, *ends, colors=colour, linewidth=1.4)
    figures.legend(figure, key, 54, 72 * figure.get_figheight() - foot, WIDTH - 60)
    algorithm = f" by {scores.algorithm_name(setup.algorithm)}" if setup.algorithm else ""
    level = f" of the label “{plain(setup.level)}”" if setup.level else ""
    caption = (
        f"Agreement{level} against the number of clusters k, set beforehand, "
        f"clustered{algorithm}; split {setup.split}, fit {setup.fit or 'not named'}. "
        f"{scores.interval_wording(rows)} Dots are moved sideways a little so that "
        "whiskers stay apart. Picking the highest k here would be choosing with the labels."
    )
    return Figure("scores-by-k", to_svg(figure, "Scores against number of clusters"), caption)
