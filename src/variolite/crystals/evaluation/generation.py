"""Scores of generated crystals against known ones: all metrics in one call."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version

import numpy as np
import polars as pl
from numpy.typing import NDArray

from variolite.crystals.evaluation.charge_balance import ChargeBalance, charge_balance
from variolite.crystals.evaluation.formation import ElementReferences
from variolite.crystals.evaluation.generation_measures import (
    Asked,
    newness_measures,
    stability_measures,
    validity_measures,
)
from variolite.crystals.evaluation.hull import Hull
from variolite.crystals.evaluation.likeness import judge_likeness
from variolite.crystals.evaluation.measures import Measure
from variolite.crystals.evaluation.novelty import (
    CANDIDATES,
    Newness,
    judge_newness,
)
from variolite.crystals.evaluation.sameness import Matcher, SameStructure
from variolite.crystals.evaluation.stability import (
    Energies,
    judge_stability,
    references_from,
    references_note,
)
from variolite.crystals.evaluation.validity import distance_validity
from variolite.crystals.evaluation.verdict_table import (
    energy_columns,
    newness_columns,
    verdict_columns,
)
from variolite.crystals.frame.distances import shortest_distances
from variolite.crystals.structures.crystals import Crystals
from variolite.crystals.structures.elements import HEAVIEST
from variolite.crystals.structures.formula import reduced_formulas
from variolite.errors import DataError
from variolite.scoring import Bootstrap, Scorecard, ScoreRow

__all__ = ["BASELINE", "FEW", "GenerationScores", "Relax", "score_generation"]

Mask = NDArray[np.bool_]

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
    measures
        Quantities of the samples.
    baseline
        The same quantities, where they have a meaning, of a random draw from the
        reference: what real crystals get from the same code. The charge balance is that
        of the whole reference.
    notes
        What was left out, and what the numbers rest on.
    structures
        One row for each sample that could be read: its verdicts, fingerprint-free.
    """

    measures: tuple[Measure, ...]
    baseline: tuple[Measure, ...]
    notes: tuple[str, ...]
    structures: pl.DataFrame

    @property
    def definitions(self) -> Mapping[str, str]:
        """What each metric is, by its name."""
        return {measure.metric: measure.definition for measure in self.measures}

    def __getitem__(self, metric: str) -> Measure:
        """Return one quantity of the samples.

        Raises
        ------
        DataError
            If it was not measured.
        """
        for measure in self.measures:
            if measure.metric == metric:
                return measure
        raise DataError(
            f"there is no quantity {metric!r}",
            where="generation",
            mend=f"measured are {', '.join(self.definitions)}",
        )

    def rows(self, method: str, split: str) -> tuple[ScoreRow, ...]:
        """Return rows of a scorecard: those of the samples, then those of the baseline."""
        return (
            *(measure.row(method, split) for measure in self.measures),
            *(measure.row(BASELINE, split) for measure in self.baseline),
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
    same: SameStructure | None = None,
    unreadable: int = 0,
    bootstrap: Bootstrap | None = None,
    seed: int = 0,
    workers: int = 1,
    tell: Callable[[str], None] = lambda _: None,
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
        Relaxes the samples, which are then judged a second time.
    same
        Decides whether two crystals are the same, by default :class:`Matcher`.
    unreadable
        Structures that were asked for but could not be read at all; they count as invalid.
    bootstrap
        How to resample.
    seed
        Seed of every random draw.
    workers
        Processes for matching and symmetry. More than one needs a main module that may be
        imported.
    tell
        Is told what is being done.

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
    same = same or Matcher(workers=workers if workers > 1 else 0, tell=tell)
    known = _sound(reference, "reference")
    real = None if test is None else _sound(test, "test")
    tell("validity")
    shortest = shortest_distances(samples)
    valid = distance_validity(samples, shortest)
    balance = charge_balance(samples)
    kept = samples.take(valid)
    asked = Asked(reduced_formulas(samples), unreadable, bootstrap)
    measures = validity_measures(asked, valid, balance)
    notes = [
        _versions(),
        *_size_notes(len(samples) + unreadable, len(known), len(reference) - len(known)),
        *_validity_notes(samples, valid, balance, unreadable),
    ]
    table = verdict_columns(samples, shortest, valid, balance)

    tell("uniqueness and novelty")
    newness = judge_newness(kept, known, same, tell=tell)
    measures += newness_measures(asked, valid, newness)
    notes += _newness_notes(newness)
    table = table.with_columns(newness_columns(valid, newness, kept, known))

    likeness = judge_likeness(
        kept,
        known,
        real,
        invalid=len(samples) + unreadable - len(kept),
        bootstrap=bootstrap,
        seed=seed,
        workers=workers,
        tell=tell,
    )
    measures += likeness.samples
    notes += likeness.notes

    if energies is not None and hull is not None:
        tell("energies of reference crystals")
        references = references_from(known, energies, seed=seed)
        judge = _StabilityJudge(asked, known, energies, references, hull, same, tell)
        found, columns, said = judge.judge(kept, valid, newness, "")
        measures += found
        table = table.with_columns(columns)
        notes += [references_note(references), *said]
        if relax is not None:
            tell("relaxation")
            found, columns, said = judge.judge_relaxed(relax(kept), valid)
            measures += found
            table = table.with_columns(columns)
            notes += said
    baseline = (*_baseline_validity(known, bootstrap), *likeness.baseline)
    return GenerationScores(tuple(measures), baseline, tuple(notes), table)


@dataclass(frozen=True)
class _StabilityJudge:
    """Judges samples as they are, and relaxed ones, by the same references and hull."""

    asked: Asked
    known: Crystals
    energies: Energies
    references: ElementReferences
    hull: Hull
    same: SameStructure
    tell: Callable[[str], None]

    def judge(
        self, crystals: Crystals, places: Mask, newness: Newness, suffix: str
    ) -> tuple[list[Measure], list[pl.Series], list[str]]:
        """Return quantities, columns of the table and notes on the samples at some places."""
        self.tell("energies of the samples")
        stability = judge_stability(
            crystals, self.energies, self.references, self.hull, tell=self.tell
        )
        measures = stability_measures(self.asked, places, newness, stability, suffix)
        return measures, energy_columns(places, stability, suffix), [*stability.notes(suffix)]

    def judge_relaxed(
        self, relaxed: Crystals, valid: Mask
    ) -> tuple[list[Measure], list[pl.Series], list[str]]:
        """The same for the valid samples after relaxation, which may have spoiled some."""
        sound = distance_validity(relaxed)
        places = np.zeros(len(valid), dtype=bool)
        places[np.flatnonzero(valid)[sound]] = True
        settled = relaxed.take(sound)
        newness = judge_newness(settled, self.known, self.same, tell=self.tell)
        measures, columns, notes = self.judge(settled, places, newness, "_relaxed")
        notes.insert(
            0,
            f"relaxed: {int(sound.sum())} of {len(sound)} valid samples came out of the "
            "relaxation valid by distance; the others count as not stable",
        )
        return measures, columns, [*notes, *_newness_notes(newness, "relaxed, ")]


def _sound(crystals: Crystals, where: str) -> Crystals:
    sound = crystals.take(distance_validity(crystals))
    if not len(sound):
        raise DataError("no structure is valid by distance", where=where)
    return sound


def _baseline_validity(known: Crystals, bootstrap: Bootstrap | None) -> list[Measure]:
    """How many known crystals pass: what a perfect generator would get."""
    asked = Asked(reduced_formulas(known), 0, bootstrap)
    everything = np.ones(len(known), dtype=bool)
    return [
        measure
        for measure in validity_measures(asked, everything, charge_balance(known))
        if measure.metric == "composition_valid"
    ]


def _versions() -> str:
    found = []
    for package in ("pymatgen", "spglib", "smact", "chgnet"):
        try:
            found.append(f"{package} {version(package)}")
        except PackageNotFoundError:
            continue
    return f"metrics drift with the versions of packages: {', '.join(found)}"


def _size_notes(asked: int, known: int, dropped: int) -> list[str]:
    notes = []
    for number, what in ((asked, "samples"), (known, "reference crystals")):
        if number < FEW:
            notes.append(
                f"WARNING: {number} {what} are few; below {FEW} novelty, coverage and distances "
                "between distributions say little"
            )
    if dropped:
        notes.append(f"{dropped} reference crystals are not valid by distance and were left out")
    return notes


def _validity_notes(
    samples: Crystals, valid: Mask, balance: ChargeBalance, unreadable: int
) -> list[str]:
    judged = int(balance.judged.sum())
    notes = [
        f"{len(samples) + unreadable} structures were asked about: {unreadable} could not be "
        f"read, {int((~valid).sum())} are not valid by distance, {int(valid.sum())} are",
        f"charge balance: {balance.source}",
    ]
    if judged < len(samples):
        elements = f" ({', '.join(balance.unknown)})" if balance.unknown else ""
        notes.append(
            f"charge balance: {len(samples) - judged} samples hold elements{elements} that "
            "the rules do not know and are not judged; SMACT itself would call them invalid: "
            f"{balance.balanced.mean():.3f} of all"
        )
    return notes


def _newness_notes(newness: Newness, which: str = "") -> list[str]:
    undecided = int((newness.earlier.undecided | newness.known.undecided).sum())
    notes = [
        f"{which}matching: {newness.earlier.asked} pairs of samples and {newness.known.asked} "
        f"pairs of sample and reference compared, {undecided} samples undecided (counted neither "
        "unique nor novel)"
    ]
    cut = int(newness.unsearched.sum())
    if cut:
        notes.append(
            f"{which}matching: {cut} samples without a match have more than {CANDIDATES} "
            "candidates of their formula, of which the nearest were compared"
        )
    return notes
