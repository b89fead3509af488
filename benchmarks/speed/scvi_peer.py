"""scvi-tools' own training on the task's table. Runs in scvi-tools' environment only.

Its network cannot be made the same: two hidden layers of 32 on either side, with BatchNorm and
dropout as it comes, and a Normal likelihood whose mean is a softmax times the row's sum. It is
timed for the cost of its loop, not for its loss.
"""

from __future__ import annotations

import logging
import time
import warnings
from typing import Any

import anndata  # type: ignore[import-not-found]
import lightning.pytorch as lightning  # type: ignore[import-not-found]
import scvi  # type: ignore[import-not-found]
from benchmarks.speed.request import Epoch, Request
from benchmarks.speed.task import LATENT
from torch import Tensor


class _Clock(lightning.Callback):  # type: ignore[misc]
    def __init__(self) -> None:
        self.epochs: list[Epoch] = []
        self.start = 0.0

    def on_train_epoch_start(self, *_: Any) -> None:
        self.start = time.process_time()

    def on_train_epoch_end(self, *_: Any) -> None:
        self.epochs.append(Epoch(time.process_time() - self.start))


def run(request: Request, train: Tensor, held_out: Tensor) -> list[Epoch]:  # noqa: ARG001
    """Train ``scvi.model.SCVI`` and time every epoch.

    Parameters
    ----------
    request : Request
    train : Tensor, shape (n, 6)
    held_out : Tensor
        Not used.

    Returns
    -------
    list of Epoch
    """
    warnings.simplefilter("ignore")
    logging.disable(logging.INFO)
    scvi.settings.seed = request.seed
    # The library size is the logarithm of a row's sum, so the rows have to be positive.
    rows = (train - train.min(0).values + 0.1).numpy()
    table = anndata.AnnData(rows)
    scvi.model.SCVI.setup_anndata(table)
    model = scvi.model.SCVI(
        table,
        n_hidden=32,
        n_layers=2,
        n_latent=LATENT,
        gene_likelihood="normal",
        log_variational=False,
    )
    clock = _Clock()
    model.train(
        max_epochs=request.epochs,
        batch_size=request.batch,
        accelerator="cpu",
        devices=1,
        train_size=1.0,
        early_stopping=False,
        enable_progress_bar=False,
        callbacks=[clock],
    )
    return clock.epochs
