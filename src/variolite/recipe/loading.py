"""Finding, extending and overriding recipes."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from importlib import resources
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ValidationError

from variolite.errors import RecipeError, SchemaError, nearest
from variolite.fields import FIELDS, field_of_kind
from variolite.recipe.settings import BaseRecipe, Recipe
from variolite.strict_yaml import load_yaml, read_yaml

R = TypeVar("R", bound=BaseRecipe)

_WITH_KINDS = frozenset({("training", "beta")})
"""Places where settings belong to the kind that stands beside them."""


def packaged_recipes() -> dict[str, str]:
    """Name and title of every recipe that ships with Variolite, v2_9 before v2_10."""
    found: dict[str, str] = {}
    _collect(resources.files("variolite") / "recipes", "", found)
    return found


def _collect(folder: Traversable, above: str, found: dict[str, str]) -> None:
    by_name = sorted(folder.iterdir(), key=lambda entry: _by_number(entry.name))
    for entry in by_name:
        if entry.is_dir():
            _collect(entry, f"{above}{entry.name}/", found)
        elif entry.name.endswith(".yaml") and not entry.name.startswith("_"):
            content = yaml.safe_load(entry.read_text(encoding="utf-8"))
            name = f"{above}{entry.name.removesuffix('.yaml')}"
            found[name] = str(content.get("title", ""))


def _by_number(name: str) -> list[tuple[int, str]]:
    """Text and numbers of a name by turns, to sort by."""
    parts = re.split(r"([0-9]+)", name.removesuffix(".yaml"))
    return [(int(part), "") if part.isdigit() else (-1, part) for part in parts]


def load_recipe(
    name: str | Path,
    overrides: Iterable[str] = (),
    kind: type[R] = Recipe,  # type: ignore[assignment]  # a default cannot bind R
    *,
    stored: bool = False,
) -> R:
    """Load a packaged recipe by name, or a file by path, and apply overrides.

    Parameters
    ----------
    name
        ``corelogs/default``, or the path of a YAML file.
    overrides
        ``key.subkey=value`` each; the value is read as YAML.
    kind
        Class that the recipe has to be of: one for tables by default, `BaseRecipe` for any.
    stored
        It is the recipe of a run: parts that this version can no longer train are read.

    Raises
    ------
    RecipeError
        If it is unknown, is not YAML, holds an unknown key or a wrong value, or is of
        another kind.
    """
    content = _resolve(str(name), ())
    for override in overrides:
        content = _override(content, override)
    return recipe_from_dict(content, f"recipe {name}", kind, stored=stored)


def recipe_from_dict(
    content: Mapping[str, Any],
    where: str,
    kind: type[R] = Recipe,  # type: ignore[assignment]
    *,
    stored: bool = False,
) -> R:
    """Validate a recipe that stands resolved in a mapping; see `load_recipe`."""
    try:
        recipe = _model_of(content, where).model_validate(content, context={"stored": stored})
    except ValidationError as error:
        raise _explain(error, content, where) from None
    if not isinstance(recipe, kind):
        needed = kind.model_fields["kind"].default
        what = f"this is a recipe of kind {recipe.kind}, where one of kind {needed} is needed"
        raise RecipeError(what, where=where, hint="`variolite recipes` lists them")
    return recipe


def _model_of(content: Mapping[str, Any], where: str) -> type[BaseRecipe]:
    kind = content.get("kind", "tabular")
    if not isinstance(kind, str) or kind not in FIELDS:
        raise RecipeError(f"kind must be one of {', '.join(FIELDS)}", where=where)
    return field_of_kind(kind).recipe


def recipe_to_yaml(recipe: BaseRecipe) -> str:
    """Write a resolved recipe; loading it again gives the same recipe.

    Defaults are written out too: another version may have other ones.
    """
    return yaml.safe_dump(recipe.contents(), sort_keys=False, allow_unicode=True)


def _resolve(name: str, seen: tuple[str, ...]) -> dict[str, Any]:
    is_file = name.endswith((".yaml", ".yml"))
    identity = str(Path(name).resolve()) if is_file else name
    if identity in seen:
        what = f"recipes extend each other in a circle: {' -> '.join((*seen, identity))}"
        raise RecipeError(what, hint="remove one of the extends lines")
    content = read_recipe_file(name) if is_file else _read_packaged(name)
    own_name = content.get("name")
    parent = content.pop("extends", None)
    if parent is not None:
        if not isinstance(parent, str):
            raise RecipeError("extends takes one name", where=f"recipe {name}")
        local = Path(name).parent / parent
        if is_file and parent.endswith((".yaml", ".yml")):
            parent = str(local)
        content = _lay_over(_resolve(parent, (*seen, identity)), content, f"recipe {name}")
    else:
        content = _lay_over({}, content, f"recipe {name}")
    if own_name is None or not is_file:
        content["name"] = Path(name).stem if is_file else name
    return content


def read_recipe_file(name: str) -> dict[str, Any]:
    """Read a file of YAML that holds a mapping.

    Raises `RecipeError` if it cannot be read as plain data.
    """
    with _of_recipes(f"recipe {name}"):
        return _mapping(read_yaml(Path(name)))


def _read_packaged(name: str) -> dict[str, Any]:
    entry = resources.files("variolite").joinpath("recipes", *f"{name}.yaml".split("/"))
    if ".." in name or not entry.is_file():
        known = packaged_recipes()
        close = nearest(name, known)
        hint = f"did you mean {close}? " if close else ""
        hint += "`variolite recipes` lists them; a file of your own ends in .yaml"
        raise RecipeError(f"there is no recipe called {name!r}", hint=hint)
    return _mapping(load_yaml(entry.read_text(encoding="utf-8")))


@contextmanager
def _of_recipes(where: str) -> Iterator[None]:
    try:
        yield
    except SchemaError as error:
        raise RecipeError(error.what, where=where, hint=error.hint) from None


def _mapping(content: Any) -> dict[str, Any]:
    if not isinstance(content, dict):
        raise SchemaError("a recipe is a mapping of keys to values")
    return content


def _lay_over(below: Mapping[str, Any], above: Mapping[str, Any], where: str) -> dict[str, Any]:
    """Merge a layer over another, with keys of earlier versions under their names today."""
    kind = str(above.get("kind", below.get("kind", "tabular")))
    former_keys = field_of_kind(kind).recipe.former_keys if kind in FIELDS else {}
    layer = dict(above)
    for former, key in former_keys.items():
        section, _, old = former.partition(".")
        values = layer.get(section)
        if isinstance(values, Mapping) and old in values and key not in values:
            layer[section] = {key if k == old else k: v for k, v in values.items()}
    return _merge(below, layer, where=where)


def _merge(
    below: Mapping[str, Any], above: Mapping[str, Any], path: tuple[str, ...] = (), *, where: str
) -> dict[str, Any]:
    """Lay one mapping over another; null takes a column away."""
    merged = dict(below)
    for key, value in above.items():
        old = merged.get(key)
        if path == ("columns",) and value is None:
            if key not in merged:
                close = nearest(str(key), map(str, merged))
                hint = f"did you mean {close}?" if close else None
                raise RecipeError(
                    f"there is no column {key!r} to take away", where=where, hint=hint
                )
            del merged[key]
        elif isinstance(value, Mapping) and isinstance(old, Mapping):
            place = (*path, str(key))
            # A schedule of another kind replaces the old one: its settings do not
            # carry over.
            other_kind = place in _WITH_KINDS and value.get("kind", old.get("kind")) != old.get(
                "kind"
            )
            merged[key] = dict(value) if other_kind else _merge(old, value, place, where=where)
        else:
            merged[key] = value
    return merged


def _override(content: Mapping[str, Any], text: str) -> dict[str, Any]:
    key, separator, value = text.partition("=")
    where = f"--set {text}"
    if not separator or not key:
        hint = "for example --set training.epochs=50"
        raise RecipeError("this is not of the form key.subkey=value", where=where, hint=hint)
    with _of_recipes(where):
        nested: Any = load_yaml(value)
    for part in reversed(key.split(".")):
        nested = {part: nested}
    return _lay_over(content, nested, where)


def _explain(error: ValidationError, content: Mapping[str, Any], where: str) -> RecipeError:
    """Name the first thing that is wrong, with the nearest key where one is unknown."""
    errors = error.errors(include_url=False)
    first = errors[0]
    path = _written_path(first["loc"], content)
    key = ".".join(path)
    kind = first["type"]
    if kind == "extra_forbidden":
        known = list(_models_at(path[:-1], content)[0].model_fields)
        known += [] if path[:-1] else ["extends"]
        close = nearest(path[-1], known)
        hint = f"did you mean {close}?" if close else f"known keys: {', '.join(known)}"
        return RecipeError(f"unknown key {key!r}", where=where, hint=hint)
    if kind in ("union_tag_invalid", "union_tag_not_found"):
        kinds = ", ".join(str(_kind(model)) for model in _models_at(path, content))
        return RecipeError(f"{key}.kind must be one of {kinds}", where=where)
    same = [e["msg"] for e in errors if _written_path(e["loc"], content) == path]
    message = "; or ".join(dict.fromkeys(same)).removeprefix("Value error, ")
    given = first.get("input")
    shown = f" (given: {given!r})" if isinstance(given, (str, int, float)) else ""
    return RecipeError(f"{key or 'recipe'}: {message}{shown}", where=where)


def _written_path(location: tuple[int | str, ...], content: Any) -> list[str]:
    """Leave out of pydantic's location what nobody wrote, such as the names of alternatives."""
    path = []
    for i, part in enumerate(location):
        inside = isinstance(content, Mapping) and part in content
        if inside or isinstance(part, int):
            path.append(str(part))
            content = content[part] if inside else None
        elif i == len(location) - 1 and isinstance(content, Mapping):
            path.append(str(part))
    return path


def _models_at(path: list[str], content: Any) -> list[type[BaseModel]]:
    """Models that may stand at ``path``: that of the kind which is written there, else all."""
    found: list[type[BaseModel]] = [_model_of(content, "recipe")]
    for part in path:
        content = content[part]
        written = content.get("kind") if isinstance(content, Mapping) else None
        alternatives = _models_in(found[0].model_fields[part].annotation)
        found = [m for m in alternatives if _kind(m) == written] or alternatives
    return found


def _kind(model: type[BaseModel]) -> Any:
    return model.model_fields["kind"].default if "kind" in model.model_fields else None


def _models_in(annotation: Any) -> list[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    arguments = getattr(annotation, "__args__", ())
    return [model for argument in arguments for model in _models_in(argument)]
