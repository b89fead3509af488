"""How far the distributions of generated crystals are from those of real ones."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from variolite.crystals.crystals import Crystals
from variolite.crystals.elements import MASSES, compositions, reduced_formulas
from variolite.crystals.evaluation.fingerprints import (
    QUANTILE,
    CutOffs,
    Fingerprints,
    calibrate,
    coverage,
    fingerprints_of,
)
from variolite.crystals.evaluation.measures import Measure, resampled
from variolite.crystals.files.groups import space_groups
from variolite.errors import DataError
from variolite.scoring import Bootstrap

Floats = NDArray[np.float64]

GRAMS = 1.66053906892
"""Mass of one unified mass unit per cubic Angstrom in g/cm3 (CODATA 2022)."""

SYMPREC = 0.1
"""Tolerance in Angstrom within which spglib looks for symmetry."""

GROUPS = 231
_SPGLIB_WARNING = "SPGLIB_WARNING"


@dataclass(frozen=True)
class Traits:
    """What is compared, one entry for each of B crystals.

    Attributes
    ----------
    formulas
        Reduced formulas.
    numbers
        Name, unit and values (B,) of every quantity.
    elements
        Shares of the elements among the atoms, shape (B, 119).
    space_groups
        Numbers of the space groups, 0 where none was found, shape (B,).
    """

    formulas: NDArray[np.str_]
    numbers: dict[str, tuple[str, Floats]]
    elements: Floats
    space_groups: NDArray[np.int64]

    def take(self, index: NDArray[np.integer] | NDArray[np.bool_]) -> Traits:
        """Choose crystals by place or by mask."""
        return Traits(
            self.formulas[index],
            {name: (unit, values[index]) for name, (unit, values) in self.numbers.items()},
            self.elements[index],
            self.space_groups[index],
        )


def densities(crystals: Crystals) -> Floats:
    """Return densities in g/cm3, shape (B,)."""
    mass = np.bincount(crystals.owner, MASSES[crystals.species], minlength=len(crystals))
    return np.asarray(GRAMS * mass / crystals.volumes)


@contextmanager
def _without_messages() -> Iterator[None]:
    """Keep spglib from writing to the terminal of attempts that it then repeats."""
    before = os.environ.get(_SPGLIB_WARNING)
    os.environ[_SPGLIB_WARNING] = "OFF"
    try:
        yield
    finally:
        del os.environ[_SPGLIB_WARNING]
        if before is not None:
            os.environ[_SPGLIB_WARNING] = before


def traits_of(
    crystals: Crystals, *, workers: int = 1, tell: Callable[[str], None] = lambda _: None
) -> Traits:
    """Compute what is compared; the crystals have to be valid by distance.

    Parameters
    ----------
    crystals
        The structures.
    workers
        Processes that look for symmetry.
    tell
        Is told how far it is.

    Raises
    ------
    DataError
        If spglib is not installed.
    """
    with _without_messages():
        groups, _ = space_groups(crystals, symprec=SYMPREC, workers=workers, tell=tell)
    counts = compositions(crystals)
    atoms = np.maximum(crystals.counts, 1).astype(np.float64)
    return Traits(
        formulas=reduced_formulas(crystals),
        numbers={
            "density": ("g/cm3", densities(crystals)),
            "volume_per_atom": ("angstrom3", crystals.volumes / atoms),
            "n_elements": ("1", (counts > 0).sum(axis=1).astype(np.float64)),
            "n_atoms": ("1", crystals.counts.astype(np.float64)),
        },
        elements=counts / atoms[:, None],
        space_groups=groups,
    )


def compare_distributions(
    samples: Traits, target: Traits, *, bootstrap: Bootstrap | None = None
) -> list[Measure]:
    """Return the distances between the distributions of samples and of real crystals."""
    measures = []
    for name, (unit, values) in samples.numbers.items():
        real = target.numbers[name][1]
        measures.append(
            resampled(
                f"{name}_wasserstein",
                unit,
                f"First Wasserstein distance of the {_WORDS[name]} of the valid samples from "
                "that of the test crystals",
                samples.formulas,
                _wasserstein_of(values, real),
                bootstrap=bootstrap,
                bounds=(0.0, np.inf),
            )
        )
    wanted = target.elements.mean(axis=0) if len(target.elements) else np.zeros(0)
    if len(wanted):
        measures.append(
            resampled(
                "elements_total_variation",
                "share",
                "Half the sum over the elements of the absolute difference of their shares among "
                "the atoms, every crystal counting alike, valid samples against test crystals",
                samples.formulas,
                lambda weights: total_variation(weights @ samples.elements, wanted),
                bootstrap=bootstrap,
                bounds=(0.0, 1.0),
            )
        )
        measures.append(
            resampled(
                "elements_jensen_shannon",
                "bit",
                "Jensen-Shannon divergence, base 2, of the same shares of the elements",
                samples.formulas,
                lambda weights: jensen_shannon(weights @ samples.elements, wanted),
                bootstrap=bootstrap,
                bounds=(0.0, 1.0),
            )
        )
        kinds = np.eye(GROUPS)[samples.space_groups]
        real_kinds = np.eye(GROUPS)[target.space_groups].mean(axis=0)
        measures.append(
            resampled(
                "space_groups_total_variation",
                "share",
                "Half the sum over the space groups (spglib, symprec 0.1 Angstrom; no group counts "
                "as one more) of the absolute difference of their shares, valid samples against "
                "test crystals",
                samples.formulas,
                lambda weights: total_variation(weights @ kinds, real_kinds),
                bootstrap=bootstrap,
                bounds=(0.0, 1.0),
            )
        )
    return measures


_WORDS = {
    "density": "density",
    "volume_per_atom": "volume per atom",
    "n_elements": "number of elements",
    "n_atoms": "number of atoms in the cell as given",
}


def wasserstein(first: Floats, second: Floats, weights: Floats | None = None) -> Floats:
    """Return first Wasserstein distances between weighted values and others, shape (R,).

    The area between the two cumulative distributions.

    Parameters
    ----------
    first
        Values, shape (n,).
    second
        Values that weigh alike, shape (m,).
    weights
        Weights of the first in rows that sum to 1, shape (R, n); alike by default.
    """
    given = np.full((1, len(first)), 1.0 / max(len(first), 1)) if weights is None else weights
    return _wasserstein_of(first, second)(given)


def _wasserstein_of(first: Floats, second: Floats) -> Callable[[Floats], Floats]:
    # Values in common steps: crystals repeat densities less than numbers of atoms, but
    # the steps between equal values need no work.
    steps, place = np.unique(np.concatenate([first, second]), return_inverse=True)
    if not len(first) or not len(second):
        return lambda weights: np.full(len(weights), np.nan)
    mine, real = place[: len(first)], place[len(first) :]
    order = np.argsort(mine, kind="stable")
    # Cumulative weight below each step is the running sum up to the last value below it.
    last = np.searchsorted(mine[order], np.arange(len(steps) - 1), side="right")
    below = np.cumsum(np.bincount(real, minlength=len(steps)))[:-1] / len(second)
    width = np.diff(steps)

    def statistic(weights: Floats) -> Floats:
        running = np.concatenate(
            [np.zeros((len(weights), 1)), np.cumsum(weights[:, order], axis=1)], axis=1
        )
        return np.asarray(np.abs(running[:, last] - below) @ width)

    return statistic


def total_variation(first: Floats, second: Floats) -> Floats:
    """Return half the sum of absolute differences of distributions, shapes (R, K), (K,) to (R,)."""
    return np.asarray(0.5 * np.abs(first - second).sum(axis=-1))


def jensen_shannon(first: Floats, second: Floats) -> Floats:
    """Return Jensen-Shannon divergences in bits, shapes (R, K) and (K,) to (R,).

    J. Lin, IEEE Trans. Inf. Theory 37 (1991) 145.
    """
    middle = 0.5 * (first + second)
    return np.asarray(0.5 * (_divergence(first, middle) + _divergence(second, middle)))


def _divergence(first: Floats, second: Floats) -> Floats:
    ratio = np.where(first > 0, first, 1.0) / np.where(first > 0, second, 1.0)
    return np.asarray((first * np.log2(ratio)).sum(axis=-1))


# How like real crystals a set of samples is as a whole: coverage and distributions.
#
# Every number stands beside the one that real crystals get: as many of them, drawn from the
# reference, as there are samples. Finite sets differ by chance, and the draw shows by how much.


MOST = 2000
"""Crystals of a set at most whose distributions and coverage are compared."""


@dataclass(frozen=True)
class Likeness:
    """What was found.

    Attributes
    ----------
    samples, baseline
        Quantities of the samples, and of the draw from the reference.
    notes
        What they rest on.
    """

    samples: tuple[Measure, ...]
    baseline: tuple[Measure, ...]
    notes: tuple[str, ...]


def judge_likeness(
    samples: Crystals,
    reference: Crystals,
    test: Crystals | None,
    *,
    invalid: int = 0,
    bootstrap: Bootstrap | None = None,
    seed: int = 0,
    workers: int = 1,
    tell: Callable[[str], None] = lambda _: None,
) -> Likeness:
    """Compare samples with real crystals; all of them have to be valid by distance.

    Parameters
    ----------
    samples, reference, test
        The structures; without a test set half of the reference, by formula, is put aside.
    invalid
        Samples that are not valid, which lie near no real crystal.
    bootstrap
        How to resample.
    seed
        Seed of every draw.
    workers
        Processes that look for symmetry.
    tell
        Is told what is being done.
    """
    rng = np.random.default_rng(seed)
    notes = []
    if test is None:
        aside, by = _put_aside(reference, rng)
        training, test = reference.take(~aside), reference.take(aside)
        notes.append(
            f"no test set was given: coverage and distributions are against {len(test)} crystals "
            f"of the reference, put aside {by}"
        )
    else:
        training = reference
    tell("fingerprints")
    test = _at_most(test, MOST, rng)
    known = fingerprints_of(training)
    real = fingerprints_of(test)
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
    wanted = reduced_formulas(test)
    kept = _at_most(samples, MOST, rng)
    tell("space groups")
    sets = [test, kept, _at_most(training.take(drawn), MOST, rng)]
    # All at once, so that worker processes start once.
    joined = traits_of(Crystals.concatenate(sets), workers=workers, tell=tell)
    ends = np.cumsum([0, *map(len, sets)])
    target, own, base = (joined.take(np.arange(start, stop)) for start, stop in pairwise(ends))
    tell("coverage")
    mine = fingerprints_of(samples)
    return Likeness(
        samples=(
            *_coverage(mine, reduced_formulas(samples), real, wanted, cutoffs, invalid, bootstrap),
            *compare_distributions(own, target, bootstrap=bootstrap),
        ),
        baseline=(
            *_coverage(
                known.take(drawn),
                reduced_formulas(training.take(drawn)),
                real,
                wanted,
                cutoffs,
                0,
                bootstrap,
            ),
            *compare_distributions(base, target, bootstrap=bootstrap),
        ),
        notes=tuple(notes),
    )


def _coverage(
    samples: Fingerprints,
    formulas: NDArray[np.str_],
    real: Fingerprints,
    real_formulas: NDArray[np.str_],
    cutoffs: CutOffs,
    invalid: int,
    bootstrap: Bootstrap | None,
) -> tuple[Measure, Measure]:
    found = coverage(samples, real, cutoffs)
    precise = np.append(found.precise, np.zeros(invalid, dtype=bool)).astype(np.float64)
    recalled = found.recalled.astype(np.float64)
    groups = np.append(formulas, [f"invalid {place}" for place in range(invalid)])
    return (
        resampled(
            "coverage_recall",
            "share",
            "Share of the test crystals that have a sample near them in structure and composition "
            "(interval over their formulas); it grows with the number of samples",
            real_formulas,
            lambda weights: weights @ recalled,
            bootstrap=bootstrap,
            bounds=(0.0, 1.0),
        ),
        resampled(
            "coverage_precision",
            "share",
            "Share of all samples that have a test crystal near them in structure and composition",
            groups,
            lambda weights: weights @ precise,
            bootstrap=bootstrap,
            bounds=(0.0, 1.0),
        ),
    )


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
