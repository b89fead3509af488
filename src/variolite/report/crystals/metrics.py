"""What the metrics of crystals are called, what they mean and how their values are written.

The name of a metric says everything that its value rests on: the tolerance, whether cells were
made primitive, and after ``_given_`` what the decoder was told besides the latents. The part
before that is its stem here; scores of one stem can be set side by side.
"""

from __future__ import annotations

import math
from collections.abc import Iterable

from variolite.crystals.matching import TOLERANCES, Tolerance
from variolite.report.lettering import decimals, plain
from variolite.report.wording import listed, places_for
from variolite.scoring.scorecard import Scorecard, ScoreRow

__all__ = [
    "TOLERANCE_NAMES",
    "definitions",
    "given_of",
    "given_words",
    "main_match",
    "meaning_of",
    "metric_title",
    "stem_of",
    "tolerance_of",
    "written",
]

TOLERANCE_NAMES = {"cdvae": "CDVAE", "default": "default", "strict": "strict"}
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
_DISTANCES = {
    "_wasserstein": "Wasserstein distance",
    "_total_variation": "total variation",
    "_jensen_shannon": "Jensen-Shannon divergence",
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
    """Return what the decoder was told besides the latents, as a metric's name says."""
    given = metric.partition(_GIVEN)[2]
    return tuple(given.split("_")) if given else ()


def given_words(given: Iterable[str]) -> str:
    """Say what was given: "the cell and the atom types"; empty where nothing was."""
    return listed([_GIVEN_WORDS.get(name, plain(name)) for name in given])


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


def metric_title(stem: str) -> str:
    """Return what a metric is called in a table, its settings after commas."""
    if stem in _TITLES:
        return _TITLES[stem]
    for ending, distance in _DISTANCES.items():
        if stem.endswith(ending):
            return f"{metric_title(stem.removesuffix(ending))}, {distance}"
    if stem.endswith("_relaxed"):
        return f"{metric_title(stem.removesuffix('_relaxed'))}, after relaxation"
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
    scaled = "volumes made equal" if tolerance.scaled else "volumes as they are"
    return (
        f"atoms within {tolerance.sites:g} free lengths, cell lengths within "
        f"{100 * tolerance.lengths:g}\u00a0%, angles within {tolerance.angles:g}°, {scaled}"
    )


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
