"""Finding, extending and overriding recipes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from importlib import resources
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ValidationError

from variolite.errors import RecipeError, nearest
from variolite.recipe.spec import Recipe

__all__ = ["load_recipe", "packaged_recipes", "recipe_from_dict", "recipe_to_yaml"]


def packaged_recipes() -> dict[str, str]:
    """Name and title of every recipe that ships with Variolite."""
    root = resources.files("variolite") / "recipes"
    found = {}
    for room in sorted(root.iterdir(), key=lambda entry: entry.name):
        if not room.is_dir():
            continue
        for entry in sorted(room.iterdir(), key=lambda entry: entry.name):
            if entry.name.endswith(".yaml") and not entry.name.startswith("_"):
                content = yaml.safe_load(entry.read_text(encoding="utf-8"))
                name = f"{room.name}/{entry.name.removesuffix('.yaml')}"
                found[name] = str(content.get("title", ""))
    return found


def load_recipe(name: str | Path, overrides: Iterable[str] = ()) -> Recipe:
    """Load a packaged recipe by name, or a file by path, and apply overrides.

    Parameters
    ----------
    name
        ``corelogs/default``, or the path of a YAML file.
    overrides
        ``key.subkey=value`` each; the value is read as YAML.

    Raises
    ------
    RecipeError
        If it is unknown, is not YAML, holds an unknown key or a wrong value.
    """
    content = _resolve(str(name), ())
    for override in overrides:
        _override(content, override)
    return recipe_from_dict(content, where=f"recipe {name}")


def recipe_from_dict(content: Mapping[str, Any], where: str) -> Recipe:
    """Validate a recipe that stands resolved in a mapping."""
    try:
        return Recipe.model_validate(content)
    except ValidationError as error:
        raise _explain(error, where) from None


def recipe_to_yaml(recipe: Recipe) -> str:
    """Write a resolved recipe; loading it again gives the same recipe."""
    content = recipe.model_dump(mode="json", exclude_defaults=True, exclude={"columns"})
    content["columns"] = {name: column.to_spec() for name, column in recipe.columns.items()}
    return yaml.safe_dump(content, sort_keys=False, allow_unicode=True)


def _resolve(name: str, seen: tuple[str, ...]) -> dict[str, Any]:
    if name in seen:
        raise RecipeError(
            f"recipes extend each other in a circle: {' -> '.join((*seen, name))}",
            mend="remove one of the extends lines",
        )
    content = _read(name)
    parent = content.pop("extends", None)
    if parent is not None:
        if not isinstance(parent, str):
            raise RecipeError("extends takes one name", where=f"recipe {name}")
        local = Path(name).parent / parent
        if name.endswith((".yaml", ".yml")) and local.is_file():
            parent = str(local)
        content = _merge(_resolve(parent, (*seen, name)), content)
    if "name" not in content or not name.endswith((".yaml", ".yml")):
        content["name"] = name
    return content


def _read(name: str) -> dict[str, Any]:
    if name.endswith((".yaml", ".yml")):
        path = Path(name)
        try:
            text = path.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            reason = getattr(error, "strerror", None) or "it is not UTF-8 text"
            raise RecipeError(
                f"cannot read the recipe: {reason}", where=name, mend="check the path"
            ) from None
    else:
        entry = resources.files("variolite").joinpath("recipes", *f"{name}.yaml".split("/"))
        if ".." in name or not entry.is_file():
            known = packaged_recipes()
            close = nearest(name, known)
            hint = f"did you mean {close}? " if close else ""
            raise RecipeError(
                f"there is no recipe called {name!r}",
                mend=f"{hint}`variolite recipes` lists them; a file of your own ends in .yaml",
            )
        text = entry.read_text(encoding="utf-8")
    try:
        content = yaml.safe_load(text)
    except yaml.YAMLError as error:
        problem = " ".join(str(error).split())
        raise RecipeError(f"not valid YAML: {problem}", where=f"recipe {name}") from None
    if not isinstance(content, dict):
        raise RecipeError("a recipe is a mapping of keys to values", where=f"recipe {name}")
    return content


def _merge(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    """Lay one mapping over another; null takes a column away."""
    merged = dict(below)
    for key, value in above.items():
        old = merged.get(key)
        # A schedule of another kind replaces the old one: its settings do not carry over.
        same_kind = (
            not isinstance(value, Mapping)
            or "kind" not in value
            or (isinstance(old, Mapping) and old.get("kind") == value["kind"])
        )
        if isinstance(value, Mapping) and isinstance(old, Mapping) and same_kind:
            merged[key] = _merge(old, value)
        else:
            merged[key] = value
    columns = merged.get("columns")
    if isinstance(columns, Mapping):
        merged["columns"] = {name: spec for name, spec in columns.items() if spec is not None}
    return merged


def _override(content: dict[str, Any], text: str) -> None:
    key, separator, value = text.partition("=")
    if not separator or not key:
        raise RecipeError(
            f"--set {text!r} is not of the form key.subkey=value",
            mend="for example --set training.epochs=50",
        )
    try:
        parsed = yaml.safe_load(value)
    except yaml.YAMLError:
        raise RecipeError(f"the value of --set {text!r} is not valid YAML") from None
    nested: Any = parsed
    for part in reversed(key.split(".")):
        nested = {part: nested}
    content.update(_merge(content, nested))


def _explain(error: ValidationError, where: str) -> RecipeError:
    """Say the first thing that is wrong, with the nearest key where one is unknown."""
    first = error.errors(include_url=False)[0]
    path = [str(part) for part in first["loc"]]
    key = ".".join(path)
    if first["type"] == "extra_forbidden":
        close = nearest(path[-1], _known_keys(path[:-1]))
        mend = f"did you mean {close}?" if close else "remove it"
        return RecipeError(f"unknown key {key!r}", where=where, mend=mend)
    message = first["msg"].removeprefix("Value error, ")
    given = first.get("input")
    shown = f" (given: {given!r})" if isinstance(given, (str, int, float)) else ""
    return RecipeError(f"{key or 'recipe'}: {message}{shown}", where=where)


def _known_keys(path: list[str]) -> list[str]:
    """Keys of the model at ``path``, as far as the path can be followed by name."""
    model: type[BaseModel] = Recipe
    for part in path:
        field = model.model_fields.get(part)
        if field is None:
            continue
        found = [t for t in _models_in(field.annotation) if part not in ("columns",)]
        if part == "columns":
            found = _models_in(field.annotation)
        if found:
            model = found[0]
    return list(model.model_fields)


def _models_in(annotation: Any) -> list[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    arguments = getattr(annotation, "__args__", ())
    return [model for argument in arguments for model in _models_in(argument)]
