"""Agreement of clusterings with labels, from contingency tables kept apart by group.

Every agreement score is a function of how often each cluster meets each label, and the table
of a set of groups is the sum of theirs. Counting once per group is all that a bootstrap over
groups needs: a resample is a weighted sum of small tables.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from variolite.scoring.intervals import FloatArray, IntArray

# Labels and groups as integers.


@dataclass(frozen=True)
class LabelCodes:
    """Index into the sorted class names per row, ``codes`` [n]; -1 where the label is missing."""

    codes: IntArray
    classes: tuple[str, ...]

    @property
    def missing(self) -> int:
        """Number of rows without a label."""
        return int((self.codes < 0).sum())

    def take(self, rows: ArrayLike) -> LabelCodes:
        """Return the codes of some rows, over the same classes."""
        return LabelCodes(self.codes[np.asarray(rows)], self.classes)


def as_text(values: ArrayLike) -> NDArray[np.str_]:
    """Return ``values`` [n] as text; None and NaN become empty."""
    labels: NDArray[Any] = np.asarray(values)
    text = labels.astype(np.str_, copy=False)
    if labels.dtype.kind not in "fO":
        return text
    # NaN alone differs from itself.
    missing = np.array([label is None or label != label for label in labels], dtype=bool)
    return np.where(missing, "", text)


def encode_labels(labels: ArrayLike) -> LabelCodes:
    """Turn labels [n] into codes; the empty label, None and NaN count as missing."""
    names, codes = np.unique(as_text(labels), return_inverse=True)
    missing = int(len(names) > 0 and names[0] == "")  # the empty label sorts first
    return LabelCodes(codes - missing, tuple(names[missing:].tolist()))


def encode_groups(groups: ArrayLike) -> tuple[tuple[str, ...], IntArray]:
    """Return the names of the groups, sorted, and the index of every row's group, [n]."""
    names, codes = np.unique(as_text(groups), return_inverse=True)
    return tuple(names.tolist()), codes.astype(np.int64)


def count_tables(
    clusters: IntArray,
    labels: LabelCodes,
    n_clusters: int,
    groups: IntArray | None = None,
    n_groups: int = 1,
) -> FloatArray:
    """Count cluster [n] against label [n] per group [n], as [G, K + 1, C].

    The last row of a table counts noise (cluster -1), as a cluster of its own. Rows without
    a label are left out. Without ``groups`` all rows are one group.
    """
    group = np.zeros(len(clusters), np.int64) if groups is None else groups
    cluster = np.where(clusters < 0, n_clusters, clusters)
    kept = labels.codes >= 0
    # One flat index per row, so that a single bincount fills all tables.
    shape = n_groups, n_clusters + 1, len(labels.classes)
    flat = (group[kept] * shape[1] + cluster[kept]) * shape[2] + labels.codes[kept]
    return np.bincount(flat, minlength=int(np.prod(shape))).reshape(shape).astype(np.float64)


# Mutual information expected by chance, for the adjusted mutual information.
#
# Under random labellings with fixed class sizes, a cell of the contingency table
# is hypergeometric (N. X. Vinh, J. Epps, J. Bailey, JMLR 11 (2010) 2837, eq. 24a).
# The sum over a cell's values is restricted to where the distribution is not
# negligible. Where the distribution is wide, the sum is taken on a coarser grid:
# for a smooth bell-shaped summand the trapezoid rule with a step below one
# standard deviation differs from the full sum by less than rounding.


# Steps of 0.75 sd err by about exp(-2 pi^2 / 0.75^2) = 6e-16, relatively. Beyond 11 sd the
# support reaches further than the sum in both directions, so its edges play no part.
_WIDE = 11.0
_STEP = 0.75
_BLOCK = 1 << 18


def expected_mutual_information(rows: FloatArray, columns: FloatArray) -> FloatArray:
    """Expected mutual information [...] in nats of tables with given margins; 0 if empty.

    ``rows`` [..., K] and ``columns`` [..., C] are whole numbers with the same totals.
    """
    total = rows.sum(axis=-1)
    n, a, b = np.broadcast_arrays(total[..., None, None], rows[..., :, None], columns[..., None, :])
    used = (a > 0) & (b > 0)
    values = np.zeros(n.shape)
    if used.any():
        values[used] = _cells(a[used], b[used], n[used])
    return np.asarray(values.sum(axis=(-2, -1)))


