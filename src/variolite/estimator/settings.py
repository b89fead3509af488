"""Arguments of an estimator as a recipe, and an estimator as a folder."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from numbers import Integral, Real
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import BaseModel
from sklearn.utils import check_random_state

from variolite.errors import ModelFileError, SchemaError, TrainingError, nearest
from variolite.estimator.frames import Kind
from variolite.recipe import Recipe, load_recipe, recipe_from_dict
from variolite.records import Column, Schema
from variolite.training import (
    EpochRecord,
    RunFolder,
    TabularModel,
    load_model,
    read_history,
    save_model,
    write_history,
)

# From the arguments of an estimator to a recipe, and to JSON and back.


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
    """Make a schema of numeric inputs that may be missing.

    ``transforms`` are steps for every column, or a mapping of names to steps.
    """
    steps: Mapping[str, Any] = (
        transforms if isinstance(transforms, Mapping) else dict.fromkeys(names, transforms)
    )
    for name in steps:
        if name not in names:
            close = nearest(str(name), names)
            hint = f"did you mean {close!r}?" if close else f"known are {', '.join(names[:8])}"
            raise SchemaError(f"there is no column {name!r}", where="transforms", hint=hint)
    return Schema(
        columns={
            name: Column(
                name=name,
                source=name,
                missing="mask",
                transform=_listed(steps.get(name, "standardise")),
            )
            for name in names
        }
    )


def _listed(steps: Any) -> Any:
    return steps if isinstance(steps, str | Mapping) else list(steps)


def recipe_of(arguments: Mapping[str, Any], schema: Schema) -> Recipe:
    """Join the arguments of an estimator to a checked recipe.

    Raises
    ------
    RecipeError
        If an argument is impossible, named as a recipe would name it.
    """
    seed = seed_of(arguments["random_state"])
    if arguments["recipe"] is not None:
        recipe = named_recipe(arguments["recipe"])
        training = recipe.training.model_copy(update={"seed": seed})
        return recipe.model_copy(update={"columns": schema.columns, "training": training})
    encoder = tuple(arguments["encoder"])
    decoder = arguments["decoder"]
    content = {
        "name": "estimator",
        "columns": schema.columns,
        "minimum_inputs": schema.minimum_inputs,
        "model": {
            **{name: arguments[name] for name in _MODEL},
            "encoder": encoder,
            "decoder": encoder[::-1] if decoder is None else tuple(decoder),
        },
        "training": {
            **{name: arguments[name] for name in _TRAINING},
            "beta": _schedule(arguments["beta"], arguments["warm_up"]),
            "seed": seed,
        },
    }
    return recipe_from_dict(content, where="TabularVAE")


def named_recipe(recipe: str | Recipe) -> Recipe:
    """Load a recipe where only its name is given."""
    return recipe if isinstance(recipe, Recipe) else load_recipe(recipe)


def _schedule(beta: Any, warm_up: int) -> Any:
    if not isinstance(beta, Real):
        return beta
    if warm_up == 0:
        return {"kind": "constant", "value": beta}
    return {"kind": "linear", "start": 0.0, "end": beta, "epochs": warm_up}


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
    for name in ("encoder", "decoder", "transforms"):
        if isinstance(arguments.get(name), list):
            arguments[name] = tuple(arguments[name])
    return arguments


# An estimator as a folder: the model file, with the arguments in its provenance.


HISTORY = "history.jsonl"


@dataclass(frozen=True)
class Fit:
    """What an estimator knows after fitting, beside its model and history.

    The member in use, and of the table that it was fitted on: its kind, whether columns are
    found by name, their names where they have any, and their number.
    """

    member: int
    kind: Kind
    by_name: bool
    columns: tuple[str, ...]
    width: int


def save_fit(
    folder: Path,
    arguments: Mapping[str, Any],
    model: TabularModel,
    history: list[EpochRecord],
    fit: Fit,
) -> None:
    """Write a fitted estimator."""
    facts = {"arguments": arguments_to_json(arguments), "fit": asdict(fit)}
    provenance = {**model.provenance, "estimator": facts}
    save_model(folder, replace(model, provenance=provenance))
    write_history(folder / HISTORY, history)


def load_fit(folder: Path) -> tuple[dict[str, Any], TabularModel, list[EpochRecord], Fit]:
    """Read what `save_fit` wrote, or the run folder of ``variolite fit``.

    Raises
    ------
    ModelFileError
        If there is no model, or it is damaged or of a newer format.
    """
    run = RunFolder(folder)
    model = run.model() if run.finished else load_model(folder)
    history = folder / HISTORY
    epochs = read_history(history) if history.is_file() else []
    facts = model.provenance.get("estimator")
    if facts is None:
        schema = model.schema.schema
        used = tuple(str(column.source) for column in (*schema.inputs, *schema.conditions))
        arguments = {"schema": schema, "recipe": run.recipe() if run.finished else None}
        return arguments, model, epochs, Fit(0, "polars", True, used, len(used))
    try:
        fit = Fit(**{**facts["fit"], "columns": tuple(facts["fit"]["columns"])})
        return arguments_from_json(facts["arguments"]), model, epochs, fit
    except (KeyError, TypeError) as error:
        raise ModelFileError(
            f"the arguments of the estimator cannot be read ({error})",
            where=str(folder),
            hint="save it again with the version that trained it",
        ) from None
