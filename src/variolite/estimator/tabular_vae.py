"""`TabularVAE`: the tabular VAE as a scikit-learn estimator."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from numbers import Integral, Real
from pathlib import Path
from typing import Any, Literal, Self

import numpy as np
import polars as pl
from numpy.typing import ArrayLike, NDArray
from pydantic import BaseModel, ValidationError
from sklearn.base import BaseEstimator, DensityMixin, TransformerMixin
from sklearn.utils import Tags, check_random_state
from sklearn.utils.validation import check_array, check_is_fitted, validate_data

from variolite.errors import DataError, ModelFileError, SchemaError, TrainingError, nearest
from variolite.estimator.frames import as_kind, decode, fill_gaps, hold_back, kind_of, spread
from variolite.progress import ConsoleProgress, Progress
from variolite.recipe import Recipe, Schedule, load_recipe, recipe_from_dict
from variolite.records import (
    Column,
    FittedSchema,
    Records,
    Schema,
    Table,
    groups_of,
    load_table,
    one_spelling,
    read_table,
    require_roles,
    usable_rows,
)
from variolite.scoring.imputation import Calibration, calibrate, impute, load_calibration
from variolite.training.device import single_thread
from variolite.training.run_folder import RunFolder
from variolite.training.storage import read_history, write_history
from variolite.training.tabular import TabularModel, load_model, save_model
from variolite.training.tabular_fit import fit_tabular, members_for


class TabularVAE(TransformerMixin, DensityMixin, BaseEstimator):  # type: ignore[misc]
    """Variational autoencoder of a table (Kingma and Welling 2014).

    Takes arrays and numeric data frames by position, as scikit-learn does. With a ``schema`` it
    takes any table, finds its columns by name, and handles categories, units, sentinels and
    valid ranges as the schema says. Missing values (NaN) are masked, never filled. Tables come
    back in the kind they came in, always in original units. Rows that cannot be used (every
    value missing, or dropped by the schema's policy) come out as NaN.

    With groups, rows of one borehole or family are never both in training and validation.
    Without, rows are drawn: neighbouring rows that resemble each other then make the value that
    stops training look better than it is.

    Parameters
    ----------
    latent
        Latent dimensions L.
    encoder, decoder
        Widths of the hidden layers, and of those back from the latent space; None mirrors
        ``encoder``.
    likelihood
        ``gaussian`` or ``student_t``, of the numeric columns.
    variance, sigma2
        Noise of the decoder: one learned per column (``feature``), learned for every value
        (``row``), or ``fixed`` to the variance ``sigma2`` in transformed units.
    beta, warm_up
        Weight of the KL: a number, reached in a straight line from 0 over ``warm_up`` epochs,
        or a schedule (:class:`variolite.recipe.CyclicalBeta`, or the mapping a recipe would
        hold, such as ``{"kind": "sigmoid", "epochs": 20}``), which leaves ``warm_up`` unused.
    epochs
        Most epochs to train, the warm-up included.
    batch_size, learning_rate
        Rows per step, and the rate of Adam; ``auto`` follows the number of rows.
    patience
        Epochs without gain on the validation set, counted from the end of the warm-up, after
        which training stops; None trains all epochs. The best weights are kept.
    validation
        Fraction of the groups, or without groups of the rows, in the validation set; None has
        none.
    members
        Random starts, trained side by side as one batched model. The one with the best value on
        the validation set is used, and `model_` keeps all.
    random_state
        Seed, generator or None. An integer gives equal results on one machine.
    device
        ``auto``, ``cpu``, ``cuda``, ``cuda:1`` or ``mps``.
    transforms
        Reversible steps for every column of an array or of a frame without schema, or a mapping
        from column name (``x0``, ``x1``, ... in an array) to steps; columns not in the mapping
        are standardised. See `variolite.records.TRANSFORMS`.
    schema
        Columns by meaning, for data frames and files.
    recipe
        A recipe or its name. Its ``model`` and ``training`` replace the arguments from
        ``latent`` to ``patience``; its columns are the schema where none is given.
    verbose
        Report the progress of training on stderr.

    Attributes
    ----------
    model_ : TabularModel
        All members, with the fitted schema; ``member_`` is the one in use.
    history_ : list of EpochRecord
        What happened in every epoch.
    calibration_ : Calibration
        Errors of each input where it was hidden from the validation set.
    n_features_in_, feature_names_in_
        Number of columns seen in fit, and their names, where they have any.

    Examples
    --------
    >>> import numpy as np
    >>> from variolite import TabularVAE
    >>> rng = np.random.default_rng(0)
    >>> X = rng.normal(size=(300, 2)) @ [[1.0, 0.5, 0.0], [0.0, 1.0, -1.0]]
    >>> vae = TabularVAE(latent=2, epochs=20).fit(X)
    >>> vae.transform(X).shape
    (300, 2)
    >>> vae.inverse_transform(vae.transform(X)).shape
    (300, 3)
    """

    def __init__(
        self,
        latent: int = 10,
        *,
        encoder: Sequence[int] = (32, 16),
        decoder: Sequence[int] | None = None,
        likelihood: Literal["gaussian", "student_t"] = "gaussian",
        variance: Literal["fixed", "feature", "row"] = "feature",
        sigma2: float | None = None,
        beta: float | Schedule | Mapping[str, Any] = 1.0,
        warm_up: int = 5,
        epochs: int = 100,
        batch_size: int | Literal["auto"] = "auto",
        learning_rate: float | Literal["auto"] = "auto",
        patience: int | None = 15,
        validation: float | None = 0.15,
        members: int = 1,
        random_state: int | np.random.RandomState | None = 0,
        device: str = "auto",
        transforms: Sequence[Any] | Mapping[str, Any] = ("standardise",),
        schema: Schema | None = None,
        recipe: str | Recipe | None = None,
        verbose: bool = False,
    ) -> None:
        self.latent = latent
        self.encoder = encoder
        self.decoder = decoder
        self.likelihood = likelihood
        self.variance = variance
        self.sigma2 = sigma2
        self.beta = beta
        self.warm_up = warm_up
        self.epochs = epochs
        self.batch_size = batch_size
        self.learning_rate = learning_rate
        self.patience = patience
        self.validation = validation
        self.members = members
        self.random_state = random_state
        self.device = device
        self.transforms = transforms
        self.schema = schema
        self.recipe = recipe
        self.verbose = verbose

    def fit(self, X: Any, y: Any = None, groups: ArrayLike | None = None) -> Self:
        """Train on a table; ``y`` is ignored.

        VarioliteError if the table does not suit the schema, a setting is impossible, or too
        little is left to train on.

        Parameters
        ----------
        X
            Array of shape (n, d), NaN where missing, or a data frame, mapping of arrays or path
            of a table: of numbers alone, unless there is a schema or a recipe.
        groups
            Group name of every row, shape (n,), so that validation takes whole groups; by
            default the schema's group column, where there is one.
        """
        del y
        if not isinstance(self.members, int | np.integer) or self.members < 1:
            raise TrainingError(f"{self.members!r} random starts were asked for", where="members")
        schema = self.schema
        if schema is None and self.recipe is not None and kind_of(X) != "array":
            schema = named_recipe(self.recipe).table
        self._by_name_ = schema is not None
        table, units, _ = self._take_in(X, reset=True)
        schema = (schema or plain_schema(table.columns, self.transforms)).bind(table.columns)
        if self._by_name_:
            self._set_columns(schema)
        recipe = recipe_of(self.get_params(deep=False), schema)
        if groups is None and schema.group is not None:
            require_roles(schema, table)
            groups = one_spelling(groups_of(schema, table))
        usable = usable_rows(schema, table, units)
        held_back = hold_back(usable, table.height, groups, self.validation, recipe.training.seed)
        fitted_schema = FittedSchema.fit(schema, table, ~held_back, units=units)
        records = fitted_schema.apply(table, units=units)
        chosen = held_back[records.row]
        progress = ConsoleProgress() if self.verbose else Progress()
        with progress.training(recipe.training.epochs) as on_epoch:
            fitted = fit_tabular(
                fitted_schema,
                records.take(~chosen),
                records.take(chosen) if chosen.any() else None,
                recipe.model,
                recipe.training,
                members_for(recipe.training, recipe.model, seeds=int(self.members)),
                device=self.device,
                on_start=progress.note,
                on_epoch=on_epoch,
            )
        self.model_ = fitted.model
        self.history_ = fitted.history
        self.member_ = int(np.argmin(fitted.best))
        parts = records.take(~chosen), records.take(chosen) if chosen.any() else None
        self.calibration_ = calibrate(self._model, *parts)
        self._kind_ = kind_of(X)
        return self

    def transform(self, X: Any) -> NDArray[np.float32]:
        """Return the posterior mean of every row, shape (n, L): no sampling.

        Values missing from a column that was complete in training count as the column's mean,
        as the network never learned to read around gaps in that case.
        """
        records, rows = self._records(X)
        return spread(self._encode(records).astype(np.float32), records, rows)

    def sample_posterior(
        self, X: Any, n_samples: int = 1, random_state: Any = None
    ) -> NDArray[np.float32]:
        """Draw from the posterior of every row, shape (n_samples, n, L)."""
        records, rows = self._records(X)
        with self._threads():
            mean, log_variance = self._model.posterior(records)
        noise = check_random_state(random_state).standard_normal((n_samples, *mean.shape[1:]))
        draws = (mean + np.exp(0.5 * log_variance) * noise).astype(np.float32)
        return np.stack([spread(draw, records, rows) for draw in draws])

    def inverse_transform(self, Z: ArrayLike) -> Any:
        """Decode latent points of shape (n, L) to a table in original units.

        Numeric columns get the median of the likelihood, categories their most probable level.
        A model with conditions decodes at their mean over the training rows.
        """
        check_is_fitted(self)
        points: NDArray[np.float32] = check_array(Z, dtype=np.float32)
        latent = self._model.members[0].latent
        if points.shape[1] != latent:
            what = f"the latent points have {points.shape[1]} dimensions, the model has {latent}"
            raise DataError(what)
        with self._threads():
            return as_kind(decode(self._model, points, None), self._kind_)

    def reconstruct(self, X: Any) -> Any:
        """Decode the posterior mean of every row: a table like ``X`` in original units."""
        records, rows = self._records(X)
        decoded = self._decoded(records)
        whole = {name: spread(values, records, rows) for name, values in decoded.items()}
        return as_kind(whole, kind_of(X), index=getattr(X, "index", None))

    def impute(self, X: Any, *, level: float | None = None) -> Any:
        """Fill missing values with the median of what the rest of their row says of them.

        With a ``level``, such as 0.9, return three tables: values, and the lower and upper ends
        of intervals that held this share of the values hidden from the validation set. Observed
        values and rows that the schema drops stay unchanged. TrainingError if values are missing
        from a table whose like was complete in training: the network then never learned to read
        around gaps.
        """
        records, _ = self._records(X)
        with self._threads():
            found = impute(self._model, records, self.calibration_, level=level or 0.9)
        table, schema = self._take_in(X, reset=False).frame, self._model.schema
        # Categories alone are left of it: they get their most probable level.
        decoded, kind = self._decoded(records), kind_of(X)
        tables = []
        for values in (found.value, found.low, found.high)[: 1 if level is None else 3]:
            sources = (str(schema.schema.columns[name].source) for name in schema.numeric_names)
            decoded |= dict(zip(sources, values.T, strict=True))
            filled = fill_gaps(table, records, schema, decoded)
            if kind == "pandas":
                tables.append(X.assign(**filled))
            elif kind == "polars":
                tables.append(table.with_columns(as_kind(filled, kind).get_columns()))
            else:
                tables.append(as_kind(filled, kind))
        return tables[0] if level is None else tuple(tables)

    def sample(self, n_samples: int = 1, random_state: Any = None) -> Any:
        """Draw rows from the prior and the likelihood: a table in original units.

        A model with conditions samples at their mean over the training rows.
        """
        check_is_fitted(self)
        drawn = self.model_.sample(n_samples, seed=seed_of(random_state), member=self.member_)
        inputs = self.model_.schema.schema.inputs
        return as_kind({str(c.source): drawn[c.name] for c in inputs}, self._kind_)

    def score_samples(self, X: Any, *, samples: int = 32) -> NDArray[np.float64]:
        """Return a lower bound on the log-likelihood of every row, nats, shape (n,).

        In original units, of the observed values alone: scores under different transforms can
        be compared. More importance ``samples`` (Burda et al. 2016, equation 8) give a tighter
        and less noisy bound; 1 gives the evidence lower bound. The noise has a fixed seed and
        depends on a row's position in the table.
        """
        records, rows = self._records(X)
        with self._threads():
            bound = self._model.evidence(records, samples=samples)[0]
        return spread(bound, records, rows)

    def score(self, X: Any, y: Any = None) -> float:
        """Return the mean of `score_samples` over the rows that can be used."""
        del y
        return float(np.nanmean(self.score_samples(X)))

    def get_feature_names_out(self, input_features: ArrayLike | None = None) -> NDArray[np.object_]:
        """Return ``z0``, ``z1``, ...; ``input_features`` is checked and otherwise unused."""
        check_is_fitted(self)
        if input_features is not None:
            given, count = np.asarray(input_features, dtype=object), self.n_features_in_
            if len(given) != count:
                # In the words of scikit-learn, whose checks look for them.
                what = "input_features should have length equal to the number of features"
                raise DataError(f"{what} ({count}), got {len(given)}")
            if not np.array_equal(given, getattr(self, "feature_names_in_", given)):
                raise DataError("input_features is not equal to feature_names_in_")
        return np.asarray([f"z{i}" for i in range(self._model.members[0].latent)], dtype=object)

    def save(self, path: str | Path) -> None:
        """Write the model, its settings and its history into a folder: no pickle, no rows.

        ModelFileError if the folder cannot be written.
        """
        check_is_fitted(self)
        columns = list(map(str, getattr(self, "feature_names_in_", ())))
        fit: dict[str, Any] = {"member": self.member_, "kind": self._kind_}
        fit |= {"by_name": self._by_name_, "columns": columns, "width": self.n_features_in_}
        facts = {"arguments": arguments_to_json(self.get_params(deep=False)), "fit": fit}
        facts["calibration"] = self.calibration_.model_dump(mode="json")
        provenance = {**self.model_.provenance, "estimator": facts}
        save_model(Path(path), replace(self.model_, provenance=provenance))
        write_history(RunFolder(Path(path)).history_file, self.history_)

    @classmethod
    def load(cls, path: str | Path) -> Self:
        """Read what `save` wrote, or the run folder of ``variolite fit``.

        ModelFileError if there is no model, or it is damaged or of a newer format.
        """
        run = RunFolder(Path(path))
        model = run.model() if run.finished else load_model(run.path)
        facts = model.provenance.get("estimator")
        if facts is None:
            # A run of the command line: one member, and columns by name.
            recipe = run.recipe() if run.finished else None
            estimator = cls(schema=model.schema.schema, recipe=recipe)
            estimator.member_, estimator._kind_, estimator._by_name_ = 0, "polars", True
            estimator.calibration_ = load_calibration(run) or Calibration()
            estimator._set_columns(model.schema.schema)
        else:
            try:
                estimator, fit = cls(**arguments_from_json(facts["arguments"])), facts["fit"]
                estimator.member_, estimator._kind_ = fit["member"], fit["kind"]
                estimator._by_name_, estimator.n_features_in_ = fit["by_name"], fit["width"]
                if fit["columns"]:
                    estimator.feature_names_in_ = np.asarray(fit["columns"], dtype=object)
                known = facts.get("calibration", {})  # earlier versions had none
                estimator.calibration_ = Calibration.model_validate(known)
            except (KeyError, TypeError, ValidationError) as error:
                what = f"the arguments of the estimator cannot be read ({error})"
                hint = "save it again with the version that trained it"
                raise ModelFileError(what, where=str(path), hint=hint) from None
        estimator.model_ = model
        estimator.history_ = read_history(run.history_file) if run.history_file.is_file() else []
        return estimator

    def __sklearn_tags__(self) -> Tags:
        tags: Tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = True
        # Latents are as precise as the network: single.
        tags.transformer_tags.preserves_dtype = []
        return tags

    @property
    def _model(self) -> TabularModel:
        """The member in use."""
        return self.model_.only(self.member_) if len(self.model_.members) > 1 else self.model_

    def _set_columns(self, schema: Schema) -> None:
        used = [str(column.source) for column in (*schema.inputs, *schema.conditions)]
        self.feature_names_in_ = np.asarray(used, dtype=object)
        self.n_features_in_ = len(used)

    def _take_in(self, X: Any, *, reset: bool) -> Table:
        """Read a table: by name with a schema, by position without."""
        if self._by_name_:
            return load_table(X)
        kind = kind_of(X)
        if kind == "polars":
            X = read_table(X)
        # Guessing what text means would let names of boreholes into the model as inputs.
        types = read_table(X).schema if reset and kind != "array" else {}
        for name, dtype in types.items():
            if not (dtype.is_numeric() or dtype in (pl.Boolean, pl.Null)):
                hint = "Leave it out, or say with schema= what it is: a category, label or group"
                what, where = f"holds {dtype}, not numbers", f"column {name!r}"
                raise SchemaError(what, where=where, hint=hint)
        checks = {"dtype": np.float64, "ensure_all_finite": "allow-nan"}
        least = 2 if reset else 1
        values = validate_data(self, X, reset=reset, ensure_min_samples=least, **checks)
        names = getattr(self, "feature_names_in_", None)
        if names is None:
            names = [f"x{i}" for i in range(values.shape[1])]
        return Table(pl.DataFrame(dict(zip(map(str, names), values.T, strict=True))), {})

    def _records(self, X: Any) -> tuple[Records, int]:
        check_is_fitted(self)
        table = self._take_in(X, reset=False)
        return self._model.schema.apply(table), table.frame.height

    def _encode(self, records: Records) -> NDArray[np.float64]:
        with self._threads():
            mean: NDArray[np.float64] = self._model.encode(records)[0]
        return mean

    def _decoded(self, records: Records) -> dict[str, NDArray[Any]]:
        """Decode the posterior means of records."""
        mean = self._encode(records)
        with self._threads():
            return decode(self._model, mean, records.condition)

    def _threads(self) -> AbstractContextManager[None]:
        return single_thread(sum(p.numel() for p in self._model.module.parameters()))


# Arguments of an estimator as a recipe, and as JSON.

_MODEL = ("latent", "likelihood", "variance", "sigma2")
_TRAINING = ("epochs", "batch_size", "learning_rate", "patience")


def seed_of(random_state: Any) -> int:
    """Turn a seed, a generator or None into a seed; a seed stays what it is."""
    if isinstance(random_state, Integral) and not isinstance(random_state, bool):
        if random_state < 0:
            raise TrainingError(f"the seed is {random_state}, below 0", where="random_state")
        return int(random_state)
    return int(check_random_state(random_state).randint(np.iinfo(np.int32).max))


def plain_schema(names: Sequence[str], transforms: Any) -> Schema:
    """Make a schema of inputs that may be missing, with steps for all of them or by name."""
    steps = transforms if isinstance(transforms, Mapping) else dict.fromkeys(names, transforms)
    for name in steps:
        if name not in names:
            close = nearest(str(name), names)
            hint = f"did you mean {close!r}?" if close else f"known are {', '.join(names[:8])}"
            raise SchemaError(f"there is no column {name!r}", where="transforms", hint=hint)
    columns: dict[str, Column] = {}
    for name in names:
        given = steps.get(name, "standardise")
        columns[name] = Column(name=name, source=name, missing="mask", transform=given)
    return Schema(columns=columns)


def named_recipe(recipe: str | Recipe) -> Recipe:
    """Load a recipe where only its name is given."""
    return recipe if isinstance(recipe, Recipe) else load_recipe(recipe)


def recipe_of(arguments: Mapping[str, Any], schema: Schema) -> Recipe:
    """Join arguments to a checked recipe; RecipeError names them as a recipe would."""
    seed = seed_of(arguments["random_state"])
    if arguments["recipe"] is not None:
        recipe = named_recipe(arguments["recipe"])
        training = recipe.training.model_copy(update={"seed": seed})
        return recipe.model_copy(update={"columns": schema.columns, "training": training})
    encoder, decoder = tuple(arguments["encoder"]), arguments["decoder"]
    beta, warm_up = arguments["beta"], arguments["warm_up"]
    if isinstance(beta, Real):
        ramp = {"kind": "linear", "start": 0.0, "end": beta, "epochs": warm_up}
        beta = ramp if warm_up != 0 else {"kind": "constant", "value": beta}
    content = {
        "name": "estimator",
        "columns": schema.columns,
        "minimum_inputs": schema.minimum_inputs,
        "model": {name: arguments[name] for name in _MODEL}
        | {"encoder": encoder, "decoder": tuple(encoder[::-1] if decoder is None else decoder)},
        "training": {name: arguments[name] for name in _TRAINING} | {"beta": beta, "seed": seed},
    }
    return recipe_from_dict(content, where="TabularVAE")


def arguments_to_json(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Return plain JSON types; a generator becomes None, as its state cannot be kept."""

    def plain(value: Any) -> Any:
        if isinstance(value, Schema):
            return value.to_dict()
        if isinstance(value, BaseModel):
            return value.model_dump(mode="json")
        return value.item() if isinstance(value, np.generic) else None

    content: dict[str, Any] = json.loads(json.dumps(dict(arguments), default=plain))
    return content


def arguments_from_json(content: Mapping[str, Any]) -> dict[str, Any]:
    """Undo `arguments_to_json`."""
    arguments = dict(content)
    if arguments.get("schema") is not None:
        arguments["schema"] = Schema.from_dict(arguments["schema"])
    if isinstance(arguments.get("recipe"), Mapping):
        arguments["recipe"] = recipe_from_dict(arguments["recipe"], where="saved recipe")
    # JSON has no tuples, which the defaults are.
    return {k: tuple(v) if isinstance(v, list) else v for k, v in arguments.items()}
