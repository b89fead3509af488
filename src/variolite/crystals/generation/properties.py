"""Numeric properties from latents, with intervals that hold for compositions never seen.

Two regressions are fitted in k folds, none of which shares a composition with another: a
ridge, and a small network; the better of the two is kept for each property. A prediction
is the mean over the models of the folds. Its interval is as wide as the errors on the
folds left out ask for (cross-conformal, V. Vovk, 2015).
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import TypeAdapter
from torch import Tensor, nn
from torch.nn import functional

from variolite.crystals.crystals import Crystals, Latents
from variolite.crystals.elements import ELECTRONEGATIVITIES, HEAVIEST, MASSES, reduced_formulas
from variolite.crystals.generation.conditions import Floats, Integers, numeric_column
from variolite.errors import DataError, ModelFileError
from variolite.scoring.conformal import folds_by_group, half_widths
from variolite.training.device import generator
from variolite.training.loop import minimise
from variolite.training.optimiser import cosine_by_epoch
from variolite.training.storage import module_with

FOLDS = 5
PENALTIES = np.logspace(-2, 4, 13)
WIDTH = 128
EPOCHS = 80
BATCH = 256
LEARNING_RATE = 2e-3
DROPOUT = 0.1

LEVELS = np.linspace(0.005, 0.995, 199)
"""Levels at which the errors on folds left out are kept: a table, not the errors."""

QUANTILES = (0.0, 0.02, 0.98, 1.0)  # of the training values: least, usual, largest
FEWEST = 50  # crystals with a value that a property needs
_SCALES = np.stack(
    [
        np.arange(HEAVIEST + 1, dtype=np.float64),
        np.nan_to_num(ELECTRONEGATIVITIES, nan=float(np.nanmean(ELECTRONEGATIVITIES))),
        np.nan_to_num(MASSES),
    ],
    axis=1,
)
"""Atomic number, electronegativity and mass by atomic number, shape (119, 3)."""


def descriptors(
    latents: Latents, species: NDArray[np.integer], elements: tuple[int, ...]
) -> Floats:
    """Describe B crystals by their latents and the atomic numbers of their atoms, (B, D).

    Mean, deviation and maximum of the latents over atoms, and `composition_descriptors`.
    """
    values, starts = latents.mean.astype(np.float64), latents.offsets[:-1]
    largest = np.maximum.reduceat(values, starts, axis=0)
    of_composition = composition_descriptors(latents.offsets, species, elements)
    return np.concatenate([*_moments(values, latents.offsets), largest, of_composition], axis=1)


def composition_descriptors(
    offsets: Integers, species: NDArray[np.integer], elements: tuple[int, ...]
) -> Floats:
    """Describe B crystals by the atomic numbers of their atoms (N,) alone, (B, D).

    The logarithm of the number of atoms; mean, deviation, least and largest atomic number,
    electronegativity and mass; and the fractions of the elements that are named.
    """
    counts = np.diff(offsets)
    scales, starts = _SCALES[species], offsets[:-1]
    fractions = np.zeros((len(counts), HEAVIEST + 1))
    np.add.at(fractions, (np.repeat(np.arange(len(counts)), counts), species), 1.0)
    parts = [
        np.log(counts[:, None].astype(np.float64)),
        *_moments(scales, offsets),
        np.minimum.reduceat(scales, starts, axis=0),
        np.maximum.reduceat(scales, starts, axis=0),
        (fractions / counts[:, None])[:, list(elements)],
    ]
    return np.concatenate(parts, axis=1)


def _moments(values: Floats, offsets: Integers) -> list[Floats]:
    """Mean and deviation over the atoms of each crystal, two of (B, K)."""
    # Atoms of one crystal are neighbours: what is taken over them is a reduction from each start.
    counts = np.diff(offsets)[:, None].astype(np.float64)
    mean = np.add.reduceat(values, offsets[:-1], axis=0) / counts
    centred = (values - np.repeat(mean, np.diff(offsets), axis=0)) ** 2
    return [mean, np.sqrt(np.add.reduceat(centred, offsets[:-1], axis=0) / counts)]


class FoldNetworks(nn.Module):
    """A network of two hidden layers with a residual connection, for every fold.

    Weights have a leading axis of folds, (K, inputs, outputs), which is that of members.
    """

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
    # As functional.dropout, which takes no generator of its own.
    keep = torch.empty_like(hidden).bernoulli_(1.0 - DROPOUT, generator=random)
    return hidden * keep / (1.0 - DROPOUT)


def fit_ridges(rows: Floats, targets: Floats, fold: Integers) -> tuple[Floats, Floats]:
    """Fit one ridge per fold and target, each with the penalty that errs least on rows left out.

    Rows (n, D) and targets (n, P), NaN where missing, are standardised. Returns coefficients and
    the constants, last, (K, D + 1, P), and predictions of each row by the model that never saw its
    fold, (n, P).
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


