"""Score reconstructed crystals against the true ones.

Nothing is filtered out before it is scored: a structure that a validity test would reject
counts like any other, and a pair that fails or runs out of time is a failure.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import polars as pl
from numpy.typing import NDArray

from variolite.crystals.crystals import Crystals, Latents, cell_parameters
from variolite.crystals.elements import MASSES, chemical_family, compositions, reduced_formulas
from variolite.crystals.matching.displacements import (
    PeriodicErrors,
    assigned_periodic_errors,
    periodic_errors,
)
from variolite.crystals.matching.pairs import (
    CDVAE,
    STRICT,
    Matches,
    reduce_crystals,
    same_composition,
)
from variolite.crystals.matching.scores import (
    LIMIT,
    SETTINGS,
    SYMPRECS,
    PairScores,
    Setting,
    score_pairs,
)
from variolite.crystals.periodic import shortest_distances
from variolite.errors import DataError
from variolite.scoring import Bootstrap, GroupSums, ScoreRow, intervals_of
from variolite.scoring.scorecard import ScoreKey

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]
Mask = NDArray[np.bool_]


SHORTEST = 0.5
"""Distance in Angstrom below which two atoms are too close."""


@dataclass(frozen=True)
class ReconstructionScores:
    """Scores of B reconstructed crystals with N atoms, crystal by crystal.

    Attributes
    ----------
    names, formulas
        Ids and reduced formulas of the true crystals, shape (B,).
    given
        What the decoder was given besides the latents, e.g. ("species",).
    pairs
        Matching under every setting, space groups, failures.
    errors
        Displacement of every atom in Angstrom.
    type_accuracy
        Share of atoms of the right element, shape (B,).
    same_composition
        Whether the numbers of atoms of every element are right, shape (B,).
    length_error, angle_error, volume_error
        Mean relative error of the three lengths in per cent, mean error of the three
        angles in degrees, relative error of the volume in per cent; NaN where the
        reconstructed cell is none, shape (B,) each.
    shortest
        Shortest distance within the reconstructed crystal in Angstrom, shape (B,).
    unusable
        Reconstructions with numbers that are not finite, or without a cell, shape (B,):
        they have no right atom, no error of a place and no match.
    """

    names: NDArray[np.str_]
    formulas: NDArray[np.str_]
    given: tuple[str, ...]
    pairs: PairScores
    errors: PeriodicErrors
    type_accuracy: Floats
    same_composition: Mask
    length_error: Floats
    angle_error: Floats
    volume_error: Floats
    shortest: Floats
    unusable: Mask

    def __len__(self) -> int:
        return len(self.names)

    @cached_property
    def settings(self) -> tuple[Setting, ...]:
        """Settings that were matched by."""
        return tuple(self.pairs.matches)


def score_reconstruction(
    true: Crystals,
    reconstructed: Crystals,
    *,
    given: tuple[str, ...] = (),
    correspondence: bool = True,
    settings: Sequence[Setting] = SETTINGS,
    symprecs: Sequence[float] = SYMPRECS,
    workers: int | None = None,
    limit: float = LIMIT,
    log: Callable[[str], None] = lambda _: None,
) -> ReconstructionScores:
    """Score reconstructions.

    Parameters
    ----------
    true, reconstructed
        Sets of B crystals in the same order.
    given
        What the decoder was given besides the latents: names that go into the metrics.
    correspondence
        Whether atoms correspond by their place in the list and cells are in the same
        setting. If not, atoms are assigned inside each element, and cells are compared in
        their reduced setting.
    settings
        What to match by.
    symprecs
        Tolerances in Angstrom at which space groups are compared.
    workers
        Worker processes for matching; 0 does the work in this process without time limits.
    limit
        Seconds that the matching of one crystal may take.
    log
        Takes lines about progress.

    Raises
    ------
    DataError
        If the sets are empty or do not fit each other, or pymatgen or spglib is missing.
    """
    if not len(true):
        raise DataError("there is no crystal to score", where="reconstruction")
    if len(true) != len(reconstructed):
        raise DataError(
            f"{len(reconstructed)} crystals were reconstructed from {len(true)}",
            where="reconstruction",
        )
    ours, theirs = reduce_crystals(reconstructed), reduce_crystals(true)
    if not theirs.usable.all():
        name = true.names[int(np.flatnonzero(~theirs.usable)[0])]
        raise DataError("a true crystal has no cell or no finite coordinates", where=str(name))
    if correspondence:
        errors = periodic_errors(true, reconstructed)
        cells = (reconstructed.lattices, true.lattices)
    else:
        errors = assigned_periodic_errors(true, reconstructed)
        cells = (ours.crystals.lattices, theirs.crystals.lattices)
    pairs = score_pairs(
        reconstructed,
        true,
        settings=settings,
        symprecs=symprecs,
        workers=workers,
        limit=limit,
        log=log,
    )
    length, angle, volume = _cell_errors(*cells, ours.usable)
    # Where there is no crystal, nothing of it is right, whatever the arrays hold.
    lost = np.repeat(~ours.usable, true.counts)
    errors = PeriodicErrors(np.where(lost, np.nan, errors.distances), errors.offsets)
    same = same_composition(reconstructed, true) & ours.usable
    types = _type_accuracy(reconstructed, true, correspondence) * ours.usable
    return ReconstructionScores(
        names=true.names,
        formulas=reduced_formulas(true),
        given=given,
        pairs=pairs,
        errors=errors,
        type_accuracy=types,
        same_composition=same,
        length_error=length,
        angle_error=angle,
        volume_error=volume,
        shortest=shortest_distances(reconstructed),
        unusable=~ours.usable,
    )


def _cell_errors(found: Floats, true: Floats, usable: Mask) -> tuple[Floats, Floats, Floats]:
    with np.errstate(all="ignore"):
        ours, theirs = cell_parameters(found), cell_parameters(true)
        length = 100.0 * np.abs(ours[:, :3] / theirs[:, :3] - 1.0).mean(axis=1)
        angle = np.abs(ours[:, 3:] - theirs[:, 3:]).mean(axis=1)
        ratio = np.abs(np.linalg.det(found)) / np.abs(np.linalg.det(true))
    volume = 100.0 * np.abs(ratio - 1.0)
    length, angle, volume = (np.where(usable, part, np.nan) for part in (length, angle, volume))
    return length, angle, volume


def _type_accuracy(found: Crystals, true: Crystals, correspondence: bool) -> Floats:
    """Share of the true atoms whose element is right: at their place, or as far as counted."""
    if correspondence:
        right = np.bincount(true.owner, found.species == true.species, len(true))
    else:
        right = np.minimum(compositions(found), compositions(true)).sum(axis=1).astype(np.float64)
    accuracy: Floats = right / true.counts
    return accuracy


# What is measured of reconstructions: every metric is a weighted mean over crystals.


@dataclass(frozen=True)
class Metric:
    """A metric of B crystals: the mean of the values that are numbers, weighted.

    Attributes
    ----------
    name, unit, meaning
        As in a scorecard.
    value, weight
        Shape (B,) each, or one weight for all; crystals with the value NaN are left out.
    """

    name: str
    unit: str
    meaning: str
    value: Floats | Mask
    weight: Floats | float = 1.0


def name_ending(given: tuple[str, ...]) -> str:
    """End of the names of metrics: what the decoder was given."""
    return "_given_" + "_".join(given) if given else ""


def metrics_of(scores: ReconstructionScores) -> list[Metric]:
    """Every metric that is a weighted mean over crystals."""
    atoms = np.diff(scores.errors.offsets).astype(np.float64)
    sums = np.add.reduceat(scores.errors.distances, scores.errors.offsets[:-1])
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
        Metric(
            "type_accuracy",
            "share",
            "share of atoms of the right element",
            scores.type_accuracy,
            atoms,
        ),
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
            f"share of crystals with atoms closer than {SHORTEST:g} Angstrom, or without a cell",
            ~(scores.shortest >= SHORTEST),
        ),
        Metric("failed", "share", "share that could not be matched", failed),
    ]
    ending = name_ending(scores.given)
    return [replace(metric, name=metric.name + ending) for metric in found]


def _matching(setting: Setting, matches: Matches) -> list[Metric]:
    t = setting.tolerance
    cells = "primitive" if setting.primitive else "unreduced"
    limits = (
        f"stol {t.sites:g}, ltol {t.lengths:g}, angle {t.angles:g} degrees, "
        f"{'scaled to one volume' if t.scaled else 'not scaled'}, "
        f"primitive_cell={setting.primitive}"
    )
    return [
        Metric(
            f"match_rate_{t.name}_rms_{cells}",
            "share",
            "share of crystals whose root mean square displacement is below stol, as "
            f"get_rms_dist says ({limits})",
            matches.matched,
        ),
        Metric(
            f"match_rate_{t.name}_fit_{cells}",
            "share",
            f"share of crystals whose largest displacement is below stol, as fit says ({limits})",
            matches.fits,
        ),
        Metric(
            f"rmse_{t.name}_{cells}",
            "1",
            "mean root mean square displacement of the matched crystals, in units of "
            f"(V/n)^(1/3) ({limits})",
            matches.rms,
        ),
        Metric(
            f"rmse_corrected_{t.name}_{cells}",
            "1",
            f"the same over all crystals, one without a match counting as stol ({limits})",
            np.where(matches.matched, matches.rms, t.sites),
        ),
    ]


# Metrics of reconstructions with their intervals, as rows of a scorecard.


_QUANTILES: Mapping[str, float] = {"periodic_error_median": 0.5, "periodic_error_p95": 0.95}
_CHUNK = 2_000_000


def _ratio_of(name: str) -> Callable[[Mapping[str, Floats]], Floats]:
    return lambda sums: sums[f"{name} sum"] / sums[f"{name} weight"]


class GroupedReconstructions:
    """Scores of the same crystals by one method under S seeds, summed over G formulas.

    It is a :class:`~variolite.scoring.ScoredGroups`, which intervals and paired comparisons of
    :mod:`variolite.scoring` take.

    Parameters
    ----------
    scores
        One for each seed.

    Raises
    ------
    DataError
        If the seeds were not scored on the same crystals in the same way.
    """

    def __init__(self, scores: Sequence[ReconstructionScores]) -> None:
        first = scores[0]
        for other in scores[1:]:
            if not (
                np.array_equal(other.names, first.names)
                and other.given == first.given
                and other.settings == first.settings
            ):
                raise DataError(
                    "the seeds were not scored on the same crystals in the same way",
                    where="reconstruction",
                )
        formulas, self._group = np.unique(first.formulas, return_inverse=True)
        self.groups: tuple[str, ...] = tuple(formulas.tolist())
        self.n_seeds = len(scores)
        per_seed = [metrics_of(score) for score in scores]
        self.units = {metric.name: metric.unit for metric in per_seed[0]}
        sums: dict[str, Floats] = {}
        for metrics in zip(*per_seed, strict=True):
            # Numerator and denominator of every formula, [S, G]: a mean of any formulas is
            # the ratio of their sums.
            parts = np.array([self._summed(metric) for metric in metrics])
            name = metrics[0].name
            sums |= {f"{name} sum": parts[:, 0], f"{name} weight": parts[:, 1]}
        self._means = GroupSums(sums, {name: _ratio_of(name) for name in self.units}, self.groups)
        ending = name_ending(first.given)
        self._quantiles = {name + ending: level for name, level in _QUANTILES.items()}
        self._sorted = [self._by_distance(score) for score in scores]
        self.units |= dict.fromkeys(self._quantiles, "angstrom")

    @property
    def metrics(self) -> tuple[str, ...]:
        """Names of the metrics."""
        return tuple(self.units)

    def values(self, weights: Floats, metrics: Sequence[str]) -> dict[str, Floats]:
        """Metrics [R, S] for weights of the formulas [R, G]."""
        found = self._means.values(weights, [m for m in metrics if m not in self._quantiles])
        wanted = [name for name in metrics if name in self._quantiles]
        if wanted:
            levels = [self._quantiles[name] for name in wanted]
            by_seed = [self._quantile(weights, seed, levels) for seed in range(self.n_seeds)]
            found |= {name: np.stack([q[i] for q in by_seed], 1) for i, name in enumerate(wanted)}
        return {name: found[name] for name in metrics}

    def _summed(self, metric: Metric) -> list[Floats]:
        """Sums over every formula of weighted values and of weights, [G] each."""
        weights = np.where(np.isfinite(metric.value), metric.weight, 0.0)
        values = np.nan_to_num(metric.value * 1.0) * weights
        parts = (np.bincount(self._group, part, len(self.groups)) for part in (values, weights))
        return [part.astype(np.float64) for part in parts]

    def _by_distance(self, score: ReconstructionScores) -> tuple[Floats, Integers]:
        """Distances in ascending order, and the formula of each."""
        distances = np.where(np.isnan(score.errors.distances), np.inf, score.errors.distances)
        order = np.argsort(distances, kind="stable")
        owner = np.repeat(self._group, np.diff(score.errors.offsets))
        return distances[order], owner[order]

    def _quantile(self, weights: Floats, seed: int, levels: Sequence[float]) -> list[Floats]:
        """Least distance that a share of the weighted atoms does not exceed."""
        distances, group = self._sorted[seed]
        found = np.empty((len(levels), len(weights)))
        step = max(1, _CHUNK // len(distances))
        for start in range(0, len(weights), step):
            reached = np.cumsum(weights[start : start + step, group], axis=1)
            for row, level in enumerate(levels):
                below = (reached < level * reached[:, -1:] - 1e-9).sum(axis=1)
                values = distances[np.minimum(below, len(distances) - 1)]
                found[row, start : start + step] = np.where(np.isinf(values), np.nan, values)
        return list(found)


def reconstruction_rows(
    scores: Sequence[ReconstructionScores],
    *,
    method: str,
    split: str,
    bootstrap: Bootstrap | None = None,
) -> list[ScoreRow]:
    """Rows of the scorecard with intervals over formulas and seeds.

    Parameters
    ----------
    scores
        One for each seed, of the same crystals.
    method, split
        Entries of the rows.
    bootstrap
        How to resample.
    """
    grouped = GroupedReconstructions(scores)
    found = intervals_of(grouped, bootstrap=bootstrap)
    rows = []
    for name, interval in found.items():
        unit = grouped.units[name]
        row = ScoreKey("reconstruction", method, split, unit=unit).row(
            name, interval, len(grouped.groups), grouped.n_seeds
        )
        # An interval never leaves the range of its metric.
        low, high = np.clip([row.low, row.high], 0.0, 1.0 if unit == "share" else np.inf)
        rows.append(replace(row, low=float(low), high=float(high)))
    return rows


def reconstruction_notes(scores: ReconstructionScores) -> list[str]:
    """What the metrics mean, one line each, and what failed."""
    ending = name_ending(scores.given)
    lines = [f"{metric.name}: {metric.meaning}" for metric in metrics_of(scores)]
    lines.append(
        f"periodic_error_median{ending}: least distance in Angstrom that half of all atoms do "
        "not exceed; atoms of structures that cannot be compared count as infinitely far"
    )
    lines.append(f"periodic_error_p95{ending}: the same for 95 % of all atoms")
    pairs = scores.pairs
    lines.append(
        f"of {len(scores)} reconstructed crystals {int(scores.unusable.sum())} have no cell or no "
        f"finite coordinates, {int(pairs.timed_out.sum())} ran out of time and "
        f"{int(pairs.crashed.sum())} failed in matching; all of them count as not matched"
    )
    return lines


# One row per scored crystal, for pages and tables.


# Grams per cubic centimetre of one unified mass unit per cubic Angstrom.
_DENSITY = 1.66053906892


def held_out_table(
    true: Crystals, scores: ReconstructionScores, latents: Latents | None = None
) -> pl.DataFrame:
    """Describe and score every crystal of a scored reconstruction.

    Parameters
    ----------
    true
        The true crystals.
    scores
        Their scores, matched at the CDVAE and the strict tolerance with cells as they are.
    latents
        Posterior means of their atoms. Without them the columns ``pc1`` and ``pc2`` are
        left out.

    Returns
    -------
    polars.DataFrame
        Columns ``name``, ``formula``, ``chemical_family``, ``n_atoms``, ``volume_per_atom``
        (cubic Angstrom), ``density`` (g/cm3), ``periodic_error`` (median over the atoms,
        Angstrom), ``rms_cdvae`` (null where there is no match), ``matched_cdvae``,
        ``matched_strict``, ``type_accuracy``, ``length_error_percent``,
        ``angle_error_deg``, ``volume_error_percent``, ``pc1`` and ``pc2`` (the latent mean
        over the atoms on its two leading principal components).

    Raises
    ------
    DataError
        If scores or latents are not those of the crystals.
    """
    for what, part in (("scores", scores), ("latents", latents)):
        if part is not None and not np.array_equal(part.names, true.names):
            raise DataError(f"the {what} are not those of the crystals", where="held-out table")
    cdvae, strict = (scores.pairs.matches[Setting(t)] for t in (CDVAE, STRICT))
    mass = np.bincount(true.owner, MASSES[true.species], minlength=len(true))
    columns = {
        "name": true.names,
        "formula": scores.formulas,
        "chemical_family": chemical_family(true),
        "n_atoms": true.counts,
        "volume_per_atom": true.volumes / true.counts,
        "density": _DENSITY * mass / true.volumes,
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
    """Coordinates on the two leading principal components, shape (B, 2).

    The sign of a component is such that its largest coefficient is positive.
    """
    centred = vectors.astype(np.float64) - vectors.mean(axis=0)
    _, axes = np.linalg.eigh(centred.T @ centred)
    leading = axes[:, :-3:-1]
    leading = np.pad(leading, ((0, 0), (0, 2 - leading.shape[1])))
    leading = leading * np.sign(leading[np.abs(leading).argmax(axis=0), np.arange(2)])
    projected: Floats = centred @ leading
    return projected
