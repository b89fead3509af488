"""Fitting the network of a flow or diffusion prior: Adam, a cosine rate, averaged weights."""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import Tensor

from variolite.crystals.latent.batches import Forgetting, LatentBatch, LatentSets
from variolite.crystals.latent.network import SetTransformer
from variolite.crystals.latent.objectives import Objective
from variolite.crystals.model.products import fast_products
from variolite.errors import TrainingError
from variolite.training.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from variolite.training.loop import CHECKPOINT_SECONDS, Resume, StoppedByUserError
from variolite.training.optimiser import Adam, FlatParameters

__all__ = ["FieldSettings", "Fitted", "fit_field", "half_precision"]

WARM_UP_STEPS = 100
CHECKS = 20
"""How many times the averaged weights are judged on held-back crystals."""


@dataclass(frozen=True)
class FieldSettings:
    """How a flow or diffusion prior is fitted.

    Attributes
    ----------
    width, layers, heads
        Of the set transformer.
    epochs
        Passes over the training crystals.
    batch
        Crystals a step.
    rate
        Largest learning rate; it rises over the first hundred steps and falls to
        nothing along a half cosine.
    average
        Decay of the moving average of weights; the average is what is kept.
    clip
        Largest norm of a gradient.
    forgetting
        Shares of conditions hidden in training.
    precision
        ``auto`` rounds matrix products to bfloat16 where the processor has them;
        ``float32`` never does.
    """

    width: int = 128
    layers: int = 6
    heads: int = 4
    epochs: int = 100
    batch: int = 32
    rate: float = 5e-3
    average: float = 0.999
    clip: float = 1.0
    forgetting: Forgetting = field(default_factory=Forgetting)
    precision: str = "auto"


@dataclass(frozen=True)
class Fitted:
    """How fitting went.

    Attributes
    ----------
    losses
        Mean training loss of every epoch.
    held_back
        Epoch and loss of the averaged weights on held-back crystals, at every check.
    kept_epoch
        Epoch whose averaged weights were kept: the one with the least loss on
        held-back crystals, or the last where none are held back.
    """

    losses: list[float]
    held_back: list[tuple[int, float]]
    kept_epoch: int


def fit_field(
    network: SetTransformer,
    objective: Objective,
    training: LatentSets,
    held_back: LatentSets | None,
    settings: FieldSettings,
    *,
    seed: int = 0,
    resume: Resume | None = None,
    tell: Callable[[str], None] | None = None,
) -> Fitted:
    """Fit a network in place and leave it with averaged weights.

    Parameters
    ----------
    network
        On the device of the crystals.
    objective
        What the network is taught.
    training, held_back
        Crystals; those held back choose the epoch that is kept.
    settings
        How to train.
    seed
        Of order, noise and times.
    resume
        Where to keep the state of training; an existing one is continued.
    tell
        Called with the progress after every epoch.

    Raises
    ------
    TrainingError
        If the loss stops being a finite number.
    StoppedByUserError
        On Ctrl-C, after the last whole epoch is stored.
    """
    flat = FlatParameters(network, 1)
    device = flat.values.device
    network.rounded = settings.precision == "auto" and fast_products(device)
    optimiser = Adam(flat, torch.full((1,), settings.rate, device=device), settings.clip)
    average, best = flat.values.clone(), flat.values.clone()
    steps = training.steps(settings.batch)
    losses: list[float] = []
    checks: list[tuple[int, float]] = []
    stored = load_checkpoint(resume.path, resume.fingerprint) if resume else None
    if stored is not None:
        optimiser.restore(stored.tensors, stored.steps)
        average.copy_(stored.tensors["average"])
        best.copy_(stored.tensors["best"])
        losses = list(stored.progress["losses"])
        checks = [(int(epoch), float(loss)) for epoch, loss in stored.progress["checks"]]

    def whole_epochs(fingerprint: str) -> Checkpoint:
        tensors = {**optimiser.state(), "average": average, "best": best}
        copies = {name: value.clone() for name, value in tensors.items()}
        progress = {"losses": list(losses), "checks": list(checks)}
        return Checkpoint(fingerprint, len(losses), optimiser.steps, copies, progress, [])

    network.train()
    began = saved = time.monotonic()
    first = len(losses)
    latest: Checkpoint | None = stored
    try:
        for epoch in range(first, settings.epochs):
            sums = torch.zeros((), device=device)
            for batch in training.epoch(epoch, settings.batch, seed, settings.forgetting):
                share = optimiser.steps / (steps * settings.epochs)
                rate = settings.rate * _rate_share(optimiser.steps, share)
                optimiser.rate = torch.full((1,), rate, device=device)
                loss = _loss(network, objective, batch)
                flat.collect(loss)
                optimiser.step()
                decay = min(settings.average, (1 + optimiser.steps) / (10 + optimiser.steps))
                average.lerp_(flat.values, 1.0 - decay)
                sums += loss.detach()
            losses.append(_finite(float(sums) / steps, epoch))
            if _is_checked(epoch, settings.epochs):
                checks.append((epoch, _check(network, objective, held_back, flat, average)))
                if checks[-1][1] <= min(loss for _, loss in checks):
                    best.copy_(average)
            if tell is not None:
                tell(_progress(epoch, settings.epochs, losses[-1], began, first))
            if resume is not None:
                latest = whole_epochs(resume.fingerprint)
                if time.monotonic() - saved > CHECKPOINT_SECONDS:
                    save_checkpoint(resume.path, latest)
                    saved = time.monotonic()
    except KeyboardInterrupt:
        # Weights move within an epoch: only the copy made at the end of the last is whole.
        if resume is not None and latest is not None:
            save_checkpoint(resume.path, latest)
        kept = resume is not None and resume.path.is_file()
        raise StoppedByUserError(
            f"stopped by the user in epoch {len(losses) + 1} of {settings.epochs} of the prior",
            mend="the same command goes on from here" if kept else "nothing was stored",
        ) from None
    with torch.no_grad():
        flat.values.copy_(best)
    network.eval()
    kept_epoch = min(checks, key=lambda check: check[1])[0] if checks else -1
    return Fitted(losses, [] if held_back is None else checks, kept_epoch)


