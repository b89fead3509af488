"""How far the distributions of generated crystals are from those of real ones.

Every number stands beside the one that real crystals get: as many of them, drawn from the
reference, as there are samples. Finite sets differ by chance, and the draw shows by how much.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from variolite.crystals.crystals import Crystals
from variolite.crystals.elements import densities, reduced_formulas
from variolite.crystals.evaluation.fingerprints import (
    QUANTILE,
    Fingerprints,
    calibrate,
    coverage,
    element_fractions,
    fingerprints_of,
)
from variolite.crystals.evaluation.metrics import Statistic, score_row
from variolite.crystals.files.groups import space_groups
from variolite.errors import DataError
from variolite.scoring import ScoreRow

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]
Strings = NDArray[np.str_]

SYMPREC = 0.1  # tolerance in Angstrom within which spglib looks for symmetry
MOST = 2000  # crystals of a set at most whose distributions and coverage are compared
GROUPS = 231  # space groups and none


@dataclass(frozen=True)
class Traits:
    """Of B crystals, reduced formulas (B,), quantities by name (B,) each, fractions of the
    elements (B, 119), and numbers of the space groups, 0 where none was found, (B,)."""

    formulas: Strings
    numbers: dict[str, Floats]
    elements: Floats
    space_groups: Integers


def traits_of(crystals: Crystals, groups: Integers) -> Traits:
    """Compute what is compared; the crystals have to be valid by distance."""
    elements = element_fractions(crystals)
    atoms = crystals.counts.astype(np.float64)
    return Traits(
        formulas=reduced_formulas(crystals),
        numbers={
            "density": densities(crystals),
            "volume_per_atom": crystals.volumes / atoms,
            "n_elements": (elements > 0).sum(axis=1).astype(np.float64),
            "n_atoms": atoms,
        },
        elements=elements,
        space_groups=groups,
    )


def compare_distributions(samples: Traits, target: Traits) -> list[ScoreRow]:
    """Return the distances between the distributions of samples and of real crystals."""
    elements, groups = samples.elements, np.eye(GROUPS)[samples.space_groups]
    real, real_groups = target.elements.mean(axis=0), np.eye(GROUPS)[target.space_groups].mean(0)
    statistics: dict[str, Statistic] = {
        f"{name}_wasserstein": wasserstein_statistic(values, target.numbers[name])
        for name, values in samples.numbers.items()
    } | {
        "elements_total_variation": lambda w: total_variation(w @ elements, real),
        "elements_jensen_shannon": lambda w: jensen_shannon(w @ elements, real),
        "space_groups_total_variation": lambda w: total_variation(w @ groups, real_groups),
    }
    return [score_row(name, samples.formulas, found) for name, found in statistics.items()]


def wasserstein_statistic(first: Floats, second: Floats) -> Statistic:
    """Return the statistic of first values (n,) that is their distance from second ones (m,).

    The first Wasserstein distance is the area between the two cumulative distributions; here for
    many weightings of the first values at once, of which ``scipy.stats.wasserstein_distance``
    computes one.
    """
    # Between two neighbouring values of either set both distributions are constant; equal
    # values, of which numbers of atoms have many, are one step.
    steps, place = np.unique(np.concatenate([first, second]), return_inverse=True)
    mine, real = place[: len(first)], place[len(first) :]
    order = np.argsort(mine, kind="stable")
    # Cumulative weight below each step is the running sum up to the last value below it.
    last = np.searchsorted(mine[order], np.arange(len(steps) - 1), side="right")
    below = np.cumsum(np.bincount(real, minlength=len(steps)))[:-1] / len(second)
    width = np.diff(steps)

    def statistic(weights: Floats) -> Floats:
        running = np.cumsum(weights[:, order], axis=1)
        running = np.concatenate([np.zeros((len(weights), 1)), running], axis=1)
        return np.asarray(np.abs(running[:, last] - below) @ width)

    return statistic


def total_variation(first: Floats, second: Floats) -> Floats:
    """Return half the sum of absolute differences of distributions, shapes (R, K), (K,) to (R,)."""
    return np.asarray(0.5 * np.abs(first - second).sum(axis=-1))


def jensen_shannon(first: Floats, second: Floats) -> Floats:
    """Return Jensen-Shannon divergences in bits, shapes (R, K) and (K,) to (R,).

    J. Lin, IEEE Trans. Inf. Theory 37 (1991) 145.
    """
    from scipy.special import rel_entr

    middle = 0.5 * (first + second)
    both = rel_entr(first, middle).sum(axis=-1) + rel_entr(second, middle).sum(axis=-1)
    return np.asarray(0.5 * both / np.log(2.0))


def distribution_metrics(
    samples: Crystals,
    reference: Crystals,
    test: Crystals | None,
    *,
    invalid: int = 0,
    seed: int = 0,
    workers: int = 0,
    log: Callable[[str], None] = lambda _: None,
) -> tuple[list[ScoreRow], list[ScoreRow], list[str]]:
    """Compare samples with real crystals; all of them have to be valid by distance.

    ``invalid`` samples more are near no real crystal. Without a test set half of the
    reference, by formula, is put aside. Returns rows of the samples, rows of the draw from the
    reference, and notes on what they rest on.
    """
    rng = np.random.default_rng(seed)
    notes = []
    training = reference
    if test is None:
        aside, by = _put_aside(reference, rng)
        training, test = reference.take(~aside), reference.take(aside)
        notes.append(
            f"no test set was given: coverage and distributions are against {len(test)} crystals "
            f"of the reference, put aside {by}"
        )
    log("fingerprints")
    test = _at_most(test, MOST, rng)
    known, real = fingerprints_of(training), fingerprints_of(test)
    cutoffs = calibrate(real, known, seed=seed)
    drawn = np.sort(rng.permutation(len(training))[: max(len(samples) + invalid, 1)])
    notes.append(
        f"coverage: near means an average minimum distance (k = {known.structure.shape[1]}) within "
        f"{cutoffs.structure:.3f} Angstrom and a composition within {cutoffs.composition:.2f} "
        f"places on the line of elements, the {QUANTILE:.0%} quantiles of the distances from "
        "test crystals to the nearest reference crystals; not comparable with published COV"
    )
    if len(samples) + invalid > len(drawn):
        notes.append(
            f"the draw from the reference has {len(drawn)} crystals, fewer than there are samples: "
            "its recall is too low to compare with"
        )
    kept = _at_most(samples, MOST, rng)
    log("space groups")
    draw = training.take(drawn)
    sets = [test, kept, _at_most(draw, MOST, rng)]
    # All at once, so that worker processes start once.
    groups, _ = space_groups(Crystals.concatenate(sets), symprec=SYMPREC, workers=workers, log=log)
    parts = np.split(groups, np.cumsum([*map(len, sets)])[:-1])
    target, own, base = map(traits_of, sets, parts)
    log("coverage")

    def rows(marks: Fingerprints, all_of: Crystals, traits: Traits, invalid: int) -> list[ScoreRow]:
        recalled, precise = (near.astype(float) for near in coverage(marks, real, cutoffs))
        precise = np.append(precise, np.zeros(invalid))
        # Each invalid sample is a formula of its own.
        none = np.array([f"invalid {place}" for place in range(invalid)], dtype=np.str_)
        formulas = np.append(reduced_formulas(all_of), none)
        return [
            score_row("coverage_recall", target.formulas, lambda w: w @ recalled),
            score_row("coverage_precision", formulas, lambda w: w @ precise),
            *compare_distributions(traits, target),
        ]

    found = rows(fingerprints_of(samples), samples, own, invalid)
    return found, rows(known.take(drawn), draw, base, 0), notes


def _put_aside(crystals: Crystals, rng: np.random.Generator) -> tuple[NDArray[np.bool_], str]:
    """Choose half of the crystals, by formula where there are several."""
    _, group = np.unique(reduced_formulas(crystals), return_inverse=True)
    by = "by formula"
    if group.max() == 0:
        group, by = np.arange(len(crystals)), "at random"
    if len(group) < 2:
        raise DataError(
            "one structure cannot be split into halves to compare with",
            where="reference",
            hint="Give a larger reference, or a test set",
        )
    chosen = rng.permutation(int(group.max()) + 1) % 2 == 1
    return np.asarray(chosen[group]), by


def _at_most(crystals: Crystals, most: int, rng: np.random.Generator) -> Crystals:
    if len(crystals) <= most:
        return crystals
    return crystals.take(np.sort(rng.permutation(len(crystals))[:most]))