class _FoldBatches:
    """Rows of the other folds for each of K networks, in batches (K, b)."""

    def __init__(self, fold: Integers, random: torch.Generator) -> None:
        self.others = [torch.from_numpy(np.flatnonzero(fold != k)) for k in range(FOLDS)]
        self.random = random
        self.fewest = min(map(len, self.others))
        self.size = min(BATCH, self.fewest)
        self.steps = self.fewest // self.size

    def epoch(self, number: int) -> Iterator[Tensor]:
        del number
        shuffled = (own[torch.randperm(len(own), generator=self.random)] for own in self.others)
        # Networks step together: each leaves out what the one with the fewest rows does not have.
        order = torch.stack([own[: self.fewest] for own in shuffled])
        for step in range(self.steps):
            yield order[:, step * self.size : (step + 1) * self.size]


def fit_networks(rows: Floats, targets: Floats, fold: Integers, *, seed: int) -> FoldNetworks:
    """Fit a small network for every fold, all of them at once, to what `fit_ridges` takes.

    The networks minimise the absolute error, which outliers move less. scikit-learn's network has
    neither this loss nor dropout nor missing targets; on formation energies it errs a fifth more
    (`benchmarks/results/property_head.md`).
    """
    random = generator(torch.device("cpu"), seed)
    networks = FoldNetworks(rows.shape[1], targets.shape[1], random)
    inputs = torch.from_numpy(rows.astype(np.float32))
    known = torch.from_numpy(np.isfinite(targets))
    answers = torch.from_numpy(np.nan_to_num(targets).astype(np.float32))
    batches = _FoldBatches(fold, random)

    def loss(chosen: Tensor) -> Tensor:
        # Rows (K, b) to errors (K, b, P); those of missing targets count nothing.
        here = known[chosen]
        error = (networks(inputs[chosen], random) - answers[chosen]).abs() * here
        mean: Tensor = error.sum((1, 2)) / here.sum((1, 2)).clamp_min(1)
        return mean

    minimise(
        networks,
        loss,
        batches.epoch,
        None,
        epochs=EPOCHS,
        learning_rate=LEARNING_RATE,
        step_factor=cosine_by_epoch(batches.steps, EPOCHS),
        members=FOLDS,
        checks=0,
        part="properties",
    )
    return networks.eval()


@dataclass(frozen=True)
class PropertyScore:
    """How well a property is predicted for compositions that were left out.

    Crystals with a value; "ridge" or "network", whichever erred less; its mean absolute error on
    folds left out, and that of the median of the other folds, in the unit of the property; and the
    values at `QUANTILES`, which earlier versions did not keep.
    """

    crystals: int
    model: str
    error: float
    baseline: float
    quantiles: tuple[float, ...] = ()


@dataclass(frozen=True)
class HeadNames:
    """Names and units of P properties, elements that are described, and scores by name."""

    names: tuple[str, ...]
    units: tuple[str, ...]
    elements: tuple[int, ...]
    scores: dict[str, PropertyScore]


class HeadArrays(NamedTuple):
    """Location and scale of descriptions, (D,); means and deviations of properties, (P,); ridges.

    Of those coefficients and, last, constants for every fold, (K, D + 1, P). Then whether the
    network is used for a property, (P,), and absolute errors on folds left out at `LEVELS`,
    (199, P).
    """

    location: Floats
    scale: Floats
    means: Floats
    deviations: Floats
    ridges: Floats
    is_network: NDArray[np.bool_]
    errors: Floats


