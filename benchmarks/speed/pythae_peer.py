"""pythae's own trainer on the task's network. Runs in pythae's environment only."""

from __future__ import annotations

import logging
import tempfile
import time
from typing import Any

import torch
from benchmarks.speed.elbo import held_out_elbo
from benchmarks.speed.plain import PlainVAE
from benchmarks.speed.request import Epoch, Request
from benchmarks.speed.task import FEATURES, LATENT, NOISE_VARIANCE, RATE
from pythae.data.datasets import BaseDataset  # type: ignore[import-not-found]
from pythae.models import BetaVAE, BetaVAEConfig  # type: ignore[import-not-found]
from pythae.models.base.base_utils import ModelOutput  # type: ignore[import-not-found]
from pythae.models.nn import BaseDecoder, BaseEncoder  # type: ignore[import-not-found]
from pythae.trainers import BaseTrainer, BaseTrainerConfig  # type: ignore[import-not-found]
from pythae.trainers.training_callbacks import (  # type: ignore[import-not-found]
    TrainingCallback,
)
from torch import Tensor


class _Encoder(BaseEncoder):  # type: ignore[misc]
    def __init__(self, network: PlainVAE) -> None:
        super().__init__()
        self.hidden, self.mean, self.log_variance = (
            network.encoder,
            network.mean,
            network.log_variance,
        )

    def forward(self, rows: Tensor) -> Any:
        hidden = self.hidden(rows)
        return ModelOutput(embedding=self.mean(hidden), log_covariance=self.log_variance(hidden))


class _Decoder(BaseDecoder):  # type: ignore[misc]
    def __init__(self, network: PlainVAE) -> None:
        super().__init__()
        self.layers = network.decoder

    def forward(self, latent: Tensor) -> Any:
        return ModelOutput(reconstruction=self.layers(latent))


class _Clock(TrainingCallback):  # type: ignore[misc]
    """Stamps each epoch from its beginning to its last event, the log line."""

    def __init__(self, network: PlainVAE, held_out: Tensor | None) -> None:
        self.network, self.held_out = network, held_out
        self.epochs: list[Epoch] = []
        self.start = 0.0

    def on_epoch_begin(self, training_config: Any, **_: Any) -> None:  # noqa: ARG002
        self.network.train()
        self.start = time.process_time()

    def on_log(self, training_config: Any, logs: dict[str, float], **_: Any) -> None:  # noqa: ARG002
        spent = time.process_time() - self.start
        elbo = None
        if self.held_out is not None:
            self.network.eval()
            elbo = held_out_elbo(self.network.encode, self.network.decode, self.held_out)
        self.epochs.append(Epoch(spent, 2.0 * logs["train_epoch_loss"], elbo))


def run(request: Request, train: Tensor, held_out: Tensor) -> list[Epoch]:
    """Train with ``BaseTrainer`` and time every epoch.

    pythae's loss is ``0.5 SSE + beta KL``, so ``beta`` is the noise variance and the loss is half
    of the task's.

    Parameters
    ----------
    request : Request
    train, held_out : Tensor, shape (n, 6)

    Returns
    -------
    list of Epoch
    """
    logging.disable(logging.INFO)
    torch.manual_seed(request.seed)
    network = PlainVAE(norm=False)
    model = BetaVAE(
        BetaVAEConfig(
            input_dim=(FEATURES,),
            latent_dim=LATENT,
            reconstruction_loss="mse",
            beta=NOISE_VARIANCE,
        ),
        encoder=_Encoder(network),
        decoder=_Decoder(network),
    )
    clock = _Clock(network, held_out if request.watch else None)
    with tempfile.TemporaryDirectory() as folder:
        trainer = BaseTrainer(
            model,
            train_dataset=BaseDataset(train, torch.zeros(len(train))),
            training_config=BaseTrainerConfig(
                output_dir=folder,
                per_device_train_batch_size=request.batch,
                num_epochs=request.epochs,
                learning_rate=RATE,
                no_cuda=True,
                seed=request.seed,
            ),
            callbacks=[clock],
        )
        trainer.train()
    return clock.epochs
