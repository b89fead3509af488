"""What is measured of reconstructions: every metric as a ratio of sums over crystals."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from variolite.crystals.matching.pair_scores import Setting
from variolite.crystals.matching.pairs import Matches
from variolite.crystals.matching.reconstruction_scores import SHORTEST, ReconstructionScores

__all__ = ["Metric", "metrics_of", "name_ending"]

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Metric:
    """A metric: its unit, its meaning, and what each crystal gives to it.

    Attributes
    ----------
    name, unit, meaning
        As in a scorecard.
    numerator, denominator
        The metric is the ratio of their sums, shape (B,) each.
    """

    name: str
    unit: str
    meaning: str
    numerator: Floats
    denominator: Floats


def name_ending(given: tuple[str, ...]) -> str:
    """End of the names of metrics: what the decoder was given."""
    return "_given_" + "_".join(given) if given else ""


def metrics_of(scores: ReconstructionScores) -> list[Metric]:
    """Every metric that is a ratio of sums over crystals."""
    found: list[Metric] = []
    for setting, matches in scores.pairs.matches.items():
        found += _matching(setting, matches)
    found += _displacements(scores)
    found += [
        _mean("length_error", "percent", "mean relative error of a length", scores.length_error),
        _mean("angle_error", "degree", "mean error of a cell angle", scores.angle_error),
        _mean("volume_error", "percent", "mean relative error of a volume", scores.volume_error),
    ]
    found += _chemistry(scores)
    for symprec, same in scores.pairs.same_space_group.items():
        found.append(
            _mean(
                f"space_group_kept_symprec_{symprec:g}",
                "share",
                f"share of crystals whose space group, by spglib at {symprec:g} Angstrom, is that "
                "of the true one, among those for whose true one it finds a group",
                same,
            )
        )
    failed = scores.pairs.timed_out | scores.pairs.crashed | scores.unusable
    found += [
        _mean(
            "too_close",
            "share",
            f"share of crystals with atoms closer than {SHORTEST:g} Angstrom, or without a cell",
            ~(scores.shortest >= SHORTEST),
        ),
        _mean("failed", "share", "share that could not be matched", failed),
    ]
    ending = name_ending(scores.given)
    return [Metric(m.name + ending, m.unit, m.meaning, m.numerator, m.denominator) for m in found]


def _mean(
    name: str,
    unit: str,
    meaning: str,
    value: Floats | NDArray[np.bool_],
    weight: Floats | None = None,
) -> Metric:
    """Weighted mean over crystals; those without a value are left out."""
    weights = np.ones(len(value)) if weight is None else weight
    weights = np.where(np.isfinite(value), weights, 0.0)
    return Metric(name, unit, meaning, np.nan_to_num(value * 1.0) * weights, weights)


def _matching(setting: Setting, matches: Matches) -> list[Metric]:
    t = setting.tolerance
    cells = "primitive" if setting.primitive else "unreduced"
    limits = (
        f"stol {t.sites:g}, ltol {t.lengths:g}, angle {t.angles:g} degrees, "
        f"{'scaled to one volume' if t.scaled else 'not scaled'}, "
        f"primitive_cell={setting.primitive}"
    )
    return [
        _mean(
            f"match_rate_{t.name}_rms_{cells}",
            "share",
            "share of crystals whose root mean square displacement is below stol, as "
            f"get_rms_dist says ({limits})",
            matches.matched,
        ),
        _mean(
            f"match_rate_{t.name}_fit_{cells}",
            "share",
            f"share of crystals whose largest displacement is below stol, as fit says ({limits})",
            matches.fits,
        ),
        _mean(
            f"rmse_{t.name}_{cells}",
            "1",
            "mean root mean square displacement of the matched crystals, in units of "
            f"(V/n)^(1/3) ({limits})",
            matches.rms,
        ),
        _mean(
            f"rmse_corrected_{t.name}_{cells}",
            "1",
            f"the same over all crystals, one without a match counting as stol ({limits})",
            np.where(matches.matched, matches.rms, t.sites),
        ),
    ]


def _displacements(scores: ReconstructionScores) -> list[Metric]:
    atoms = np.diff(scores.errors.offsets).astype(np.float64)
    sums = np.add.reduceat(scores.errors.distances, scores.errors.offsets[:-1])
    return [
        _mean(
            "periodic_error_mean",
            "angstrom",
            "mean over atoms of the distance between true and reconstructed place, in the true "
            "lattice, to the nearest image, after the best translation; structures that cannot "
            "be compared are left out",
            sums / atoms,
            atoms,
        )
    ]


def _chemistry(scores: ReconstructionScores) -> list[Metric]:
    atoms = np.diff(scores.errors.offsets).astype(np.float64)
    return [
        _mean(
            "type_accuracy",
            "share",
            "share of atoms of the right element",
            scores.type_accuracy,
            atoms,
        ),
        _mean(
            "composition_exact",
            "share",
            "share of crystals with the right number of atoms of every element",
            scores.same_composition,
        ),
    ]
