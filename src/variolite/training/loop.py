"""The training loop: one for all models, with early stopping for every member."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from variolite.errors import TrainingError
from variolite.recipe import ConstantBeta, TrainingSpec
from variolite.training.optimiser import (
    Adam,
    FlatParameters,
    MovingAverage,
    beta_at,
    epoch_factor,
    final_beta,
    warm_up,
)
from variolite.training.storage import Checkpoint, EpochRecord, load_checkpoint, save_checkpoint
from variolite.vae import LossTerms


class Stopping:
    """Early stopping and learning-rate plateaus, for every member by its own monitored value.

    A member that has run out of patience is done: its best weights no longer change, exactly as
    if it had trained alone and stopped. Waiting is counted from epoch ``armed``, the end of the
    warm-up, never before.
    """

    _STATE = ("best", "reference", "best_epoch", "done", "waited", "flat")

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

    def update(self, epoch: int, monitored: NDArray[np.float64]) -> NDArray[np.bool_]:
        """Take in one epoch; return which members have new best weights, (M,)."""
        improved = (monitored < self.best) & ~self.done
        self.best = np.where(improved, monitored, self.best)
        self.best_epoch = np.where(improved, epoch, self.best_epoch)
        gained = monitored < self.reference - self.spec.min_gain
        self.reference = np.where(gained, monitored, self.reference)
        restart = gained | (epoch < self.armed)
        self.waited = np.where(restart, 0, self.waited + 1)
        self.flat = np.where(restart, 0, self.flat + 1)
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
        """JSON-able state for a checkpoint, in which None stands for infinity."""
        return {
            name: [None if v == np.inf else v for v in getattr(self, name).tolist()]
            for name in self._STATE
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Resume from a stored state."""
        for name in self._STATE:
            values = [np.inf if value is None else value for value in state[name]]
            setattr(self, name, np.array(values))


# The loop. Tensors stay on the device and nothing is read back within an epoch. The monitored
# value uses the final beta, early stopping counts from the end of the warm-up, and the best
# weights of every member are restored at the end.

CHECKPOINT_SECONDS = 5.0

Batch = TypeVar("Batch")


class StoppedByUserError(TrainingError):
    """A signal stopped the run; where checkpoints are kept, all whole epochs are stored."""


Step = Callable[[Batch, Tensor], LossTerms]
"""Computes the terms of a batch and leaves the gradients of their total where Adam reads."""


