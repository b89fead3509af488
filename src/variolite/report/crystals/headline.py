"""What a crystal run says in a few plain sentences."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from variolite.report.crystals.metrics import (
    TOLERANCE_NAMES,
    given_of,
    given_words,
    main_match,
    meaning_of,
    stem_of,
    tolerance_of,
    written,
)
from variolite.report.crystals.run import CrystalRun
from variolite.report.lettering import significant
from variolite.report.wording import counted, listed, method_name
from variolite.scoring.scorecard import ScoreRow

__all__ = ["headline"]

TOLERANCES = ("cdvae", "strict")
_ERRORS = (
    ("periodic_error", "atoms are off by", "\u00a0Å"),
    ("length_error_percent", "cell lengths by", "\u00a0%"),
    ("angle_error_deg", "cell angles by", "°"),
    ("volume_error_percent", "the volume by", "\u00a0%"),
)
_GENERATED = (
    ("valid", "are valid"),
    ("unique", "unique"),
    ("novel", "novel"),
    ("sun", "stable, unique and novel"),
)
_UNLISTED = (
    "The run keeps no list of its training structures: some of these may be among them, and the "
    "scores better than on others."
)


def headline(run: CrystalRun) -> list[str]:
    """Say how many crystals come back, how that compares, how near, and what was given."""
    scorecard = run.files.scorecard
    if scorecard is None:
        return ["The run has not been scored yet, so nothing is claimed about it."]
    scored = [row for row in scorecard.rows if row.task == "reconstruction"]
    rows = [row for row in scored if row.split == scored[0].split]
    chosen = [
        stem
        for name in TOLERANCES
        if (stem := main_match([row for row in rows if row.method == "vae"], name)) is not None
    ]
    sentences = [
        *(_matched(run, rows, chosen) if chosen else ()),
        _UNLISTED if chosen and run.files.split is None else "",
        _nearness(run),
        _generated(run, scorecard.rows),
    ]
    said = [sentence for sentence in sentences if sentence]
    return said or ["No reconstruction was scored, so nothing is claimed about this run."]


def _matched(run: CrystalRun, rows: Sequence[ScoreRow], chosen: Sequence[str]) -> list[str]:
    crystals = run.extent if run.count else "the held-out crystals"
    own = _rates(rows, "vae", chosen)
    rates = listed([f"{written(row)} within the {_tolerance(row)} tolerance" for row in own])
    others = [name for name in dict.fromkeys(row.method for row in rows) if name != "vae"]
    compared = [
        f"{method_name(name)}{_told(found)} {listed([written(row) for row in found])}"
        for name in others
        if (found := _rates(rows, name, chosen))
    ]
    baselines = (
        f"For comparison: {'; '.join(compared)}."
        if compared
        else "No baseline was scored beside it, so it is open what these rates are worth."
    )
    given = given_words(given_of(own[0].metric))
    if not given and run.species_given:
        given = "the atom types"
    meanings = [
        f"{TOLERANCE_NAMES[tolerance.name]}: {meaning_of(tolerance)}"
        for stem in chosen
        if (tolerance := tolerance_of(stem)) is not None
    ]
    return [
        f"Of {crystals}, the VAE gives back {rates}.",
        baselines,
        "The decoder was given the mean latent of every atom, hence their number"
        f"{f', and {given}' if given else ''}. What the tolerances allow, a free length being "
        f"the cube root of the volume per atom: {'; '.join(meanings)}.",
    ]


def _rates(rows: Sequence[ScoreRow], method: str, chosen: Sequence[str]) -> list[ScoreRow]:
    """Return the match rates of a method, at most one for each stem."""
    found: dict[str, ScoreRow] = {}
    for row in rows:
        if row.method == method and stem_of(row.metric) in chosen:
            found.setdefault(stem_of(row.metric), row)
    return [found[stem] for stem in chosen if stem in found]


def _told(rows: Sequence[ScoreRow]) -> str:
    given = given_words(given_of(rows[0].metric))
    return f" (given {given})" if given else ""


def _tolerance(row: ScoreRow) -> str:
    tolerance = tolerance_of(row.metric)
    return TOLERANCE_NAMES[tolerance.name] if tolerance else ""


def _nearness(run: CrystalRun) -> str:
    parts: list[str] = []
    for name, words, unit in _ERRORS:
        values = run.column(name)
        if values is not None and np.isfinite(values).any():
            parts.append(f"{words} {significant(float(np.nanmedian(np.abs(values))), 2)}{unit}")
    return f"In the median crystal, {listed(parts)}." if parts else ""


def _generated(run: CrystalRun, rows: Sequence[ScoreRow]) -> str:
    shares = {
        row.metric: row
        for row in rows
        if row.task == "generation" and row.unit == "share" and row.method != "reference_draw"
    }
    parts = [f"{written(shares[name])} {words}" for name, words in _GENERATED if name in shares]
    if not parts:
        return ""
    crystals = (
        counted(len(run.samples), "generated crystal")
        if run.samples is not None
        else "the generated crystals"
    )
    return f"Of {crystals}, {listed(parts)}."
