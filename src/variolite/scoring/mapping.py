"""Clusters as predicted classes, by a map learned on training rows.

Each cluster stands for the class that is commonest in it among *training* rows.
The map is then fixed, so accuracy and F1 on held-out rows are those of a
classifier that someone could use. A cluster that no labelled training row fell
into takes the commonest training class.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from variolite.errors import DataError
from variolite.scoring.arrays import FloatArray, IntArray

__all__ = ["confusion", "macro_f1", "majority_map", "mapped_accuracy", "mean_penalty"]


def majority_map(tables: FloatArray) -> IntArray:
    """Commonest class of every cluster in training tables [..., K, C], as [..., K].

    Ties go to the first class.

    Raises
    ------
    DataError
        If no training row is labelled.
    """
    if tables.shape[-1] == 0 or not tables.sum(axis=(-2, -1)).all():
        raise DataError(
            "no training row has a label, so clusters cannot be given a class",
            where="labels",
            mend="Leave this label level out, or label some training groups",
        )
    overall = tables.sum(axis=-2).argmax(axis=-1)[..., None]
    return np.asarray(np.where(tables.sum(axis=-1) > 0, tables.argmax(axis=-1), overall), np.int64)


def confusion(tables: FloatArray, mapping: IntArray) -> FloatArray:
    """Predicted class against true class [..., C, C] for tables [..., K, C].

    ``mapping`` [..., K] broadcasts against the leading axes of ``tables``.
    """
    classes = np.arange(tables.shape[-1])
    chosen = (mapping[..., None, :] == classes[:, None]).astype(np.float64)
    return np.asarray(chosen @ tables)


def mapped_accuracy(confusions: FloatArray) -> FloatArray:
    """Share of rows whose predicted class is the true one, from [..., C, C]."""
    total = confusions.sum(axis=(-2, -1))
    with np.errstate(invalid="ignore"):
        return np.asarray(np.trace(confusions, axis1=-2, axis2=-1) / total)


def macro_f1(confusions: FloatArray) -> FloatArray:
    """Mean F1 over the classes that occur as true or as predicted, from [..., C, C]."""
    predicted, true = confusions.sum(axis=-1), confusions.sum(axis=-2)
    right = np.diagonal(confusions, axis1=-2, axis2=-1)
    present = predicted + true > 0
    scores = np.where(present, 2.0 * right / np.where(present, predicted + true, 1.0), 0.0)
    with np.errstate(invalid="ignore"):
        return np.asarray(scores.sum(axis=-1) / present.sum(axis=-1))


def mean_penalty(confusions: FloatArray, penalty: ArrayLike) -> FloatArray:
    """Mean score -penalty[true, predicted] over rows; 0 is perfect, more negative is worse.

    The scoring rule of the FORCE 2020 machine-learning contest.

    Parameters
    ----------
    confusions
        Predicted against true [..., C, C].
    penalty
        Penalty [C, C] with rows for the true class, in the order of the classes.

    Raises
    ------
    DataError
        If the matrix does not fit the classes.
    """
    matrix = np.asarray(penalty, dtype=np.float64)
    c = confusions.shape[-1]
    if matrix.shape != (c, c):
        raise DataError(
            f"has shape {matrix.shape}, but there are {c} classes",
            where="penalty matrix",
            mend="Give a square matrix in the order of the class names",
        )
    total = confusions.sum(axis=(-2, -1))
    with np.errstate(invalid="ignore"):
        return np.asarray(-np.einsum("...pt,tp->...", confusions, matrix) / total)
