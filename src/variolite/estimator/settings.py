"""Arguments of an estimator as a recipe, and as JSON."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from numbers import Integral, Real
from typing import Any

import numpy as np
from pydantic import BaseModel
from sklearn.utils import check_random_state

from variolite.errors import SchemaError, TrainingError, nearest
from variolite.recipe import Recipe, load_recipe, recipe_from_dict
from variolite.records import Column, Schema

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
        beta = ramp if warm_up else {"kind": "constant", "value": beta}
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
    return arguments
