"""Cells and positions as smooth numbers that a network can work with, and back."""

from __future__ import annotations

import math

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

__all__ = [
    "METRIC_ENTRIES",
    "coordinates_of",
    "lattices_of",
    "log_metric",
    "torus_features",
    "wrapped",
]

METRIC_ENTRIES = ((0, 0), (1, 1), (2, 2), (0, 1), (0, 2), (1, 2))
"""Order of the six numbers of a symmetric matrix."""

_ROWS = [i for i, _ in METRIC_ENTRIES]
_COLUMNS = [j for _, j in METRIC_ENTRIES]


def log_metric(lattices: NDArray[np.float64], counts: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return half the logarithm of the metric, scaled to one atom a cell.

    S = log(L L^T) / 2 - log(n) / 3. Any six numbers are a cell of positive volume, its
    volume per atom is exp(trace S), and no rotation enters.

    Parameters
    ----------
    lattices
        Rows are lattice vectors in Angstrom, shape (B, 3, 3).
    counts
        Atoms per cell, shape (B,).

    Returns
    -------
    S
        In the order of `METRIC_ENTRIES`, shape (B, 6).
    """
    values, vectors = np.linalg.eigh(lattices @ lattices.transpose(0, 2, 1))
    logs = 0.5 * np.log(values) - np.log(counts)[:, None] / 3.0
    matrix = (vectors * logs[:, None, :]) @ vectors.transpose(0, 2, 1)
    entries: NDArray[np.float64] = matrix[:, _ROWS, _COLUMNS]
    return entries


def lattices_of(entries: NDArray[np.float64], counts: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return the cells, in standard orientation, whose `log_metric` is given.

    Entries that are not finite, as networks answer to absurd latents, are cells of NaN.
    """
    sound = np.isfinite(entries).all(axis=1)
    if not sound.all():
        cells = np.full((len(entries), 3, 3), np.nan)
        cells[sound] = lattices_of(entries[sound], counts[sound])
        return cells
    matrix = np.empty((len(entries), 3, 3))
    matrix[:, _ROWS, _COLUMNS] = entries
    matrix[:, _COLUMNS, _ROWS] = entries
    values, vectors = np.linalg.eigh(matrix)
    # A quarter of a million Angstrom and its inverse: nothing physical, and nothing infinite.
    lengths = np.exp(np.clip(values + np.log(counts)[:, None] / 3.0, -12.0, 12.0))
    root = vectors * lengths[:, None, :]
    # L L^T = root root^T; the triangular factor of a QR decomposition is the Cholesky factor,
    # without squaring the condition number.
    upper: NDArray[np.float64] = np.asarray(np.linalg.qr(root.transpose(0, 2, 1), mode="r"))
    triangle = upper.transpose(0, 2, 1)
    signs = np.sign(np.diagonal(triangle, axis1=1, axis2=2))
    return np.asarray(triangle * signs[:, None, :])


def torus_features(coordinates: Tensor, waves: int) -> Tensor:
    """Return cosines and sines of 2 pi k x for k = 1 to ``waves``: (N, 3) to (N, 6 waves).

    They do not change when an integer is added to a coordinate.
    """
    order = torch.arange(1, waves + 1, device=coordinates.device, dtype=coordinates.dtype)
    phase = (2.0 * math.pi) * coordinates.unsqueeze(-1) * order
    return torch.cat([phase.cos(), phase.sin()], dim=-1).flatten(1)


def coordinates_of(pairs: Tensor) -> Tensor:
    """Return the coordinates in [0, 1) that a cosine and a sine per axis point to.

    Parameters
    ----------
    pairs
        Of any length above zero, shape (..., 6): three cosines, then three sines.
    """
    turns = torch.atan2(pairs[..., 3:], pairs[..., :3]) / (2.0 * math.pi)
    return turns - turns.floor()


def wrapped(difference: Tensor) -> Tensor:
    """Return fractional differences to the nearest image along each axis, in [-1/2, 1/2]."""
    return difference - difference.round()
