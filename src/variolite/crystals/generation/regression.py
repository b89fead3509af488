"""Ridge regressions and small networks, one for every fold of compositions left out."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from variolite.training.device import generator
from variolite.training.loop import minimise
from variolite.training.schedules import cosine_by_epoch

Floats = NDArray[np.float64]

FOLDS = 5
PENALTIES = np.logspace(-2, 4, 13)
WIDTH = 128
EPOCHS = 80
BATCH = 256
LEARNING_RATE = 2e-3
DROPOUT = 0.1


class FoldNetworks(nn.Module):
    """A network of two hidden layers with a residual connection, for every fold.

    Weights have a leading axis of folds, (K, inputs, outputs), which is that of members.
    """

    def __init__(self, inputs: int, outputs: int, random: torch.Generator | None = None) -> None:
        super().__init__()

        def uniform(fan: int, *shape: int) -> nn.Parameter:
            bound = 1.0 / math.sqrt(fan)
            one = torch.empty(shape).uniform_(-bound, bound, generator=random)
            return nn.Parameter(one.repeat(FOLDS, *[1] * len(shape)))

        self.enter = uniform(inputs, inputs, WIDTH)
        self.enter_bias = uniform(inputs, 1, WIDTH)
        self.inner = uniform(WIDTH, WIDTH, WIDTH)
        self.inner_bias = uniform(WIDTH, 1, WIDTH)
        self.leave = uniform(WIDTH, WIDTH, outputs)
        self.leave_bias = uniform(WIDTH, 1, outputs)

    def forward(self, rows: Tensor, random: torch.Generator | None = None) -> Tensor:
        """Outputs (K, n, P) of rows (K, n, D), with dropout where it is given a generator."""
        hidden = functional.silu(torch.baddbmm(self.enter_bias, rows, self.enter))
        hidden = _dropped(hidden, random)
        inner = functional.silu(torch.baddbmm(self.inner_bias, hidden, self.inner))
        return torch.baddbmm(self.leave_bias, hidden + _dropped(inner, random), self.leave)

    @torch.no_grad()
    def outputs(self, rows: Floats) -> Floats:
        """Outputs of every fold for rows (n, D), shape (K, n, P)."""
        given = torch.from_numpy(rows.astype(np.float32)).expand(FOLDS, -1, -1)
        return np.asarray(self(given).numpy(), dtype=np.float64)


def _dropped(hidden: Tensor, random: torch.Generator | None) -> Tensor:
    if random is None:
        return hidden
    keep = torch.empty_like(hidden).bernoulli_(1.0 - DROPOUT, generator=random)
    return hidden * keep / (1.0 - DROPOUT)


def folds_by_group(groups: NDArray[np.str_], number: int, seed: int) -> NDArray[np.int64]:
    """Deal groups out to folds of about equally many rows; no group is in two, shape (n,).

    Unlike `sklearn.model_selection.GroupKFold` with fewer groups than folds too: some folds
    are empty then.
    """
    distinct, inverse, sizes = np.unique(groups, return_inverse=True, return_counts=True)
    order = np.random.default_rng(seed).permutation(len(distinct))
    ends = np.cumsum(sizes[order])
    fold = np.empty(len(distinct), dtype=np.int64)
    fold[order] = np.minimum((ends - 1) * number // ends[-1], number - 1)
    return np.asarray(fold[inverse])


def fit_ridges(rows: Floats, targets: Floats, fold: NDArray[np.int64]) -> tuple[Floats, Floats]:
    """Fit one ridge per fold and target, each with the penalty that errs least on rows left out.

    Parameters
    ----------
    rows
        Standardised, shape (n, D).
    targets
        Standardised, NaN where missing, shape (n, P).
    fold
        Of every row, shape (n,).

    Returns
    -------
    coefficients
        And the constants, last: shape (K, D + 1, P).
    left_out
        Predictions of each row by the model that never saw its fold, shape (n, P).
    """
    from sklearn.linear_model import RidgeCV

    coefficients = np.zeros((FOLDS, rows.shape[1] + 1, targets.shape[1]))
    left_out = np.zeros(targets.shape)
    for k, place in product(range(FOLDS), range(targets.shape[1])):
        known = np.isfinite(targets[:, place]) & (fold != k)
        ridge = RidgeCV(PENALTIES).fit(rows[known], targets[known, place])
        coefficients[k, :, place] = [*ridge.coef_, ridge.intercept_]
        left_out[fold == k, place] = (rows @ ridge.coef_ + ridge.intercept_)[fold == k]
    return coefficients, left_out


@dataclass(frozen=True)
class _FoldBatches:
    """Rows of the other folds for each of K networks, in batches (K, b)."""

    others: list[Tensor]
    random: torch.Generator

    @property
    def fewest(self) -> int:
        return min(len(own) for own in self.others)

    @property
    def size(self) -> int:
        return min(BATCH, self.fewest)

    @property
    def steps(self) -> int:
        return self.fewest // self.size

    def epoch(self, number: int) -> Iterator[Tensor]:
        del number
        shuffled = (torch.randperm(len(own), generator=self.random) for own in self.others)
        order = torch.stack(
            [own[o[: self.fewest]] for own, o in zip(self.others, shuffled, strict=True)]
        )
        for step in range(self.steps):
            yield order[:, step * self.size : (step + 1) * self.size]


def fit_networks(
    rows: Floats, targets: Floats, fold: NDArray[np.int64], *, seed: int
) -> FoldNetworks:
    """Fit a small network for every fold, all of them at once.

    Parameters are those of `fit_ridges`. The networks minimise the absolute error, which
    outliers move less. scikit-learn's network has neither this loss nor dropout nor missing
    targets; on formation energies it errs a fifth more (`benchmarks/results/property_head.md`).
    """
    random = generator(torch.device("cpu"), seed)
    networks = FoldNetworks(rows.shape[1], targets.shape[1], random)
    inputs = torch.from_numpy(rows.astype(np.float32))
    known = torch.from_numpy(np.isfinite(targets))
    answers = torch.from_numpy(np.nan_to_num(targets).astype(np.float32))
    others = [torch.from_numpy(np.flatnonzero(fold != k)) for k in range(FOLDS)]
    batches = _FoldBatches(others, random)

    def loss(chosen: Tensor) -> Tensor:
        here = known[chosen]
        error = (networks(inputs[chosen], random) - answers[chosen]).abs() * here
        mean: Tensor = error.sum((1, 2)) / here.sum((1, 2)).clamp_min(1)
        return mean

    minimise(
        networks,
        loss,
        batches,
        None,
        epochs=EPOCHS,
        learning_rate=LEARNING_RATE,
        step_factor=cosine_by_epoch(batches.steps, EPOCHS),
        members=FOLDS,
        checks=0,
        part="properties",
    )
    return networks.eval()
