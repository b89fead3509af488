"""The scores of a crystal run in words, tables and a figure.

The name of a metric says everything that its value rests on: the tolerance, whether cells were
made primitive, and after ``_given_`` what the decoder was given besides the latents. The part
before that is its stem here; scores of one stem can be set side by side.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence

from variolite.crystals.matching import TOLERANCES, Tolerance
from variolite.report.figures import IntervalPanel, RowLabel, Whisker, interval_figure
from variolite.report.page import (
    Block,
    Bullets,
    Figure,
    Fold,
    Heading,
    Paragraph,
    Section,
    Table,
)
from variolite.report.scores import method_colour, method_name
from variolite.report.tables import counted, decimals, listed, places_for, plain
from variolite.scoring.scorecard import Scorecard, ScoreRow

Method = tuple[str, tuple[str, ...]]
"""A method and what it was given."""

TOLERANCE_NAMES = {"cdvae": "CDVAE", "default": "default", "strict": "strict"}
MOST_ROWS = 14
_LEADING = {
    "reconstruction": ("rmse", "periodic", "length", "angle", "volume", "type", "composition"),
    "generation": ("valid", "distance", "composition", "unique", "novel", "sun", "msun"),
}
"""Quantities that belong in the first table of a task, in this order, by how they begin."""
_GIVEN = "_given_"
_GIVEN_WORDS = {
    "species": "the atom types",
    "types": "the atom types",
    "lattice": "the cell",
    "cell": "the cell",
    "coordinates": "the coordinates",
}
_UNITS = {
    "1": "",
    "share": "\u00a0%",
    "percent": "\u00a0%",
    "angstrom": "\u00a0Å",
    "angstrom3": "\u00a0Å³",
    "degree": "°",
    "g/cm3": "\u00a0g/cm³",
    "count": "",
}
"""What stands after a number; the space does not break, so that no line begins with a unit."""
_WORDS = {
    "cdvae": "CDVAE tolerance",
    "default": "default tolerance",
    "strict": "strict tolerance",
    "rms": "by RMS displacement",
    "fit": "by largest displacement",
    "rmse": "RMSE",
    "unreduced": "cells as given",
    "primitive": "primitive cells",
    "kl": "KL",
    "sun": "S.U.N.",
    "msun": "metastable S.U.N.",
    "symprec": "at symprec",
}
"""Parts of metric names that plain words say better."""
_ENDINGS = {
    "_wasserstein": "Wasserstein distance",
    "_total_variation": "total variation",
    "_jensen_shannon": "Jensen-Shannon divergence",
    "_relaxed": "after relaxation",
}
_TITLES = {
    "distance_valid": "valid by distances",
    "composition_valid": "valid by charge balance",
    "valid_unique_novel": "valid, unique and novel",
    "n_elements": "number of elements",
    "n_atoms": "number of atoms",
    "e_above_hull_median": "energy above hull, median",
    "periodic_error_median": "periodic error, median",
    "periodic_error_mean": "periodic error, mean",
    "periodic_error_p95": "periodic error, 95 % mark",
}
_SETTINGS = ("cdvae", "default", "strict", "rms", "fit", "unreduced", "primitive", "symprec")
_PREFERRED = ("rms", "unreduced")


def stem_of(metric: str) -> str:
    """Return a metric's name without what was given."""
    return metric.partition(_GIVEN)[0]


def given_of(metric: str) -> tuple[str, ...]:
    """Return what the decoder was given besides the latents, as a metric's name says."""
    given = metric.partition(_GIVEN)[2]
    return tuple(given.split("_")) if given else ()


def given_words(given: Iterable[str]) -> str:
    """Say what was given: "the cell and the atom types"; empty where nothing was."""
    return listed([_GIVEN_WORDS.get(name, plain(name)) for name in given])


def metric_title(stem: str) -> str:
    """Return what a metric is called in a table, its settings after commas."""
    if stem in _TITLES:
        return _TITLES[stem]
    for ending, words in _ENDINGS.items():
        if stem.endswith(ending):
            return f"{metric_title(stem.removesuffix(ending))}, {words}"
    parts = stem.split("_")
    cut = next((i for i, part in enumerate(parts) if i and part in _SETTINGS), len(parts))
    head = " ".join(_WORDS.get(part, part) for part in parts[:cut])
    settings = [_WORDS.get(part, plain(part)) for part in parts[cut:]]
    if parts[0] == "rmse":
        settings.append("in free lengths")
    return ", ".join([head, *settings]).replace("at symprec, ", "at symprec ")


def tolerance_of(metric: str) -> Tolerance | None:
    """Return the tolerance that a metric's name speaks of."""
    return next((TOLERANCES[part] for part in metric.split("_") if part in TOLERANCES), None)


def meaning_of(tolerance: Tolerance) -> str:
    """Say in words how near two structures have to be.

    Sites are in free lengths per atom, the cube root of the volume per atom.
    """
    scaled = "volumes made equal" if tolerance.scaled else "volumes unchanged"
    return (
        f"{TOLERANCE_NAMES[tolerance.name]}: atoms within {tolerance.sites:g} free lengths, cell "
        f"lengths within {100 * tolerance.lengths:g}\u00a0%, angles within {tolerance.angles:g}°, "
        f"{scaled}"
    )


