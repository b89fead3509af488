"""What a model is compared with: simple representations, with the gaps of their rows seen to."""

from __future__ import annotations

import warnings
from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import replace

import numpy as np
from numpy.typing import ArrayLike, NDArray

from variolite.scoring.clustering import (
    MAX_TRAIN_ROWS,
    ClusteringPlan,
    Representation,
    draw,
    evaluate_clustering,
)
from variolite.scoring.evaluation import HeldOut
from variolite.scoring.gmm import as_matrix
from variolite.scoring.hmm import Whitening
from variolite.scoring.intervals import FloatArray, IntArray

# Representations, fitted on training rows only.


def pca_whitened(
    train: ArrayLike, test: ArrayLike, fitted_on: IntArray | None = None
) -> tuple[FloatArray, FloatArray]:
    """Principal components of training rows [n, d] and test rows [m, d], scaled to variance 1.

    The strongest comes first. They are those of the training rows ``fitted_on``, all by default.
    Directions without variance are left out. Raises DataError if no feature varies.
    """
    first, second, fitted = _both(train, test, fitted_on)
    whitening = Whitening.of(fitted)
    return whitening(first)[:, ::-1], whitening(second)[:, ::-1]


def raw(
    train: ArrayLike, test: ArrayLike, fitted_on: IntArray | None = None
) -> tuple[FloatArray, FloatArray]:
    """Standardise features by mean and standard deviation of the training rows ``fitted_on``.

    Features are expected in the form a model would get them (logarithms taken and so on); a
    feature that does not vary becomes zero.
    """
    from sklearn.preprocessing import StandardScaler

    first, second, fitted = _both(train, test, fitted_on)
    scaler = StandardScaler().fit(fitted)
    return scaler.transform(first), scaler.transform(second)


def _both(
    train: ArrayLike, test: ArrayLike, fitted_on: IntArray | None
) -> tuple[FloatArray, FloatArray, FloatArray]:
    first, second = as_matrix(train, "training rows"), as_matrix(test, "test rows")
    return first, second, first if fitted_on is None else first[fitted_on]


# Rows with gaps: filled with means, clusters would follow what was measured and not the rocks.

_FEWEST_COMPLETE = 0.1  # share of complete training rows below which nothing is fitted on them
_TRIAL_ROWS = 10_000


def fill_gaps(train: FloatArray, test: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Fill NaN in training rows [n, d] and test rows [m, d] by regression on the other features.

    Chained Bayesian ridge regressions (scikit-learn), fitted on at most 30,000 training rows.
    """
    if not np.isnan(train).any() and not np.isnan(test).any():
        return train, test
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.experimental import enable_iterative_imputer  # noqa: F401
    from sklearn.impute import IterativeImputer

    rows = draw(np.random.default_rng(3), len(train), MAX_TRAIN_ROWS)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # what still moves is far below noise
        imputer = IterativeImputer(max_iter=20, keep_empty_features=True).fit(train[rows])
    return imputer.transform(train), imputer.transform(test)


_METHODS: dict[str, Callable[..., tuple[FloatArray, FloatArray]]] = {
    "raw": raw,
    "pca_whitened": pca_whitened,
}


def unsupervised_baselines(
    train: FloatArray,
    test: FloatArray,
    held_out: HeldOut,
    plan: ClusteringPlan,
    validation: NDArray[np.bool_] | None = None,
) -> tuple[dict[str, Representation], list[str]]:
    """Raw features and whitened principal components, with notes on their treatment of gaps.

    Features of training rows [n, d] and test rows [m, d] are NaN where not observed. Gaps are
    filled by regression; projections and clusterings are fitted either on all training rows or
    on the complete ones, whichever agrees better with the labels of the training rows in
    ``validation`` [n], or of a quarter of the groups, over the cluster numbers of the plan.
    """
    filled = fill_gaps(train, test)
    whole = np.asarray(~np.isnan(train).any(axis=1))
    options = {"complete rows": whole, "all rows": np.ones(len(train), bool)}
    if whole.all() or whole.sum() <= max(_FEWEST_COMPLETE * len(train), *plan.ks):
        del options["complete rows"]
    agreement = (
        _agreement(filled[0], options, held_out, plan, validation) if len(options) > 1 else {}
    )
    found: dict[str, Representation] = {}
    notes: list[str] = []
    for method, represent in _METHODS.items():
        own = {name: agreement.get((method, name), 0.0) for name in options}
        chosen = max(own, key=lambda name: own[name])  # of equals the first
        fitted_on = np.flatnonzero(options[chosen])
        found[method] = Representation(*represent(*filled, fitted_on), fitted_on)
        if agreement:
            listed = ", ".join(f"{name} {value:.3f}" for name, value in own.items())
            notes.append(f"{method}: fitted on {chosen}, by ARI on validation groups: {listed}")
    if not whole.all() or np.isnan(test).any():
        notes.append(f"gaps of {' and '.join(found)} are filled by regression on the other inputs")
    return found, notes


def _agreement(
    train: FloatArray,
    options: Mapping[str, NDArray[np.bool_]],
    held_out: HeldOut,
    plan: ClusteringPlan,
    validation: NDArray[np.bool_] | None,
) -> dict[tuple[str, str], float]:
    """Mean ARI on validation rows of every method fitted on every option's rows; else empty."""
    trial = held_out.within_training(validation, _TRIAL_ROWS)
    if trial is None or not held_out.test_labels:
        return {}
    known, tried, inner = trial
    own = {name: np.flatnonzero(mask[known]) for name, mask in options.items()}
    ks = tuple(k for k in plan.ks if k <= min(map(len, own.values())))
    representations = {
        f"{method}/{name}": Representation(*represent(train[known], train[tried], rows), rows)
        for method, represent in _METHODS.items()
        for name, rows in own.items()
        if ks
    }
    # Rows drawn at random are no sequences.
    algorithms = tuple("kmeans" if name == "hmm" else name for name in plan.algorithms)
    plan = replace(plan, algorithms=algorithms, ks=ks, rules=(), fit="inductive", seeds=1)
    entries = evaluate_clustering(representations, inner, plan).entries
    level = next(iter(held_out.test_labels))
    values: dict[tuple[str, str], list[float]] = defaultdict(list)
    for entry in entries:
        if entry.key.level == level:
            method, _, name = entry.key.method.partition("/")
            values[method, name].append(float(entry.whole("ari").mean()))
    return {key: float(np.mean(some)) for key, some in values.items()}