class Predicted(NamedTuple):
    """Predictions of P properties of B crystals and the ends of their intervals, (B, P)."""

    names: tuple[str, ...]
    units: tuple[str, ...]
    values: Floats
    low: Floats
    high: Floats
    level: float


@dataclass(frozen=True)
class PropertyHead:
    """Fitted regressions."""

    about: HeadNames
    arrays: HeadArrays
    networks: FoldNetworks

    def predict(
        self, latents: Latents, species: NDArray[np.integer], *, level: float = 0.9
    ) -> Predicted:
        """Predict properties from posterior means and atomic numbers (N,).

        A fraction ``level`` of new compositions should have a value within the interval. Raises
        `DataError` if latents are of another model, or the level is not between 0 and 1.
        """
        return self.predict_rows(descriptors(latents, species, self.about.elements), level)

    def predict_rows(self, rows: Floats, level: float = 0.9) -> Predicted:
        """Predict properties from descriptors (B, D); see `predict`."""
        if not 0.0 < level < 1.0:
            raise DataError(f"level is {level}, it must be between 0 and 1", where="properties")
        a = self.arrays
        if rows.shape[1] != len(a.location):
            raise DataError(
                f"{rows.shape[1]} descriptors are not the {len(a.location)} that the properties "
                "were fitted on: the latents are of another model",
                where="properties",
            )
        rows = (rows - a.location) / a.scale
        # The mean over folds of linear maps (K, D, P) and their constants (K, P).
        ridge = np.einsum("bd,kdp->bp", rows, a.ridges[:, :-1]) + a.ridges[:, -1].sum(0)
        chosen = ridge / len(a.ridges)
        if a.is_network.any():
            chosen = np.where(a.is_network, self.networks.outputs(rows).mean(axis=0), chosen)
        values = chosen * a.deviations + a.means
        # Half the interval: the error that this fraction of the crystals left out stayed below.
        half = np.array([np.interp(level, LEVELS, errors) for errors in a.errors.T])
        names, units = self.about.names, self.about.units
        return Predicted(names, units, values, values - half, values + half, level)


def fit_property_head(
    latents: Latents | None,
    crystals: Crystals,
    properties: Sequence[str],
    *,
    units: Mapping[str, str] | None = None,
    seed: int = 0,
) -> PropertyHead:
    """Fit regressions to the posterior means of training crystals, in their order.

    Without latents they are fitted to compositions. Properties are numeric columns, NaN where a
    value is missing; units are by name, "1" where not given. Raises `DataError` if a column is
    missing or has too few values.
    """
    require_properties(crystals, properties, seed)
    targets = np.stack([numeric_column(crystals, name) for name in properties], axis=1)
    elements = tuple(int(number) for number in np.unique(crystals.species))
    if latents is None:
        rows = composition_descriptors(crystals.offsets, crystals.species, elements)
    else:
        rows = descriptors(latents, crystals.species, elements)
    location, scale = rows.mean(axis=0), rows.std(axis=0)
    # A number that all training crystals share has no scale.
    scale = np.where(scale > 1e-9, scale, 1.0)
    rows = (rows - location) / scale
    known = np.isfinite(targets)
    means, deviations = np.nanmean(targets, axis=0), np.nanstd(targets, axis=0)
    deviations = np.where(deviations > 0.0, deviations, 1.0)
    scaled = (targets - means) / deviations
    fold = folds_by_group(reduced_formulas(crystals), FOLDS, seed)
    ridges, by_ridge = fit_ridges(rows, scaled, fold)
    networks = fit_networks(rows, scaled, fold, seed=seed)
    # Of K outputs for every row, (K, n, P), that of the network that never saw its fold.
    by_network = networks.outputs(rows)[fold, np.arange(len(rows))]
    errors, scores = np.empty((len(LEVELS), len(properties))), {}
    for place, name in enumerate(properties):
        here = known[:, place]
        left_out = {
            kind: np.abs(found[here, place] - scaled[here, place]) * deviations[place]
            for kind, found in (("ridge", by_ridge), ("network", by_network))
        }
        kind = min(left_out, key=lambda kind: float(left_out[kind].mean()))
        middle = np.array([np.median(targets[here & (fold != k), place]) for k in range(FOLDS)])
        scores[name] = PropertyScore(
            crystals=int(here.sum()),
            model=kind,
            error=float(left_out[kind].mean()),
            baseline=float(np.abs(targets[here, place] - middle[fold[here]]).mean()),
            quantiles=tuple(np.quantile(targets[here, place], QUANTILES).tolist()),
        )
        errors[:, place] = half_widths(left_out[kind], LEVELS)
    is_network = np.array([scores[name].model == "network" for name in properties])
    named = tuple((units or {}).get(name, "1") for name in properties)
    return PropertyHead(
        HeadNames(tuple(properties), named, elements, scores),
        HeadArrays(location, scale, means, deviations, ridges, is_network, errors),
        networks,
    )


