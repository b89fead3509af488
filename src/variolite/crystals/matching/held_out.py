"""One row per scored crystal, for pages and tables."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from variolite.crystals.latents import Latents
from variolite.crystals.matching.pair_scores import Setting
from variolite.crystals.matching.reconstruction_scores import ReconstructionScores
from variolite.crystals.matching.tolerances import CDVAE, STRICT
from variolite.crystals.structures import MASSES, Crystals
from variolite.crystals.structures.families import chemical_family
from variolite.errors import DataError

if TYPE_CHECKING:
    import polars as pl

__all__ = ["held_out_table"]

Floats = NDArray[np.float64]

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
    import polars as pl

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
    leading = axes[:, ::-1][:, :2]
    leading = np.pad(leading, ((0, 0), (0, 2 - leading.shape[1])))
    leading = leading * np.sign(leading[np.abs(leading).argmax(axis=0), np.arange(2)])
    projected: Floats = centred @ leading
    return projected
