"""How far the distributions of generated crystals are from those of real ones."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from variolite.crystals.evaluation.measures import Measure, resampled
from variolite.crystals.structures.crystals import Crystals
from variolite.crystals.structures.elements import MASSES
from variolite.crystals.structures.formula import compositions, reduced_formulas
from variolite.crystals.structures.prototypes import space_groups
from variolite.scoring import Bootstrap

__all__ = [
    "Traits",
    "compare_distributions",
    "densities",
    "jensen_shannon",
    "total_variation",
    "traits_of",
    "wasserstein",
]

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
