"""Structures predicted for given compositions, and how often they are the true ones."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from variolite.crystals.crystal_model import CrystalModel
from variolite.crystals.crystals import Crystals
from variolite.crystals.elements import reduced_formulas
from variolite.crystals.evaluation.metrics import formula_interval
from variolite.crystals.generation.conditions import Conditions
from variolite.crystals.generation.sampling import Sampling, reject_reasons
from variolite.crystals.matching import CDVAE, STRICT, Setting, Tolerance, score_pairs

Floats = NDArray[np.float64]
Figures = dict[str, list[float]]
Log = Callable[[str], None]

MATCHED_BY = (Setting(CDVAE), Setting(CDVAE, primitive=True), Setting(STRICT))
"""Tolerance of the papers with both settings of the cell, and ours."""


@dataclass(frozen=True)
class Predicted:
    """Structures in the order asked for.

    Attributes
    ----------
    crystals
        Cells of NaN where no valid structure was found.
    missed
        How many those are.
    attempts
        Structures decoded.
    """

    crystals: Crystals
    missed: int
    attempts: int


def predict(model: CrystalModel, asked: Crystals, *, seed: int, log: Log) -> Predicted:
    """Draw one structure for each composition.

    As in `variolite generate`, a structure is drawn again while it is not valid: atoms too
    close, or a volume per atom like that of no training crystal.

    Parameters
    ----------
    model
        One that is told the elements, with a prior.
    asked
        Only the elements of the atoms are looked at.
    seed
        Of the draws.
    log
        Told how far it is.
    """
    prior = model.prior
    assert prior is not None
    assert model.species_given
    coordinates = np.zeros_like(asked.coordinates)
    lattices = np.full_like(asked.lattices, np.nan)
    strange = ~np.isin(asked.species, np.array(model.elements))
    left = np.flatnonzero(np.bincount(asked.owner[strange], minlength=len(asked)) == 0)
    attempts = 0
    for attempt in range(Sampling.max_attempts):
        if not len(left):
            break
        some = asked.take(left)
        conditions = Conditions(
            counts=some.counts.astype(np.int64),
            species=some.species.astype(np.int64),
            space_groups=np.zeros(len(some), dtype=np.int64),
            properties=np.full((len(some), len(prior.vocabulary.properties)), np.nan),
        )
        own_seed = int(np.random.SeedSequence((seed, attempt)).generate_state(1)[0])
        decoded = model.decode(prior.sample(conditions, seed=own_seed), species=conditions.species)
        attempts += len(left)
        valid = np.flatnonzero(reject_reasons(decoded, prior) == "")
        coordinates[asked.atoms_of(left[valid])] = decoded.take(valid).coordinates
        lattices[left[valid]] = decoded.lattices[valid]
        left = np.delete(left, valid)
        log(f"attempt {attempt + 1}: {len(left)} of {len(asked)} structures are missing")
    found = replace(asked, coordinates=coordinates, lattices=lattices, properties={})
    return Predicted(found, int(np.isnan(lattices[:, 0, 0]).sum()), attempts)


def displacements(
    found: Crystals, true: Crystals, *, workers: int, log: Log
) -> Mapping[str, Floats]:
    """Root mean square displacement by setting, NaN without a match, shape (B,) each."""
    scores = score_pairs(found, true, settings=MATCHED_BY, workers=workers, log=log)
    return {setting.name: matches.rms for setting, matches in scores.matches.items()}


def best_of(rms: Floats, draws: int) -> Floats:
    """The least of as many consecutive values for each crystal, NaN where all are."""
    least = np.where(np.isnan(rms), np.inf, rms).reshape(-1, draws).min(axis=1)
    return np.where(np.isinf(least), np.nan, least)


def figures(rms: Mapping[str, Floats], true: Crystals) -> dict[str, Figures]:
    """Match rate, RMSE and corrected RMSE by setting, each with its interval over formulas."""
    formulas = reduced_formulas(true)
    return {
        setting.name: _figures(rms[setting.name], formulas, setting.tolerance)
        for setting in MATCHED_BY
    }


def _figures(rms: Floats, formulas: NDArray[np.str_], tolerance: Tolerance) -> Figures:
    matched = ~np.isnan(rms)
    known = np.where(matched, rms, 0.0)
    corrected = np.where(matched, rms, tolerance.sites)

    def of_matched(weights: Floats) -> Floats:
        with np.errstate(invalid="ignore"):
            return np.asarray((weights @ known) / (weights @ matched.astype(float)))

    intervals = {
        "match_rate": formula_interval(
            formulas, lambda w: w @ matched.astype(float), bounds=(0.0, 1.0)
        ),
        "rmse": formula_interval(formulas, of_matched),
        "rmse_corrected": formula_interval(formulas, lambda w: w @ corrected),
    }
    return {name: [found.mean, found.low, found.high] for name, found in intervals.items()}
