"""Clusters and labels as coloured categories, the same colour for the same name everywhere."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

from variolite.report.palette import CATEGORIES, OTHER, PAPER

__all__ = ["Classes", "code_clusters", "code_labels", "contingency"]

Integers = NDArray[np.int64]


@dataclass(frozen=True)
class Classes:
    """Rows sorted into named, coloured categories.

    ``codes`` [n] index ``names`` and ``colours``; -1 means the row has none.
    ``pooled`` names stand together in a last category called "other".
    """

    names: tuple[str, ...]
    colours: tuple[str, ...]
    codes: Integers
    pooled: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.names)

    def colour(self, code: int) -> str:
        """Return the colour of a category, and the one for rows without a category."""
        return self.colours[code] if code >= 0 else PAPER

    def counts(self) -> Integers:
        """Return the number of rows in each category, [categories]."""
        return np.bincount(self.codes[self.codes >= 0], minlength=len(self)).astype(np.int64)


def code_labels(labels: NDArray[np.str_], *, room: int = len(CATEGORIES)) -> Classes:
    """Sort labels by how often they occur; those beyond ``room`` are pooled as "other".

    Parameters
    ----------
    labels
        [n] names; the empty string means that the row has no label.
    room
        Most categories wanted; those beyond the palette are grey.
    """
    found, inverse, counts = np.unique(labels, return_inverse=True, return_counts=True)
    order = [int(i) for i in np.argsort(-counts, kind="stable") if found[i] != ""]
    shown, rest = (order, []) if len(order) <= room else (order[: room - 1], order[room - 1 :])
    lookup = np.full(len(found), -1, dtype=np.int64)
    lookup[shown] = np.arange(len(shown))
    lookup[rest] = len(shown)
    names = [str(found[i]) for i in shown]
    colours = [*CATEGORIES, *[OTHER] * len(shown)][: len(shown)]
    if rest:
        names.append(f"other ({len(rest)} labels)")
        colours.append(OTHER)
    pooled = tuple(str(found[i]) for i in rest)
    return Classes(tuple(names), tuple(colours), lookup[inverse.reshape(-1)], pooled)


def code_clusters(clusters: Integers, labels: Classes | None) -> Classes:
    """Sort clusters next to the labels they match, each in the colour of its label.

    Clusters and labels are paired one to one so that as many rows as possible
    lie in a pair (the assignment problem); the remaining clusters follow by
    size in the colours that are left, and in grey when these run out.

    Parameters
    ----------
    clusters
        [n] cluster numbers; below zero means that the row is in no cluster.
    labels
        The labels of the same rows, or None where there are none.
    """
    numbers = np.unique(clusters[clusters >= 0])
    codes = np.where(clusters >= 0, np.searchsorted(numbers, clusters), -1).astype(np.int64)
    sizes = np.bincount(codes[codes >= 0], minlength=len(numbers))
    plain = Classes(tuple(f"C{n}" for n in numbers), ("",) * len(numbers), codes)
    pairs: dict[int, int] = {}
    if labels is not None and len(labels) and len(numbers):
        overlap = contingency(plain, labels)
        for cluster, label in zip(*linear_sum_assignment(-overlap), strict=True):
            if overlap[cluster, label] > 0:
                pairs[int(cluster)] = int(label)
    rest = sorted(set(range(len(numbers))) - pairs.keys(), key=lambda i: -sizes[i])
    order = [*sorted(pairs, key=lambda cluster: pairs[cluster]), *rest]
    taken = {} if labels is None else {c: labels.colours[pairs[c]] for c in pairs}
    used = set(() if labels is None else labels.colours)
    free = iter([colour for colour in CATEGORIES if colour not in used])
    colours = [taken[c] if c in taken else next(free, OTHER) for c in order]
    place = np.empty(len(numbers), dtype=np.int64)
    place[order] = np.arange(len(order))
    return Classes(
        tuple(plain.names[c] for c in order),
        tuple(colours),
        np.where(codes >= 0, place[codes], -1) if len(numbers) else codes,
    )


def contingency(clusters: Classes, labels: Classes) -> Integers:
    """Count rows by cluster and label, [clusters, labels]; rows lacking one are left out."""
    both = (clusters.codes >= 0) & (labels.codes >= 0)
    counts = np.zeros((len(clusters), len(labels)), dtype=np.int64)
    np.add.at(counts, (clusters.codes[both], labels.codes[both]), 1)
    return counts
