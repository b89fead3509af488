"""Cell lengths and angles, and the matrix made of them."""

from __future__ import annotations

import torch
from torch import Tensor

from variolite.crystals.model.batch import METRIC_ENTRIES

__all__ = ["log_metric_of", "matrix_of", "parameters_of"]

FLAT = 1e-8
"""Least squared height of a cell in square Angstrom."""


def parameters_of(lattice: Tensor) -> tuple[Tensor, Tensor]:
    """Lengths and angles of cells whose rows are a, b, c.

    Parameters
    ----------
    lattice
        Angstrom, shape (B, 3, 3).

    Returns
    -------
    lengths
        Angstrom, shape (B, 3).
    angles
        alpha, beta, gamma in radians, shape (B, 3).
    """
    lengths = lattice.norm(dim=-1)
    unit = lattice / lengths[:, :, None]
    cosine = (unit[:, [1, 0, 0]] * unit[:, [2, 2, 1]]).sum(-1)
    return lengths, cosine.clamp(-1.0, 1.0).arccos()


def matrix_of(lengths: Tensor, angles: Tensor) -> Tensor:
    """Cell with c along z and a in the xz plane.

    Three angles need not make a cell; then the cosine of gamma* is held at -1 or 1, as in
    the source, and the cell is flat. Lengths may be negative. Both happen: nothing in the
    source keeps the volume positive.

    Parameters
    ----------
    lengths, angles
        Angstrom and radians, shape (B, 3).

    Returns
    -------
    Tensor
        Rows a, b, c, shape (B, 3, 3).
    """
    cosine, sine = angles.cos(), angles.sin()
    alpha, beta, gamma = cosine.unbind(-1)
    reciprocal = (alpha * beta - gamma) / (sine[:, 0] * sine[:, 1])
    reciprocal = reciprocal.clamp(-1.0, 1.0)
    height = (1.0 - reciprocal.square()).sqrt()
    zero = torch.zeros_like(alpha)
    rows = (
        torch.stack([sine[:, 1], zero, beta], dim=-1),
        torch.stack([-sine[:, 0] * reciprocal, sine[:, 0] * height, alpha], dim=-1),
        torch.stack([zero, zero, torch.ones_like(alpha)], dim=-1),
    )
    return torch.stack(rows, dim=1) * lengths[:, :, None]


def log_metric_of(lattice: Tensor, counts: Tensor) -> Tensor:
    """Logarithm of the metric as `variolite.crystals.model.geometry.log_metric` has it.

    A flat cell, for which there is none, gets one of next to no volume.

    Parameters
    ----------
    lattice
        Angstrom, shape (B, 3, 3).
    counts
        Atoms per cell, shape (B,).

    Returns
    -------
    Tensor
        Shape (B, 6).
    """
    metric = (lattice @ lattice.transpose(1, 2)).double()
    values, vectors = torch.linalg.eigh(metric)
    logs = 0.5 * values.clamp(min=FLAT).log() - counts.double().log()[:, None] / 3.0
    matrix = (vectors * logs[:, None, :]) @ vectors.transpose(1, 2)
    rows, columns = zip(*METRIC_ENTRIES, strict=True)
    entries: Tensor = matrix[:, rows, columns].to(lattice)
    return entries
