"""Small tables with known structure for the training tests."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import polars as pl
import pytest

from variolite.recipe import ModelSpec, TrainingSpec
from variolite.records import FittedSchema, Records, Schema
from variolite.training import Fitted, Member, fit_tabular

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


@pytest.fixture
def toy() -> Table:
    """400 rows of four columns on two factors."""
    return table_of(linear_rows(400))


@pytest.fixture
def train_toy(toy: Table) -> Callable[..., Fitted]:
    """Train on the toy table, validating on its last 100 rows."""
    schema, records = toy
    training, validation = records.take(np.arange(300)), records.take(np.arange(300, 400))

    def run(
        members: tuple[Member, ...] = (Member(seed=0, beta=1.0, latent=2),),
        model: ModelSpec | None = None,
        *,
        check: bool = True,
        checkpoint: Any = None,
        on_epoch: Any = None,
        **spec: Any,
    ) -> Fitted:
        settings = {"beta": {"kind": "linear", "epochs": 2}, "epochs": 6, "batch_size": 64} | spec
        return fit_tabular(
            schema,
            training,
            validation if check else None,
            model or ModelSpec(latent=2, encoder=(8,), decoder=(8,)),
            TrainingSpec(**settings),
            members,
            checkpoint=checkpoint,
            on_epoch=on_epoch,
        )

    return run
