"""Small tables with known structure for the training tests, and training on them."""

from dataclasses import dataclass
from functools import partial

import numpy as np
import polars as pl
import torch

from variolite.recipe import ModelSpec, TableTrainingSpec
from variolite.records import FittedSchema, Records, Schema
from variolite.training import Member, fit_tabular
from variolite.training import tabular_fit as fitting
from variolite.training.loop import Resume
from variolite.vae import Batch

LINEAR = {"encoder": (), "decoder": ()}


def linear_rows(rows, *, columns=4, factors=2, noise=0.2, seed=0):
    """Rows on a plane of ``factors`` dimensions plus noise, shape (rows, columns)."""
    loadings = np.random.default_rng(100 + columns + factors).normal(size=(factors, columns))
    source = np.random.default_rng(seed)
    plane = source.normal(size=(rows, factors)) @ loadings
    return plane + noise * source.normal(size=(rows, columns))


def fitted(frame, columns):
    """Fit a schema on a table and apply it."""
    schema = FittedSchema.fit(Schema(columns=dict(columns)), frame)
    return schema, schema.apply(frame)


def table_of(values, settings=None):
    """Fit a schema with columns a, b, c, ... on values in original units."""
    frame = pl.DataFrame({chr(ord("a") + i): column for i, column in enumerate(values.T)})
    return fitted(frame, {name: dict(settings or {}) for name in frame.columns})


def small(**changes):
    """Two latent dimensions and one hidden layer of eight units, unless said otherwise."""
    return ModelSpec(**{"latent": 2, "encoder": (8,), "decoder": (8,)} | changes)


def fit(schema, training, validation=None, model=None, members=None, **spec):
    """Train a small model; ``spec`` are settings of training, a checkpoint and a device."""
    model = model or small()
    members = members or (Member(seed=0, beta=1.0, latent=model.latent),)
    path = spec.pop("checkpoint", None)
    further = {"on_epoch": spec.pop("on_epoch", None), "device": spec.pop("device", "cpu")}
    further |= {"on_start": spec.pop("on_start", lambda _: None)}
    further["resume"] = None if path is None else partial(Resume, path)
    rows = schema, training, validation
    return fit_tabular(*rows, model, TableTrainingSpec(**spec), members, **further)


@dataclass(frozen=True)
class Trainer:
    """Trains on the first 300 rows of the toy table and validates on the others."""

    schema: FittedSchema
    training: Records
    validation: Records

    def __call__(self, members=None, model=None, **settings):
        toy = {"beta": {"kind": "linear", "epochs": 2}, "epochs": 6, "batch_size": 64}
        rows = self.schema, self.training, self.validation
        return fit(*rows, model, members, **(toy | settings))

    def validate(self, fitted):
        """Monitored value of the returned model at a final beta of 1, for every member."""
        rows = Batch.of(self.validation, torch.device("cpu"))
        with torch.no_grad():
            terms = fitting._validate(fitted.model.module, rows, fitted.model.members)
        beta = torch.tensor([member.beta for member in fitted.model.members])
        return (terms.reconstruction + beta * terms.kl).tolist()