@dataclass(frozen=True)
class Validation:
    """Terms of the objective on validation rows, and active units, each of shape (M,).

    ``measures`` are further numbers worth following, with their unit in the name.
    """

    reconstruction: Tensor
    kl: Tensor
    active_units: Tensor
    measures: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Trained:
    """What a run leaves behind besides the weights.

    ``history`` holds all epochs, those before an interruption included; a member that is done
    still appears in it until the last one is. ``best`` is the lowest monitored value of every
    member before it was done, and ``best_epochs`` when its weights were kept.
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
    batches: Callable[[int], Iterator[Batch]],
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

    Every parameter has a leading axis of M = len(betas) members, whose ``betas`` are factors on
    the schedule of beta. ``loss`` is called with a batch and beta (M,); the same epoch number
    always gives the same ``batches``; ``validate`` uses fixed noise, and without it the training
    terms are monitored.

    ``analytic`` makes a step that computes the same objective without autograd, from the places
    where gradients go. ``step_factor`` is a factor on the learning rate by step, counted from 0,
    in place of the schedule of ``spec``, which changes it by epoch. ``average`` is the decay of a
    moving average of the weights, which is validated and kept in their place. ``checks`` is the
    number of validations, evenly spread and last after the last epoch, instead of one an epoch;
    0 keeps the weights of the last epoch: where there is nothing to choose an epoch by.

    ``part`` of the recipe is named in messages. A checkpoint that lies at ``resume`` is resumed.
    Raises a TrainingError if the loss stops being a finite number, and a StoppedByUserError on
    Ctrl-C, after the state is stored.
    """
    members = len(betas)
    flat = FlatParameters(module, members)
    device = flat.values.device
    factor = torch.tensor(betas, dtype=torch.float32, device=device)
    rates = torch.full((members,), learning_rate * epoch_factor(spec, 0), device=device)
    optimiser = Adam(flat, rates, spec.gradient_clip)
    averaged = None if average is None else MovingAverage(flat, average)
    stopping = Stopping(members, warm_up(spec.beta), spec)
    best = flat.values.clone()
    history: list[EpochRecord] = []

    stored = load_checkpoint(resume.path, resume.fingerprint) if resume else None
    if stored is not None:
        optimiser.restore(stored.tensors, stored.steps)
        best.copy_(stored.tensors["best"])
        if averaged is not None:
            averaged.values.copy_(stored.tensors["average"])
        stopping.restore(stored.progress)
        history = stored.history

    def whole_epochs(fingerprint: str) -> Checkpoint:
        tensors = {name: value.clone() for name, value in optimiser.state().items()}
        tensors["best"] = best
        if averaged is not None:
            tensors["average"] = averaged.values.clone()
        steps = optimiser.steps
        return Checkpoint(fingerprint, len(history), steps, tensors, stopping.state(), [*history])

    def by_autograd(batch: Batch, beta: Tensor) -> LossTerms:
        terms = loss(batch, beta)
        flat.collect(terms.total.sum())
        return terms

    gradients = by_autograd if analytic is None else analytic(flat.views)

    def step(batch: Batch, beta: Tensor) -> LossTerms:
        terms = gradients(batch, beta)
        if step_factor is not None:
            now = learning_rate * step_factor(optimiser.steps)
            optimiser.learning_rate = torch.full((members,), now, device=device)
        optimiser.step()
        if averaged is not None:
            averaged.update(optimiser.steps)
        return terms

    saved = time.monotonic()
    latest: Checkpoint | None = None
    epoch = first = len(history)
    try:
        for epoch in range(first, spec.epochs):
            if stopping.done.all():
                break
            began = time.monotonic()
            beta = beta_at(spec.beta, epoch)
            module.train()
            reconstruction, kl = _train_epoch(batches(epoch), step, factor * beta)
            due = checks is None or is_due(epoch, spec.epochs, checks)
            with nullcontext() if averaged is None else averaged.in_place():
                if due and validate is not None:
                    module.eval()
                    with torch.no_grad():
                        found = validate()
                else:
                    found = Validation(reconstruction, kl, torch.zeros_like(kl, dtype=torch.int64))
                monitored = found.reconstruction + final_beta(spec.beta) * factor * found.kl
                record = EpochRecord(
                    epoch=epoch,
                    beta=beta,
                    seconds=round(time.monotonic() - began, 4),
                    rate=optimiser.learning_rate.tolist(),
                    train_total=(reconstruction + beta * factor * kl).tolist(),
                    train_reconstruction=reconstruction.tolist(),
                    train_kl=kl.tolist(),
                    val_monitored=monitored.tolist(),
                    val_reconstruction=found.reconstruction.tolist(),
                    val_kl=found.kl.tolist(),
                    active_units=found.active_units.tolist(),
                    measures=dict(found.measures),
                )
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
                latest = whole_epochs(resume.fingerprint)
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
            f"stopped in epoch {epoch + 1} of {spec.epochs}{of}",
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
    batches: Callable[[int], Iterator[Batch]],
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

    ``loss`` and ``validate`` give one number for every member, (M,); ``clip`` is the largest norm
    of a gradient. ``settings`` are ``average``, ``checks``, ``part``, ``resume`` and ``on_epoch``.
    """

    def terms(batch: Batch, beta: Tensor) -> LossTerms:
        total = loss(batch)
        return LossTerms(total, total, beta)

    def validation() -> Validation:
        assert validate is not None
        found = validate()
        return Validation(found, torch.zeros_like(found), torch.zeros_like(found))

    spec = TrainingSpec(
        beta=ConstantBeta(value=0.0), epochs=epochs, patience=None, gradient_clip=clip
    )
    return train(
        module,
        terms,
        batches,
        None if validate is None else validation,
        spec,
        learning_rate=learning_rate,
        betas=[0.0] * members,
        step_factor=step_factor,
        **settings,
    )


def is_due(epoch: int, epochs: int, checks: int) -> bool:
    """Whether one of the checks, spread evenly over the epochs, comes after this one."""
    return (epoch + 1) * checks // epochs > epoch * checks // epochs


def _train_epoch(
    batches: Iterator[Batch], step: Step[Batch], beta: Tensor
) -> tuple[Tensor, Tensor]:
    """Take every step of an epoch; return mean reconstruction and KL, each of shape (M,)."""
    reconstruction, kl = [], []  # read back once, at the end
    for batch in batches:
        terms = step(batch, beta)
        reconstruction.append(terms.reconstruction.detach())
        kl.append(terms.kl.detach())
    return torch.stack(reconstruction).mean(0), torch.stack(kl).mean(0)


def _require_finite(record: EpochRecord, training: NDArray[np.bool_], part: str) -> None:
    """A member that is done keeps its best weights, whatever becomes of it afterwards."""
    finite = np.isfinite(record.train_total) & np.isfinite(record.val_monitored)
    bad = np.flatnonzero(training & ~finite)
    if bad.size:
        what = f"the loss of member {bad[0]} is not a finite number after epoch {record.epoch + 1}"
        hint = (
            f"lower {part}.learning_rate; in a table, look for extreme values with "
            "`variolite schema` and give their column a valid range or a signed_log transform"
        )
        raise TrainingError(what, where=part, hint=hint)
