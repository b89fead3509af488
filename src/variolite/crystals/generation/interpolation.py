"""A path of crystals between two crystals, through the latents of their atoms."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment
from scipy.spatial.distance import cdist

from variolite.crystals.crystals import Crystal, Crystals, Latents
from variolite.crystals.generation.conditions import Floats, Integers
from variolite.errors import DataError

if TYPE_CHECKING:
    from variolite.crystals.crystal_model import CrystalModel


def match_atoms(first: Floats, second: Floats, same: NDArray[np.bool_] | None = None) -> Integers:
    """Pair the atoms of two crystals so that the squared latent distances sum to the least.

    Latents are (n, L) each; ``same`` (n, n) says which pairs are allowed, all by default. Returns
    the atom of the second crystal for each of the first, (n,).
    """
    cost = cdist(first, second, "sqeuclidean")
    if same is not None:
        cost[~same] = np.inf
    return np.asarray(linear_sum_assignment(cost)[1], dtype=np.int64)


def _linear(first: Floats, second: Floats, t: float) -> Floats:
    return (1.0 - t) * first + t * second


def _spherical(first: Floats, second: Floats, t: float) -> Floats:
    """Turn from one vector to the other at constant speed (K. Shoemake, 1985), atom by atom.

    Lengths change linearly; opposite or vanishing vectors have no such path and take
    the straight one.
    """
    lengths = [np.linalg.norm(part, axis=1, keepdims=True) for part in (first, second)]
    one, other = first / np.maximum(lengths[0], 1e-12), second / np.maximum(lengths[1], 1e-12)
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
"""Points (n, L) a fraction of the way from one set of latents (n, L) to another."""


def interpolate(
    model: CrystalModel, first: Crystal, second: Crystal, steps: int, *, path: str = "spherical"
) -> Crystals:
    """Decode a path between the latents of two crystals of equally many atoms.

    The ``steps`` crystals, at least 2, both reconstructed ends included, are called ``path-0`` and
    so on; their atoms are in the order of the first crystal. Where the decoder is given the
    elements, the two need the same composition and atoms are paired within each element. Raises
    `DataError` otherwise; a repeated cell does not help where numbers of atoms differ, since it is
    encoded as a crystal of another size, unlike those of training.
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
    size = len(first)
    latents = model.encode(Crystals.of([first, second])).mean.astype(np.float64)
    start, end = latents.reshape(2, size, -1)
    end = end[match_atoms(start, end, same)]
    points = [PATHS[path](start, end, t) for t in np.linspace(0.0, 1.0, steps)]
    along = Latents(
        np.concatenate(points).astype(np.float32),
        None,
        np.arange(steps + 1, dtype=np.int64) * size,
        np.array([f"path-{step}" for step in range(steps)], dtype=np.str_),
    )
    species = np.tile(first.species, steps) if model.species_given else None
    return model.decode(along, species=species)


def latent_changes(model: CrystalModel, crystals: Crystals) -> Floats:
    """How far each crystal of a path is from the one before it, in latents, (B,); 0 for the first.

    The root mean square over atoms of the distance between latents, which are encoded and paired
    so that it is least, whatever the order of the atoms is. Steps of a path are of like size in
    the latents it was decoded from; where they are not in those of what came out, the decoder has
    jumped.
    """
    latents = model.encode(crystals).mean.astype(np.float64)
    points = latents.reshape(len(crystals), -1, latents.shape[1])
    changes = np.zeros(len(crystals))
    for step in range(1, len(crystals)):
        before, after = points[step - 1], points[step]
        apart = after[match_atoms(before, after)] - before
        changes[step] = np.sqrt((apart**2).sum(axis=1).mean())
    return changes
