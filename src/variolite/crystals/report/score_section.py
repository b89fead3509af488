"""The scores of a crystal run in words, tables and a figure.

The name of a metric says everything that its value rests on: the tolerance, whether cells were
made primitive, and after ``_given_`` what the decoder was given besides the latents. The part
before that is its stem here; scores of one stem can be set side by side.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import yaml

from variolite.crystals.evaluation.metrics import named, parted
from variolite.crystals.matching import TOLERANCES
from variolite.crystals.report.crystal_run import MEASURES, CrystalRun
from variolite.errors import counted
from variolite.report.figures import IntervalPanel, RowLabel, Whisker, interval_figure
from variolite.report.formatting import decimals, listed, places_for, plain, significant
from variolite.report.page import (
    Block,
    Bullets,
    Figure,
    Fold,
    Heading,
    Paragraph,
    Section,
    Table,
    missing,
    packaged,
)
from variolite.report.scores import method_colour, method_name
from variolite.scoring.scorecard import Scorecard, ScoreRow

Method = tuple[str, tuple[str, ...]]  # its name and what it was given

_GIVEN = "_given_"
_WORDS: dict[str, Any] = yaml.safe_load(packaged("metric_words.yaml", __package__))
TOLERANCE_NAMES: dict[str, str] = _WORDS["tolerances"]
MOST_ROWS = 14
_PREFERRED = {"rms", "unreduced"}
_UNLISTED = (
    "The run keeps no list of its training structures: some of these may be among them, and the "
    "scores better than on others."
)


def stem_of(metric: str) -> str:
    """Return a metric's name without what was given."""
    return metric.partition(_GIVEN)[0]


def metric_title(stem: str) -> str:
    """Return what a metric is called in a table, its settings after commas.

    A potential stays where it is, in brackets at the end.
    """
    metric, potential = parted(stem)
    if potential:
        return named(metric_title(metric), potential)
    if stem in _WORDS["titles"]:
        return str(_WORDS["titles"][stem])
    for ending, meaning in _WORDS["endings"].items():
        if stem.endswith(ending):
            return f"{metric_title(stem.removesuffix(ending))}, {meaning}"
    parts, words = stem.split("_"), _WORDS["words"]
    cut = next((i for i, p in enumerate(parts) if i and p in _WORDS["settings"]), len(parts))
    head = " ".join(words.get(part, part) for part in parts[:cut])
    settings = [words.get(part, plain(part)) for part in parts[cut:]]
    if parts[0] == "rmse":
        settings.append("in free lengths")
    return ", ".join([head, *settings]).replace("at symprec, ", "at symprec ")


def main_matches(rows: Iterable[ScoreRow]) -> dict[str, str]:
    """Return the stem of the match rate that the page is about, by the name of its tolerance.

    Where several were measured, the one of root mean square displacements in unreduced cells.
    """
    stems = [stem for row in rows if (stem := stem_of(row.metric)).startswith("match")]
    found = {name: [s for s in stems if name in s.split("_")] for name in TOLERANCE_NAMES}
    return {
        name: max(some, key=lambda stem: len(_PREFERRED & set(stem.split("_"))))
        for name, some in found.items()
        if some
    }


def written(row: ScoreRow) -> str:
    """Write a score with its unit and interval; shares as per cent."""
    if not math.isfinite(row.mean):
        return "not defined"
    if row.unit == "count":
        return decimals(row.mean, 0)
    share = row.unit == "share"
    mean, low, high = ((100 if share else 1) * x for x in (row.mean, row.low, row.high))
    unit = _WORDS["units"].get(row.unit or "", f"\u00a0{row.unit}" if row.unit else "")
    bounded = math.isfinite(low) and math.isfinite(high) and low < high
    # Per cent need no more than two decimals: a hundredth of one is a crystal in ten thousand.
    most = 2 if share else 4
    places = min(places_for(low, high, mean), most) if bounded or not share else 1
    value = f"{decimals(mean, places)}{unit}"
    return f"{value} ({decimals(low, places)} to {decimals(high, places)})" if bounded else value


