"""Cell parameters and lattice vectors, for many cells at once."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

__all__ = ["cell_heights", "cell_parameters", "lattices_from_parameters"]

Floats = NDArray[np.float64]


def lattices_from_parameters(parameters: ArrayLike) -> Floats:
    """Return lattice vectors in the usual setting: a along x, b in the plane of x and y.

    Parameters
    ----------
    parameters
        Lengths a, b, c in Angstrom and angles alpha, beta, gamma in degrees, shape (B, 6).

    Returns
    -------
    ndarray, shape (B, 3, 3)
        Rows are a, b, c. NaN where a length is negative or no number, or the angles
        enclose no cell.

    Examples
    --------
    >>> lattices_from_parameters([3.0, 4.0, 5.0, 90.0, 90.0, 90.0])[0].diagonal().tolist()
    [3.0, 4.0, 5.0]
    """
    values = np.array(parameters, dtype=np.float64).reshape(-1, 6)
    angles = values[:, 3:]
    values[(values[:, :3] < 0).any(axis=1) | ((angles <= 0) | (angles >= 180)).any(axis=1)] = np.nan
    # A right angle gives a cosine of 6e-17, and a cubic cell would not be exactly cubic.
    cosines = np.where(angles == 90.0, 0.0, np.cos(np.radians(angles)))
    sine = np.sqrt(np.maximum(1.0 - cosines[:, 2] ** 2, 0.0))
    lattices = np.zeros((len(values), 3, 3))
    with np.errstate(invalid="ignore", divide="ignore"):
        shear = (cosines[:, 0] - cosines[:, 1] * cosines[:, 2]) / sine
        height = np.sqrt(1.0 - cosines[:, 1] ** 2 - shear**2)
    lattices[:, 0, 0] = values[:, 0]
    lattices[:, 1, 0] = values[:, 1] * cosines[:, 2]
    lattices[:, 1, 1] = values[:, 1] * sine
    lattices[:, 2, 0] = values[:, 2] * cosines[:, 1]
    lattices[:, 2, 1] = values[:, 2] * shear
    lattices[:, 2, 2] = values[:, 2] * height
    return lattices


def cell_parameters(lattices: ArrayLike) -> Floats:
    """Return lengths in Angstrom and angles in degrees, shape (B, 6).

    Parameters
    ----------
    lattices
        Rows are the lattice vectors a, b, c in Angstrom, shape (B, 3, 3).
    """
    rows = np.asarray(lattices, dtype=np.float64).reshape(-1, 3, 3)
    lengths = np.linalg.norm(rows, axis=-1)
    pairs = ((1, 2), (0, 2), (0, 1))
    with np.errstate(invalid="ignore", divide="ignore"):
        cosines = np.stack(
            [
                (rows[:, i] * rows[:, j]).sum(axis=-1) / (lengths[:, i] * lengths[:, j])
                for i, j in pairs
            ],
            axis=-1,
        )
    angles = np.degrees(np.arccos(np.clip(cosines, -1.0, 1.0)))
    return np.concatenate([lengths, angles], axis=-1)


def cell_heights(lattices: ArrayLike) -> Floats:
    """Return the distances between opposite faces of each cell in Angstrom, shape (B, 3).

    Entry i is the distance between the lattice planes that the other two vectors span;
    no lattice vector with a component along vector i is shorter.
    """
    rows = np.asarray(lattices, dtype=np.float64).reshape(-1, 3, 3)
    normals = np.cross(np.roll(rows, -1, axis=1), np.roll(rows, -2, axis=1))
    volumes = np.abs((rows[:, 0] * normals[:, 0]).sum(axis=-1))
    with np.errstate(invalid="ignore", divide="ignore"):
        heights: Floats = volumes[:, None] / np.linalg.norm(normals, axis=-1)
    return np.nan_to_num(heights, nan=0.0, posinf=0.0)