def _cells(a: FloatArray, b: FloatArray, n: FloatArray) -> FloatArray:
    """E[x / n log(n x / (a b))] for hypergeometric x with margins a, b of n, each [cells]."""
    from scipy.special import gammaln

    # Where the sum over x begins and ends, and how coarse its grid is.
    mean = a * b / n
    variance = mean * (n - a) * (n - b) / (n * np.maximum(n - 1.0, 1.0))
    # Bernstein's inequality: beyond this reach a tail holds less than 1e-16.
    reach = 13.0 + np.sqrt(169.0 + 78.0 * variance)
    least = np.maximum(np.maximum(a + b - n, 0.0), np.floor(mean - reach)).astype(np.int64)
    most = np.minimum(np.minimum(a, b), np.ceil(mean + reach)).astype(np.int64)
    sd = np.sqrt(variance)
    step = np.where(sd > _WIDE, np.floor(_STEP * sd), 1.0).astype(np.int64)
    points = (most - least) // step + 1

    # Logarithms are looked up: all arguments are whole numbers up to n.
    integers = np.arange(int(n.max()) + 1, dtype=np.float64)
    log_factorial = gammaln(integers + 1.0)
    log_integer = np.log(np.maximum(integers, 1.0))
    offset = np.log(n) - np.log(a) - np.log(b)
    whole_a, whole_b, whole_n = (part.astype(np.int64) for part in (a, b, n))

    # Widest cells first, so that the cells of one block are of like width.
    values = np.empty(len(a))
    order = np.argsort(-points, kind="stable")
    begin = 0
    while begin < len(order):
        width = int(points[order[begin]])
        cells = order[begin : begin + max(1, _BLOCK // width)]
        begin += len(cells)
        # Narrower cells repeat their first x, which is then given no chance.
        beyond = np.arange(width) >= points[cells, None]
        x = least[cells, None] + step[cells, None] * np.where(beyond, 0, np.arange(width))
        first, second = whole_a[cells, None], whole_b[cells, None]
        chance = -(
            log_factorial[x]
            + log_factorial[first - x]
            + log_factorial[second - x]
            + log_factorial[whole_n[cells, None] - first - second + x]
        )
        # Scaled to sum 1: rounding in the large log-factorials then cancels.
        chance -= chance.max(axis=1, keepdims=True)
        np.exp(chance, out=chance)
        chance[beyond] = 0.0
        information = x * (log_integer[x] + offset[cells, None])
        values[cells] = (chance * information).sum(axis=1) / chance.sum(axis=1)
    return values / n


# Agreement of a clustering with labels, from contingency tables [..., K, C].
#
# All functions work along leading axes, so that a thousand resampled tables cost
# one call. Definitions follow scikit-learn, which the tests compare with:
# adjusted Rand index (L. Hubert, P. Arabie, J. Classification 2 (1985) 193),
# V-measure, homogeneity and completeness (A. Rosenberg, J. Hirschberg, EMNLP 2007),
# adjusted mutual information with the arithmetic mean (N. X. Vinh et al., JMLR 11
# (2010) 2837). Counts may be whole numbers held as floats. An empty table gives NaN.


_EPS = float(np.finfo(np.float64).eps)


def adjusted_rand_index(tables: FloatArray) -> FloatArray:
    """Adjusted Rand index of tables [..., K, C]: 1 perfect, 0 as by chance."""
    # Ordered pairs of rows: in one cell, in one cluster, in one class (the row itself included).
    squares = (tables**2).sum(axis=(-2, -1))
    clusters = (tables.sum(axis=-1) ** 2).sum(axis=-1)
    classes = (tables.sum(axis=-2) ** 2).sum(axis=-1)
    total = tables.sum(axis=(-2, -1))
    together = squares - total
    split = clusters - squares
    merged = classes - squares
    apart = total**2 - clusters - classes + squares
    numerator = 2.0 * (together * apart - split * merged)
    denominator = (together + split) * (split + apart) + (together + merged) * (merged + apart)
    perfect = (split == 0) & (merged == 0)
    with np.errstate(divide="ignore", invalid="ignore"):
        index = np.where(perfect, 1.0, numerator / denominator)
    return np.where(total > 0, index, np.nan)


def homogeneity(tables: FloatArray) -> FloatArray:
    """1 - H(class | cluster) / H(class), in 0..1; 1 if there is one class."""
    information, classes, _ = _information(tables)
    return np.where(tables.any(axis=(-2, -1)), _ratio(information, classes), np.nan)


def completeness(tables: FloatArray) -> FloatArray:
    """1 - H(cluster | class) / H(cluster), in 0..1; 1 if there is one cluster."""
    information, _, clusters = _information(tables)
    return np.where(tables.any(axis=(-2, -1)), _ratio(information, clusters), np.nan)


def v_measure(tables: FloatArray) -> FloatArray:
    """Harmonic mean of homogeneity and completeness, in 0..1."""
    h, c = homogeneity(tables), completeness(tables)
    return np.where(h + c == 0.0, 0.0, 2.0 * h * c / np.where(h + c == 0.0, 1.0, h + c))


def purity(tables: FloatArray) -> FloatArray:
    """Fraction of rows that belong to the commonest class of their own cluster, in these rows.

    It never falls as clusters are added and is learned on the scored rows: see
    :func:`mapped_accuracy` for the honest counterpart.
    """
    with np.errstate(invalid="ignore"):
        return np.asarray(tables.max(axis=-1, initial=0.0).sum(axis=-1) / tables.sum(axis=(-2, -1)))


def adjusted_mutual_information(tables: FloatArray) -> FloatArray:
    """Adjusted mutual information, arithmetic mean of the entropies: 1 perfect, 0 as by chance."""
    rows, columns = tables.sum(axis=-1), tables.sum(axis=-2)
    information, classes, clusters = _information(tables)
    # (I - E[I]) / (mean entropy - E[I]), kept from 0 / 0 as scikit-learn does.
    expected = expected_mutual_information(rows, columns)
    numerator = _away_from_zero(information - expected)
    denominator = _away_from_zero(0.5 * (classes + clusters) - expected)
    one_cluster = (rows > 0).sum(axis=-1) == 1
    one_class = (columns > 0).sum(axis=-1) == 1
    index = np.where(one_cluster | one_class, 0.0, numerator / denominator)
    index = np.where(one_cluster & one_class, 1.0, index)
    return np.where(tables.any(axis=(-2, -1)), index, np.nan)


def _information(tables: FloatArray) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Mutual information, entropy of the classes, entropy of the clusters; nats, [...]."""
    clusters = _entropy(tables.sum(axis=-1))
    classes = _entropy(tables.sum(axis=-2))
    joint = _entropy(tables.reshape(*tables.shape[:-2], -1))
    return np.maximum(classes + clusters - joint, 0.0), classes, clusters


def _entropy(counts: FloatArray) -> FloatArray:
    total = np.maximum(counts.sum(axis=-1), 1.0)
    safe = np.where(counts > 0, counts, 1.0)
    return np.asarray(np.log(total) - (counts * np.log(safe)).sum(axis=-1) / total)


def _ratio(information: FloatArray, entropy: FloatArray) -> FloatArray:
    # An entropy below rounding is that of a single class: nothing is left to explain.
    none = entropy < 1e-13
    return np.where(none, 1.0, np.minimum(information / np.where(none, 1.0, entropy), 1.0))


def _away_from_zero(values: FloatArray) -> FloatArray:
    return np.where(values < 0, np.minimum(values, -_EPS), np.maximum(values, _EPS))


# Clusters as predicted classes, by a map learned on training rows.
#
# Each cluster stands for the class that is commonest in it among *training* rows.
# The map is then fixed, so accuracy and F1 on test rows are those of a
# classifier that someone could use. A cluster that no labelled training row fell
# into takes the commonest training class.


def majority_map(tables: FloatArray) -> IntArray:
    """Commonest class of every cluster in filled training tables [..., K, C], as [..., K].

    Ties go to the first class.
    """
    overall = tables.sum(axis=-2).argmax(axis=-1)[..., None]
    return np.asarray(np.where(tables.any(axis=-1), tables.argmax(axis=-1), overall), np.int64)


def confusion(tables: FloatArray, mapping: IntArray) -> FloatArray:
    """Predicted class against true class [..., C, C] for tables [..., K, C].

    ``mapping`` [..., K] broadcasts against the leading axes of ``tables``.
    """
    classes = np.arange(tables.shape[-1])
    chosen = (mapping[..., None, :] == classes[:, None]).astype(np.float64)
    return np.asarray(chosen @ tables)


def mapped_accuracy(confusions: FloatArray) -> FloatArray:
    """Fraction of rows whose predicted class is the true one, from [..., C, C]."""
    total = confusions.sum(axis=(-2, -1))
    with np.errstate(invalid="ignore"):
        return np.asarray(np.trace(confusions, axis1=-2, axis2=-1) / total)


def macro_f1(confusions: FloatArray) -> FloatArray:
    """Mean F1 over the classes that occur as true or as predicted, from [..., C, C]."""
    # Rows of the class, true and predicted: F1 = 2 right / (predicted + true).
    rows = confusions.sum(axis=-1) + confusions.sum(axis=-2)
    right = np.diagonal(confusions, axis1=-2, axis2=-1)
    scores = 2.0 * right / np.where(rows > 0, rows, 1.0)
    with np.errstate(invalid="ignore"):
        return np.asarray(scores.sum(axis=-1) / (rows > 0).sum(axis=-1))


Score = Callable[[FloatArray], FloatArray]

TABLE_SCORES: Mapping[str, Score] = {
    "ari": adjusted_rand_index,
    "ami": adjusted_mutual_information,
    "v_measure": v_measure,
    "homogeneity": homogeneity,
    "completeness": completeness,
    "purity": purity,
}
MAPPED_SCORES: Mapping[str, Score] = {"accuracy": mapped_accuracy, "macro_f1": macro_f1}
"""Scores of confusions, which use the class that each cluster stands for."""


# Probabilities against what came true.


def calibration_error(right: NDArray[np.bool_], probability: FloatArray, bins: int = 15) -> float:
    """Expected calibration error of the probabilities [n] of what was predicted (Guo et al. 2017).

    The mean over rows of |share of right ones - mean probability| in bins of equal width; NaN
    without rows.
    """
    if not len(right):
        return float("nan")
    place = np.minimum((probability * bins).astype(np.int64), bins - 1)
    difference = np.bincount(place, weights=right - probability, minlength=bins)
    return float(np.abs(difference).sum() / len(right))