def headline(run: CrystalRun) -> list[str]:
    """Say how many crystals come back, how that compares, how near, and what was given."""
    scorecard = run.scorecard
    if scorecard is None:
        return ["The run has not been scored yet, so nothing is claimed about it."]
    crystals = run.extent if run.count else "the held-out crystals"
    matched = _match_headline(scorecard, crystals, species_given=run.species_given)
    errors = [
        MEASURES[name][2].format(significant(float(np.median(measure.known)), 2))
        for name, measure in run.measures.items()
    ]
    shares = {
        parted(row.metric)[0]: row
        for row in scorecard.rows
        if row.task == "generation" and row.unit == "share" and row.method == "vae"
    }
    words = {"valid": "are valid", "unique": "unique", "novel": "novel"}
    words["sun"] = "stable, unique and novel"
    if "sun" in shares and (potential := parted(shares["sun"].metric)[1]):
        words["sun"] += f" by {potential}"
        same = scorecard.select(method="ion_exchange", metric=shares["sun"].metric)
        words["sun"] += "".join(
            f" (ion exchange, which learns nothing: {written(r)})" for r in same
        )
    generated = [f"{written(shares[name])} {words[name]}" for name in words if name in shares]
    number = "the generated crystals"
    if run.samples is not None:
        number = counted(len(run.samples), "generated crystal")
    sentences = [
        *matched,
        _UNLISTED if matched and run.files.split is None else "",
        f"In the median crystal, {listed(errors)}." if errors else "",
        f"Of {number}, {listed(generated)}." if generated else "",
    ]
    claims = [sentence for sentence in sentences if sentence]
    return claims or ["No reconstruction was scored, so nothing is claimed about this run."]


def _match_headline(scorecard: Scorecard, crystals: str, *, species_given: bool) -> list[str]:
    """Say how many of some crystals come back, how baselines do, and what was given."""
    scored = [row for row in scorecard.rows if row.task == "reconstruction"]
    rows = [row for row in scored if row.split == scored[0].split]
    stems = main_matches(row for row in rows if row.method == "vae")
    stems.pop("default", None)
    if not stems:
        return []
    # One row for each method and stem: the first, should a method have been given this and that.
    rates = {(row.method, stem_of(row.metric)): row for row in reversed(rows)}
    shares = [
        f"{written(rates['vae', stem])} within the {TOLERANCE_NAMES[name]} tolerance"
        for name, stem in stems.items()
    ]
    others = []
    for name in dict.fromkeys(row.method for row in rows if row.method != "vae"):
        if scores := [rates[name, stem] for stem in stems.values() if (name, stem) in rates]:
            head = _head(_method(scores[0]), "{} (given {})")
            others.append(f"{head} {listed([written(row) for row in scores])}")
    given = _given_words(_method(rates["vae", next(iter(stems.values()))]))
    if not given and species_given:
        given = "the atom types"
    return [
        f"Of {crystals}, the VAE reconstructs {listed(shares)}.",
        f"For comparison: {'; '.join(others)}."
        if others
        else "No baseline was scored beside it to compare with.",
        "The decoder was given the mean latent of every atom, hence their number"
        f"{f', and {given}' if given else ''}. Figure 1 says what the tolerances allow.",
    ]


def scores_section(scorecard: Scorecard | None) -> Section:
    """Return match rates as a figure and all scores as tables, or say that there are none."""
    if scorecard is None:
        how = "run `variolite score` with the data to measure this run on held-out crystals."
        return missing("scorecard", "Scorecard", f"Not scored yet: {how}")
    metrics = {row.metric for row in scorecard.rows}
    defined: dict[str, str] = {}
    notes: list[str] = []
    for note in scorecard.notes:
        name, _, text = note.partition(": ")
        if name in metrics:
            defined.setdefault(metric_title(stem_of(name)), text)
        else:
            notes.append(note)
    blocks = _match_figure([row for row in scorecard.rows if row.task == "reconstruction"])
    for task, split in dict.fromkeys((row.task, row.split) for row in scorecard.rows):
        chosen = [row for row in scorecard.rows if (row.task, row.split) == (task, split)]
        blocks.append(Heading(f"{plain(task).capitalize()} ({split})"))
        blocks += _tables(chosen, _WORDS["leading"].get(task, ()))
    if scorecard.rows:
        blocks.append(Paragraph(_intervals(scorecard.rows), "remark"))
    else:
        blocks.append(Paragraph("The scorecard holds no scores.", "missing"))
    if defined:
        meaning = Table(("quantity", "what it is"), list(defined.items()))
        blocks.append(Fold("What these quantities are", (meaning,)))
    if notes:
        blocks.append(Fold("What the scores rest on", (Bullets(tuple(notes)),)))
    return Section("scorecard", "Scorecard", blocks)


