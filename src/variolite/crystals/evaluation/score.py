"""Scores of generated crystals against known ones: all metrics in one call."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from importlib.metadata import PackageNotFoundError, version

import numpy as np
import polars as pl
from numpy.typing import NDArray

from variolite.crystals.crystals import Crystals
from variolite.crystals.elements import HEAVIEST, reduced_formulas
from variolite.crystals.evaluation.distributions import distribution_metrics
from variolite.crystals.evaluation.hull import Hull
from variolite.crystals.evaluation.metrics import (
    RELAXED,
    Mask,
    Requested,
    count_row,
    definition,
    score_row,
    weighted_median,
)
from variolite.crystals.evaluation.novelty import (
    Matcher,
    Novelty,
    StructureEquivalence,
    find_novelty,
)
from variolite.crystals.evaluation.stability import (
    Energies,
    Stability,
    evaluate_stability,
    references_from,
)
from variolite.crystals.evaluation.validity import ChargeBalance, charge_balance, distance_validity
from variolite.crystals.periodic import shortest_distances
from variolite.errors import DataError
from variolite.scoring import Bootstrap, Scorecard, ScoreRow

Relax = Callable[[Crystals], Crystals]
"""Relaxes crystals; those that fail come back with NaN coordinates, in their places."""

BASELINE = "reference_draw"
"""Method of the rows about as many crystals, drawn from the reference, as there are samples."""

FEW = 100
"""Crystals below which shares and distances mislead."""


@dataclass(frozen=True)
class GenerationScores:
    """What was found.

    Attributes
    ----------
    samples
        Rows of the samples.
    baseline
        Rows of the same metrics, where they have a meaning, of a random draw from the
        reference: what real crystals get from the same code. The charge balance is that
        of the whole reference.
    notes
        What was left out, and what the numbers rest on.
    structures
        One row for each sample that could be read, with what was found about it.
    """

    samples: tuple[ScoreRow, ...]
    baseline: tuple[ScoreRow, ...]
    notes: tuple[str, ...]
    structures: pl.DataFrame

    @property
    def definitions(self) -> Mapping[str, str]:
        """What each metric is, by its name."""
        return {row.metric: definition(row.metric) for row in self.samples}

    def __getitem__(self, metric: str) -> ScoreRow:
        """Return one row of the samples; `DataError` if it was not measured."""
        for row in self.samples:
            if row.metric == metric:
                return row
        raise DataError(
            f"there is no quantity {metric!r}",
            where="generation",
            hint=f"measured are {', '.join(self.definitions)}",
        )

    def rows(self, method: str, split: str) -> tuple[ScoreRow, ...]:
        """Return rows of a scorecard: those of the samples, then those of the baseline."""
        return tuple(
            replace(row, method=name, split=split)
            for name, rows in ((method, self.samples), (BASELINE, self.baseline))
            for row in rows
        )

    def card(self, method: str = "samples", split: str = "test") -> Scorecard:
        """Return a scorecard whose notes end with the definitions."""
        definitions = (f"{name}: {text}" for name, text in self.definitions.items())
        return Scorecard(self.rows(method, split), (*self.notes, *definitions))


def score_generation(
    samples: Crystals,
    reference: Crystals,
    *,
    test: Crystals | None = None,
    energies: Energies | None = None,
    hull: Hull | None = None,
    relax: Relax | None = None,
    equivalence: StructureEquivalence | None = None,
    unreadable: int = 0,
    bootstrap: Bootstrap | None = None,
    seed: int = 0,
    workers: int = 1,
    log: Callable[[str], None] = lambda _: None,
) -> GenerationScores:
    """Score generated crystals.

    Parameters
    ----------
    samples
        The crystals to score, whatever made them.
    reference
        Known crystals, such as those a model was trained on: novelty is against them.
    test
        Real crystals whose distribution the samples should have. Without them half of the
        reference, split by formula, takes their place.
    energies, hull
        A potential and known phases; both or neither. The reference then needs the
        property ``formation_energy_per_atom``.
    relax
        Relaxes the samples, whose stability is then evaluated a second time.
    equivalence
        Decides whether two crystals are the same, by default :class:`Matcher`.
    unreadable
        Structures that were requested but could not be read at all; they count as invalid.
    bootstrap
        How to resample.
    seed
        Seed of every random draw.
    workers
        Processes for matching and symmetry. More than one needs a main module that may be
        imported.
    log
        Takes lines of progress.

    Raises
    ------
    DataError
        If there is no sample or no usable reference, or one of energies and hull is missing.
    """
    if not len(samples):
        raise DataError("there are no structures to score", where="samples")
    for crystals, where in ((samples, "samples"), (reference, "reference"), (test, "test")):
        if crystals is not None and crystals.species.max(initial=1) > HEAVIEST:
            raise DataError("an atom is no element that exists", where=where)
    if (energies is None) != (hull is None):
        raise DataError(
            "stability needs both the energies of a potential and a hull of known phases",
            where="generation",
        )
    equivalence = equivalence or Matcher(workers=workers if workers > 1 else 0, log=log)
    known = _valid(reference, "reference")
    real = None if test is None else _valid(test, "test")
    log("validity")
    shortest = shortest_distances(samples)
    valid = distance_validity(samples, shortest)
    balance = charge_balance(samples)
    kept = samples.take(valid)
    requested = Requested(reduced_formulas(samples), unreadable, bootstrap)
    rows = _validity_rows(requested, valid, balance)
    notes = [
        f"metrics drift with the versions of packages: {_versions()}",
        *_size_notes(requested.total, len(known), len(reference) - len(known)),
        *_validity_notes(requested, valid, balance),
    ]
    evaluated = zip(balance.balanced.tolist(), balance.evaluated.tolist(), strict=True)
    columns = [
        pl.Series("name", samples.names.tolist()),
        pl.Series("formula", requested.formulas.tolist()),
        pl.Series("n_atoms", samples.counts),
        pl.Series("shortest_distance", shortest).fill_nan(None),
        pl.Series("distance_valid", valid),
        pl.Series("composition_valid", [good if sure else None for good, sure in evaluated]),
    ]

    log("uniqueness and novelty")
    novelty = find_novelty(kept, known, equivalence, log=log)
    unique, novel = _of_all(valid, novelty.unique), _of_all(valid, novelty.novel)
    rows += [
        requested.share_of_some("unique", unique, valid),
        requested.share_of_some("novel", novel, valid),
        requested.share_of_all("valid_unique_novel", unique & novel),
    ]
    notes += novelty.notes()
    columns += [
        _column("unique", valid, novelty.unique.tolist()),
        _column("repeats", valid, _names(novelty.earlier.of, kept)),
        _column("novel", valid, novelty.novel.tolist()),
        _column("known_as", valid, _names(novelty.known.of, known)),
    ]

    compared = distribution_metrics(
        kept,
        known,
        real,
        invalid=requested.total - len(kept),
        bootstrap=bootstrap,
        seed=seed,
        workers=workers,
        log=log,
    )
    rows += compared.samples
    notes += compared.notes

    if energies is not None and hull is not None:
        log("energies of reference crystals")
        references = references_from(known, energies, seed=seed)
        notes.append(references.note())

        def add_stability(crystals: Crystals, places: Mask, found: Novelty, suffix: str) -> None:
            log("energies of the samples")
            stability = evaluate_stability(crystals, energies, references, hull, log=log)
            rows.extend(stability_rows(requested, places, found, stability, suffix))
            notes.extend(stability.notes(suffix))
            columns.append(
                _column(f"formation_energy_per_atom{suffix}", places, stability.formation)
            )
            columns.append(_column(f"e_above_hull{suffix}", places, stability.above))

        add_stability(kept, valid, novelty, "")
        if relax is not None:
            log("relaxation")
            relaxed = relax(kept)
            # Relaxation may spoil some.
            sound = distance_validity(relaxed)
            settled = relaxed.take(sound)
            novelty = find_novelty(settled, known, equivalence, log=log)
            notes.append(
                f"relaxed: {int(sound.sum())} of {len(sound)} valid samples came out of the "
                "relaxation valid by distance; the others count as not stable"
            )
            add_stability(settled, _of_all(valid, sound), novelty, RELAXED)
            notes += novelty.notes("relaxed, ")
    # How many known crystals pass is what a perfect generator would get.
    of_known, known_balance = (
        Requested(reduced_formulas(known), 0, bootstrap),
        charge_balance(known),
    )
    passed = of_known.share_of_some(
        "composition_valid", known_balance.balanced, known_balance.evaluated
    )
    baseline = [replace(row, method=BASELINE) for row in (passed, *compared.baseline)]
    return GenerationScores(tuple(rows), tuple(baseline), tuple(notes), pl.DataFrame(columns))


def stability_rows(
    requested: Requested, valid: Mask, novelty: Novelty, stability: Stability, suffix: str = ""
) -> list[ScoreRow]:
    """Return shares of stability, and the median energy above the hull.

    ``valid``: which samples the novelty and the stability are about, (B,); ``suffix`` is
    `RELAXED` for relaxed structures.
    """
    new = _of_all(valid, novelty.unique & novelty.novel)
    stable, metastable = _of_all(valid, stability.stable), _of_all(valid, stability.metastable)
    known = np.isfinite(stability.above)
    median = weighted_median(stability.above[known])
    formulas = requested.formulas[valid][known]
    shares = {"stable": stable, "metastable": metastable, "sun": stable & new}
    return [
        score_row(f"e_above_hull_median{suffix}", formulas, median, requested.bootstrap),
        *(
            requested.share_of_all(f"{name}{suffix}", holds)
            for name, holds in (*shares.items(), ("msun", metastable & new))
        ),
    ]


def _valid(crystals: Crystals, where: str) -> Crystals:
    found = crystals.take(distance_validity(crystals))
    if not len(found):
        raise DataError("no structure is valid by distance", where=where)
    return found


def _validity_rows(requested: Requested, valid: Mask, balance: ChargeBalance) -> list[ScoreRow]:
    return [
        count_row("asked", requested.total),
        count_row("unreadable", requested.unreadable),
        requested.share_of_all("distance_valid", valid),
        requested.share_of_some("composition_valid", balance.balanced, balance.evaluated),
        requested.share_of_all("valid", valid & balance.balanced),
    ]


# Columns of the table of samples: values of the valid ones in their places, empty elsewhere.


def _of_all(valid: Mask, holds: Mask) -> Mask:
    everything = np.zeros(len(valid), dtype=bool)
    everything[valid] = holds
    return everything


def _column(name: str, valid: Mask, values: Sequence[object] | NDArray[np.float64]) -> pl.Series:
    if isinstance(values, np.ndarray):
        values = [float(value) if np.isfinite(value) else None for value in values]
    column: list[object] = [None] * len(valid)
    for place, value in zip(np.flatnonzero(valid), values, strict=True):
        column[place] = value
    return pl.Series(name, column)


def _names(places: NDArray[np.int64], crystals: Crystals) -> list[str | None]:
    return [str(crystals.names[place]) if place >= 0 else None for place in places]


def _versions() -> str:
    found = []
    for package in ("pymatgen", "spglib", "smact", "chgnet"):
        try:
            found.append(f"{package} {version(package)}")
        except PackageNotFoundError:
            continue
    return ", ".join(found)


def _size_notes(requested: int, known: int, dropped: int) -> list[str]:
    notes = [
        f"WARNING: {number} {what} are few; below {FEW} novelty, coverage and distances "
        "between distributions mislead"
        for number, what in ((requested, "samples"), (known, "reference crystals"))
        if number < FEW
    ]
    if dropped:
        notes.append(f"{dropped} reference crystals are not valid by distance and were left out")
    return notes


def _validity_notes(requested: Requested, valid: Mask, balance: ChargeBalance) -> list[str]:
    notes = [
        f"{requested.total} structures were asked about: {requested.unreadable} could not be "
        f"read, {int((~valid).sum())} are not valid by distance, {int(valid.sum())} are",
        f"charge balance: {balance.source}",
    ]
    if left := int((~balance.evaluated).sum()):
        elements = f" ({', '.join(balance.unknown)})" if balance.unknown else ""
        notes.append(
            f"charge balance: {left} samples hold elements{elements} that "
            "the rules do not know and are not evaluated; SMACT itself would call them invalid: "
            f"{balance.balanced.mean():.3f} of all"
        )
    return notes