def meanings(stems: Iterable[str]) -> str:
    """Say what the tolerances of some match rates allow."""
    told = (meaning_of(tolerance) for stem in stems if (tolerance := tolerance_of(stem)))
    return "; ".join(told)


def main_match(rows: Iterable[ScoreRow], tolerance: str) -> str | None:
    """Return the stem of the match rate that the page is about at one tolerance.

    Where several were measured, the one of root mean square displacements in unreduced cells.
    """
    stems = dict.fromkeys(
        stem
        for row in rows
        if (stem := stem_of(row.metric)).startswith("match") and tolerance in stem.split("_")
    )
    return max(
        stems,
        key=lambda stem: sum(part in stem.split("_") for part in _PREFERRED),
        default=None,
    )


def written(row: ScoreRow) -> str:
    """Write a score with its unit and interval; shares as per cent."""
    if not math.isfinite(row.mean):
        return "not defined"
    factor = 100.0 if row.unit == "share" else 1.0
    mean, low, high = (factor * value for value in (row.mean, row.low, row.high))
    unit = _UNITS.get(row.unit or "", f"\u00a0{row.unit}" if row.unit else "")
    if row.unit == "count":
        return decimals(mean, 0)
    bounded = math.isfinite(low) and math.isfinite(high) and low < high
    # Per cent need no more than two decimals: a hundredth of one is a crystal in ten thousand.
    places = min(places_for(low, high, mean), 2 if factor > 1 else 4)
    if row.unit == "share" and not bounded:
        places = 1
    value = f"{decimals(mean, places)}{unit}"
    return f"{value} ({decimals(low, places)} to {decimals(high, places)})" if bounded else value


def definitions(scorecard: Scorecard) -> tuple[dict[str, str], tuple[str, ...]]:
    """Sort the notes of a scorecard into definitions, by stem of the metric, and the rest."""
    metrics = {row.metric for row in scorecard.rows}
    defined: dict[str, str] = {}
    rest: list[str] = []
    for note in scorecard.notes:
        name, colon, text = note.partition(": ")
        if colon and name in metrics:
            defined.setdefault(stem_of(name), text)
        else:
            rest.append(note)
    return defined, tuple(rest)


def match_headline(scorecard: Scorecard, crystals: str, *, species_given: bool) -> list[str]:
    """Say how many of some crystals come back, how baselines do, and what was given.

    Empty where no match rate was scored.
    """
    scored = [row for row in scorecard.rows if row.task == "reconstruction"]
    rows = [row for row in scored if row.split == scored[0].split]
    own = [row for row in rows if row.method == "vae"]
    stems = [stem for name in ("cdvae", "strict") if (stem := main_match(own, name)) is not None]
    if not stems:
        return []
    # One row for each method and stem: the first, should a method have been given this and that.
    rates = {(row.method, stem_of(row.metric)): row for row in reversed(rows)}
    found = {
        name: [rates[name, stem] for stem in stems if (name, stem) in rates]
        for name in dict.fromkeys(row.method for row in rows)
    }
    shares = listed(
        [
            f"{written(row)} within the {TOLERANCE_NAMES[tolerance.name]} tolerance"
            for row in found.pop("vae")
            if (tolerance := tolerance_of(row.metric))
        ]
    )
    others = [
        f"{_head((name, given_of(scores[0].metric)), '{} (given {})')} "
        f"{listed([written(row) for row in scores])}"
        for name, scores in found.items()
        if scores
    ]
    given = given_words(given_of(rates["vae", stems[0]].metric))
    if not given and species_given:
        given = "the atom types"
    return [
        f"Of {crystals}, the VAE gives back {shares}.",
        f"For comparison: {'; '.join(others)}."
        if others
        else "No baseline was scored beside it, so it is open what these rates are worth.",
        "The decoder was given the mean latent of every atom, hence their number"
        f"{f', and {given}' if given else ''}. What the tolerances allow, a free length being "
        f"the cube root of the volume per atom: {meanings(stems)}.",
    ]


def generation_headline(scorecard: Scorecard, crystals: str) -> str:
    """Say which shares of generated crystals are valid, unique, novel and stable."""
    shares = {
        row.metric: row
        for row in scorecard.rows
        if row.task == "generation" and row.unit == "share" and row.method != "reference_draw"
    }
    words = {"valid": "are valid", "sun": "stable, unique and novel"}
    parts = [
        f"{written(shares[name])} {words.get(name, name)}"
        for name in ("valid", "unique", "novel", "sun")
        if name in shares
    ]
    return f"Of {crystals}, {listed(parts)}." if parts else ""


