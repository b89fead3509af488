"""Agreement of a clustering with labels, from contingency tables [..., K, C].

All functions work along leading axes, so that a thousand resampled tables cost
one call. Definitions follow scikit-learn, which the tests compare with:
adjusted Rand index (L. Hubert, P. Arabie, J. Classification 2 (1985) 193),
V-measure, homogeneity and completeness (A. Rosenberg, J. Hirschberg, EMNLP 2007),
adjusted mutual information with the arithmetic mean (N. X. Vinh et al., JMLR 11
(2010) 2837). Counts may be whole numbers held as floats. An empty table gives NaN.
"""

from __future__ import annotations

import numpy as np

from variolite.scoring.arrays import FloatArray
from variolite.scoring.expected_information import expected_mutual_information

__all__ = [
    "adjusted_mutual_information",
    "adjusted_rand_index",
    "completeness",
    "homogeneity",
    "purity",
    "v_measure",
]

_EPS = float(np.finfo(np.float64).eps)


def adjusted_rand_index(tables: FloatArray) -> FloatArray:
    """Adjusted Rand index of tables [..., K, C]: 1 perfect, 0 as by chance."""
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
    """Share of rows that belong to the commonest class of their own cluster, in these rows.

    It never falls as clusters are added and is learned on the scored rows: see
    :func:`variolite.scoring.mapping.mapped_accuracy` for the honest counterpart.
    """
    total = tables.sum(axis=(-2, -1))
    with np.errstate(invalid="ignore"):
        return np.asarray(tables.max(axis=-1, initial=0.0).sum(axis=-1) / total)


def adjusted_mutual_information(tables: FloatArray) -> FloatArray:
    """Adjusted mutual information, arithmetic mean of the entropies: 1 perfect, 0 as by chance."""
    total = tables.sum(axis=(-2, -1))
    rows, columns = tables.sum(axis=-1), tables.sum(axis=-2)
    information, classes, clusters = _information(tables)
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
