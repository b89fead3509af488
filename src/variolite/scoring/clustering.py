"""One evaluator for every model and baseline: same rows, same groups, same algorithms."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial
from itertools import count
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from variolite.scoring.agreement import (
    MAPPED_SCORES,
    TABLE_SCORES,
    LabelCodes,
    adjusted_rand_index,
    confusion,
    count_tables,
    majority_map,
)
from variolite.scoring.algorithms import FittedClusterer, KMeans, fit_clustering, predict_along
from variolite.scoring.evaluation import Entry, Evaluation, HeldOut, sample_by_group
from variolite.scoring.gmm import GaussianMixture, as_finite, as_matrix
from variolite.scoring.hmm import HiddenMarkov, Whitening, fit_hmm
from variolite.scoring.intervals import FloatArray, IntArray, ScoredGroups, group_means
from variolite.scoring.scorecard import ScoreKey
from variolite.scoring.sequences import Sequences

# Scores of one clustering on test groups, from its contingency tables.

MAX_TRAIN_ROWS = 30_000  # rows that a clustering is fitted on at most, drawn for each seed
SILHOUETTE_ROWS = 2_000
_BLOCK_CELLS = 2_000_000


@dataclass(frozen=True)
class ClusterScores:
    """Contingency tables of one clustering at one label level.

    ``tables`` count cluster against class per seed and held-out group, [S, G, K, C].
    ``mapping`` is the class that each cluster stands for, learned on training rows, [S, K];
    None where no training row has a label.
    """

    tables: FloatArray
    mapping: IntArray | None
    groups: tuple[str, ...]
    classes: tuple[str, ...]

    @property
    def n_seeds(self) -> int:
        return len(self.tables)

    @property
    def metrics(self) -> tuple[str, ...]:
        return (*TABLE_SCORES, *(() if self.mapping is None else MAPPED_SCORES))

    def values(self, weights: FloatArray, metrics: Sequence[str]) -> dict[str, FloatArray]:
        """Scores [B, S] of the pooled tables, for how often each group was drawn, [B, G].

        A common factor of all weights is taken out: drawing everything twice gives no more
        information, and the correction for chance must not think so.
        """
        seeds, groups, clusters, classes = self.tables.shape
        # Pooling a resample is one row of a matrix product: weights [B, G] by tables [G, S K C].
        flat = self.tables.transpose(1, 0, 2, 3).reshape(groups, -1)
        drawn = np.rint(weights).astype(np.int64)
        drawn = drawn // np.maximum(np.gcd.reduce(drawn, axis=1), 1)[:, None]
        out = {metric: np.empty((len(weights), seeds)) for metric in metrics}
        # Resamples go in blocks, so that their pooled tables stay within about 16 MB.
        block = max(1, _BLOCK_CELLS // max(1, flat.shape[1]))
        for start in range(0, len(weights), block):
            part = slice(start, start + block)
            pooled = (drawn[part].astype(np.float64) @ flat).reshape(-1, seeds, clusters, classes)
            mapped = None
            for metric in metrics:
                if metric in TABLE_SCORES:
                    out[metric][part] = TABLE_SCORES[metric](pooled)
                    continue
                assert self.mapping is not None  # or the metric is not listed
                mapped = confusion(pooled, self.mapping) if mapped is None else mapped
                out[metric][part] = MAPPED_SCORES[metric](mapped)
        return out


def score_clusters(
    clusters: Sequence[IntArray],
    held_out: HeldOut,
    level: str,
    known: Sequence[tuple[IntArray, IntArray]] = (),
    *,
    part: str | None = None,
) -> ClusterScores | None:
    """Count the clusters of the scored rows, [m] per seed, against their labels at one level.

    With ``part``, only its rows count. ``known`` holds, per seed, positions of some training rows
    and their clusters: the class that a cluster stands for is learned on them. Noise (-1) is a
    cluster of its own. Groups without a label are left out; None where no row is labelled.
    """
    if part is not None:
        clusters = [some[held_out.parts[part]] for some in clusters]
        held_out = held_out.only(part)
    labels, train_labels = held_out.test_labels[level], held_out.train_labels[level]
    n_groups, codes = len(held_out.groups), held_out.group_codes
    k = 1 + max(int(some.max(initial=-1)) for some in (*clusters, *(some for _, some in known)))
    # Noise goes last, whatever number of clusters a seed found.
    rows = k + any((some < 0).any() for some in clusters)
    tables = np.stack(
        [count_tables(some, labels, k, codes, n_groups)[:, :rows] for some in clusters]
    )
    learned = [count_tables(some, train_labels.take(at), k)[0, :rows] for at, some in known]
    mapped = bool(learned) and all(table.any() for table in learned)
    # Labels are the same for every seed, so the first shows which groups have any.
    labelled = np.flatnonzero(tables[0].any(axis=(1, 2)))
    if not len(labelled):
        return None
    return ClusterScores(
        tables=tables[:, labelled],
        mapping=majority_map(np.stack(learned)) if mapped else None,
        groups=tuple(held_out.groups[index] for index in labelled),
        classes=labels.classes,
    )


# What the rules for the number of clusters look at.


def distances(x: ArrayLike) -> FloatArray:
    """Euclidean distances between all rows of ``x`` [n, d], as [n, n]; for a few thousand rows."""
    from sklearn.metrics import pairwise_distances

    matrix = as_matrix(x)
    # Centring keeps the digits of features far from zero.
    return np.asarray(pairwise_distances(matrix - matrix.mean(axis=0)))


def silhouette_values(distance: FloatArray, clusters: IntArray) -> FloatArray:
    """Silhouette of every row, [n] in -1..1 (P. Rousseeuw, J. Comput. Appl. Math. 20 (1987) 53).

    From distances [n, n] and clusters [n]. The value is 0 for the only row of its cluster, NaN
    for noise (-1), and NaN throughout with fewer than two clusters. One matrix product for many
    clusterings of the same rows: 2 to 4 times as fast as scikit-learn's.
    """
    out = np.full(len(clusters), np.nan)
    kept = np.flatnonzero(clusters >= 0)
    names, codes = np.unique(clusters[kept], return_inverse=True)
    if len(names) < 2:
        return out
    if len(kept) < len(clusters):
        distance = distance[np.ix_(kept, kept)]
    member = (codes[:, None] == np.arange(len(names))).astype(np.float64)
    counts = member.sum(axis=0)
    sums = distance @ member  # from every row to all rows of every cluster, [n, K]
    own = np.arange(len(kept)), codes  # every row with its own cluster
    others = counts[codes] - 1.0  # the row itself does not count
    within = sums[own] / np.maximum(others, 1.0)
    between = sums / counts
    between[own] = np.inf
    nearest = between.min(axis=1)
    largest = np.maximum(within, nearest)
    values = np.where(largest > 0, (nearest - within) / np.where(largest > 0, largest, 1.0), 0.0)
    out[kept] = np.where(others > 0, values, 0.0)
    return out


def stability(
    algorithm: str,
    k: int,
    x: FloatArray,
    groups: NDArray[np.generic] | None = None,
    *,
    repeats: int = 2,
    seed: int = 0,
) -> float:
    """Adjusted Rand index, on all rows [n, d], of clusterings fitted to two random halves.

    The mean over ``repeats`` halvings. Whole groups [n] go to one half, where there are at
    least four; else rows do.
    """
    unit = np.arange(len(x))
    if groups is not None:
        codes = np.unique(groups, return_inverse=True)[1]
        unit = codes if codes.max() >= 3 else unit  # what is halved: groups or rows
    scores = []
    for repeat in range(repeats):
        generator = np.random.default_rng([seed, repeat, 11])
        order = generator.permutation(int(unit.max()) + 1)
        half = (order < len(order) // 2)[unit]
        first, second = (
            fit_clustering(algorithm, x[part], k, seed + repeat).predict(x)
            for part in (half, ~half)
        )
        table = count_tables(first, LabelCodes(second, tuple(map(str, range(k)))), k)[0]
        scores.append(float(adjusted_rand_index(table)))
    return float(np.mean(scores))


# Clusterings of the members of a representation, fitted with every k.


@dataclass(frozen=True)
class ClusteringPlan:
    """What to cluster with: algorithms, a grid of cluster numbers, and rules that choose k.

    "bic": least Bayesian information criterion on the fitted rows (Gaussian mixtures only).
    "silhouette": highest mean silhouette on a sample of the fitted rows, of a hidden Markov model
    that of the k-means it starts from. "stability": highest
    agreement between clusterings of two halves of the fitted rows, on all of them (T. Lange et
    al., Neural Computation 16 (2004) 1299); costs four more fits per k. "oracle": highest
    adjusted Rand index with the held-out labels themselves; it shows what choosing k could
    gain and is never available in use.

    An "inductive" fit is one to training rows, test rows are predicted. A "transductive" one
    is to the test rows themselves: optimistic, for comparison with work that did so.

    A representation with one member is clustered ``seeds`` times, one with several members
    once per member.
    """

    algorithms: tuple[str, ...] = ("kmeans", "gmm")
    ks: tuple[int, ...] = (4, 6, 9, 12, 15, 18)
    rules: tuple[str, ...] = ("bic", "silhouette")
    fit: str = "inductive"
    seeds: int = 3

    def grid(self, algorithm: str) -> list[int | None]:
        """Every k that an algorithm is to be run with; HDBSCAN finds it."""
        return [None] if algorithm == "hdbscan" else [*dict.fromkeys(self.ks)]


@dataclass(frozen=True)
class FitRows:
    """Rows [m, d] of one member that clusterings are fitted on, with the seed of the fits.

    ``groups`` [m] are what the stability rule keeps together, ``sample`` the positions of the
    rows that the silhouette rule looks at. A hidden Markov model is fitted on all rows ``every``
    [n, d] of the sequences that the m are drawn from.
    """

    x: FloatArray
    groups: NDArray[np.generic] | None
    sample: IntArray
    seed: int
    every: FloatArray | None = None
    sequences: Sequences | None = None


@dataclass(frozen=True)
class Fit:
    """A clustering with its value of every rule's criterion.

    Criteria are of the ``start``. What ``finish`` makes of it is fitted when it is first asked
    for: a hidden Markov model takes far longer than the k-means that it starts from.
    """

    start: FittedClusterer
    criteria: Mapping[str, float]
    finish: Callable[[FittedClusterer], FittedClusterer] | None = None

    @cached_property
    def fitted(self) -> FittedClusterer:
        return self.finish(self.start) if self.finish else self.start


def fit_grid(rows: FitRows, plan: ClusteringPlan) -> Iterator[tuple[str, int | None, Fit]]:
    """Fit every algorithm of a plan with every k to the rows of one member."""
    for name in plan.algorithms:
        x, start, finish = rows.x, name, None
        if name == "hmm":
            whitening = Whitening.of(x)
            x, start, finish = whitening(x), "kmeans", partial(_along_depth, rows, whitening)
        distance = distances(x[rows.sample]) if "silhouette" in plan.rules else None
        for k in plan.grid(name):
            fitted = fit_clustering(start, x, k, rows.seed)
            criteria: dict[str, float] = {}
            if "bic" in plan.rules and isinstance(fitted, GaussianMixture):
                criteria["bic"] = fitted.bic(x)
            if k is not None and distance is not None:
                clusters = fitted.predict(x[rows.sample])
                criteria["silhouette"] = float(silhouette_values(distance, clusters).mean())
            if k is not None and "stability" in plan.rules:
                criteria["stability"] = stability(start, k, x, rows.groups, seed=rows.seed)
            yield name, k, Fit(fitted, criteria, finish)


def _along_depth(rows: FitRows, whitening: Whitening, start: FittedClusterer) -> HiddenMarkov:
    assert isinstance(start, KMeans)
    assert rows.every is not None
    assert rows.sequences is not None
    return fit_hmm(rows.every, whitening, start.centres, rows.sequences)


def choose_k(rule: str, fits: Mapping[int | None, Sequence[Fit]]) -> int | None:
    """Choose k by a rule from its criterion averaged over seeds, so that all share the k.

    Of equal values the first counts; None where the criterion is undefined at every k.
    """
    values = np.array(
        [np.mean([fit.criteria.get(rule, np.nan) for fit in seeds]) for seeds in fits.values()]
    )
    values = np.where(np.isfinite(values), values, np.nan)
    if np.isnan(values).all():
        return None
    return list(fits)[int(np.nanargmin(values) if rule == "bic" else np.nanargmax(values))]


def draw(generator: np.random.Generator, n: int, most: int) -> IntArray:
    """Positions of at most ``most`` of n rows, drawn at random, in order."""
    if n <= most:
        return np.arange(n)
    return np.sort(generator.choice(n, most, replace=False))


# The evaluator: fit on training rows, predict the test rows, score.


class Representation(NamedTuple):
    """Features of the training rows and of the test rows: [n, d], or [members, n, d].

    Of the training rows, clusterings are fitted on those in ``fitted_on`` alone, if given.
    """

    train: ArrayLike
    test: ArrayLike
    fitted_on: IntArray | None = None


@dataclass(frozen=True)
class _Predicted:
    """A fit, its clusters of the scored rows and of training rows, and silhouettes of a sample."""

    fit: Fit
    clusters: IntArray
    known: tuple[IntArray, IntArray]
    silhouettes: FloatArray


def evaluate_clustering(
    representations: Mapping[str, Representation | tuple[ArrayLike, ArrayLike]],
    held_out: HeldOut,
    plan: ClusteringPlan | None = None,
    *,
    every_part: bool = False,
    log: Callable[[str], None] = lambda _: None,
) -> Evaluation:
    """Cluster every representation and score the test rows.

    Representations hold, per method name, features of all training and of all test rows, in
    the order given to :func:`variolite.scoring.evaluation.hold_out`. Every method, algorithm
    and k (rule "fixed", and every rule that applies) gets entries: agreement with the labels of
    every level, and the silhouette of the test rows. What a rule without labels chose is scored
    on every part of the held-out rows apart, and so is each fixed k with ``every_part``. With
    "hdbscan", noise is a cluster of its own in the agreement, and its fraction is an entry.
    Raises DataError if a feature is NaN, or a number of clusters exceeds the rows.
    """
    plan = plan or ClusteringPlan()
    given = {name: Representation(*values) for name, values in representations.items()}
    members = {
        name: (_members(r.train, f"{name}, training rows"), _members(r.test, f"{name}, test rows"))
        for name, r in given.items()
    }
    runs = {name: len(m[0]) if len(m[0]) > 1 else plan.seeds for name, m in members.items()}
    fits = sum(len(plan.grid(name)) for name in plan.algorithms)
    done, total = count(1), sum(runs.values()) * fits
    # The same scored rows get silhouettes for every method and seed.
    sample = sample_by_group(held_out.group_codes, SILHOUETTE_ROWS, 0)
    entries: list[Entry] = []
    found: list[str] = []
    for name, (train, test) in members.items():
        predicted: dict[str, dict[int | None, list[_Predicted]]] = {a: {} for a in plan.algorithms}
        for run in range(runs[name]):
            known, every = train[run % len(train)], test[run % len(test)]
            drawn, rows = _fit_rows(known, every, held_out, plan, run, given[name].fitted_on)
            distance = distances(every[held_out.kept][sample])
            for algorithm, k, fit in fit_grid(rows, plan):
                clusters = predict_along(fit.fitted, every, held_out.along, held_out.kept)
                learned = drawn, predict_along(fit.fitted, known, held_out.train_along, drawn)
                silhouettes = silhouette_values(distance, clusters[sample])
                seeds = predicted[algorithm].setdefault(k, [])
                seeds.append(_Predicted(fit, clusters, learned, silhouettes))
                log(f"{next(done)}/{total} {name}, {algorithm}{'' if k is None else f' k {k}'}")
        for algorithm, by_k in predicted.items():
            key = ScoreKey("clustering", name, held_out.split, algorithm, plan.fit)
            key = replace(key, clusters="refitted")
            entries += _entries(key, by_k, held_out, plan.rules, sample, every_part=every_part)
            if None in by_k:
                counts = ", ".join(str(seed.fit.fitted.n_clusters) for seed in by_k[None])
                found.append(f"{name}: clusters that {algorithm} found: {counts}")
    notes = [*held_out.notes, *_label_notes(held_out), *found]
    return Evaluation(tuple(entries), tuple(dict.fromkeys(notes)))


def _members(values: ArrayLike, name: str) -> FloatArray:
    """Features as [members, n, d]; a matrix is one member."""
    array = as_finite(values, name)
    return array[None] if array.ndim == 2 else array


def _fit_rows(
    train: FloatArray, test: FloatArray, held_out: HeldOut, plan: ClusteringPlan, seed: int,
    fitted_on: IntArray | None,
) -> tuple[IntArray, FitRows]:  # fmt: skip
    """Draw training rows of one member, and the rows to fit on: the same or scored ones."""
    generator = np.random.default_rng([seed, 3])
    may = np.arange(len(train)) if fitted_on is None else fitted_on
    drawn = may[draw(generator, len(may), MAX_TRAIN_ROWS)]
    x, groups = train[drawn], held_out.train_groups[drawn]
    every, sequences = train, held_out.train_along
    if plan.fit == "transductive":
        own = draw(generator, len(held_out.kept), MAX_TRAIN_ROWS)
        x, groups = test[held_out.kept[own]], np.array(held_out.groups)[held_out.group_codes[own]]
        every, sequences = test, held_out.along
    sample = draw(generator, len(x), SILHOUETTE_ROWS)
    return drawn, FitRows(x, groups, sample, seed, every, sequences)


def _entries(
    key: ScoreKey,
    by_k: Mapping[int | None, Sequence[_Predicted]],
    held_out: HeldOut,
    rules: Sequence[str],
    sample: IntArray,
    *,
    every_part: bool,
) -> list[Entry]:
    """Return the entries of one method and algorithm: every k, then the choices of the rules."""
    fits = {k: [seed.fit for seed in seeds] for k, seeds in by_k.items()}
    choices = [(rule, choose_k(rule, fits)) for rule in rules]
    chosen: list[tuple[str | None, int | None]] = [
        (None if k is None else "fixed", k) for k in by_k
    ]
    chosen += [(rule, k) for rule, k in choices if k is not None]
    whole, *others = held_out.parts
    ruled = {k for rule, k in chosen if rule != "fixed"}
    scored: dict[int | None, list[tuple[ScoreKey, ScoredGroups]]] = {}
    for k, seeds in by_k.items():
        clusters, known = [seed.clusters for seed in seeds], [seed.known for seed in seeds]
        apart = others if every_part or k in ruled else []
        scored[k] = [
            (replace(key, k=k, level=level, rows=part), found)
            for level in held_out.test_labels
            for part in (whole, *apart)
            if (found := score_clusters(clusters, held_out, level, known, part=part)) is not None
        ]
        parts = _without_labels(seeds, held_out, sample)
        scored[k] += [(replace(key, k=k, rows=whole), part) for part in parts]
    entries = [
        Entry(replace(full, rule=rule), found)
        for rule, k in chosen
        for full, found in scored[k]
        if every_part or rule != "fixed" or full.rows == whole
    ]
    return entries + (_oracle(entries, whole) if "oracle" in rules else [])


def _without_labels(
    seeds: Sequence[_Predicted], held_out: HeldOut, sample: IntArray
) -> Iterator[ScoredGroups]:
    """Score without labels: the silhouette where there is one, the fraction of noise if any."""
    silhouettes = np.stack([seed.silhouettes for seed in seeds])
    if np.isfinite(silhouettes).any():
        yield group_means("silhouette", silhouettes, held_out.group_codes[sample], held_out.groups)
    noise = np.stack([seed.clusters < 0 for seed in seeds])
    if noise.any():
        yield group_means("noise", noise, held_out.group_codes, held_out.groups)


def _oracle(entries: Sequence[Entry], rows: str | None) -> list[Entry]:
    """Return, per level, the fixed k that agrees best with the labels of the test rows."""
    best: dict[str, tuple[float, Entry]] = {}
    for entry in entries:
        level = entry.key.level
        if level is None or (entry.key.rule, entry.key.rows) != ("fixed", rows):
            continue
        ari = float(entry.whole("ari").mean())
        if level not in best or ari > best[level][0]:
            best[level] = (ari, entry)
    return [replace(entry, key=replace(entry.key, rule="oracle")) for _, entry in best.values()]


def _label_notes(held_out: HeldOut) -> list[str]:
    notes = []
    for level, labels in held_out.test_labels.items():
        present = np.unique(labels.codes[labels.codes >= 0])
        if not len(present):
            notes.append(f"{level}: no scored row has a label, so nothing is compared with it")
        elif len(present) == 1:
            notes.append(
                f"{level}: all scored rows are {labels.classes[present[0]]!r}; "
                "agreement scores are meaningless"
            )
        if len(present) and (held_out.train_labels[level].codes < 0).all():
            notes.append(f"{level}: no training row has a label, so accuracy and F1 are left out")
    return notes
