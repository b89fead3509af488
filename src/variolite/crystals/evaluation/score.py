"""Scores of generated crystals, or of anyone's from files, against known ones: all metrics."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from variolite.arguments import keep_inputs
from variolite.crystals.crystals import Crystals
from variolite.crystals.elements import HEAVIEST, reduced_formulas
from variolite.crystals.evaluation.distributions import distribution_metrics
from variolite.crystals.evaluation.hull import Hull, read_hull
from variolite.crystals.evaluation.metrics import (
    METASTABLE,
    RELAXED,
    Mask,
    Requested,
    count_row,
    definition,
    named,
    score_row,
    weighted_median,
)
from variolite.crystals.evaluation.novelty import Matcher, Novelty, find_novelty
from variolite.crystals.evaluation.stability import (
    ElementReferences,
    Energies,
    evaluate_stability,
    known_formation_energies,
    references_from,
)
from variolite.crystals.evaluation.substitution import NOTES, substituted
from variolite.crystals.evaluation.validity import CUTOFF, charge_balance, distance_validity
from variolite.crystals.files import NO_LIMITS, load_crystals, read_structures
from variolite.crystals.geometry.periodic import shortest_distances
from variolite.errors import DataError, nearest
from variolite.progress import Progress
from variolite.records import require_writable, write_table
from variolite.scoring import Scorecard, ScoreRow

Relax = Callable[[Crystals], Crystals]
"""Relaxes crystals; those that fail come back with NaN coordinates, in their places."""

BASELINE = "reference_draw"  # as many crystals, drawn from the reference, as there are samples
LARGEST = 5000  # atoms in a cell beyond which a structure counts as unreadable
FEW = 100  # crystals below which shares and distances mislead


@dataclass(frozen=True)
class GenerationScores:
    """Rows of the samples; rows of the same metrics, where they have a meaning, of a random draw
    from the reference: what real crystals get from the same code (its charge balance is that of
    the whole reference); what the numbers rest on; a table of the samples that could be read; rows
    of the same metrics of crystals made without learning, by method (`substituted`)."""

    samples: tuple[ScoreRow, ...]
    baseline: tuple[ScoreRow, ...]
    notes: tuple[str, ...]
    structures: pl.DataFrame
    beside: Mapping[str, tuple[ScoreRow, ...]] = field(default_factory=dict)

    def rows(self, method: str, split: str) -> tuple[ScoreRow, ...]:
        """Return rows of a scorecard: those of the samples, then those of the baselines."""
        parts = {method: self.samples, **self.beside, BASELINE: self.baseline}
        return tuple(
            replace(row, method=name, split=split) for name, rows in parts.items() for row in rows
        )

    def card(self, method: str = "samples", split: str = "test") -> Scorecard:
        """Return a scorecard whose notes end with the definitions."""
        definitions = (f"{row.metric}: {definition(row.metric)}" for row in self.samples)
        return Scorecard(self.rows(method, split), (*self.notes, *definitions))


def score_generation(
    samples: Crystals,
    reference: Crystals,
    *,
    test: Crystals | None = None,
    energies: Energies | None = None,
    hull: Hull | None = None,
    potential: str | None = None,
    references: ElementReferences | None = None,
    relax: Relax | None = None,
    baselines: bool = False,
    unreadable: int = 0,
    seed: int = 0,
    workers: int = 0,
    log: Callable[[str], None] = lambda _: None,
) -> GenerationScores:
    """Score generated crystals.

    Novelty is against the reference. ``test`` crystals have the distribution that samples should
    have; without them half of the reference, split by formula, takes their place. Stability needs
    both the energies of a potential and a hull of known phases, and ``references`` of the elements
    or a reference with the property ``formation_energy_per_atom``; with ``relax`` it is evaluated a
    second time. ``potential``, such as "CHGNet 0.3.0", becomes part of the names of these metrics.
    With ``baselines`` as many crystals made by `substituted` are scored beside the samples.
    Structures that could not be read count as invalid. `Matcher` says what ``workers`` do.

    `DataError` if there is no sample or no usable reference, or one of energies and hull is
    missing.
    """
    if not len(samples):
        raise DataError("there are no structures to score", where="samples")
    for crystals, where in ((samples, "samples"), (reference, "reference"), (test, "test")):
        if crystals is not None and crystals.species.max(initial=1) > HEAVIEST:
            raise DataError("an atom is not of an element that exists", where=where)
    if (energies is None) != (hull is None):
        raise DataError(
            "stability needs both the energies of a potential and a hull of known phases",
            where="generation",
        )
    if energies is not None and references is None:
        known_formation_energies(reference)  # without them an error now, not after minutes of work
    matcher = Matcher(workers, log)
    known = _valid(reference, "reference")
    real = None if test is None else _valid(test, "test")
    log("validity")
    shortest = shortest_distances(samples)
    valid = np.asarray(shortest >= CUTOFF)
    balance = charge_balance(samples)
    kept = samples.take(valid)
    requested = Requested(reduced_formulas(samples), unreadable)
    notes = [
        f"metrics drift with the versions of packages: {_versions()}",
        *(
            f"WARNING: {number} {what} are few; below {FEW} novelty, coverage and distances "
            "between distributions mislead"
            for what, number in {
                "samples": requested.total,
                "reference crystals": len(known),
            }.items()
            if number < FEW
        ),
    ]
    if dropped := len(reference) - len(known):
        notes.append(f"{dropped} reference crystals are not valid by distance and were left out")
    notes += [
        f"{requested.total} structures were requested: {unreadable} could not be "
        f"read, {int((~valid).sum())} are not valid by distance, {int(valid.sum())} are",
        f"charge balance: {balance.source}",
    ]
    if left := int((~balance.evaluated).sum()):
        elements = f" ({', '.join(balance.unknown)})" if balance.unknown else ""
        notes.append(
            f"charge balance: {left} samples hold elements{elements} that the rules do not know "
            "and are not evaluated; SMACT itself would call them invalid: "
            f"{balance.balanced.mean():.3f} of all"
        )

    log("uniqueness and novelty")
    novelty = find_novelty(kept, known, matcher, log=log)
    unique, novel = _of_all(valid, novelty.unique), _of_all(valid, novelty.novel)
    rows = [
        count_row("asked", requested.total),
        count_row("unreadable", unreadable),
        requested.share_of_all("distance_valid", valid),
        requested.share_of_some("composition_valid", balance.balanced, balance.evaluated),
        requested.share_of_all("valid", valid & balance.balanced),
        requested.share_of_some("unique", unique, valid),
        requested.share_of_some("novel", novel, valid),
        requested.share_of_all("valid_unique_novel", unique & novel),
    ]
    notes += novelty.notes()
    columns = [
        pl.Series("name", samples.names.tolist()),
        pl.Series("formula", requested.formulas.tolist()),
        pl.Series("n_atoms", samples.counts),
        pl.Series("shortest_distance", shortest).fill_nan(None),
        pl.Series("distance_valid", valid),
        _column("composition_valid", balance.evaluated, balance.balanced[balance.evaluated]),
        _column("unique", valid, novelty.unique),
        _column("repeats", valid, _names(novelty.earlier.of, kept)),
        _column("novel", valid, novelty.novel),
        _column("known_as", valid, _names(novelty.known.of, known)),
    ]

    invalid = requested.total - len(kept)
    compared, drawn, more = distribution_metrics(
        kept, known, real, invalid=invalid, seed=seed, workers=workers, log=log
    )
    rows += compared
    notes += more

    if energies is not None and hull is not None:
        if references is None:
            log("energies of reference crystals")
            references = references_from(known, energies, seed=seed)
        fitted = references
        notes.append(references.note())

        def add_stability(crystals: Crystals, places: Mask, found: Novelty, suffix: str) -> None:
            log("energies of the samples")
            stability = evaluate_stability(crystals, energies, fitted, hull, log=log)
            above = stability.above
            rows.extend(stability_rows(requested, places, found, above, suffix, potential))
            notes.extend(stability.notes(suffix))
            formation = _column(f"formation_energy_per_atom{suffix}", places, stability.formation)
            columns.extend([formation, _column(f"e_above_hull{suffix}", places, above)])

        if potential:
            columns.append(pl.Series("potential", [potential] * len(samples)))
        add_stability(kept, valid, novelty, "")
        if relax is not None:
            log("relaxation")
            relaxed = relax(kept)
            # Relaxation may spoil some.
            sound = distance_validity(relaxed)
            settled = relaxed.take(sound)
            novelty = find_novelty(settled, known, matcher, log=log)
            notes.append(
                f"relaxed: {int(sound.sum())} of {len(sound)} valid samples came out of the "
                "relaxation valid by distance; the others count as not stable"
            )
            add_stability(settled, _of_all(valid, sound), novelty, RELAXED)
            notes += novelty.notes("relaxed, ")
    # How many known crystals pass is what a perfect generator would get.
    passed = charge_balance(known)
    of_known = Requested(reduced_formulas(known)).share_of_some(
        "composition_valid", passed.balanced, passed.evaluated
    )
    baseline = tuple(replace(row, method=BASELINE) for row in (of_known, *drawn))
    beside = {}
    made = substituted(known, requested.total, seed=seed, log=log) if baselines else {}
    for name, crystals in made.items():
        notes.append(f"{name}: {NOTES[name]}; {len(crystals)} crystals")
        if not len(crystals):
            continue
        other = score_generation(
            crystals,
            known,
            test=test,
            energies=energies,
            hull=hull,
            potential=potential,
            references=references,
            relax=relax,
            seed=seed,
            workers=workers,
            log=log,
        )
        beside[name] = other.samples
        notes += [f"{name}, {note}" for note in other.notes if note.startswith("stability")]
    return GenerationScores(tuple(rows), baseline, tuple(notes), pl.DataFrame(columns), beside)


def stability_rows(
    requested: Requested,
    valid: Mask,
    novelty: Novelty,
    above: NDArray[np.float64],
    suffix: str = "",
    potential: str | None = None,
) -> list[ScoreRow]:
    """Return shares of stability, and the median energy above the hull, by a potential.

    ``valid``: which samples, (B,), the novelty and the energies above the hull, in eV/atom, are
    about; ``suffix`` is `RELAXED` for relaxed structures.
    """
    new = novelty.unique & novelty.novel
    known = np.isfinite(above)
    formulas, median = requested.formulas[valid][known], weighted_median(above[known])
    stable, metastable = above <= 0.0, above <= METASTABLE
    shares = {"stable": stable, "metastable": metastable}
    shares |= {"sun": stable & new, "msun": metastable & new}
    return [
        score_row(named(f"e_above_hull_median{suffix}", potential), formulas, median),
        *(
            requested.share_of_all(named(name + suffix, potential), _of_all(valid, holds))
            for name, holds in shares.items()
        ),
    ]


def _valid(crystals: Crystals, where: str) -> Crystals:
    found = crystals.take(distance_validity(crystals))
    if not len(found):
        raise DataError("no structure is valid by distance", where=where)
    return found


# What holds of the valid samples, (V,), in their places among all samples, (B,).


def _of_all(valid: Mask, holds: Mask) -> Mask:
    everything = np.zeros(len(valid), dtype=bool)
    everything[valid] = holds
    return everything


def _column(name: str, valid: Mask, values: Sequence[object] | NDArray[np.generic]) -> pl.Series:
    column: list[object] = [None] * len(valid)
    for place, value in zip(np.flatnonzero(valid), np.asarray(values).tolist(), strict=True):
        # A value that is not known, NaN, stays empty.
        column[place] = value if value == value else None
    return pl.Series(name, column)


def _names(places: NDArray[np.int64], crystals: Crystals) -> list[str | None]:
    return [str(crystals.names[place]) if place >= 0 else None for place in places]


def _versions() -> str:
    found = []
    for package in ("pymatgen", "spglib", "smact", "chgnet"):
        with suppress(PackageNotFoundError):
            found.append(f"{package} {version(package)}")
    return ", ".join(found)


def score_structures(
    structures: Sequence[Path],
    progress: Progress,
    *,
    reference: Path | None = None,
    test: Path | None = None,
    hull: Path | None = None,
    energies: str | None = None,
    relax_steps: int = 0,
    out: Path | None = None,
    baselines: bool = True,
    workers: int | None = None,
) -> Scorecard:
    """Score structures against known ones.

    Novelty is against ``reference``, the distribution wanted that of ``test``, stability by
    ``energies`` (a potential, or "none"; chgnet where there is a hull), after ``relax_steps``,
    above ``hull``, a table of known phases. ``out`` gets the results for every structure, or the
    scorecard where it ends in .json; ``baselines`` are those of `score_generation`. DataError if an
    option does not go with the others or a file cannot be used.
    """
    if reference is None:
        raise DataError(
            "there is nothing to compare them with",
            where="--structures",
            hint="Give --reference FILE: known crystals, such as those a model was trained on",
        )
    potential = potential_of(energies, hull, relax_steps)
    keep_inputs("--out", out, *structures, reference, test, hull)
    if out is not None:
        # The scorecard is text; a table beside it would have the same place.
        require_writable(out.with_suffix(".csv") if out.suffix == ".json" else out)
    workers = (os.cpu_count() or 1) if workers is None else workers
    # What a generator got wrong is to be counted as invalid, not rejected unread.
    limits = replace(NO_LIMITS, max_atoms=LARGEST)
    with progress.stage("reading structures") as step:
        phases = read_hull(hull, log=progress.note) if hull is not None and potential else None
        reading = read_structures(structures, properties=False, limits=limits, log=step)
        known = load_crystals(reference, log=step)
        real = None if test is None else load_crystals(test, log=step)
    reading.report(progress.note)
    with progress.stage("scoring structures") as step:
        scores = score_generation(
            reading.crystals,
            known,
            test=real,
            hull=phases,
            **energy_settings(potential, relax_steps, workers, step),
            baselines=baselines,
            unreadable=len(reading.rejects),
            workers=workers,
            log=step,
        )
    card = scores.card(split="reference" if test is None else "test")
    if out is not None and out.suffix == ".json":
        card.write(out)
    elif out is not None:
        write_table(scores.structures, out)
    return card


def potential_of(name: str | None, hull: Path | None, relax_steps: int) -> str | None:
    """Return the name of the potential that options ask for, or None; DataError if unclear."""
    name = name or ("none" if hull is None else "chgnet")
    if name not in ("chgnet", "none"):
        close = nearest(name, ("chgnet", "none"))
        hint = f"did you mean {close}?" if close else "choose from chgnet, none"
        raise DataError(f"there are no energies {name!r}", where="--energies", hint=hint)
    if name == "none":
        if relax_steps:
            raise DataError("needs a potential", where="--relax-steps", hint="Give --hull too")
        return None
    if hull is None:
        raise DataError(
            "energies need known phases to compare with",
            where="--energies",
            hint="Give --hull too, a table of formulas with formation_energy_per_atom",
        )
    return name


def energy_settings(
    potential: str | None, relax_steps: int, workers: int, log: Callable[[str], None]
) -> dict[str, Any]:
    """Return what `score_generation` takes of a potential: its title, energies and relaxation."""
    if potential is None:
        return {}
    from variolite.crystals.potential.features import energy_function
    from variolite.crystals.potential.potential import potential_title
    from variolite.crystals.potential.relaxation import RelaxationLimits, relax

    def relaxed(crystals: Crystals) -> Crystals:
        limits = RelaxationLimits(steps=relax_steps)
        return relax(crystals, potential, limits=limits, workers=workers, log=log).crystals

    return {
        "potential": potential_title(potential),
        "energies": energy_function(potential, workers=workers, log=log),
        "relax": relaxed if relax_steps else None,
    }
