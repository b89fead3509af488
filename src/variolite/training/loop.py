"""The training loop: one for all models, with early stopping for every member."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from variolite.errors import TrainingError
from variolite.recipe import ConstantBeta, TrainingSpec
from variolite.training.optimiser import Adam, FlatParameters, MovingAverage
from variolite.training.schedules import beta_at, epoch_factor, final_beta, warm_up
from variolite.training.storage import Checkpoint, EpochRecord, load_checkpoint, save_checkpoint
from variolite.vae import LossTerms

# Early stopping and learning-rate plateaus, kept for every member apart.


class Stopping:
    """Follow the monitored value of every member.

    A member that has run out of patience is done: its best weights no longer
    change, exactly as if it had trained alone and stopped. Waiting is counted
    from the end of the warm-up, never before.

    Parameters
    ----------
    members
        Number of members.
    armed
        First epoch at which beta holds its final value.
    spec
        Patience, least gain and plateau.
    """

    def __init__(self, members: int, armed: int, spec: TrainingSpec) -> None:
        self.armed = armed
        self.spec = spec
        self.best = np.full(members, np.inf)
        self.best_epoch = np.zeros(members, dtype=np.int64)
        self.done = np.zeros(members, dtype=bool)
        # Smaller steps than min_gain are kept as best weights but do not buy more time.
        self.reference = np.full(members, np.inf)
        self.waited = np.zeros(members, dtype=np.int64)
        self.flat = np.zeros(members, dtype=np.int64)

    @property
    def all_done(self) -> bool:
        """True when no member is left to train."""
        return bool(self.done.all())

    def update(self, epoch: int, monitored: NDArray[np.float64]) -> NDArray[np.bool_]:
        """Take in one epoch; return which members have new best weights."""
        improved = (monitored < self.best) & ~self.done
        self.best = np.where(improved, monitored, self.best)
        self.best_epoch = np.where(improved, epoch, self.best_epoch)
        gained = monitored < self.reference - self.spec.min_gain
        self.reference = np.where(gained, monitored, self.reference)
        counting = epoch >= self.armed
        self.waited = np.where(gained | (not counting), 0, self.waited + 1)
        self.flat = np.where(gained | (not counting), 0, self.flat + 1)
        if self.spec.patience is not None:
            self.done |= self.waited >= self.spec.patience
        return improved

    def plateau_factor(self) -> NDArray[np.float64]:
        """Factor on every member's learning rate after the last update."""
        plateau = self.spec.plateau
        if plateau is None:
            return np.ones(len(self.best))
        due = self.flat > plateau.patience
        self.flat = np.where(due, 0, self.flat)
        return np.where(due, plateau.factor, 1.0)

    def state(self) -> dict[str, Any]:
        """JSON-able state for a checkpoint."""
        return {
            "best": [None if np.isinf(v) else float(v) for v in self.best],
            "reference": [None if np.isinf(v) else float(v) for v in self.reference],
            "best_epoch": self.best_epoch.tolist(),
            "done": self.done.tolist(),
            "waited": self.waited.tolist(),
            "flat": self.flat.tolist(),
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Resume from a stored state."""

        def numbers(values: list[float | None]) -> NDArray[np.float64]:
            return np.array([np.inf if v is None else v for v in values])

        self.best = numbers(state["best"])
        self.reference = numbers(state["reference"])
        self.best_epoch = np.array(state["best_epoch"], dtype=np.int64)
        self.done = np.array(state["done"], dtype=bool)
        self.waited = np.array(state["waited"], dtype=np.int64)
        self.flat = np.array(state["flat"], dtype=np.int64)


# The training loop: one for all models.
#
# Tensors stay on the device and nothing is read back within an epoch. The
# monitored value uses the final beta, early stopping counts from the end of the
# warm-up, and the best weights of every member are restored at the end.


CHECKPOINT_SECONDS = 5.0

Batch = TypeVar("Batch")
Yielded = TypeVar("Yielded", covariant=True)


class StoppedByUserError(TrainingError):
    """The user stopped the run; where checkpoints are kept, all whole epochs are stored."""


class BatchSource(Protocol[Yielded]):
    """Batches of an epoch; the same epoch number always gives the same batches."""

    def epoch(self, number: int) -> Iterator[Yielded]:
        """Yield the batches of one epoch."""
        ...


Step = Callable[[Batch, Tensor], LossTerms]
"""Computes the parts of a batch and leaves the gradients of their total where Adam reads."""


@dataclass(frozen=True)
class Validation:
    """Parts of the objective on validation rows, and active units, each of shape (M,).

    ``measures`` are further numbers worth following, with their unit in the name.
    """

    reconstruction: Tensor
    kl: Tensor
    active_units: Tensor
    measures: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Trained:
    """What a run leaves behind besides the weights.

    Attributes
    ----------
    history
        All epochs, those before an interruption included. A member that is done still
        appears in it until the last one is.
    best
        Lowest monitored value of every member before it was done.
    best_epochs
        The epochs whose weights were kept.
    """

    history: list[EpochRecord]
    best: list[float]
    best_epochs: list[int]


@dataclass(frozen=True)
class Resume:
    """Where checkpoints go and which run they belong to."""

    path: Path
    fingerprint: str


def train(
    module: torch.nn.Module,
    loss: Callable[[Batch, Tensor], LossTerms],
    source: BatchSource[Batch],
    validate: Callable[[], Validation] | None,
    spec: TrainingSpec,
    *,
    learning_rate: float,
    betas: Sequence[float],
    analytic: Callable[[Mapping[torch.nn.Parameter, Tensor]], Step[Batch]] | None = None,
    step_factor: Callable[[int], float] | None = None,
    average: float | None = None,
    checks: int | None = None,
    part: str = "training",
    resume: Resume | None = None,
    on_epoch: Callable[[EpochRecord], None] | None = None,
) -> Trained:
    """Train a model in place and leave it with its best weights.

    Parameters
    ----------
    module
        The model; every parameter has a leading axis of len(betas) members.
    loss
        Its objective, called with a batch and beta (M,).
    source
        Batches of every epoch.
    validate
        Parts on validation rows with fixed noise. None monitors the training
        parts instead.
    spec
        Epochs, schedule, patience and the like.
    learning_rate
        Before any schedule.
    betas
        Factor of every member on the schedule of beta.
    analytic
        Makes a step that computes the same objective and writes its gradients
        without autograd, from the places where they go. None takes autograd.
    step_factor
        Factor on the learning rate for every step, counted from 0, in place of the
        schedule of ``spec``, which changes it from epoch to epoch.
    average
        Decay of a moving average of the weights, which is validated and kept in their
        place; None for none.
    checks
        Number of validations, evenly spread and last after the last epoch; None for one
        after every epoch. 0 keeps the weights of the last epoch: where there is nothing
        to choose an epoch by.
    part
        Of the recipe, named in messages.
    resume
        Where to keep checkpoints; an existing one is continued.
    on_epoch
        Called after every epoch.

    Returns
    -------
    Trained
        History and the epochs whose weights were kept.

    Raises
    ------
    TrainingError
        If the loss stops being a finite number.
    StoppedByUserError
        On Ctrl-C, after the state is stored.
    """
    members = len(betas)
    flat = FlatParameters(module, members)
    device = flat.values.device
    factor = torch.tensor(betas, dtype=torch.float32, device=device)
    gradients = _with_autograd(loss, flat) if analytic is None else analytic(flat.views)
    rates = torch.full((members,), learning_rate * epoch_factor(spec, 0), device=device)
    optimiser = Adam(flat, rates, spec.gradient_clip)
    averaged = None if average is None else MovingAverage(flat, average)
    stopping = Stopping(members, warm_up(spec.beta), spec)
    best = flat.values.clone()
    history: list[EpochRecord] = []
    first = 0

    stored = load_checkpoint(resume.path, resume.fingerprint) if resume else None
    if stored is not None:
        optimiser.restore(stored.tensors, stored.steps)
        best.copy_(stored.tensors["best"])
        if averaged is not None:
            averaged.values.copy_(stored.tensors["average"])
        stopping.restore(stored.progress)
        history = stored.history
        first = stored.epoch

    def whole_epochs(resume: Resume) -> Checkpoint:
        tensors = {name: value.clone() for name, value in optimiser.state().items()}
        tensors["best"] = best
        if averaged is not None:
            tensors["average"] = averaged.values.clone()
        return Checkpoint(
            resume.fingerprint,
            len(history),
            optimiser.steps,
            tensors,
            stopping.state(),
            list(history),
        )

    def step(batch: Batch, beta: Tensor) -> LossTerms:
        parts = gradients(batch, beta)
        if step_factor is not None:
            now = learning_rate * step_factor(optimiser.steps)
            optimiser.learning_rate = torch.full((members,), now, device=device)
        optimiser.step()
        if averaged is not None:
            averaged.update(optimiser.steps)
        return parts

    saved = time.monotonic()
    latest: Checkpoint | None = None
    epoch = first
    try:
        for epoch in range(first, spec.epochs):
            if stopping.all_done:
                break
            began = time.monotonic()
            beta = beta_at(spec.beta, epoch)
            module.train()
            sums = _train_epoch(source.epoch(epoch), step, factor * beta)
            due = checks is None or is_due(epoch, spec.epochs, checks)
            with averaged.in_place() if averaged is not None else contextlib.nullcontext():
                checked = _validate(module, validate if due else None, sums, device)
                seconds = time.monotonic() - began
                record = _record(epoch, seconds, spec, factor, sums, checked, optimiser)
                _require_finite(record, ~stopping.done, part)
                if due:
                    improved = stopping.update(epoch, np.asarray(record.val_monitored))
                    chosen = torch.from_numpy(improved).to(device).unsqueeze(1)
                    best = torch.where(chosen, flat.values, best)
            if step_factor is None:
                change = stopping.plateau_factor() * epoch_factor(spec, epoch + 1)
                change /= epoch_factor(spec, epoch)
                optimiser.learning_rate = optimiser.learning_rate * torch.from_numpy(change).to(
                    device, torch.float32
                )
            history.append(record)
            if resume is not None:
                latest = whole_epochs(resume)
                if time.monotonic() - saved > CHECKPOINT_SECONDS:
                    save_checkpoint(resume.path, latest)
                    saved = time.monotonic()
            if on_epoch is not None:
                on_epoch(record)
    except KeyboardInterrupt:
        # Weights move within an epoch: only the copy made at the end of the last is whole.
        if resume is not None and latest is not None:
            save_checkpoint(resume.path, latest)
        kept = resume is not None and resume.path.is_file()
        of = "" if part == "training" else f" of the {part}"
        raise StoppedByUserError(
            f"stopped by the user in epoch {epoch + 1} of {spec.epochs}{of}",
            hint="give the same command again to resume" if kept else "nothing was stored",
        ) from None
    with torch.no_grad():
        if checks != 0:
            flat.values.copy_(best)
        elif averaged is not None:
            flat.values.copy_(averaged.values)
    return Trained(history, stopping.best.tolist(), stopping.best_epoch.tolist())


def minimise(
    module: torch.nn.Module,
    loss: Callable[[Batch], Tensor],
    source: BatchSource[Batch],
    validate: Callable[[], Tensor] | None,
    *,
    epochs: int,
    learning_rate: float,
    step_factor: Callable[[int], float],
    clip: float = 1.0,
    members: int = 1,
    **settings: Any,
) -> Trained:
    """Train a network whose loss has no KL; everything else is as in `train`.

    Parameters
    ----------
    loss, validate
        Give one number for every member, shape (M,).
    clip
        Largest norm of a gradient.
    members
        Number of members.
    settings
        ``average``, ``checks``, ``part``, ``resume`` and ``on_epoch`` of `train`.
    """

    def terms(batch: Batch, beta: Tensor) -> LossTerms:
        total = loss(batch)
        return LossTerms(total, total, beta)

    def validation() -> Validation:
        assert validate is not None
        found = validate()
        return Validation(found, torch.zeros_like(found), torch.zeros_like(found))

    return train(
        module,
        terms,
        source,
        None if validate is None else validation,
        TrainingSpec(
            beta=ConstantBeta(value=0.0), epochs=epochs, patience=None, gradient_clip=clip
        ),
        learning_rate=learning_rate,
        betas=[0.0] * members,
        step_factor=step_factor,
        **settings,
    )


def _with_autograd(loss: Callable[[Batch, Tensor], LossTerms], flat: FlatParameters) -> Step[Batch]:
    def step(batch: Batch, beta: Tensor) -> LossTerms:
        parts = loss(batch, beta)
        flat.collect(parts.total.sum())
        return parts

    return step


def is_due(epoch: int, epochs: int, checks: int) -> bool:
    """Whether one of the checks, spread evenly over the epochs, comes after this one."""
    return (epoch + 1) * checks // epochs > epoch * checks // epochs


def _train_epoch(batches: Iterator[Batch], step: Step[Batch], beta: Tensor) -> Tensor:
    """Take every step of an epoch; return mean reconstruction and KL, (2, M)."""
    reconstruction, kl = [], []  # read back once, at the end
    for batch in batches:
        parts = step(batch, beta)
        reconstruction.append(parts.reconstruction.detach())
        kl.append(parts.kl.detach())
    return torch.stack([torch.stack(reconstruction).mean(0), torch.stack(kl).mean(0)])


def _validate(
    module: torch.nn.Module,
    validate: Callable[[], Validation] | None,
    sums: Tensor,
    device: torch.device,
) -> Validation:
    if validate is None:
        unknown = torch.zeros(sums.shape[1], dtype=torch.int64, device=device)
        return Validation(sums[0], sums[1], unknown)
    module.eval()
    with torch.no_grad():
        return validate()


def _record(
    epoch: int,
    seconds: float,
    spec: TrainingSpec,
    factor: Tensor,
    sums: Tensor,
    checked: Validation,
    optimiser: Adam,
) -> EpochRecord:
    beta = beta_at(spec.beta, epoch)
    monitored = checked.reconstruction + final_beta(spec.beta) * factor * checked.kl
    total = sums[0] + beta * factor * sums[1]
    return EpochRecord(
        epoch=epoch,
        beta=beta,
        seconds=round(seconds, 4),
        rate=optimiser.learning_rate.tolist(),
        train_total=total.tolist(),
        train_reconstruction=sums[0].tolist(),
        train_kl=sums[1].tolist(),
        val_monitored=monitored.tolist(),
        val_reconstruction=checked.reconstruction.tolist(),
        val_kl=checked.kl.tolist(),
        active_units=checked.active_units.tolist(),
        measures=dict(checked.measures),
    )


def _require_finite(record: EpochRecord, training: NDArray[np.bool_], part: str) -> None:
    """A member that is done keeps its best weights, whatever becomes of it afterwards."""
    finite = np.isfinite(record.train_total) & np.isfinite(record.val_monitored)
    bad = np.flatnonzero(training & ~finite)
    if bad.size:
        raise TrainingError(
            f"the loss of member {bad[0]} is not a finite number after epoch {record.epoch + 1}",
            where=part,
            hint=f"lower {part}.learning_rate; in a table, look for extreme values with "
            "`variolite schema` and give their column a valid range or a signed_log transform",
        )
