"""How many atoms: a smoothed categorical distribution, told the space group and properties."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from variolite.crystals.latent.known import Known
from variolite.errors import DataError, ModelFileError

__all__ = ["AtomCounts", "fit_atom_counts"]

Floats = NDArray[np.float64]

PSEUDO_CRYSTALS = 1.0
"""Crystals spread evenly over all numbers up to the largest: no number is impossible."""

BACK_OFF = 5.0
"""Crystals of the whole set that stand beside those of one space group or one number."""

GROUPS = 231


@dataclass(frozen=True)
class AtomCounts:
    """Tables of the training crystals; M is the largest number of atoms.

    A property y multiplies the probability of n by the normal density of y among the
    crystals of n atoms (Bayes' rule with independent properties).

    Attributes
    ----------
    groups
        Crystals by space group (0 where unknown) and number of atoms, shape (231, M + 1).
    means, deviations
        Of every property among crystals of n atoms, shape (P, M + 1).
    """

    groups: Floats
    means: Floats
    deviations: Floats

    @property
    def largest(self) -> int:
        """The largest number of atoms."""
        return int(self.groups.shape[1] - 1)

    def probabilities(
        self,
        *,
        space_group: int = 0,
        properties: Floats | None = None,
        multiple_of: int = 1,
        at_least: int = 1,
    ) -> Floats:
        """Return the probability of every number of atoms, shape (M + 1,).

        Parameters
        ----------
        space_group
            International number, 0 for any.
        properties
            One value for each property, NaN for any, shape (P,).
        multiple_of
            Only multiples of this number, such as the atoms of a formula.
        at_least
            Smallest number, such as that of the elements asked for.

        Raises
        ------
        DataError
            If no number of atoms is left.
        """
        numbers = np.arange(self.largest + 1)
        whole = self.groups.sum(axis=0) + PSEUDO_CRYSTALS / self.largest
        whole[0] = 0.0
        chances = whole / whole.sum()
        if space_group:
            chances = self.groups[space_group] + BACK_OFF * chances
        if properties is not None and np.isfinite(properties).any():
            given = np.isfinite(properties)
            distance = (properties[given, None] - self.means[given]) / self.deviations[given]
            log_density = -(0.5 * distance**2 + np.log(self.deviations[given])).sum(axis=0)
            chances = chances * np.exp(log_density - log_density[chances > 0.0].max())
        allowed = (numbers % multiple_of == 0) & (numbers >= max(at_least, 1))
        chances = np.where(allowed, chances, 0.0)
        if not chances.sum() > 0.0:
            raise DataError(
                f"no crystal of at most {self.largest} atoms, the most among the training "
                f"crystals, has {max(multiple_of, at_least)} atoms or a multiple of them",
                where="number of atoms",
                mend="ask for a smaller formula",
            )
        return np.asarray(chances / chances.sum())

    def to_arrays(self) -> dict[str, Floats]:
        """Return the tables."""
        return {"groups": self.groups, "means": self.means, "deviations": self.deviations}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, Floats]) -> AtomCounts:
        """Rebuild the model from its tables.

        Raises
        ------
        ModelFileError
            If a table is absent or of the wrong shape.
        """
        try:
            made = cls(*(np.asarray(arrays[name], np.float64) for name in _TABLES))
        except KeyError as error:
            raise ModelFileError(f"the model of the number of atoms lacks {error}") from None
        fits = made.groups.ndim == 2 and len(made.groups) == GROUPS and made.largest >= 1
        if not fits or any(
            part.ndim != 2 or part.shape[1] != made.largest + 1 or len(part) != len(made.means)
            for part in (made.means, made.deviations)
        ):
            raise ModelFileError("the tables of the number of atoms do not fit each other")
        return made


_TABLES = ("groups", "means", "deviations")


def fit_atom_counts(known: Known) -> AtomCounts:
    """Count the training crystals.

    Raises
    ------
    DataError
        If there are none.
    """
    if not len(known):
        raise DataError("there are no crystals to count the atoms of", where="number of atoms")
    places = int(known.counts.max()) + 1
    groups = np.bincount(known.space_groups * places + known.counts, minlength=GROUPS * places)
    means, deviations = [], []
    for values in known.properties.T:
        here = np.isfinite(values)
        numbers, y = known.counts[here], values[here]
        mean, variance = y.mean(), y.var() or 1.0
        crystals = np.bincount(numbers, minlength=places) + BACK_OFF
        means.append((np.bincount(numbers, y, places) + BACK_OFF * mean) / crystals)
        squares = np.bincount(numbers, (y - means[-1][numbers]) ** 2, places)
        deviations.append(np.sqrt((squares + BACK_OFF * variance) / crystals))
    empty = np.empty((0, places))
    return AtomCounts(
        groups.reshape(GROUPS, places).astype(np.float64),
        np.array(means) if means else empty,
        np.array(deviations) if deviations else empty,
    )
