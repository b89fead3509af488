"""Agreement of clusterings with labels, from contingency tables kept apart by group."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from variolite.errors import DataError
from variolite.scoring.arrays import FloatArray, IntArray, as_labels

# Contingency tables: how often each cluster meets each label, kept apart by group.
#
# Every agreement score is a function of such a table, and the table of a set of
# groups is the sum of theirs. Counting once per group is all that a bootstrap over
# groups needs: a resample is a weighted sum of small tables.


@dataclass(frozen=True)
class LabelCodes:
    """Labels as integers.

    Attributes
    ----------
    codes
        Index into ``classes`` per row [n]; -1 where the label is missing.
    classes
        Class names in sorted order.
    """

    codes: IntArray
    classes: tuple[str, ...]

    @property
    def missing(self) -> int:
        """Number of rows without a label."""
        return int((self.codes < 0).sum())

    def take(self, rows: ArrayLike) -> LabelCodes:
        """Return the codes of some rows, over the same classes."""
        return LabelCodes(self.codes[np.asarray(rows)], self.classes)


def encode_labels(labels: ArrayLike) -> LabelCodes:
    """Turn labels [n] into codes; the empty label, None and NaN count as missing."""
    names, codes = np.unique(as_labels(labels), return_inverse=True)
    if len(names) and names[0] == "":
        return LabelCodes(codes - 1, tuple(names[1:].tolist()))
    return LabelCodes(codes, tuple(names.tolist()))


def drop_rare(labels: ArrayLike, minimum: int) -> NDArray[np.str_]:
    """Return a copy of the labels with classes of fewer than ``minimum`` rows set to missing."""
    text = as_labels(labels).copy()
    names, counts = np.unique(text, return_counts=True)
    text[np.isin(text, names[counts < minimum])] = ""
    return text


def count_tables(
    clusters: ArrayLike,
    labels: LabelCodes,
    n_clusters: int,
    groups: ArrayLike | None = None,
    n_groups: int = 1,
    *,
    noise: bool = False,
) -> FloatArray:
    """Count cluster against label per group; rows without a label are left out.

    Parameters
    ----------
    clusters
        Cluster of every row [n] in 0..n_clusters-1, or -1 for noise.
    labels
        Codes of the same rows.
    n_clusters
        Number of clusters K.
    groups
        Group index of every row [n] in 0..n_groups-1; all one group by default.
    n_groups
        Number of groups G.
    noise
        Whether rows may be noise; they are then counted in an additional last
        row of the tables, as a cluster of their own.

    Returns
    -------
    ndarray
        Counts [G, K, C], or [G, K + 1, C] with noise.

    Raises
    ------
    DataError
        If the arrays differ in length or an index is out of range.
    """
    cluster = np.asarray(clusters, dtype=np.int64)
    group = np.zeros(len(cluster), np.int64) if groups is None else np.asarray(groups, np.int64)
    if not len(cluster) == len(labels.codes) == len(group):
        raise DataError(
            f"{len(cluster)} clusters, {len(labels.codes)} labels and {len(group)} groups were "
            "given; there must be one of each per row",
            where="contingency table",
        )
    _check_range(cluster, -1 if noise else 0, n_clusters, "clusters")
    _check_range(group, 0, n_groups, "groups")
    rows, columns = n_clusters + noise, len(labels.classes)
    cluster = np.where(cluster < 0, n_clusters, cluster)
    kept = labels.codes >= 0
    # One flat index per row, so that a single bincount fills all tables.
    flat = (group[kept] * rows + cluster[kept]) * columns + labels.codes[kept]
    counts = np.bincount(flat, minlength=n_groups * rows * columns)
    return counts.reshape(n_groups, rows, columns).astype(np.float64)


def _check_range(index: IntArray, low: int, high: int, name: str) -> None:
    if index.size and (index.min() < low or index.max() >= high):
        raise DataError(
            f"holds indices {index.min()} to {index.max()}, expected {low} to {high - 1}",
            where=name,
        )


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
    """Expected mutual information in nats of tables with the given margins.

    Parameters
    ----------
    rows
        Row sums [..., K], whole numbers.
    columns
        Column sums [..., C] with the same totals and leading axes.

    Returns
    -------
    ndarray
        Expectation [...]; 0 for an empty table.
    """
    total = rows.sum(axis=-1)
    n, a, b = np.broadcast_arrays(total[..., None, None], rows[..., :, None], columns[..., None, :])
    used = (a > 0) & (b > 0)
    values = np.zeros(n.shape)
    values[used] = _cells(a[used], b[used], n[used])
    return np.asarray(values.sum(axis=(-2, -1)))


def _cells(a: FloatArray, b: FloatArray, n: FloatArray) -> FloatArray:
    """E[x / n log(n x / (a b))] for hypergeometric x with margins a, b of n, each [cells]."""
    from scipy.special import gammaln

    values = np.empty(len(a))
    if len(a) == 0:
        return values
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
    return _where_filled(index, total)


def homogeneity(tables: FloatArray) -> FloatArray:
    """1 - H(class | cluster) / H(class), in 0..1; 1 if there is one class."""
    information, classes, _ = _information(tables)
    return _where_filled(_ratio(information, classes), tables.sum(axis=(-2, -1)))


def completeness(tables: FloatArray) -> FloatArray:
    """1 - H(cluster | class) / H(cluster), in 0..1; 1 if there is one cluster."""
    information, _, clusters = _information(tables)
    return _where_filled(_ratio(information, clusters), tables.sum(axis=(-2, -1)))


def v_measure(tables: FloatArray) -> FloatArray:
    """Harmonic mean of homogeneity and completeness, in 0..1."""
    h, c = homogeneity(tables), completeness(tables)
    return np.where(h + c == 0.0, 0.0, 2.0 * h * c / np.where(h + c == 0.0, 1.0, h + c))


def purity(tables: FloatArray) -> FloatArray:
    """Fraction of rows that belong to the commonest class of their own cluster, in these rows.

    It never falls as clusters are added and is learned on the scored rows: see
    :func:`mapped_accuracy` for the honest counterpart.
    """
    total = tables.sum(axis=(-2, -1))
    with np.errstate(invalid="ignore"):
        return np.asarray(tables.max(axis=-1, initial=0.0).sum(axis=-1) / total)


def adjusted_mutual_information(tables: FloatArray) -> FloatArray:
    """Adjusted mutual information, arithmetic mean of the entropies: 1 perfect, 0 as by chance."""
    total = tables.sum(axis=(-2, -1))
    rows, columns = tables.sum(axis=-1), tables.sum(axis=-2)
    information, classes, clusters = _information(tables)
    # (I - E[I]) / (mean entropy - E[I]), kept from 0 / 0 as scikit-learn does.
    expected = expected_mutual_information(rows, columns)
    numerator = _away_from_zero(information - expected)
    denominator = _away_from_zero(0.5 * (classes + clusters) - expected)
    one_cluster = (rows > 0).sum(axis=-1) == 1
    one_class = (columns > 0).sum(axis=-1) == 1
    index = np.where(one_cluster | one_class, 0.0, numerator / denominator)
    return _where_filled(np.where(one_cluster & one_class, 1.0, index), total)


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


def _where_filled(values: FloatArray, total: FloatArray) -> FloatArray:
    return np.where(total > 0, values, np.nan)


# Clusters as predicted classes, by a map learned on training rows.
#
# Each cluster stands for the class that is commonest in it among *training* rows.
# The map is then fixed, so accuracy and F1 on test rows are those of a
# classifier that someone could use. A cluster that no labelled training row fell
# into takes the commonest training class.


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
            hint="Leave this label level out, or label some training groups",
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
    """Fraction of rows whose predicted class is the true one, from [..., C, C]."""
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
