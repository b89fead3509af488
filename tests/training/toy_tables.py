"""Small tables with known structure for the training tests."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import torch

from variolite.recipe import ModelSpec, TrainingSpec
from variolite.records import FittedSchema, Records, Schema
from variolite.training import EpochRecord, Fitted, Member, fit_tabular
from variolite.training import tabular as fitting
from variolite.training.loop import Resume
from variolite.vae import Batch

Table = tuple[FittedSchema, Records]


def linear_rows(
    rows: int, *, columns: int = 4, factors: int = 2, noise: float = 0.2, seed: int = 0
) -> np.ndarray:
    """Rows on a plane of ``factors`` dimensions plus noise, shape (rows, columns)."""
    loadings = np.random.default_rng(100 + columns + factors).normal(size=(factors, columns))
    source = np.random.default_rng(seed)
    return source.normal(size=(rows, factors)) @ loadings + noise * source.normal(
        size=(rows, columns)
    )


def table_of(values: np.ndarray, settings: Mapping[str, Any] | None = None) -> Table:
    """Fit a schema with columns a, b, c, ... on values in original units."""
    names = [chr(ord("a") + i) for i in range(values.shape[1])]
    frame = pl.DataFrame(dict(zip(names, values.T, strict=True)))
    columns = {name: dict(settings or {}) for name in names}
    schema = FittedSchema.fit(Schema(columns=columns), frame)
    return schema, schema.apply(frame)


TOY = {"beta": {"kind": "linear", "epochs": 2}, "epochs": 6, "batch_size": 64}


@dataclass(frozen=True)
class Trainer:
    """Trains on the first 300 rows of the toy table and validates on the others."""

    schema: FittedSchema
    training: Records
    validation: Records

    def __call__(
        self,
        members: tuple[Member, ...] = (Member(seed=0, beta=1.0, latent=2),),
        model: ModelSpec | None = None,
        *,
        check: bool = True,
        checkpoint: Path | None = None,
        on_epoch: Callable[[EpochRecord], None] | None = None,
        device: str = "cpu",
        **spec: Any,
    ) -> Fitted:
        return fit_tabular(
            self.schema,
            self.training,
            self.validation if check else None,
            model or ModelSpec(latent=2, encoder=(8,), decoder=(8,)),
            TrainingSpec(**(TOY | spec)),
            members,
            device=device,
            resume=None if checkpoint is None else partial(Resume, checkpoint),
            on_epoch=on_epoch,
        )

    def validate(self, fitted: Fitted) -> list[float]:
        """Monitored value of the returned model at a final beta of 1, for every member."""
        rows = Batch.of(self.validation, torch.device("cpu"))
        with torch.no_grad():
            parts = fitting._validate(fitted.model.module, rows, fitted.model.members)
        beta = torch.tensor([member.beta for member in fitted.model.members])
        return (parts.reconstruction + beta * parts.kl).tolist()
