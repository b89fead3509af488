"""Variolite on the task, through the functions that a fit goes through."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass, field
from functools import partial

import polars as pl
import torch
from benchmarks.speed.elbo import held_out_elbo
from benchmarks.speed.request import Epoch, Request
from benchmarks.speed.task import FEATURES, HIDDEN, LATENT, NOISE_VARIANCE
from torch import Tensor

from variolite.recipe import ConstantBeta, ModelSpec, TableTrainingSpec
from variolite.records import Column, FittedSchema, Records, Schema
from variolite.training import Member
from variolite.training.device import single_thread
from variolite.training.loop import train as train_loop
from variolite.training.row_batches import TrainingBatches
from variolite.training.storage import EpochRecord
from variolite.training.tabular_fit import (
    architecture_for,
    auto_batch_size,
    auto_rate,
    fit_tabular,
)
from variolite.vae import AnalyticStep, Batch, TabularModule, stack

_CONSTANT = 0.5 * FEATURES * math.log(2.0 * math.pi * NOISE_VARIANCE)

_MODEL = ModelSpec(
    latent=LATENT,
    encoder=HIDDEN,
    decoder=HIDDEN[::-1],
    variance="fixed",
    sigma2=NOISE_VARIANCE,
)


@dataclass
class _Clock:
    """Stamps every epoch; what is done in the callback itself is not counted."""

    module: TabularModule | None = None
    held_out: Tensor | None = None
    start: float = 0.0
    epochs: list[Epoch] = field(default_factory=list)

    def begin(self, _: str = "") -> None:
        self.start = time.process_time()

    def epoch(self, record: EpochRecord) -> None:
        spent = time.process_time() - self.start
        # From nats to the plain loop's scale: SSE + 0.5 KL.
        parts = record.train_reconstruction[0] - _CONSTANT + record.train_kl[0]
        self.epochs.append(Epoch(spent, 2.0 * NOISE_VARIANCE * parts, self._elbo()))
        self.begin()

    def _elbo(self) -> float | None:
        module, held_out = self.module, self.held_out
        if module is None or held_out is None:
            return None

        def encode(rows: Tensor) -> tuple[Tensor, Tensor]:
            mean, log_variance = module.encoder(rows.unsqueeze(0)).chunk(2, dim=-1)
            return mean[0], log_variance[0]

        return held_out_elbo(encode, lambda z: module.decoder(z.unsqueeze(0))[0], held_out)


def _records(train: Tensor) -> tuple[FittedSchema, Records]:
    """The rows as they are: they come standardised."""
    frame = pl.DataFrame({f"x{i}": column.numpy() for i, column in enumerate(train.T)})
    columns = {name: Column(name=name, role="input", transform=()) for name in frame.columns}
    schema = FittedSchema.fit(Schema(columns=columns), frame)
    return schema, schema.apply(frame)


def _training(request: Request) -> TableTrainingSpec:
    chosen: dict[str, object] = {"epochs": request.epochs, "patience": None}
    if request.batch is not None:
        chosen["batch_size"] = request.batch
    if request.options.get("autograd"):
        chosen["engine"] = "autograd"
    if not request.options.get("warm_up"):
        # The plain loop holds its weight of the KL from the first step on.
        chosen["beta"] = ConstantBeta()
    return TableTrainingSpec.model_validate(chosen)


def _members(request: Request) -> tuple[Member, ...]:
    count = int(request.options.get("members", 1))
    return tuple(Member(count * request.seed + m, 1.0, LATENT) for m in range(count))


def run(request: Request, train: Tensor, held_out: Tensor) -> list[Epoch]:
    """Train and time every epoch.

    Parameters
    ----------
    request : Request
        ``options``: ``members`` models at once, gradients by ``autograd``, ``warm_up`` of beta as
        by default instead of a constant one. Without a batch the engine chooses batch and rate.
    train, held_out : Tensor, shape (n, 6)

    Returns
    -------
    list of Epoch
    """
    schema, records = _records(train)
    if request.watch:
        return _watched(request, schema, records, held_out)
    clock = _Clock()
    fit_tabular(
        schema,
        records,
        None,
        _MODEL,
        _training(request),
        _members(request),
        device="cpu",
        on_start=clock.begin,
        on_epoch=clock.epoch,
    )
    return clock.epochs


def _watched(
    request: Request, schema: FittedSchema, records: Records, held_out: Tensor
) -> list[Epoch]:
    """As ``fit_tabular``, with the module in hand so that its ELBO can be taken every epoch."""
    spec, members = _training(request), _members(request)
    architecture = architecture_for(schema, records, _MODEL, LATENT)
    module = stack([TabularModule(architecture, member.seed) for member in members])
    batch = auto_batch_size(len(records)) if request.batch is None else request.batch
    source = TrainingBatches(Batch.of(records, torch.device("cpu")), members, batch, dropout=False)
    clock = _Clock(module, held_out)
    with single_thread(sum(p.numel() for p in module.parameters())):
        clock.begin()
        train_loop(
            module,
            module.loss,
            source,
            None,
            spec,
            learning_rate=auto_rate(batch),
            betas=[member.beta for member in members],
            analytic=partial(AnalyticStep, module),
            on_epoch=clock.epoch,
        )
    return clock.epochs
