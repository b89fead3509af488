"""Fixed-length descriptions of crystals for property heads: latents pooled, and composition."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from variolite.crystals.latents import Latents
from variolite.crystals.structures.elements import ELECTRONEGATIVITIES, HEAVIEST, MASSES
from variolite.errors import DataError

__all__ = ["descriptor_width", "descriptors"]

Floats = NDArray[np.float64]

_SCALES = np.stack(
    [
        np.arange(HEAVIEST + 1, dtype=np.float64),
        np.nan_to_num(ELECTRONEGATIVITIES, nan=float(np.nanmean(ELECTRONEGATIVITIES))),
        np.nan_to_num(MASSES),
    ],
    axis=1,
)
"""Atomic number, electronegativity and mass by atomic number, shape (119, 3)."""


def descriptor_width(latent: int, elements: int) -> int:
    """Numbers in one description."""
    return 3 * latent + 1 + 4 * len(_SCALES.T) + elements


def descriptors(
    latents: Latents, species: NDArray[np.integer], elements: tuple[int, ...]
) -> Floats:
    """Describe crystals.

    Parameters
    ----------
    latents
        Posterior means of B crystals.
    species
        Atomic numbers of their atoms, shape (N,).
    elements
        Atomic numbers whose fractions are part of the description.

    Returns
    -------
    ndarray of float64, shape (B, D)
        Mean, deviation and maximum of the latents over atoms; the logarithm of the
        number of atoms; mean, deviation, least and largest atomic number,
        electronegativity and mass; and the fractions of the elements.

    Raises
    ------
    DataError
        If species and latents differ in number, or there are no crystals.
    """
    if len(species) != len(latents.mean) or not len(latents):
        raise DataError(
            f"{len(species)} species do not fit the latents of {len(latents.mean)} atoms",
            where="properties",
        )
    counts = latents.counts[:, None].astype(np.float64)
    owner = np.repeat(np.arange(len(latents)), latents.counts)
    starts = latents.offsets[:-1]

    def moments(values: Floats) -> list[Floats]:
        mean = np.add.reduceat(values, starts, axis=0) / counts
        centred = (values - mean[owner]) ** 2
        return [mean, np.sqrt(np.add.reduceat(centred, starts, axis=0) / counts)]

    values, scales = latents.mean.astype(np.float64), _SCALES[species]
    fractions = np.zeros((len(latents), HEAVIEST + 1))
    np.add.at(fractions, (owner, species), 1.0)
    return np.concatenate(
        [
            *moments(values),
            np.maximum.reduceat(values, starts, axis=0),
            np.log(counts),
            *moments(scales),
            np.minimum.reduceat(scales, starts, axis=0),
            np.maximum.reduceat(scales, starts, axis=0),
            (fractions / counts)[:, list(elements)],
        ],
        axis=1,
    )
