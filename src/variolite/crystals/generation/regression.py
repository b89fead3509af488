"""Ridge regressions and small networks over fixed-length descriptions of crystals."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from variolite.crystals.elements import ELECTRONEGATIVITIES, HEAVIEST, MASSES
from variolite.crystals.latents import Latents
from variolite.errors import DataError
from variolite.training.optimiser import Adam, FlatParameters
from variolite.training.tabular_model import generator

# Fixed-length descriptions of crystals for property heads: latents pooled, and composition.


Floats = NDArray[np.float64]

_SCALES = np.stack(
    [
        np.arange(HEAVIEST + 1, dtype=np.float64),
        np.nan_to_num(ELECTRONEGATIVITIES, nan=float(np.nanmean(ELECTRONEGATIVITIES))),
        np.nan_to_num(MASSES),
    ],
    axis=1,
)
"""Atomic number, electronegativity and mass by atomic number, shape (119, 3)."""


def descriptor_width(latent: int, elements: int) -> int:
    """Numbers in one description."""
    return 3 * latent + 1 + 4 * len(_SCALES.T) + elements


def descriptors(
    latents: Latents, species: NDArray[np.integer], elements: tuple[int, ...]
) -> Floats:
    """Describe crystals.

    Parameters
    ----------
    latents
        Posterior means of B crystals.
    species
        Atomic numbers of their atoms, shape (N,).
    elements
        Atomic numbers whose fractions are part of the description.

    Returns
    -------
    ndarray of float64, shape (B, D)
        Mean, deviation and maximum of the latents over atoms; the logarithm of the
        number of atoms; mean, deviation, least and largest atomic number,
        electronegativity and mass; and the fractions of the elements.

    Raises
    ------
    DataError
        If species and latents differ in number, or there are no crystals.
    """
    if len(species) != len(latents.mean) or not len(latents):
        raise DataError(
            f"{len(species)} species do not fit the latents of {len(latents.mean)} atoms",
            where="properties",
        )
    counts = latents.counts[:, None].astype(np.float64)
    owner = np.repeat(np.arange(len(latents)), latents.counts)
    starts = latents.offsets[:-1]

    def moments(values: Floats) -> list[Floats]:
        mean = np.add.reduceat(values, starts, axis=0) / counts
        centred = (values - mean[owner]) ** 2
        return [mean, np.sqrt(np.add.reduceat(centred, starts, axis=0) / counts)]

    values, scales = latents.mean.astype(np.float64), _SCALES[species]
    fractions = np.zeros((len(latents), HEAVIEST + 1))
    np.add.at(fractions, (owner, species), 1.0)
    return np.concatenate(
        [
            *moments(values),
            np.maximum.reduceat(values, starts, axis=0),
            np.log(counts),
            *moments(scales),
            np.minimum.reduceat(scales, starts, axis=0),
            np.maximum.reduceat(scales, starts, axis=0),
            (fractions / counts)[:, list(elements)],
        ],
        axis=1,
    )


# Ridge regressions and small networks, one for every fold left out.


FOLDS = 5
PENALTIES = np.logspace(-2, 4, 13)
WIDTH = 128
EPOCHS = 80
BATCH = 256
RATE = 2e-3
DROPOUT = 0.1


def folds_by_group(groups: NDArray[np.str_], number: int, seed: int) -> NDArray[np.int64]:
    """Deal groups out to folds of about equally many rows; no group is in two, shape (n,)."""
    distinct, inverse, sizes = np.unique(groups, return_inverse=True, return_counts=True)
    order = np.random.default_rng(seed).permutation(len(distinct))
    ends = np.cumsum(sizes[order])
    fold = np.empty(len(distinct), dtype=np.int64)
    fold[order] = np.minimum((ends - 1) * number // ends[-1], number - 1)
    return np.asarray(fold[inverse])


def fit_ridges(rows: Floats, targets: Floats, fold: NDArray[np.int64]) -> tuple[Floats, Floats]:
    """Fit one ridge per fold and target, with the penalty that errs least on folds left out.

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
    number, width = rows.shape
    constant = np.concatenate([rows, np.ones((number, 1))], axis=1)
    coefficients = np.zeros((FOLDS, width + 1, targets.shape[1]))
    left_out = np.zeros(targets.shape)
    for place, values in enumerate(targets.T):
        known = np.isfinite(values)
        found = np.stack(
            [
                _ridge_path(constant[known & (fold != k)], values[known & (fold != k)])
                for k in range(FOLDS)
            ]
        )  # (K, penalties, D + 1)
        predicted = np.empty((len(PENALTIES), number))
        for k in range(FOLDS):
            predicted[:, fold == k] = found[k] @ constant[fold == k].T
        errors = ((predicted[:, known] - values[known]) ** 2).mean(axis=1)
        best = int(errors.argmin())
        coefficients[:, :, place] = found[:, best]
        left_out[:, place] = predicted[best]
    return coefficients, left_out


