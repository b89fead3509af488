"""Conformal intervals: as wide as the errors on groups that were left out.

J. Lei et al., J. Am. Stat. Assoc. 113, 1094 (2018); over folds V. Vovk, Ann. Math. Artif. Intell.
74, 9 (2015).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from variolite.scoring.intervals import FloatArray, IntArray


def folds_by_group(groups: ArrayLike, folds: int, seed: int) -> IntArray:
    """Deal groups out to folds of about equally many rows; no group is in two, shape (n,).

    Unlike `sklearn.model_selection.GroupKFold` with fewer groups than folds too: some folds
    are empty then. Two groups or more never share one fold only, whatever their sizes.
    """
    distinct, inverse, sizes = np.unique(groups, return_inverse=True, return_counts=True)
    order = np.random.default_rng(seed).permutation(len(distinct))
    # A group belongs to the fold in whose share of all rows its middle one lies.
    middle = np.cumsum(sizes[order]) - 1 - (sizes[order] - 1) // 2
    fold = np.empty(len(distinct), dtype=np.int64)
    fold[order] = middle * folds // len(inverse)
    return np.asarray(fold[inverse])


def predict_left_out(
    fold: IntArray, predict: Callable[[NDArray[np.bool_], NDArray[np.bool_]], Any]
) -> tuple[FloatArray, FloatArray]:
    """Predict each row by a model that saw no row of its fold: mean and spread, (n,) each.

    ``predict`` gets which rows are known and which are left out, (n,) each, and returns mean and
    spread of the latter.
    """
    found = np.empty((2, len(fold)))
    for k in np.unique(fold):
        mean, spread = predict(fold != k, fold == k)
        found[0, fold == k], found[1, fold == k] = mean, spread
    return found[0], found[1]


def half_widths(errors: FloatArray, levels: ArrayLike) -> FloatArray:
    """Return what errors (n,) of new rows stay below with these probabilities.

    One rank above the quantiles, as the finite sample asks.
    """
    ranks = np.ceil(np.asarray(levels) * (len(errors) + 1)).astype(int).clip(1, len(errors))
    return np.asarray(np.sort(errors)[ranks - 1])


def groups_needed(level: float) -> int:
    """Return the least number of groups whose errors can say how wide intervals have to be.

    Of G groups and a new one each is as likely as any other to have the largest errors. Where
    the rows of a group err alike, even the widest interval that G groups ask for therefore fails
    in a new one with probability 1 / (G + 1), which is above 1 - ``level`` for fewer groups than
    level / (1 - level): 9 for 90 %, 19 for 95 %. R. Dunn et al., J. Am. Stat. Assoc. 118 (2023).
    """
    return math.ceil(round(level / (1.0 - level), 6))


def half_widths_of_groups(errors: FloatArray, groups: ArrayLike, levels: ArrayLike) -> FloatArray:
    """Return what errors (n,) of rows of new groups stay below with these probabilities.

    Errors of one group resemble each other, so that widths of few groups are too narrow for
    another. Each group is therefore left out in turn: the quantiles taken are those of which the
    widths from the other groups held for it as often as asked.
    """
    _, code = np.unique(groups, return_inverse=True)
    if code.max() == 0:
        return half_widths(errors, levels)
    grid = np.arange(1, 1000) / 1000.0
    below = np.zeros(len(grid))
    for one in range(code.max() + 1):
        widths = half_widths(errors[code != one], grid)
        below += np.searchsorted(np.sort(errors[code == one]), widths, side="right")
    held = np.maximum.accumulate(below / len(errors))
    return half_widths(errors, np.interp(np.asarray(levels), held, grid, right=1.0))