def _tables(rows: Sequence[ScoreRow], leading: Sequence[str]) -> list[Block]:
    """Return the table of what matters most, and folded away that of the rest."""
    stems = list(dict.fromkeys(stem_of(row.metric) for row in rows))
    main = list(main_matches(rows).values())
    # Of the RMSE, which has the settings of a match rate, only that of the main ones.
    rmse = {stem.replace("match_rate", "rmse").replace("_rms", "") for stem in main}
    others = [s for s in stems if s not in main and (s in rmse or not s.startswith("rmse"))]
    starts = {stem: parted(stem)[0].partition("_")[0] for stem in others}
    more = [stem for start in leading for stem in others if starts[stem] == start]
    shown = main + more if len(stems) > MOST_ROWS and main + more else stems
    rest = [stem for stem in stems if stem not in shown]
    blocks: list[Block] = [_table(rows, shown)]
    if rest:
        title = counted(len(rest), "further quantity", "further quantities")
        blocks.append(Fold(title, (_table(rows, rest),), "screen"))
    return blocks


def _table(rows: Sequence[ScoreRow], stems: Sequence[str]) -> Table:
    """Return a line for each quantity and a column for each method."""
    methods = _methods(row for row in rows if stem_of(row.metric) in stems)
    scores = {(_method(row), stem_of(row.metric)): written(row) for row in rows}
    body = [
        (metric_title(stem), *(scores.get((method, stem), "") for method in methods))
        for stem in stems
    ]
    return Table(("quantity", *(_head(method) for method in methods)), body, numbers_from=1)


def _method(row: ScoreRow) -> Method:
    given = row.metric.partition(_GIVEN)[2]
    return row.method, tuple(given.split("_")) if given else ()


def _methods(rows: Iterable[ScoreRow]) -> list[Method]:
    """Return methods in order, the VAE first."""
    return sorted(dict.fromkeys(map(_method, rows)), key=lambda key: key[0] != "vae")


def _head(method: Method, form: str = "{}, given {}") -> str:
    given = _given_words(method)
    return form.format(method_name(method[0]), given) if given else method_name(method[0])


def _given_words(method: Method) -> str:
    """Say what was given: "the cell and the atom types"; empty where nothing was."""
    return listed([_WORDS["given"].get(name, plain(name)) for name in method[1]])


def _intervals(rows: Sequence[ScoreRow]) -> str:
    groups = {row.n_groups for row in rows if row.n_groups}
    if not groups:
        return "The scores have no intervals."
    span = " to ".join(f"{n:,}" for n in sorted({min(groups), max(groups)}))
    seeds = max(row.seeds for row in rows)
    over = f"formulas and {seeds} seeds" if seeds > 1 else "formulas"
    return (
        f"In brackets: 95 % intervals by bootstrap over {over}, since crystals of one formula "
        f"are alike; {span} distinct formulas stand behind a score."
    )


def _match_figure(rows: Sequence[ScoreRow]) -> list[Block]:
    """Draw the match rate of every method at every tolerance; nothing where there is none."""
    rows = [row for row in rows if row.split == rows[0].split]
    stems = main_matches(rows)
    if not stems:
        return []
    rows = [row for row in rows if stem_of(row.metric) in stems.values()]
    scores = {(_method(row), stem_of(row.metric)): _whisker(row) for row in rows}
    methods = _methods(rows)
    labels = [RowLabel(method_name(name), i, name == "vae") for i, (name, _) in enumerate(methods)]
    panels = []
    for name, stem in stems.items():
        whiskers = [scores.get((method, stem)) for method in methods]
        title = f"{TOLERANCE_NAMES[name]} tolerance"
        panels.append(IntervalPanel(title, "share matched (%)", whiskers))
    drawing = interval_figure(labels, panels, title="Match rates by method", row=26)
    given = "; ".join(f"{method_name(m[0])}: {_given_words(m)}" for m in methods if m[1])
    groups = max(row.n_groups for row in rows)
    # How near two structures have to be.
    meanings = "; ".join(
        f"{TOLERANCE_NAMES[one.name]}: atoms within {one.sites:g} free lengths, cell lengths "
        f"within {100 * one.lengths:g}\u00a0%, angles within {one.angles:g}°, volumes "
        f"{'made equal' if one.scaled else 'unchanged'}"
        for one in (TOLERANCES[name] for name in stems)
    )
    caption = (
        "Share of held-out crystals whose reconstruction matches the original, higher is better "
        f"({rows[0].split}). Dots are shares, whiskers 95 % intervals by bootstrap over {groups:,} "
        f"formulas; the interval of the VAE is shaded. Tolerances: {meanings}; a "
        "free length is the cube root of the volume per atom."
        f"{f' Given besides the number of atoms, {given}.' if given else ''} Every panel has its "
        "own axis."
    )
    return [Figure("match-rates", drawing, caption)]


def _whisker(row: ScoreRow) -> Whisker:
    ends, colour = (100 * row.mean, 100 * row.low, 100 * row.high), method_colour(row.method)
    return Whisker(*ends, colour=colour, strong=row.method == "vae")
