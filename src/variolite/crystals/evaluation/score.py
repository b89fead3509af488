"""Scores of generated crystals against known ones: all metrics in one call."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version

import numpy as np
import polars as pl
from numpy.typing import NDArray

from variolite.crystals.crystals import Crystals
from variolite.crystals.elements import HEAVIEST, reduced_formulas
from variolite.crystals.evaluation.distributions import judge_likeness
from variolite.crystals.evaluation.hull import Hull
from variolite.crystals.evaluation.measures import (
    Measure,
    count,
    energy_columns,
    newness_columns,
    resampled,
    share,
    verdict_columns,
)
from variolite.crystals.evaluation.novelty import (
    CANDIDATES,
    Matcher,
    Newness,
    SameStructure,
    judge_newness,
)
from variolite.crystals.evaluation.stability import (
    METASTABLE,
    ElementReferences,
    Energies,
    Stability,
    judge_stability,
    references_from,
    references_note,
)
from variolite.crystals.evaluation.validity import ChargeBalance, charge_balance, distance_validity
from variolite.crystals.periodic import shortest_distances
from variolite.errors import DataError
from variolite.scoring import Bootstrap, Scorecard, ScoreRow

# Verdicts on single samples, turned into shares of what was asked for.


Mask = NDArray[np.bool_]
Floats = NDArray[np.float64]

SAME = (
    "the same means StructureMatcher.fit at default tolerances (stol 0.3, ltol 0.2, angle 5 "
    "degrees, cells made primitive and scaled to one volume)"
)


@dataclass(frozen=True)
class Asked:
    """Samples that were asked for.

    Attributes
    ----------
    formulas
        Reduced formulas of those that could be read, shape (B,).
    unreadable
        Number of those that could not; nothing good holds of them.
    bootstrap
        How to resample.
    """

    formulas: NDArray[np.str_]
    unreadable: int
    bootstrap: Bootstrap | None

    @property
    def total(self) -> int:
        """All samples."""
        return len(self.formulas) + self.unreadable

    def of_all(self, metric: str, holds: Mask, definition: str) -> Measure:
        """Return the share of all samples; ``holds`` is about those that could be read."""
        unread = [f"unreadable {place}" for place in range(self.unreadable)]
        return share(
            metric,
            np.append(holds, np.zeros(self.unreadable, dtype=bool)),
            np.append(self.formulas, unread) if unread else self.formulas,
            definition,
            bootstrap=self.bootstrap,
        )

    def of_some(self, metric: str, holds: Mask, among: Mask, definition: str) -> Measure:
        """Return the share of some of the samples that could be read."""
        return share(
            metric, holds, self.formulas, definition, asked=among, bootstrap=self.bootstrap
        )


def validity_measures(asked: Asked, valid: Mask, balance: ChargeBalance) -> list[Measure]:
    """Return counts and shares of validity.

    Parameters
    ----------
    asked
        The samples.
    valid
        Valid by distance, shape (B,).
    balance
        Verdicts on the compositions.
    """
    return [
        count("asked", asked.total, "Structures that were to be scored, unreadable ones included"),
        count("unreadable", asked.unreadable, "Structures that could not be read; invalid"),
        asked.of_all(
            "distance_valid",
            valid,
            "Share of all samples with no two atoms closer than 0.5 Angstrom, periodic images "
            "included, and a cell of at least 0.1 cubic Angstrom",
        ),
        asked.of_some(
            "composition_valid",
            balance.balanced,
            balance.judged,
            "Share of the samples whose elements the rules know that have a neutral choice of "
            "oxidation states with every cation less electronegative than every anion; elements "
            "and alloys of metals pass (SMACT)",
        ),
        asked.of_all(
            "valid",
            valid & balance.balanced,
            "Share of all samples valid by distance and by composition; those whose composition "
            "is not judged do not count as valid",
        ),
    ]


def newness_measures(asked: Asked, valid: Mask, newness: Newness) -> list[Measure]:
    """Return shares of uniqueness and novelty.

    Parameters
    ----------
    asked
        The samples.
    valid
        Valid by distance, shape (B,).
    newness
        Verdicts on the valid ones.
    """
    unique, novel = _spread(valid, newness.unique), _spread(valid, newness.novel)
    return [
        asked.of_some(
            "unique",
            unique,
            valid,
            f"Share of the samples valid by distance that no earlier sample is the same as; {SAME}",
        ),
        asked.of_some(
            "novel",
            novel,
            valid,
            "Share of the samples valid by distance that no reference crystal is the same as",
        ),
        asked.of_all(
            "valid_unique_novel",
            unique & novel,
            "Share of all samples that are valid by distance, unique and novel",
        ),
    ]


def stability_measures(
    asked: Asked, valid: Mask, newness: Newness, stability: Stability, suffix: str = ""
) -> list[Measure]:
    """Return shares of stability, and the median energy above the hull.

    Parameters
    ----------
    asked
        The samples.
    valid
        Samples that the verdicts are about, shape (B,).
    newness, stability
        Verdicts on these.
    suffix
        Of the names of the metrics: "_relaxed" for relaxed structures.
    """
    new = _spread(valid, newness.unique & newness.novel)
    stable, metastable = _spread(valid, stability.stable), _spread(valid, stability.metastable)
    judged = np.isfinite(stability.above)
    which = "relaxed samples" if suffix else "samples as they are"
    return [
        resampled(
            f"e_above_hull_median{suffix}",
            "eV/atom",
            f"Median energy above the hull of the {which}, those judged; negative below the hull "
            "of all other phases",
            asked.formulas[valid][judged],
            _weighted_median(stability.above[judged]),
            bootstrap=asked.bootstrap,
        ),
        asked.of_all(
            f"stable{suffix}",
            stable,
            f"Share of all samples whose energy above the hull is at most 0 ({which})",
        ),
        asked.of_all(
            f"metastable{suffix}",
            metastable,
            f"Share of all samples at most {METASTABLE} eV/atom above the hull, stable ones "
            f"included ({which})",
        ),
        asked.of_all(
            f"sun{suffix}",
            stable & new,
            f"S.U.N.: share of all samples that are stable, unique and novel ({which})",
        ),
        asked.of_all(
            f"msun{suffix}",
            metastable & new,
            f"M.S.U.N.: share of all samples that are metastable, unique and novel ({which})",
        ),
    ]


def _spread(valid: Mask, holds: Mask) -> Mask:
    everything = np.zeros(len(valid), dtype=bool)
    everything[valid] = holds
    return everything


def _weighted_median(values: Floats) -> Callable[[Floats], Floats]:
    order = np.argsort(values)
    ordered = values[order]

    def median(weights: Floats) -> Floats:
        running = np.cumsum(weights[:, order], axis=1)
        return np.asarray(ordered[np.argmax(running >= 0.5 - 1e-12, axis=1)])

    return median


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
            hint=f"measured are {', '.join(self.definitions)}",
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