def scores_section(scorecard: Scorecard | None) -> Section:
    """Return match rates as a figure and all scores as tables, or say that there are none."""
    if scorecard is None:
        missing = (
            "Not scored yet: run `variolite score` with the data to measure this run on held-out "
            "crystals."
        )
        return Section("scorecard", "Scorecard", (Paragraph(missing, "missing"),))
    blocks: list[Block] = []
    figure = _match_figure([row for row in scorecard.rows if row.task == "reconstruction"])
    if figure is not None:
        blocks.append(figure)
    defined, notes = definitions(scorecard)
    for task, split in dict.fromkeys((row.task, row.split) for row in scorecard.rows):
        chosen = [row for row in scorecard.rows if (row.task, row.split) == (task, split)]
        blocks.append(Heading(f"{plain(task).capitalize()} ({split})"))
        blocks += _tables(chosen, _LEADING.get(task, ()), defined)
    if scorecard.rows:
        blocks.append(Paragraph(_intervals(scorecard.rows), "remark"))
    else:
        blocks.append(Paragraph("The scorecard holds no scores.", "missing"))
    if notes:
        blocks.append(Fold("What the scores rest on", (Bullets(notes),)))
    return Section("scorecard", "Scorecard", tuple(blocks))


def _tables(
    rows: Sequence[ScoreRow], leading: Sequence[str], defined: Mapping[str, str]
) -> list[Block]:
    """Return the table of what matters most, and folded away the rest and the definitions."""
    stems = list(dict.fromkeys(stem_of(row.metric) for row in rows))
    main = [stem for name in TOLERANCE_NAMES if (stem := main_match(rows, name)) is not None]
    # Of the RMSE, which has the settings of a match rate, only that of the main ones.
    of_main = {stem.replace("match_rate_", "").replace("_rms", "") for stem in main}
    shown = [
        *main,
        *(
            stem
            for start in leading
            for stem in stems
            if stem.partition("_")[0] == start
            and stem not in main
            and (start != "rmse" or stem.removeprefix("rmse_") in of_main)
        ),
    ]
    if len(stems) <= MOST_ROWS or not shown:
        shown = stems
    rest = [stem for stem in stems if stem not in shown]
    blocks: list[Block] = [_table(rows, shown)]
    if rest:
        more = counted(len(rest), "further quantity", "further quantities")
        blocks.append(Fold(more, (_table(rows, rest),), "screen"))
    known = [(metric_title(stem), defined[stem]) for stem in stems if stem in defined]
    if known:
        meaning = Table(("quantity", "what it is"), known)
        blocks.append(Fold("What these quantities are", (meaning,)))
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
    return row.method, given_of(row.metric)


def _methods(rows: Iterable[ScoreRow]) -> list[Method]:
    """Return methods in order, the VAE first."""
    return sorted(dict.fromkeys(_method(row) for row in rows), key=lambda key: key[0] != "vae")


def _head(method: Method, form: str = "{}, given {}") -> str:
    name, given = method
    return form.format(method_name(name), given_words(given)) if given else method_name(name)


def _intervals(rows: Sequence[ScoreRow]) -> str:
    groups = sorted({row.n_groups for row in rows if row.n_groups})
    if not groups:
        return "The scores have no intervals."
    span = f"{groups[0]:,}" if len(groups) == 1 else f"{groups[0]:,} to {groups[-1]:,}"
    seeds = max(row.seeds for row in rows)
    over = f"formulas and {seeds} seeds" if seeds > 1 else "formulas"
    return (
        f"In brackets: 95 % intervals by bootstrap over {over}, since crystals of one formula "
        f"are alike; {span} distinct formulas stand behind a score."
    )


def _match_figure(rows: Sequence[ScoreRow]) -> Figure | None:
    """Draw the match rate of every method at every tolerance; None where there is none."""
    rows = [row for row in rows if row.split == rows[0].split]
    stems = {name: stem for name in TOLERANCE_NAMES if (stem := main_match(rows, name)) is not None}
    if not stems:
        return None
    rows = [row for row in rows if stem_of(row.metric) in stems.values()]
    scores = {(_method(row), stem_of(row.metric)): row for row in rows}
    methods = _methods(rows)
    labels = [RowLabel(method_name(name), i, name == "vae") for i, (name, _) in enumerate(methods)]
    panels = [
        IntervalPanel(
            f"{TOLERANCE_NAMES[name]} tolerance",
            "share matched (%)",
            [_whisker(scores.get((method, stem))) for method in methods],
        )
        for name, stem in stems.items()
    ]
    drawing = interval_figure(labels, panels, title="Match rates by method", row=26)
    given = "; ".join(f"{method_name(name)}: {given_words(told)}" for name, told in methods if told)
    groups = max(row.n_groups for row in rows)
    caption = (
        "Share of held-out crystals whose reconstruction matches the original, higher is better "
        f"({rows[0].split}). Dots are shares, whiskers 95 % intervals by bootstrap over {groups:,} "
        f"formulas; the interval of the VAE is shaded. Tolerances: {meanings(stems.values())}; a "
        "free length is the cube root of the volume per atom."
        f"{f' Given besides the number of atoms, {given}.' if given else ''} Every panel has its "
        "own axis."
    )
    return Figure("match-rates", drawing, caption)


def _whisker(row: ScoreRow | None) -> Whisker | None:
    if row is None:
        return None
    return Whisker(
        mean=100 * row.mean,
        low=100 * row.low,
        high=100 * row.high,
        colour=method_colour(row.method),
        strong=row.method == "vae",
    )
