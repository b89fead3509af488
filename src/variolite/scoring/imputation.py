"""Missing values: what the other inputs say of them, with intervals that hold on new groups.

A model's own spread leaves out how much wells differ, so that its intervals are too narrow on new
ones. Each input is hidden from groups that were not trained on; the errors there, in units of the
predicted standard deviation, say how wide intervals have to be (split conformal prediction, see
`conformal`).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from statistics import NormalDist
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict
from scipy.special import ndtr
from torch import Tensor

from variolite.errors import TrainingError
from variolite.records import Column, Records
from variolite.scoring.clustering import draw
from variolite.scoring.conformal import groups_needed, half_widths_of_groups
from variolite.scoring.intervals import FloatArray
from variolite.training import RunFolder, TabularModel
from variolite.training.run_folder import read_object
from variolite.vae import Batch
from variolite.vae.distributions import Numeric, Posterior

LEVELS = (*(i / 100 for i in range(1, 100)), 0.995, 0.999)
"""Of the intervals whose widths are kept; others lie between."""

ROWS = 20_000  # at most, of an input, that its errors are measured on
LITTLE = 0.1  # share of the variance below which a value counts as unexplained

_NORMAL = tuple(NormalDist().inv_cdf(0.5 + level / 2) for level in LEVELS)


class Errors(BaseModel):
    """Errors of one hidden input on groups that were not trained on.

    ``half_widths`` are of intervals of `LEVELS`, in units of the predicted standard deviation;
    ``shared`` is the share of the squared error that is the same throughout a group; ``r2`` is
    the share of the variance explained, in transformed units.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    half_widths: tuple[float, ...] = _NORMAL
    shared: float = 0.0
    r2: float | None = None
    rows: int = 0
    groups: int = 0

    def half_width(self, level: float) -> float:
        """Half width of an interval of this level, in units of the predicted deviation."""
        return float(np.interp(level, LEVELS, self.half_widths))


