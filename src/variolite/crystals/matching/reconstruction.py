"""Score reconstructed crystals against the true ones.

Nothing is filtered out before it is scored: a structure that a validity test would reject
counts like any other, and a pair that fails or runs out of time is a failure.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import polars as pl
from numpy.typing import NDArray

from variolite.crystals.crystals import Crystals, Latents, cell_parameters
from variolite.crystals.elements import chemical_family, densities, reduced_formulas
from variolite.crystals.geometry.periodic import shortest_distances
from variolite.crystals.matching.displacements import PeriodicErrors, periodic_errors
from variolite.crystals.matching.pairs import (
    CDVAE,
    STRICT,
    Matches,
    reduce_crystals,
    same_composition,
)
from variolite.crystals.matching.scores import SETTINGS, SYMPRECS, PairScores, Setting, score_pairs
from variolite.errors import DataError
from variolite.scoring import Bootstrap, ScoreRow, intervals_of
from variolite.scoring.scorecard import ScoreKey

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]
Mask = NDArray[np.bool_]


# Distance in angstrom below which two atoms are too close.
_SHORTEST = 0.5


@dataclass(frozen=True)
class ReconstructionScores:
    """Scores of B reconstructed crystals with N atoms, crystal by crystal, (B,) each.

    Reconstructions without a cell, or with numbers that are not finite, are unusable: they have
    no right atom, no error of a place or of the cell, and no match.
    """

    names: NDArray[np.str_]  # of the true crystals
    formulas: NDArray[np.str_]  # reduced, of the true crystals
    given: tuple[str, ...]  # what the decoder was given besides the latents, e.g. ("species",)
    pairs: PairScores
    errors: PeriodicErrors
    type_accuracy: Floats  # fraction of atoms of the right element
    same_composition: Mask
    length_error: Floats  # mean relative error of the three lengths in per cent
    angle_error: Floats  # mean error of the three angles in degrees
    volume_error: Floats  # relative error in per cent
    shortest: Floats  # distance between two atoms of the reconstructed crystal in angstrom
    unusable: Mask

    def __len__(self) -> int:
        return len(self.names)


def score_reconstruction(
    true: Crystals,
    reconstructed: Crystals,
    *,
    given: tuple[str, ...] = (),
    settings: Sequence[Setting] = SETTINGS,
    symprecs: Sequence[float] = SYMPRECS,
    workers: int | None = None,
    log: Callable[[str], None] = lambda _: None,
) -> ReconstructionScores:
    """Score reconstructions in the order of the true crystals, with the atoms in their order.

    ``given`` is what the decoder was given besides the latents; for the other arguments see
    :func:`score_pairs`. Raises a DataError if the sets are empty or do not fit each other, or
    pymatgen or spglib is missing.
    """
    if not len(true):
        raise DataError("there is no crystal to score", where="reconstruction")
    if len(true) != len(reconstructed):
        what = f"{len(reconstructed)} crystals were reconstructed from {len(true)}"
        raise DataError(what, where="reconstruction")
    sound = reduce_crystals(true).usable
    if not sound.all():
        name = true.names[int(np.flatnonzero(~sound)[0])]
        raise DataError("a true crystal has no cell or no finite coordinates", where=str(name))
    usable = reduce_crystals(reconstructed).usable
    errors = periodic_errors(true, reconstructed)
    pairs = score_pairs(
        reconstructed, true, settings=settings, symprecs=symprecs, workers=workers, log=log
    )
    with np.errstate(all="ignore"):
        ours, theirs = cell_parameters(reconstructed.lattices), cell_parameters(true.lattices)
        length = 100.0 * np.abs(ours[:, :3] / theirs[:, :3] - 1.0).mean(axis=1)
        angle = np.abs(ours[:, 3:] - theirs[:, 3:]).mean(axis=1)
        volume = 100.0 * np.abs(reconstructed.volumes / true.volumes - 1.0)
    # Where there is no crystal, nothing of it is right, whatever the arrays hold.
    distances = np.where(np.repeat(usable, true.counts), errors.distances, np.nan)
    right = np.bincount(true.owner, reconstructed.species == true.species, len(true))
    return ReconstructionScores(
        names=true.names,
        formulas=reduced_formulas(true),
        given=given,
        pairs=pairs,
        errors=PeriodicErrors(distances, errors.offsets),
        type_accuracy=right / true.counts * usable,
        same_composition=same_composition(reconstructed, true) & usable,
        length_error=np.where(usable, length, np.nan),
        angle_error=np.where(usable, angle, np.nan),
        volume_error=np.where(usable, volume, np.nan),
        shortest=shortest_distances(reconstructed),
        unusable=~usable,
    )


# What is measured of reconstructions: every metric is a weighted mean over crystals.


@dataclass(frozen=True)
class Metric:
    """The weighted mean over crystals (B,) of the values that are numbers."""

    name: str
    unit: str
    meaning: str
    value: Floats | Mask
    weight: Floats | float = 1.0


def _ending(given: tuple[str, ...]) -> str:
    """Return the end of the names of metrics: what the decoder was given."""
    return "_given_" + "_".join(given) if given else ""


def _metrics(scores: ReconstructionScores) -> list[Metric]:
    """Return every metric that is a weighted mean over crystals."""
    atoms = np.diff(scores.errors.offsets).astype(np.float64)
    sums = np.add.reduceat(scores.errors.distances, scores.errors.offsets[:-1])
    types = scores.type_accuracy
    failed = scores.pairs.timed_out | scores.pairs.crashed | scores.unusable
    found = [m for pair in scores.pairs.matches.items() for m in _matching(*pair)]
    found += [
        Metric(
            "periodic_error_mean",
            "angstrom",
            "mean over atoms of the distance between true and reconstructed place, in the true "
            "lattice, to the nearest image, after the best translation; structures that cannot "
            "be compared are left out",
            sums / atoms,
            atoms,
        ),
        Metric("length_error", "percent", "mean relative error of a length", scores.length_error),
        Metric("angle_error", "degree", "mean error of a cell angle", scores.angle_error),
        Metric("volume_error", "percent", "mean relative error of a volume", scores.volume_error),
        Metric("type_accuracy", "share", "share of atoms of the right element", types, atoms),
        Metric(
            "composition_exact",
            "share",
            "share of crystals with the right number of atoms of every element",
            scores.same_composition,
        ),
        *(
            Metric(
                f"space_group_kept_symprec_{symprec:g}",
                "share",
                f"share of crystals whose space group, by spglib at {symprec:g} Angstrom, is that "
                "of the true one, among those for whose true one it finds a group",
                same,
            )
            for symprec, same in scores.pairs.same_space_group.items()
        ),
        Metric(
            "too_close",
            "share",
            f"share of crystals with atoms closer than {_SHORTEST:g} Angstrom, or without a cell",
            ~(scores.shortest >= _SHORTEST),
        ),
        Metric("failed", "share", "share that could not be matched", failed),
    ]
    return [replace(metric, name=metric.name + _ending(scores.given)) for metric in found]


def _matching(setting: Setting, matches: Matches) -> list[Metric]:
    t, primitive = setting.tolerance, setting.primitive
    scaled = "scaled to one volume" if t.scaled else "not scaled"
    shape = f"stol {t.sites:g}, ltol {t.lengths:g}, angle {t.angles:g} degrees"
    limits = f"({shape}, {scaled}, primitive_cell={primitive})"
    share, rms = "share of crystals whose", "root mean square displacement"
    meanings = {
        "match_rate_{}_rms": f"{share} {rms} is below stol, as get_rms_dist says",
        "match_rate_{}_fit": f"{share} largest displacement is below stol, as fit says",
        "rmse_{}": f"mean {rms} of the matched crystals, in units of (V/n)^(1/3)",
        "rmse_corrected_{}": "the same over all crystals, one without a match counting as stol",
    }
    filled = np.where(matches.matched, matches.rms, t.sites)
    values = (matches.matched, matches.fits, matches.rms, filled)
    units, cells = ("share", "share", "1", "1"), "primitive" if primitive else "unreduced"
    return [
        Metric(f"{name.format(t.name)}_{cells}", unit, f"{meaning} {limits}", value)
        for (name, meaning), unit, value in zip(meanings.items(), units, values, strict=True)
    ]


# Metrics of reconstructions with their intervals, as rows of a scorecard.

_QUANTILES: Mapping[str, float] = {"periodic_error_median": 0.5, "periodic_error_p95": 0.95}
_CHUNK = 2_000_000


class GroupedReconstructions:
    """Scores of the same crystals by one method under S seeds, summed over G formulas.

    It is a :class:`~variolite.scoring.ScoredGroups`, which intervals and paired comparisons of
    :mod:`variolite.scoring` take. Raises a DataError if the seeds were not scored on the same
    crystals in the same way.
    """

    def __init__(self, scores: Sequence[ReconstructionScores]) -> None:
        first = scores[0]
        for other in scores[1:]:
            if not (
                np.array_equal(other.names, first.names)
                and other.given == first.given
                and other.pairs.matches.keys() == first.pairs.matches.keys()
            ):
                what = "the seeds were not scored on the same crystals in the same way"
                raise DataError(what, where="reconstruction")
        formulas, group = np.unique(first.formulas, return_inverse=True)
        self.groups: tuple[str, ...] = tuple(formulas.tolist())
        self.n_seeds = len(scores)
        self.units: dict[str, str] = {}
        # Numerators and denominators of every formula (S, 2, G): a mean of any formulas is the
        # ratio of their sums.
        self._sums: dict[str, Floats] = {}
        for metrics in zip(*map(_metrics, scores), strict=True):
            name = metrics[0].name
            self.units[name] = metrics[0].unit
            parts = []
            for metric in metrics:
                weights = np.where(np.isfinite(metric.value), metric.weight, 0.0)
                values = np.nan_to_num(metric.value * 1.0) * weights
                parts.append([np.bincount(group, p, len(self.groups)) for p in (values, weights)])
            self._sums[name] = np.array(parts, dtype=np.float64)
        ending = _ending(first.given)
        self._quantiles = {name + ending: level for name, level in _QUANTILES.items()}
        self.units |= dict.fromkeys(self._quantiles, "angstrom")
        # Distances of all atoms in ascending order, and the formula of each, by seed.
        self._sorted: list[tuple[Floats, Integers]] = []
        for score in scores:
            distances = score.errors.distances
            known = np.where(np.isnan(distances), np.inf, distances)
            order = np.argsort(known, kind="stable")
            owner = np.repeat(group, np.diff(score.errors.offsets))
            self._sorted.append((known[order], owner[order]))

    @property
    def metrics(self) -> tuple[str, ...]:
        """Names of the metrics."""
        return tuple(self.units)

    def values(self, weights: Floats, metrics: Sequence[str]) -> dict[str, Floats]:
        """Return metrics (R, S) for weights of the formulas (R, G)."""
        found = {name: np.empty((len(weights), self.n_seeds)) for name in metrics}
        with np.errstate(divide="ignore", invalid="ignore"):
            for name in (name for name in found if name not in self._quantiles):
                sums, counts = self._sums[name].swapaxes(0, 1)
                found[name] = (weights @ sums.T) / (weights @ counts.T)
        levels = {name: level for name, level in self._quantiles.items() if name in found}
        for seed, (distances, group) in enumerate(self._sorted if levels else ()):
            step = max(1, _CHUNK // len(distances))
            for start in range(0, len(weights), step):
                rows = slice(start, start + step)
                # A quantile is the least distance that this share of the weighted atoms does not
                # exceed; the weight reached by each distance serves all levels.
                reached = np.cumsum(weights[rows, group], axis=1)
                for name, level in levels.items():
                    below = (reached < level * reached[:, -1:] - 1e-9).sum(axis=1)
                    values = distances[np.minimum(below, len(distances) - 1)]
                    found[name][rows, seed] = np.where(np.isinf(values), np.nan, values)
        return found


def reconstruction_rows(
    scores: Sequence[ReconstructionScores],
    *,
    method: str,
    split: str,
    bootstrap: Bootstrap | None = None,
) -> list[ScoreRow]:
    """Return rows of the scorecard, with intervals over formulas and seeds.

    There is one score for each seed, of the same crystals.
    """
    grouped = GroupedReconstructions(scores)
    rows = []
    for name, interval in intervals_of(grouped, bootstrap=bootstrap).items():
        unit = grouped.units[name]
        key = ScoreKey("reconstruction", method, split, unit=unit)
        row = key.row(name, interval, len(grouped.groups), grouped.n_seeds)
        # An interval never leaves the range of its metric.
        low, high = np.clip([row.low, row.high], 0.0, 1.0 if unit == "share" else np.inf)
        rows.append(replace(row, low=float(low), high=float(high)))
    return rows


def reconstruction_notes(scores: ReconstructionScores) -> list[str]:
    """Return what the metrics mean, one line each, and what failed."""
    ending, pairs = _ending(scores.given), scores.pairs
    return [
        *(f"{metric.name}: {metric.meaning}" for metric in _metrics(scores)),
        f"periodic_error_median{ending}: least distance in Angstrom that half of all atoms do "
        "not exceed; atoms of structures that cannot be compared count as infinitely far",
        f"periodic_error_p95{ending}: the same for 95 % of all atoms",
        f"of {len(scores)} reconstructed crystals {int(scores.unusable.sum())} have no cell or no "
        f"finite coordinates, {int(pairs.timed_out.sum())} ran out of time and "
        f"{int(pairs.crashed.sum())} failed in matching; all of them count as not matched",
    ]


# One row per scored crystal, for pages and tables.


def held_out_table(
    true: Crystals, scores: ReconstructionScores, latents: Latents | None = None
) -> pl.DataFrame:
    """Describe and score every crystal of a scored reconstruction, one row each.

    Matching has to be at the CDVAE and the strict tolerance with cells as they are. Columns say
    their units, but for volume_per_atom (cubic angstrom), density (g/cm3) and periodic_error
    (median over the atoms, angstrom); ``rms_cdvae`` is null where there is no match. With the
    latents of the atoms come ``pc1`` and ``pc2``, the latent mean over the atoms on its two leading
    principal components. Raises a DataError if scores or latents are not those of the crystals.
    """
    for what, part in (("scores", scores), ("latents", latents)):
        if part is not None and not np.array_equal(part.names, true.names):
            raise DataError(f"the {what} are not those of the crystals", where="held-out table")
    cdvae, strict = (scores.pairs.matches[Setting(t)] for t in (CDVAE, STRICT))
    columns = {
        "name": true.names,
        "formula": scores.formulas,
        "chemical_family": chemical_family(true),
        "n_atoms": true.counts,
        "volume_per_atom": true.volumes / true.counts,
        "density": densities(true),
        "periodic_error": scores.errors.medians,
        "rms_cdvae": cdvae.rms,
        "matched_cdvae": cdvae.matched,
        "matched_strict": strict.matched,
        "type_accuracy": scores.type_accuracy,
        "length_error_percent": scores.length_error,
        "angle_error_deg": scores.angle_error,
        "volume_error_percent": scores.volume_error,
    }
    if latents is not None:
        columns |= dict(zip(("pc1", "pc2"), _leading_components(latents.pooled).T, strict=True))
    return pl.DataFrame(columns).with_columns(pl.selectors.float().fill_nan(None))


def _leading_components(vectors: NDArray[np.float32]) -> Floats:
    """Return coordinates of vectors (B, L) on the two leading principal components, (B, 2)."""
    centred = vectors.astype(np.float64) - vectors.mean(axis=0)
    _, axes = np.linalg.eigh(centred.T @ centred)
    # Eigenvalues ascend. The largest coefficient of a component is made positive, so that its
    # sign does not depend on the solver; one latent dimension gives a second column of zeros.
    leading = axes[:, :-3:-1]
    leading = np.pad(leading, ((0, 0), (0, 2 - leading.shape[1])))
    leading = leading * np.sign(leading[np.abs(leading).argmax(axis=0), np.arange(2)])
    projected: Floats = centred @ leading
    return projected
