"""The model of a run on frameworks: the tabular VAE, its fitted prior, and its surrogates."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import torch
from numpy.typing import NDArray
from torch import Tensor

from variolite.errors import DataWarning
from variolite.frameworks.framework_table import read_frameworks
from variolite.frameworks.generation.latent_prior import LatentPrior
from variolite.frameworks.generation.surrogate import FEWEST, FOLDS, Surrogate
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
    """A tabular model with what frameworks ask of it beyond.

    ``priors`` are of the members, none where latents come from N(0, I). ``surrogates`` predict
    the numeric conditions, by name.
    """

    priors: tuple[LatentPrior, ...] = ()
    surrogates: Mapping[str, Surrogate] = field(default_factory=dict)

    def only(self, index: int) -> FrameworkModel:
        model = super().only(index)
        assert isinstance(model, FrameworkModel)
        return replace(model, priors=self.priors[index : index + 1])

    def table(self, data: Any, mapping: Mapping[str, str] | None = None) -> Table:
        schema = self.schema.schema
        text = group_spellings(schema, mapping)
        table = read_frameworks(data, text=text, nulls=schema.nulls, schema=schema, mapping=mapping)
        known = set(schema.sources(table.frame.columns, mapping or {}).values())
        absent = [name for name in self.condition_names if name not in known]
        if not absent or not set(absent) <= self.surrogates.keys():
            return table
        return table._replace(frame=self._with_predicted(table.frame, absent, mapping))

    def _with_predicted(
        self, frame: pl.DataFrame, names: Sequence[str], mapping: Mapping[str, str] | None
    ) -> pl.DataFrame:
        """Put what the surrogates predict where a table lacks conditions that the encoder takes."""
        predicted = self.predict(frame, names, mapping)
        given = (pl.Series(name, predicted[f"{name}_predicted"]) for name in names)
        frame = frame.with_columns(given)
        what = f"the table has no {', '.join(names)}: the encoder is given what is predicted"
        warnings.warn(what, DataWarning, stacklevel=3)
        return frame

    def require_whole(self) -> None:
        """Raise a ValueError where priors or surrogates are of another model."""
        if len(self.priors) not in (0, len(self.members)):
            raise ValueError(f"there are {len(self.priors)} priors of {len(self.members)} members")
        for prior, member in zip(self.priors, self.members, strict=False):
            if prior.means.shape[1] != member.latent + len(self.condition_names):
                raise ValueError("a prior is of another size than its model")
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
        whole = {}
        for name, values in self.predictions(records).items():
            whole[name] = np.full(frame.height, np.nan)
            whole[name][records.row] = values
        return whole

    def predictions(self, records: Records) -> dict[str, Floats]:
        """Return ``NAME_predicted``, ``_low`` and ``_high`` of each surrogate, (n,) each."""
        found: dict[str, Floats] = {}
        described = self.describe(records) if self.surrogates else np.empty((len(records), 0))
        for name, surrogate in self.surrogates.items():
            ends = (f"{name}_{end}" for end in ("predicted", "low", "high"))
            found |= zip(ends, surrogate.predict(described), strict=True)
        return found

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
    from variolite.frameworks.linkers import linker_features

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


def complete(model: TabularModel, prepared: Prepared, *, prior: bool) -> FrameworkModel:
    """Fit priors to the training rows, and surrogates to those of all other families."""
    training, seed = prepared.part("train"), model.members[0].seed
    names = [c.name for c in model.schema.schema.of_role("condition", "numeric")]
    numeric = training.condition[:, : len(names)].astype(np.float64)
    priors: list[LatentPrior] = []
    for index in range(len(model.members) if prior else 0):
        mean, log_variance = (part[0] for part in model.only(index).posterior(training))
        priors.append(LatentPrior.fit(mean, log_variance, numeric, seed))
    whole = FrameworkModel(
        model.schema, model.module, model.members, model.provenance, model.groups, tuple(priors)
    )
    assert prepared.records.group is not None
    rows = prepared.split.rows(prepared.records.group)
    others = prepared.records.take(np.concatenate([rows["validation"], rows["test"]]))
    surrogates: dict[str, Surrogate] = {}
    for i, name in enumerate(names):
        if others.group is None or len(others) < FEWEST or len(set(others.group)) < FOLDS:
            break
        target = model.schema.numeric[name].inverse(others.condition[:, i].astype(np.float64))
        if np.ptp(target) > 0.0:
            found = Surrogate.fit(whole.describe(others), target, others.group.tolist(), seed)
            surrogates[name] = found
    return replace(whole, surrogates=surrogates)


def save_model(folder: Path, model: FrameworkModel) -> None:
    """Write a model into a folder, in the way of `variolite.training.tabular.save_model`."""
    tensors = {f"module.{name}": value for name, value in model.module.state_dict().items()}
    for i, prior in enumerate(model.priors):
        tensors |= {f"prior.{i}.{n}": torch.from_numpy(getattr(prior, n)) for n in _PRIOR}
    about = {}
    for name, surrogate in model.surrogates.items():
        arrays = {n: torch.from_numpy(getattr(surrogate, n)) for n in _TREES}
        tensors |= {f"surrogate.{name}.{n}": array for n, array in arrays.items()}
        about[name] = {n: getattr(surrogate, n) for n in _ERRORS}
    content = description_of(model) | {"surrogates": about, "priors": len(model.priors)}
    write_signed(folder, KIND, FORMAT, content, tensors)


def load_model(folder: Path) -> FrameworkModel:
    """Read a model; ModelFileError where it is damaged, foreign or of a newer format."""
    with reading_model(folder):
        description = read_description(folder, KIND, FORMAT, {}, "a model of frameworks")
        tensors = read_weights(folder, description)
        base = model_from(description, _under(tensors, "module."), folder)
        priors = []
        for i in range(description["priors"]):
            arrays = _arrays(_under(tensors, f"prior.{i}."), _PRIOR)
            priors.append(LatentPrior(**arrays, latent=base.members[i].latent))
        surrogates = {
            name: Surrogate(**_arrays(_under(tensors, f"surrogate.{name}."), _TREES), **errors)
            for name, errors in description["surrogates"].items()
        }
        model = FrameworkModel(**vars(base), priors=tuple(priors), surrogates=surrogates)
        model.require_whole()
        return model


def _under(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {n.removeprefix(prefix): t for n, t in tensors.items() if n.startswith(prefix)}


def _arrays(tensors: Mapping[str, Tensor], names: tuple[str, ...]) -> dict[str, Any]:
    return {name: tensors[name].numpy() for name in names}