class Calibration(BaseModel):
    """Errors by numeric input, and its variance on training rows in transformed units."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    format: Literal[1] = 1
    errors: Mapping[str, Errors] = {}
    variance: Mapping[str, float] = {}

    def of(self, name: str) -> Errors:
        """Errors of an input; where none were measured, those of a model that is right."""
        return self.errors.get(name, Errors())


@dataclass(frozen=True)
class Imputed:
    """Values of all numeric inputs in original units, the observed ones as they are.

    ``value``, ``low`` and ``high`` are (n, d), ``samples`` (S, n, d). ``missing`` (n, d) marks
    what was imputed, ``unexplained`` (n, d) where the other inputs say next to nothing of it.
    """

    value: FloatArray
    low: FloatArray
    high: FloatArray
    missing: NDArray[np.bool_]
    unexplained: NDArray[np.bool_]
    samples: FloatArray = field(default_factory=lambda: np.empty(0))


def predict(
    model: TabularModel, records: Records, rows: NDArray[np.int64]
) -> tuple[FloatArray, FloatArray]:
    """Mean and standard deviation of all numeric inputs of some rows, transformed units, (rows, d).

    They are of the likelihood, over the posterior and all members.
    """
    latent = model.module.architecture.latent
    # Points with the mean and the covariance of a standard normal (a cubature rule of degree 3):
    # exact for linear decoders, and a row gets the same from any table. The rotation keeps them
    # off the axes of single latents.
    turned = np.linalg.qr(np.random.default_rng(0).standard_normal((latent, latent)))[0]
    points = torch.from_numpy(np.sqrt(latent) * np.concatenate([turned, -turned])).float()
    means, deviations = [none := np.empty((0, model.module.architecture.numeric))], [none]
    for batch, posterior in _posteriors(model, records, rows):
        first = torch.zeros((), dtype=torch.float64)
        second = first.clone()
        for point in points:
            numeric = _decoded(model, batch, posterior.sample(point))
            centre, spread = numeric.mean.double(), numeric.deviation.double()
            first = first + centre.mean(0)
            second = second + (centre.square() + spread.square()).mean(0)
        first, second = first / len(points), second / len(points)
        means.append(first.numpy())
        deviations.append((second - first.square()).clamp(min=1e-12).sqrt().numpy())
    mean = np.concatenate(means) + _shifts(model, records, rows)
    return mean, np.concatenate(deviations)


def _draws(
    model: TabularModel, records: Records, rows: NDArray[np.int64], count: int, seed: int
) -> FloatArray:
    """Draw all numeric inputs of some rows, each of one member, transformed units, (S, rows, d)."""
    source = torch.Generator().manual_seed(seed)
    parts = [torch.empty((count, 0, model.module.architecture.numeric))]
    for batch, posterior in _posteriors(model, records, rows):
        some = []
        for i in range(count):
            noise = torch.randn(posterior.mean.shape, generator=source)
            numeric = _decoded(model, batch, posterior.sample(noise))
            some.append(numeric.sample(source)[i % len(model.members)])
        parts.append(torch.stack(some))
    drawn = np.asarray(torch.cat(parts, dim=1).double())
    return np.asarray(drawn + _shifts(model, records, rows))


def _posteriors(
    model: TabularModel, records: Records, rows: NDArray[np.int64]
) -> Iterator[tuple[Batch, Posterior]]:
    """Yield some rows, to which all others are context, and their posterior."""
    with torch.no_grad():
        batch = Batch.of(model.prepared(records), torch.device("cpu"))
        if batch.context is not None and batch.observed is not None:
            # In training the network learns to infer what is hidden with its context.
            seen = batch.observed.unsqueeze(-1)
            by_column = batch.context.view(*batch.observed.shape, -1) * seen
            batch = replace(batch, context=by_column.view(batch.context.shape))
        batch = batch.gather(torch.from_numpy(rows)[None], torch.empty(0))
        for part in batch.chunks():
            yield part, model.module.infer(part)


def _shifts(model: TabularModel, records: Records, rows: NDArray[np.int64]) -> FloatArray:
    """What moves the groups of some rows, (rows, d), and is added to what a network gives."""
    if model.shift is None:
        return np.zeros((len(rows), model.module.architecture.numeric))
    return model.shift.shifts(records)[rows].astype(np.float64)


def _decoded(model: TabularModel, batch: Batch, z: Tensor) -> Numeric:
    with torch.no_grad():
        numeric = model.module.generate(z, batch.condition).numeric
    assert numeric is not None
    return numeric


def hide(records: Records, column: int) -> Records:
    """Return records in which a numeric input was never observed."""
    hidden: dict[str, Any] = {}
    for name, empty in (("numeric", 0), ("observed", False), ("raw", np.nan), ("log_det", 0)):
        hidden[name] = getattr(records, name).copy()
        hidden[name][:, column] = empty
    return replace(records, **hidden)


def require_masks(model: TabularModel, records: Records) -> None:
    """Raise a TrainingError where values are missing and the model has never seen that."""
    if not records.observed.all() and not model.module.architecture.mask_input:
        what = "values are missing, but the model was trained on complete rows"
        raise TrainingError(what, hint="fit on a table with gaps like those to be filled")


def impute(
    model: TabularModel,
    records: Records,
    calibration: Calibration | None = None,
    *,
    level: float = 0.9,
    samples: int = 0,
    seed: int = 0,
) -> Imputed:
    """Estimate what was not observed by all members of a model together.

    The value is the median of its distribution, the interval holds ``level`` of it. Samples have
    the distribution of the intervals; errors of one group have a part in common, as they have on
    groups that were not trained on.
    """
    require_masks(model, records)
    calibration = calibration or Calibration()
    gaps = ~records.observed
    rows = np.flatnonzero(gaps.any(axis=1))
    mean, deviation = predict(model, records, rows)
    names = model.schema.numeric_names
    widths = np.array([calibration.of(name).half_width(level) for name in names])
    # The half width of an interval of 68 % counts as the standard deviation.
    sizes = np.array([calibration.of(name).half_width(0.6827) for name in names])
    variance = np.array([calibration.variance.get(name, np.inf) for name in names])
    unexplained = np.zeros(gaps.shape, bool)
    unexplained[rows] = (sizes * deviation) ** 2 > (1.0 - LITTLE) * variance

    limits = np.array([_limits(model.schema.schema.columns[name]) for name in names]).T

    def filled(transformed: FloatArray) -> FloatArray:
        values = records.raw.copy()
        imputed = model.schema.inverse(transformed).clip(*limits)
        values[rows] = np.where(gaps[rows], imputed, values[rows])
        return values

    found = Imputed(
        value=filled(mean),
        low=filled(mean - widths * deviation),
        high=filled(mean + widths * deviation),
        missing=gaps,
        unexplained=unexplained & gaps,
    )
    if not samples:
        return found
    drawn = _samples(model, records, rows, (mean, deviation), calibration, samples, seed)
    return replace(found, samples=np.stack([filled(one) for one in drawn]))


def _limits(column: Column) -> tuple[float, float]:
    low, high = column.valid or (None, None)
    return -np.inf if low is None else low, np.inf if high is None else high


def _samples(
    model: TabularModel,
    records: Records,
    rows: NDArray[np.int64],
    predicted: tuple[FloatArray, FloatArray],
    calibration: Calibration,
    samples: int,
    seed: int,
) -> FloatArray:
    """Draw values of the given rows in transformed units, (S, rows, d)."""
    mean, deviation = predicted
    names = model.schema.numeric_names
    shared = np.array([calibration.of(name).shared for name in names])
    group = np.zeros(len(rows), np.int64)
    if records.group is not None:
        group = np.unique(records.group[rows], return_inverse=True)[1]
    source = np.random.default_rng(seed)
    of_groups = source.standard_normal((samples, group.max(initial=0) + 1, len(names)))
    # Standard normal, with a part that a group has in common; what inputs of one row have in
    # common is in the draws of the model.
    own = (_draws(model, records, rows, samples, seed) - mean) / deviation
    errors = np.sqrt(shared) * of_groups[:, group] + np.sqrt(1.0 - shared) * own
    for i, name in enumerate(names):
        share = 2.0 * ndtr(np.abs(errors[..., i])) - 1.0
        widths = np.interp(share, (0.0, *LEVELS), (0.0, *calibration.of(name).half_widths))
        errors[..., i] = np.copysign(widths, errors[..., i])
    return np.asarray(mean + errors * deviation)


def calibrate(model: TabularModel, training: Records, held_out: Records | None) -> Calibration:
    """Measure the errors of every numeric input where it is hidden in groups not trained on.

    At most 20,000 rows are drawn for each; inputs that no such group has keep the model's own
    spread.
    """
    names = model.schema.numeric_names
    variance = {
        name: float(training.numeric[training.observed[:, i], i].var(dtype=np.float64))
        for i, name in enumerate(names)
    }
    if held_out is None or not model.module.architecture.mask_input:
        return Calibration(variance=variance)
    errors = {}
    for i, name in enumerate(names):
        known = np.flatnonzero(held_out.observed[:, i])
        known = known[draw(np.random.default_rng([0, i]), len(known), ROWS)]
        if len(known) < 2:
            continue
        mean, deviation = predict(model, hide(held_out, i), known)
        error = held_out.numeric[known, i] - mean[:, i]
        group = np.zeros(len(known)) if held_out.group is None else held_out.group[known]
        errors[name] = _measured(error, deviation[:, i], held_out.numeric[known, i], group)
    return Calibration(errors=errors, variance=variance)


def _measured(
    error: FloatArray, deviation: FloatArray, truth: NDArray[Any], group: NDArray[Any]
) -> Errors:
    scaled = error / deviation
    _, code = np.unique(group, return_inverse=True)
    means = np.bincount(code, scaled) / np.bincount(code)
    return Errors(
        half_widths=tuple(
            np.round(half_widths_of_groups(np.abs(scaled), group, LEVELS), 4).tolist()
        ),
        shared=float(np.clip(np.mean(means**2) / np.mean(scaled**2), 0.0, 1.0)),
        r2=float(1.0 - np.mean(error**2) / max(float(truth.var(dtype=np.float64)), 1e-12)),
        rows=len(error),
        groups=len(means),
    )


def few_groups_lines(
    calibration: Calibration, headers: Mapping[str, str], level: float = 0.9
) -> list[str]:
    """Say of which inputs, by name, intervals rest on too few groups, in a line or none."""
    needed = groups_needed(level)
    groups = {
        header: count
        for name, header in headers.items()
        if (count := calibration.of(name).groups) < needed
    }
    if not groups:
        return []
    counts = " to ".join(map(str, sorted({min(groups.values()), max(groups.values())})))
    return [
        f"intervals of imputed {', '.join(groups)} are calibrated on {counts} validation "
        f"group{'s' * (counts != '1')}, too few to hold at {100 * level:g} %: that takes {needed}; "
        "fit on more groups, or set split.validation higher"
    ]


def save_calibration(run: RunFolder, calibration: Calibration) -> None:
    """Keep it in a run."""
    run.write_json(run.calibration_file, calibration.model_dump(mode="json"))


def load_calibration(run: RunFolder) -> Calibration | None:
    """Read that of a run; None where an earlier version made it, RunFolderError if damaged."""
    run.has(run.calibration_file)
    return run.read(
        run.calibration_file, lambda path: Calibration.model_validate(read_object(path))
    )