def require_properties(crystals: Crystals, properties: Sequence[str], seed: int = 0) -> None:
    """Say before a network is trained that a property head cannot be fitted afterwards.

    Raises `DataError` if a column is missing, holds no numbers or has too few values, or if all
    its values are in one fold.
    """
    for name in properties:
        known = np.isfinite(numeric_column(crystals, name))
        if known.sum() < FEWEST:
            raise DataError(
                f"{known.sum()} of {len(crystals)} training crystals have a value of {name!r}, at "
                f"least {FEWEST} are needed",
                where="properties",
                hint="leave it out, or give more structures that have it",
            )
        if len(np.unique(folds_by_group(reduced_formulas(crystals), FOLDS, seed)[known])) < 2:
            raise DataError(
                f"nearly all training crystals with a value of {name!r} have the same composition, "
                "so that none can be left out to measure errors",
                where="properties",
                hint="leave it out, or give structures of other compositions that have it",
            )


# A property head as tensors and a JSON-able description, and back.

FORMAT = 1
KIND = "crystal property head"

_NAMES = TypeAdapter(HeadNames)


def head_state(head: PropertyHead) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Take a head apart into tensors and a JSON-able description."""
    tensors = {name: torch.from_numpy(a.copy()) for name, a in head.arrays._asdict().items()}
    weights = head.networks.state_dict()
    tensors |= {f"networks/{name}": value.clone() for name, value in weights.items()}
    return tensors, {"kind": KIND, "format": FORMAT, **_NAMES.dump_python(head.about, mode="json")}


def head_from(tensors: Mapping[str, Tensor], description: Mapping[str, Any]) -> PropertyHead:
    """Put a head together again.

    Raises `ModelFileError` if the parts are of something else, newer, or do not fit each other.
    """
    if description.get("kind") != KIND or description.get("format") != FORMAT:
        raise ModelFileError(
            "this is not a property head that this version reads",
            where="properties",
            hint="upgrade variolite, or fit the properties again",
        )
    try:
        about = _NAMES.validate_python(dict(description))
        arrays = HeadArrays(*(tensors[name].numpy() for name in HeadArrays._fields))
        width, number = len(arrays.location), len(about.names)
        of_properties = (FOLDS, width + 1, number), (number,), (len(LEVELS), number)
        shapes = (width,), (width,), (number,), (number,), *of_properties
        checked = zip(HeadArrays._fields, arrays, shapes, strict=True)
        wrong = [name for name, array, shape in checked if array.shape != shape]
        if wrong or len(about.units) != number or set(about.scores) != set(about.names):
            raise ModelFileError(f"the property head does not fit together: {wrong or 'names'}")
        named = ((name.partition("/"), value) for name, value in tensors.items())
        weights = {name: value for (part, _, name), value in named if part == "networks"}
        make = partial(FoldNetworks, width, number, torch.Generator())
        networks = module_with(make, weights, Path("properties"))
    except ModelFileError:
        raise
    except (LookupError, TypeError, ValueError, RuntimeError, AttributeError) as error:
        raise ModelFileError(
            f"the property head is damaged ({error!r:.200})", where="properties"
        ) from None
    return PropertyHead(about, arrays, networks)