def _ridge_path(rows: Floats, values: Floats) -> Floats:
    """Coefficients for every penalty, shape (penalties, D + 1); the constant is free."""
    centre, middle = rows[:, :-1].mean(axis=0), values.mean()
    centred = rows[:, :-1] - centre
    size, vectors = np.linalg.eigh(centred.T @ centred)
    along = vectors.T @ (centred.T @ (values - middle))
    slopes = (along / (np.maximum(size, 0.0) + PENALTIES[:, None])) @ vectors.T
    return np.concatenate([slopes, (middle - slopes @ centre)[:, None]], axis=1)


class _Networks(nn.Module):
    """One hidden layer beside a linear path, for every fold."""

    def __init__(self, inputs: int, outputs: int, random: torch.Generator) -> None:
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
        hidden = functional.silu(torch.baddbmm(self.enter_bias, rows, self.enter))
        hidden = _dropped(hidden, random)
        inner = functional.silu(torch.baddbmm(self.inner_bias, hidden, self.inner))
        return torch.baddbmm(self.leave_bias, hidden + _dropped(inner, random), self.leave)


def _dropped(hidden: Tensor, random: torch.Generator | None) -> Tensor:
    if random is None:
        return hidden
    keep = torch.empty_like(hidden).bernoulli_(1.0 - DROPOUT, generator=random)
    return hidden * keep / (1.0 - DROPOUT)


def fit_networks(
    rows: Floats, targets: Floats, fold: NDArray[np.int64], *, seed: int
) -> tuple[dict[str, Tensor], Floats]:
    """Fit a small network for every fold, all of them at once.

    Parameters and results are those of `fit_ridges`; the weights have a leading axis
    of folds. The networks minimise the absolute error, which outliers move less.
    """
    random = generator(torch.device("cpu"), seed)
    network = _Networks(rows.shape[1], targets.shape[1], random)
    flat = FlatParameters(network, FOLDS)
    optimiser = Adam(flat, torch.full((FOLDS,), RATE), 1.0)
    inputs = torch.from_numpy(rows.astype(np.float32))
    known = torch.from_numpy(np.isfinite(targets))
    answers = torch.from_numpy(np.nan_to_num(targets).astype(np.float32))
    others = [torch.from_numpy(np.flatnonzero(fold != k)) for k in range(FOLDS)]
    fewest = min(len(own) for own in others)
    batch = min(BATCH, fewest)
    for epoch in range(EPOCHS):
        rate = RATE * 0.5 * (1.0 + math.cos(math.pi * epoch / EPOCHS))
        optimiser.learning_rate = torch.full((FOLDS,), rate)
        order = torch.stack(
            [own[torch.randperm(len(own), generator=random)[:fewest]] for own in others]
        )
        for start in range(0, fewest - batch + 1, batch):
            chosen = order[:, start : start + batch]
            found = network(inputs[chosen], random)
            here = known[chosen]
            error = (found - answers[chosen]).abs() * here
            flat.collect((error.sum((1, 2)) / here.sum((1, 2)).clamp_min(1)).sum())
            optimiser.step()
    weights = {name: value.detach().clone() for name, value in network.state_dict().items()}
    outputs = network_outputs(weights, rows)
    return weights, outputs[fold, np.arange(len(rows))]


@torch.no_grad()
def network_outputs(weights: Mapping[str, Tensor], rows: Floats) -> Floats:
    """Outputs for every row and fold, shape (K, n, P)."""
    inputs, outputs = weights["enter"].shape[1], weights["leave"].shape[2]
    network = _Networks(inputs, outputs, torch.Generator())
    network.load_state_dict(dict(weights))
    given = torch.from_numpy(rows.astype(np.float32)).expand(FOLDS, -1, -1)
    return np.asarray(network(given).numpy(), dtype=np.float64)
