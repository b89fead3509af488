"""Verdicts on single samples, turned into shares of what was asked for."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from variolite.crystals.evaluation.charge_balance import ChargeBalance
from variolite.crystals.evaluation.measures import Measure, count, resampled, share
from variolite.crystals.evaluation.novelty import Newness
from variolite.crystals.evaluation.stability import METASTABLE, Stability
from variolite.scoring import Bootstrap

__all__ = ["Asked", "newness_measures", "stability_measures", "validity_measures"]

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
