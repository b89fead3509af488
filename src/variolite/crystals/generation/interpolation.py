"""A path of crystals between two crystals, through the latents of their atoms."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

from variolite.crystals.crystals import Crystal, Crystals, Latents
from variolite.crystals.generation.sampling import Decoder
from variolite.errors import DataError

Floats = NDArray[np.float64]


class Codec(Decoder, Protocol):
    """The parts of a trained crystal VAE that interpolation needs."""

    def encode(self, crystals: Crystals) -> Latents:
        """Turn crystals into latents, in their order."""
        ...


def match_atoms(
    first: NDArray[np.floating],
    second: NDArray[np.floating],
    same: NDArray[np.bool_] | None = None,
) -> NDArray[np.int64]:
    """Pair the atoms of two crystals so that the squared latent distances sum to the least.

    Parameters
    ----------
    first, second
        Latents, shape (n, L).
    same
        Pairs that are allowed, shape (n, n); all by default.

    Returns
    -------
    ndarray of int64, shape (n,)
        Atom of the second crystal for each of the first.
    """
    norms = (first**2).sum(axis=1)[:, None] + (second**2).sum(axis=1)
    cost = norms - 2.0 * first @ second.T
    if same is not None:
        cost = np.where(same, cost, 1e6 + 1e3 * np.abs(cost).max())
    _, partner = linear_sum_assignment(cost)
    return np.asarray(partner, dtype=np.int64)


def _linear(first: Floats, second: Floats, t: float) -> Floats:
    return (1.0 - t) * first + t * second


def _spherical(first: Floats, second: Floats, t: float) -> Floats:
    """Turn from one vector to the other at constant speed (K. Shoemake, 1985), atom by atom.

    Lengths change linearly; opposite or vanishing vectors have no such path and take
    the straight one.
    """
    lengths = [np.linalg.norm(part, axis=1, keepdims=True) for part in (first, second)]
    one, other = (
        part / np.maximum(length, 1e-12)
        for part, length in zip((first, second), lengths, strict=True)
    )
    # Of each atom's angle, (n, 1), the first vector keeps 1 - t and the second gains t.
    angle = np.arccos(np.clip((one * other).sum(axis=1, keepdims=True), -1.0, 1.0))
    sine = np.sin(angle)
    turned = np.sin((1.0 - t) * angle) * one + np.sin(t * angle) * other
    turned *= _linear(lengths[0], lengths[1], t) / np.maximum(sine, 1e-12)
    return np.where(sine < 1e-6, _linear(first, second, t), turned)


PATHS: Mapping[str, Callable[[Floats, Floats, float], Floats]] = {
    "linear": _linear,
    "spherical": _spherical,
}
"""Paths by name."""


def interpolate(
    model: Codec, first: Crystal, second: Crystal, steps: int, *, path: str = "spherical"
) -> Crystals:
    """Decode a path between the latents of two crystals of equally many atoms.

    Where the decoder is given the elements, the two need the same composition and atoms
    are paired within each element.

    Parameters
    ----------
    model
        Trained VAE.
    first, second
        Ends of the path.
    steps
        Crystals on it, both reconstructed ends included; at least 2.
    path
        ``spherical`` or ``linear``.

    Returns
    -------
    Crystals
        Named ``path-0`` and so on; atoms in the order of the first crystal.

    Raises
    ------
    DataError
        If the numbers of atoms differ (a repeated cell does not help: it is encoded as
        a crystal of another size, unlike those of training), if compositions differ where
        they must not, or if ``steps`` or ``path`` cannot be used.
    """
    if len(first) != len(second):
        raise DataError(
            f"one crystal has {len(first)} atoms and the other {len(second)}",
            where="interpolation",
            hint="choose two crystals with equally many atoms in their cells",
        )
    if steps < 2:
        raise DataError(f"a path of {steps} crystals has no two ends", where="interpolation")
    if path not in PATHS:
        raise DataError(
            f"there is no path {path!r}",
            where="interpolation",
            hint=f"choose among {', '.join(PATHS)}",
        )
    same = first.species[:, None] == second.species if model.species_given else None
    if same is not None and not np.array_equal(np.sort(first.species), np.sort(second.species)):
        raise DataError(
            "the two crystals differ in composition, and this model is given the elements",
            where="interpolation",
            hint="choose two structures of one composition, or a model that decodes elements",
        )
    latents = model.encode(Crystals.of([first, second]))
    size = len(first)
    ends = latents.mean.astype(np.float64).reshape(2, size, -1)
    partner = match_atoms(ends[0], ends[1], same)
    points = [PATHS[path](ends[0], ends[1][partner], t) for t in np.linspace(0.0, 1.0, steps)]
    along = Latents(
        np.concatenate(points).astype(np.float32),
        None,
        np.arange(steps + 1, dtype=np.int64) * size,
        np.array([f"path-{step}" for step in range(steps)], dtype=np.str_),
    )
    species = np.tile(first.species, steps) if model.species_given else None
    return model.decode(along, species=species)


def latent_changes(model: Codec, crystals: Crystals) -> Floats:
    """How far each crystal of a path is from the one before it, in latents.

    The crystals are encoded; atoms are paired so that the distance is least, whatever
    their order is. Steps of a path are of like size in the latents it was decoded from;
    where they are not in those of what came out, the decoder has jumped.

    Parameters
    ----------
    model
        Trained VAE.
    crystals
        Of n atoms each.

    Returns
    -------
    ndarray of float64, shape (B,)
        Root mean square over atoms of the Euclidean distance between latents; 0 for the
        first crystal.
    """
    latents = model.encode(crystals).mean.astype(np.float64)
    points = latents.reshape(len(crystals), -1, latents.shape[1])
    changes = np.zeros(len(crystals))
    for step in range(1, len(crystals)):
        before, after = points[step - 1], points[step]
        apart = after[match_atoms(before, after)] - before
        changes[step] = np.sqrt((apart**2).sum(axis=1).mean())
    return changes
