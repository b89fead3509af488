"""Training for a given processor time, with snapshots on the way.

The comparison gives every model the same processor time. Nothing here knows which model it
trains: the same loop, optimiser and clock serve the source design and ours.
"""

from __future__ import annotations

import itertools
import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from variolite.crystals.model.batch import CrystalBatch
from variolite.errors import TrainingError
from variolite.training.optimiser import Adam, FlatParameters
from variolite.vae import LossTerms

__all__ = ["SHARES", "Budget", "Snapshot", "TrainableModule", "constant_rate", "train_within"]

SHARES = (0.125, 0.25, 0.5, 1.0)
"""Shares of the budget at which the curve is drawn."""


class TrainableModule(Protocol):
    """A module with the objective of all crystal models."""

    def loss(self, batch: CrystalBatch, beta: Tensor) -> LossTerms:
        """Parts of the objective, each of shape (1,)."""
        ...


class Epochs(Protocol):
    """Batches of every epoch."""

    steps: int

    def epoch(self, number: int) -> Iterator[CrystalBatch]:
        """Yield the batches of one epoch."""
        ...


@dataclass(frozen=True)
class Budget:
    """How long to train: processor seconds of this process, or steps.

    Attributes
    ----------
    seconds
        User and system time of all threads.
    steps
        Most steps to take.
    """

    seconds: float = math.inf
    steps: float = math.inf

    def __post_init__(self) -> None:
        if math.isinf(self.seconds) and math.isinf(self.steps):
            raise TrainingError("a budget without an end", hint="give seconds or steps")

    def spent(self, seconds: float, steps: int) -> float:
        """Share of the budget that is used up."""
        return max(seconds / self.seconds, steps / self.steps)


@dataclass(frozen=True)
class Snapshot:
    """A model on the way.

    Attributes
    ----------
    share
        Of the budget.
    seconds
        Processor time of training up to here; taking snapshots is not counted.
    steps, epochs
        Taken so far; epochs with a fraction.
    reconstruction, divergence
        Means over the steps since the last snapshot.
    weights
        State of the module.
    """

    share: float
    seconds: float
    steps: int
    epochs: float
    reconstruction: float
    divergence: float
    weights: dict[str, Tensor]


def constant_rate(rate: float) -> Callable[[float], float]:
    """Return the schedule of the source: the same rate at every share of the budget."""
    return lambda _: rate


def train_within(
    module: torch.nn.Module,
    loss: Callable[[CrystalBatch, Tensor], LossTerms],
    batches: Epochs,
    budget: Budget,
    *,
    rate: Callable[[float], float],
    beta: float,
    gradient_clip: float = 10.0,
    shares: tuple[float, ...] = SHARES,
    log: Callable[[str], None] | None = None,
) -> list[Snapshot]:
    """Train a module in place until the budget is spent.

    The optimiser is Adam without weight decay, which is what AdamW is then.

    Parameters
    ----------
    module, loss
        The model and its objective.
    batches
        Of every epoch.
    budget
        Seconds or steps.
    rate
        Learning rate at a share of the budget.
    beta
        Weight of the divergence.
    gradient_clip
        Largest norm of the gradient.
    shares
        Ascending; a snapshot is taken at the first step that reaches each.
    log
        Hears of every snapshot.

    Returns
    -------
    list of Snapshot
        One for every share.

    Raises
    ------
    TrainingError
        If the loss stops being a finite number.
    """
    flat = FlatParameters(module, 1)
    optimiser = Adam(flat, torch.full((1,), rate(0.0)), gradient_clip)
    weight = torch.full((1,), beta)
    module.train()
    found: list[Snapshot] = []
    seen: list[Tensor] = []
    steps, spent, seconds = 0, 0.0, 0.0
    clock = _Clock()
    for batch in itertools.chain.from_iterable(map(batches.epoch, itertools.count())):
        optimiser.learning_rate = torch.full((1,), rate(spent))
        parts = loss(batch, weight)
        flat.collect(parts.total.sum())
        optimiser.step()
        seen.append(torch.cat([parts.reconstruction, parts.kl]).detach())
        steps += 1
        seconds = clock.read()
        spent = budget.spent(seconds, steps)
        if spent < shares[len(found)]:
            continue
        with clock.stopped():
            while len(found) < len(shares) and spent >= shares[len(found)]:
                found.append(_snapshot(module, shares[len(found)], seconds, steps, batches, seen))
                if log is not None:
                    log(_said(found[-1]))
            seen.clear()
        if len(found) == len(shares):
            return found
    raise TrainingError("there is nothing to train on", hint="give more crystals")


class _Clock:
    """Processor seconds since it was made, without those for which it was stopped."""

    def __init__(self) -> None:
        self.begin = time.process_time()

    def read(self) -> float:
        return time.process_time() - self.begin

    def stopped(self) -> _Pause:
        return _Pause(self)


class _Pause:
    def __init__(self, clock: _Clock) -> None:
        self.clock = clock

    def __enter__(self) -> None:
        self.at = time.process_time()

    def __exit__(self, *_: object) -> None:
        self.clock.begin += time.process_time() - self.at


def _snapshot(
    module: torch.nn.Module,
    share: float,
    seconds: float,
    steps: int,
    batches: Epochs,
    seen: list[Tensor],
) -> Snapshot:
    reconstruction, divergence = torch.stack(seen).mean(0).tolist()
    if not math.isfinite(reconstruction + divergence):
        raise TrainingError(
            f"the loss is not a finite number after {steps} steps",
            where="training",
            hint="lower the learning rate",
        )
    weights = {name: value.clone() for name, value in module.state_dict().items()}
    epochs = steps / batches.steps
    return Snapshot(share, seconds, steps, epochs, reconstruction, divergence, weights)


def _said(at: Snapshot) -> str:
    return (
        f"{at.share:.3g} of the budget: {at.seconds:.0f} CPU-s, {at.steps:,} steps, "
        f"{at.epochs:.1f} epochs, reconstruction {at.reconstruction:.4f}, "
        f"divergence {at.divergence:.2f} nats an atom"
    )
