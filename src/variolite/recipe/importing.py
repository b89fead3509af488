"""Recipes out of configurations in the style of the source, read as data.

Keys are looked up in `source_keys`; a ``_target_`` is text to be recognised, never a class to
be imported.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from variolite.errors import RecipeError
from variolite.recipe.composed import compose
from variolite.recipe.loading import any_recipe_from_dict
from variolite.recipe.source_keys import MESSAGES, OPTIMISERS, REASONS, SECTIONS, TAKEN, TARGETS

__all__ = ["Imported", "Left", "Taken", "import_source", "imported_to_yaml"]

_NUMBER = re.compile(r"[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?")
_SETTINGS = ("encoder", "decoder", "loss_weights", "latent_dim", "augmentation", "optimizer")


@dataclass(frozen=True)
class Taken:
    """A value that went into the recipe.

    Attributes
    ----------
    path
        Dotted path in the source.
    value
        As read.
    key
        Key of the recipe.
    """

    path: str
    value: Any
    key: str


@dataclass(frozen=True)
class Left:
    """A value that has no counterpart.

    Attributes
    ----------
    path
        Dotted path in the source.
    value
        As read.
    reason
        Why it was left out.
    """

    path: str
    value: Any
    reason: str


@dataclass(frozen=True)
class Imported:
    """A recipe and the account of how it came about.

    Attributes
    ----------
    content
        The recipe in plain types; what the source does not say is not in it.
    taken, left
        Every value of the source stands in one of them.
    files
        What was read.
    missing
        Files that were named and not found.
    """

    content: dict[str, Any]
    taken: tuple[Taken, ...]
    left: tuple[Left, ...]
    files: tuple[Path, ...]
    missing: tuple[str, ...]


def import_source(paths: Iterable[Path], name: str) -> Imported:
    """Read configurations in the style of the source and say what they mean here.

    Parameters
    ----------
    paths
        Files; later ones lie over earlier ones, as an experiment over its primary file.
    name
        Of the recipe.

    Raises
    ------
    RecipeError
        If a file cannot be read as data, holds no crystal VAE, or names a model, encoder or
        decoder that Variolite does not know, or a value that a recipe cannot have.
    """
    chosen = tuple(paths)
    composed = compose(chosen)
    where = ", ".join(map(str, chosen))
    values = {_own_path(path): value for path, value in composed.values().items()}
    if not any(path.split(".")[0] in _SETTINGS for path in values):
        raise RecipeError(
            "this holds no crystal VAE in the style of the source",
            where=where,
            mend="give the file with latent_dim, encoder, decoder and loss_weights, or the "
            "experiment that refers to it",
        )
    recognised = _check_targets(values, where)
    taken, left = _sorted_out(values, recognised)
    kind = _kind(values)
    if kind["kind"] == "source":
        reason = "the model of kind source decodes the elements always"
        left += [Left(t.path, t.value, reason) for t in taken if t.key == "model.given"]
        taken = [t for t in taken if t.key != "model.given"]
    content: dict[str, Any] = {
        "kind": "crystals",
        "name": name,
        "title": f"Imported from {chosen[-1].name}",
        "model": kind,
    }
    for entry in taken:
        section, _, key = entry.key.partition(".")
        content.setdefault(section, {}).setdefault(key, entry.value)
    # The weight of the divergence never moves in the source.
    content.setdefault("training", {})["beta"] = {"kind": "constant", "value": 1.0}
    any_recipe_from_dict(content, where)
    return Imported(
        content, tuple(taken), tuple(left), tuple(composed.files), tuple(composed.missing)
    )


def imported_to_yaml(imported: Imported) -> str:
    """Write the recipe, with what was left out as comments above it."""
    lines = ["Imported from " + ", ".join(path.name for path in imported.files) + "."]
    if imported.left:
        lines.append("Without a counterpart:")
        lines += [f"  {left.path}: {left.value!r} ({left.reason})" for left in imported.left]
    comments = "".join(f"# {line}".replace("\n", " ") + "\n" for line in lines)
    return comments + yaml.safe_dump(imported.content, sort_keys=False, allow_unicode=True)


def _own_path(path: str) -> str:
    head, _, rest = path.partition(".")
    return rest if head in SECTIONS and rest else path


def _check_targets(values: Mapping[str, Any], where: str) -> set[str]:
    """Recognise the classes of the model; return their paths, which need no more words."""
    recognised = set()
    for section, classes in TARGETS.items():
        for path in (f"{section}._target_".lstrip("."), section):
            if path not in values or not isinstance(values[path], str):
                continue
            last = values[path].rpartition(".")[2]
            if last not in classes:
                known = ", ".join(sorted(classes))
                raise RecipeError(
                    f"the {section or 'model'} is {values[path]!r}, which Variolite does not "
                    "have and does not import",
                    where=f"{where}: {path}",
                    mend=f"known here: {known}; take {path} away to use ours",
                )
            recognised.add(path)
    return recognised


def _kind(values: Mapping[str, Any]) -> dict[str, Any]:
    encoder = str(values.get("encoder._target_", values.get("encoder")))
    if encoder.rpartition(".")[2] in MESSAGES:
        return {"kind": "source", "encoder": "cspnet"}
    return {"kind": "transformer"}


def _sorted_out(values: Mapping[str, Any], recognised: set[str]) -> tuple[list[Taken], list[Left]]:
    taken: list[Taken] = []
    left: list[Left] = []
    chosen: dict[str, Taken] = {}
    order = {path: place for place, path in enumerate(TAKEN)}
    for path in sorted(values, key=lambda path: order.get(path, len(order))):
        key, value = TAKEN.get(path), _number(values[path])
        if path in recognised:
            continue
        if key == "model.given" and isinstance(value, bool):
            value = [] if value else ["species"]
        elif isinstance(value, bool) or not isinstance(value, (int, float)):
            reason = _reason(path, value) if key is None else f"{key} takes another kind of value"
            left.append(Left(path, value, reason))
            continue
        if key is None:
            left.append(Left(path, value, _reason(path, value)))
        elif chosen.setdefault(key, Taken(path, value, key)).value == value:
            taken.append(Taken(path, value, key))
        else:
            left.append(Left(path, value, f"{key} is one value, taken from {chosen[key].path}"))
    return taken, left


def _reason(path: str, value: Any) -> str:
    if path == "optimizer._target_" and str(value).rpartition(".")[2] not in OPTIMISERS:
        return "Adam is used here"
    section = path
    while section:
        if section in REASONS:
            return REASONS[section]
        section = section.rpartition(".")[0]
    if path.rpartition(".")[2] == "_target_":
        return "Variolite neither knows nor imports this class"
    return "Variolite has no such setting"


def _number(value: Any) -> Any:
    """YAML 1.1 reads 1e-5 as text; the source's own reader takes it for a number."""
    if isinstance(value, str) and _NUMBER.fullmatch(value):
        return int(value) if value.lstrip("+-").isdigit() else float(value)
    return value