def _rate_share(step: int, share: float) -> float:
    return min(1.0, (step + 1) / WARM_UP_STEPS) * max(0.5 * (1.0 + math.cos(math.pi * share)), 1e-4)


def _is_checked(epoch: int, epochs: int) -> bool:
    return (epoch + 1) * CHECKS // epochs > epoch * CHECKS // epochs


def _loss(network: SetTransformer, objective: Objective, batch: LatentBatch) -> Tensor:
    """Mean squared error over atoms and dimensions."""
    time_of_set = objective.times(batch.uniform)
    seen, answer = objective.example(
        batch.latents, batch.noise, time_of_set[batch.layout.owner].unsqueeze(1)
    )
    with half_precision(seen.device):
        found = network(seen, time_of_set, batch.layout, batch.known)
    error: Tensor = (found.float() - answer).square().mean()
    return error


def half_precision(device: torch.device) -> contextlib.AbstractContextManager[object]:
    """Use bfloat16 where a GPU makes it cheap."""
    if device.type == "cuda":
        return torch.autocast("cuda", torch.bfloat16)
    return contextlib.nullcontext()


@torch.no_grad()
def _check(
    network: SetTransformer,
    objective: Objective,
    held_back: LatentSets | None,
    flat: FlatParameters,
    average: Tensor,
) -> float:
    """Loss of the averaged weights on held-back crystals; falls by itself where there are none."""
    if held_back is None:
        return 0.0
    own = flat.values.clone()
    flat.values.copy_(average)
    network.eval()
    total, atoms = 0.0, 0
    for batch in held_back.whole(512, seed=0):
        total += float(_loss(network, objective, batch)) * len(batch.latents)
        atoms += len(batch.latents)
    flat.values.copy_(own)
    network.train()
    return total / atoms


def _finite(loss: float, epoch: int) -> float:
    if not math.isfinite(loss):
        raise TrainingError(
            f"the loss of the latent prior is not a finite number after epoch {epoch + 1}",
            where="prior",
            mend="lower prior.learning_rate",
        )
    return loss


def _progress(epoch: int, epochs: int, loss: float, began: float, first: int) -> str:
    left = (time.monotonic() - began) / (epoch + 1 - first) * (epochs - epoch - 1)
    return f"prior: epoch {epoch + 1}/{epochs}, loss {loss:.4f}, at most {left:.0f} s left"
