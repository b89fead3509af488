"""The model of a run on frameworks: the tabular VAE, its fitted prior, and its surrogates."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import torch
from numpy.typing import NDArray

from variolite.errors import DataWarning
from variolite.frameworks.columns import join, split
from variolite.frameworks.framework_table import read_frameworks
from variolite.frameworks.generation.latent_prior import LatentPrior
from variolite.frameworks.generation.surrogate import FEWEST, FOLDS, Surrogate
from variolite.linkers import as_known
from variolite.progress import Progress
from variolite.records import FittedSchema, Records, Table, group_spellings
from variolite.training.run import Prepared
from variolite.training.storage import (
    read_description,
    read_weights,
    reading_model,
    write_signed,
)
from variolite.training.tabular import TabularModel, description_of, model_from

KIND = "variolite.framework_vae"
FORMAT = 1

FEATURES = 48  # principal components of the features of linkers that the model sees
_PRIOR = ("weights", "means", "covariances")
_TREES = ("roots", "feature", "threshold", "left", "right", "value")
_ERRORS = ("floor", "width", "r2", "mae")

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class FrameworkModel(TabularModel):
    """A tabular model with a prior for each member, none where latents come from N(0, I).

    ``surrogates`` predict the numeric conditions, by name.
    """

    priors: tuple[LatentPrior, ...] = ()
    surrogates: Mapping[str, Surrogate] = field(default_factory=dict)

    def only(self, index: int) -> FrameworkModel:
        model = super().only(index)
        assert isinstance(model, FrameworkModel)
        return replace(model, priors=self.priors[index : index + 1])

    def table(self, data: Any, mapping: Mapping[str, str] | None = None) -> Table:
        """Read a table; conditions that it lacks, and the encoder takes, are predicted."""
        schema = self.schema.schema
        text = group_spellings(schema, mapping)
        table = read_frameworks(data, text=text, nulls=schema.nulls, schema=schema, mapping=mapping)
        known = set(schema.sources(table.frame.columns, mapping or {}).values())
        absent = [name for name in self.condition_names if name not in known]
        if not absent or not set(absent) <= self.surrogates.keys():
            return table
        what = f"the table has no {', '.join(absent)}: the encoder is given what is predicted"
        warnings.warn(what, DataWarning, stacklevel=2)
        predicted = self.predict(table.frame, absent, mapping)
        given = (pl.Series(name, predicted[f"{name}_predicted"]) for name in absent)
        return table._replace(frame=table.frame.with_columns(given))

    def records(
        self, data: Any, mapping: Mapping[str, str] | None = None, *, accept_range: bool = False
    ) -> Records:
        """Make records of rows, in which linkers new to the run are the most alike of its own."""
        table = self.table(data, mapping)
        if "linkers" in self.schema.set_names and "linkers" in table.frame.columns:
            cells = [split(cell) for cell in table.frame["linkers"]]
            known = as_known(chain.from_iterable(cells), self.schema.levels["linkers"])
            given = [join(known[one] for one in cell) or None for cell in cells]
            frame = table.frame.with_columns(pl.Series("linkers", given, pl.String))
            table = table._replace(frame=frame)
        return super().records(table, mapping, accept_range=accept_range)

    def require_whole(self) -> None:
        """Raise a ValueError where priors or surrogates are of another model."""
        sizes = [member.latent + len(self.condition_names) for member in self.members]
        if self.priors and [prior.means.shape[1] for prior in self.priors] != sizes:
            raise ValueError("the priors are of another model")
        shapes = (column.shape for column in self.module.set_columns)
        width = 2 * self.module.architecture.numeric + sum(s.features or s.levels for s in shapes)
        for name, surrogate in self.surrogates.items():
            if name not in self.condition_names or surrogate.feature.max(initial=0) >= width:
                raise ValueError(f"the surrogate of {name} is of another model")

    @property
    def condition_names(self) -> list[str]:
        """Names of the numeric conditions, in their order in `Records.condition`."""
        return [column.name for column in self.schema.schema.of_role("condition", "numeric")]

    def predict(
        self, frame: pl.DataFrame, names: Sequence[str], mapping: Mapping[str, str] | None = None
    ) -> dict[str, Floats]:
        """Predict conditions ``names`` that rows (n,) do not have; see `predictions`.

        NaN for rows that the schema does not take.
        """
        # Records need some value of a condition, surrogates see none: 0 once transformed, for 0
        # itself may be impossible, as for a logarithm.
        given: dict[str, float | str] = {
            name: self.schema.numeric[name].inverse(np.zeros(1)).item() for name in names
        }
        for column in self.schema.schema.of_role("condition", "category"):
            if column.name not in frame.columns:
                given[column.name] = self.schema.levels[column.name][0]
        known = frame.with_columns(pl.lit(value).alias(name) for name, value in given.items())
        records = self.schema.apply(known, mapping=mapping)
        found = {name: np.full(frame.height, np.nan) for name in self._prediction_names}
        for name, values in self.predictions(records).items():
            found[name][records.row] = values
        return found

    @property
    def _prediction_names(self) -> list[str]:
        return [f"{n}_{end}" for n in self.surrogates for end in ("predicted", "low", "high")]

    def predictions(self, records: Records) -> dict[str, Floats]:
        """Return ``NAME_predicted``, ``_low`` and ``_high`` of each surrogate, (n,) each."""
        described = self.describe(records) if self.surrogates else np.empty((len(records), 0))
        found = (part for s in self.surrogates.values() for part in s.predict(described))
        return dict(zip(self._prediction_names, found, strict=True))

    def describe(self, records: Records) -> Floats:
        """Rows as surrogates see them, (n, D): no condition is among it.

        Numbers, whether they were observed, members of small sets, and the mean features of the
        linkers.
        """
        parts: list[NDArray[Any]] = [records.numeric, records.observed]
        for name, column in zip(self.schema.set_names, self.module.set_columns, strict=True):
            codes, known = records.sets[name], records.sets[name] >= 0
            if column.shape.features:
                features = column.features[0].cpu().numpy()[np.maximum(codes, 0)]
                counts = np.maximum(known.sum(axis=1, keepdims=True), 1)
                parts += [(features * known[:, :, None]).sum(axis=1) / counts]
            else:
                levels = np.arange(column.shape.levels)
                parts += [(codes[:, :, None] == levels).any(axis=1)]
        return np.column_stack(parts).astype(np.float64)


def member_features(schema: FittedSchema) -> dict[str, NDArray[np.float32]]:
    """Principal components of what is known of linkers and building units, (levels, F) by set."""
    from sklearn.decomposition import PCA

    from variolite.frameworks.assembly.unit_library import unit_features
    from variolite.linkers import linker_features

    found = {}
    for name, describe in (
        ("linkers", linker_features),
        ("nodes", unit_features),
        ("linker_units", unit_features),
    ):
        if name not in schema.set_names:
            continue
        features = describe(schema.levels[name])
        # Bits that hardly ever differ would be noise of unit variance.
        scaled = (features - features.mean(axis=0)) / (features.std(axis=0) + 1e-3)
        components = PCA(min(FEATURES, *scaled.shape), svd_solver="full").fit_transform(scaled)
        found[name] = (components / components[:, 0].std()).astype(np.float32)
    return found


def complete(
    model: TabularModel, prepared: Prepared, *, prior: bool, progress: Progress
) -> FrameworkModel:
    """Fit priors to the training rows, and surrogates to those of all other families."""
    training, seed = prepared.part("train"), model.members[0].seed
    whole = FrameworkModel(**vars(model))
    names, priors = whole.condition_names, list[LatentPrior]()
    numeric = training.condition[:, : len(names)].astype(np.float64)
    for index in range(len(model.members) if prior else 0):
        mean, log_variance = (part[0] for part in model.only(index).posterior(training))
        priors.append(LatentPrior.fit(mean, log_variance, numeric, seed))
    assert prepared.records.group is not None
    rows = prepared.split.rows(prepared.records.group)
    others = prepared.records.take(np.concatenate([rows["validation"], rows["test"]]))
    families = [] if others.group is None else others.group.tolist()
    surrogates: dict[str, Surrogate] = {}
    for i, name in enumerate(names):
        target = model.schema.numeric[name].inverse(others.condition[:, i].astype(np.float64))
        if len(families) >= FEWEST and len(set(families)) >= FOLDS and np.ptp(target) > 0.0:
            found = Surrogate.fit(whole.describe(others), target, families, seed)
            surrogates[name] = found
            line = f"surrogate of {name}, on families that the model has not seen: "
            progress.note(f"{line}R2 {found.r2:.2f}, mean error {found.mae:.3g}")
        else:
            progress.note(f"no surrogate of {name}: there are too few rows of other families")
    return replace(whole, priors=tuple(priors), surrogates=surrogates)


def save_model(folder: Path, model: FrameworkModel) -> None:
    """Write a model into a folder, in the way of `variolite.training.tabular.save_model`."""
    tensors = {f"module.{name}": value for name, value in model.module.state_dict().items()}
    kept: dict[str, tuple[object, Sequence[str]]] = {
        f"prior.{i}": (prior, _PRIOR) for i, prior in enumerate(model.priors)
    }
    kept |= {f"surrogate.{name}": (one, _TREES) for name, one in model.surrogates.items()}
    for place, (part, names) in kept.items():
        tensors |= {f"{place}.{n}": torch.from_numpy(getattr(part, n)) for n in names}
    about = {
        name: {error: getattr(one, error) for error in _ERRORS}
        for name, one in model.surrogates.items()
    }
    content = description_of(model) | {"surrogates": about, "priors": len(model.priors)}
    write_signed(folder, KIND, FORMAT, content, tensors)


def load_model(folder: Path) -> FrameworkModel:
    """Read a model; ModelFileError where it is damaged, foreign or of a newer format."""
    with reading_model(folder):
        description = read_description(folder, KIND, FORMAT, {}, "a model of frameworks")
        tensors = read_weights(folder, description)

        def arrays(place: str, names: Sequence[str]) -> dict[str, Any]:
            return {name: tensors[f"{place}.{name}"].numpy() for name in names}

        start = "module."
        weights = {n.removeprefix(start): t for n, t in tensors.items() if n.startswith(start)}
        base = model_from(description, weights, folder)
        priors = [
            LatentPrior(**arrays(f"prior.{i}", _PRIOR), latent=base.members[i].latent)
            for i in range(description["priors"])
        ]
        surrogates = {
            name: Surrogate(**arrays(f"surrogate.{name}", _TREES), **errors)
            for name, errors in description["surrogates"].items()
        }
        model = FrameworkModel(**vars(base), priors=tuple(priors), surrogates=surrogates)
        model.require_whole()
        return model
