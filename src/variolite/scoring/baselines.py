"""Representations to compare a model with, fitted on training rows only."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from variolite.errors import DataError
from variolite.scoring.arrays import FloatArray, as_matrix

__all__ = ["Whitening", "fit_pca_whitening", "pca_whitened", "raw"]


@dataclass(frozen=True)
class Whitening:
    """Principal components scaled to variance 1.

    Attributes
    ----------
    mean
        Mean of the training rows [d].
    components
        Principal directions [c, d], strongest first, unit length.
    sd
        Standard deviation along each [c].
    """

    mean: FloatArray
    components: FloatArray
    sd: FloatArray

    def apply(self, x: ArrayLike) -> FloatArray:
        """Whitened scores [n, c] of rows [n, d].

        Raises
        ------
        DataError
            If the number of features differs from that of the training rows.
        """
        matrix = as_matrix(x)
        if matrix.shape[1] != len(self.mean):
            raise DataError(
                f"has {matrix.shape[1]} features, fitted on {len(self.mean)}", where="whitening"
            )
        return np.asarray((matrix - self.mean) @ self.components.T / self.sd)


def fit_pca_whitening(x: ArrayLike, n_components: int | None = None) -> Whitening:
    """Fit principal components to training rows [n, d] and the scale that whitens them.

    Directions without variance (below 1e-12 of the strongest) are left out: whitened,
    they would be amplified rounding.

    Parameters
    ----------
    x
        Training rows [n, d], finite.
    n_components
        Components kept at most, strongest first; all by default.

    Raises
    ------
    DataError
        If no direction varies, or ``n_components`` is not within 1..d.
    """
    matrix = as_matrix(x)
    n, d = matrix.shape
    most = d if n_components is None else n_components
    if not 1 <= most <= d:
        raise DataError(
            f"{most} components were asked of {d} features",
            where="PCA",
            mend="Choose between 1 and the number of features",
        )
    mean = matrix.mean(axis=0)
    centred = matrix - mean
    variances, directions = np.linalg.eigh(centred.T @ centred / max(n - 1, 1))
    order = np.argsort(variances)[::-1][:most]
    variances, directions = variances[order], directions[:, order].T
    kept = variances > 1e-12 * max(float(variances[0]), np.finfo(np.float64).tiny)
    if not kept.any() or variances[0] <= 0:
        raise DataError("no feature varies among the training rows", where="PCA")
    # The sign of a direction is arbitrary; fix it, so that equal data give equal numbers.
    directions = directions[kept]
    peak = np.abs(directions).argmax(axis=1)
    signs = np.sign(directions[np.arange(len(directions)), peak])
    return Whitening(mean, directions * signs[:, None], np.sqrt(variances[kept]))


def pca_whitened(
    train: ArrayLike, test: ArrayLike, n_components: int | None = None
) -> tuple[FloatArray, FloatArray]:
    """Whitened principal components of training rows and of test rows."""
    whitening = fit_pca_whitening(train, n_components)
    return whitening.apply(train), whitening.apply(test)


def raw(train: ArrayLike, test: ArrayLike) -> tuple[FloatArray, FloatArray]:
    """Standardise features by mean and standard deviation of the training rows.

    Features are expected in the form a model would get them (logarithms taken
    and so on); a feature that does not vary becomes zero.
    """
    first, second = as_matrix(train, "training rows"), as_matrix(test, "test rows")
    if first.shape[1] != second.shape[1]:
        raise DataError(
            f"training rows have {first.shape[1]} features, test rows {second.shape[1]}",
            where="raw features",
        )
    mean, sd = first.mean(axis=0), first.std(axis=0)
    # Rounding gives a constant feature a tiny spread, so the range decides.
    scale = np.where(np.ptp(first, axis=0) > 0, sd, 1.0)
    return (first - mean) / scale, (second - mean) / scale
