"""Levels of labels: fine names mapped to coarser groups.

A score on 139 rock names and a score on 14 groups answer different questions, so labels are
kept at several levels, read from a file of your own or shipped with the package.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import yaml
from numpy.typing import NDArray

from variolite.errors import DataError, nearest
from variolite.records import read_table
from variolite.strict_yaml import read_yaml


def read_packaged(name: str) -> Any:
    text = files("variolite.corelogs").joinpath(name).read_text("utf-8")
    # The safe subset, parsed in C where PyYAML was built with it: ten times faster.
    return yaml.load(text, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))


_PACKAGED = ("lithology_groups.yaml", "wireline_levels.yaml")
_HINT = "give a CSV of two columns (name, group), or YAML 'name: group' or 'group: [names]'"


@dataclass(frozen=True)
class LabelLevel:
    """One level of labels.

    Attributes
    ----------
    name
        Name of the level, and of the column it makes.
    groups, heads
        Label, in lower case, to group, and the same for the last word of other labels.
    title
        What the level is, in words; the name where nobody says.
    beside
        Columns of the tables that the labels are of, where others use the same labels.
    """

    name: str
    groups: Mapping[str, str]
    heads: Mapping[str, str] = field(default_factory=dict)
    title: str = ""
    beside: tuple[str, ...] = ()

    def group_of(self, label: str) -> str | None:
        """Return the group of one label, None where nothing maps it."""
        key = _key(label)
        if key in self.groups:
            return self.groups[key]
        # Two rocks in one name have no last word that speaks for both.
        several = any(mark in f" {key} " for mark in (" and ", " to ", " or ", "interbedded", "/"))
        return None if several or not key else self.heads.get(key.split()[-1])

    def apply(self, labels: pl.Series) -> pl.Series:
        """Map a column of labels, [n], to groups, [n]; null where nothing maps them."""
        texts = labels.cast(pl.String)
        known = {text: self.group_of(text) for text in texts.unique().drop_nulls().to_list()}
        mapped = texts.replace_strict(known, default=None, return_dtype=pl.String)
        return mapped.alias(self.name)

    def unmapped(self, labels: Iterable[str | None]) -> tuple[str, ...]:
        """Return the labels, each once and sorted, that nothing maps."""
        return tuple(sorted({x for x in labels if x and self.group_of(x) is None}))

    def guessed(self, labels: Iterable[str | None]) -> tuple[str, ...]:
        """Return the labels, each once and sorted, that only their last word maps."""
        unknown = {x for x in labels if x and _key(x) not in self.groups}
        return tuple(sorted(unknown - set(self.unmapped(unknown))))


@cache
def label_levels() -> Mapping[str, LabelLevel]:
    """Return the levels that are shipped with the package, by name."""
    levels = [_level_of(entry, name, name) for name in _PACKAGED for entry in read_packaged(name)]
    return {level.name: level for level in levels}


def label_level(name: str | Path | LabelLevel) -> LabelLevel:
    """Return a level by its packaged name or the path of a file; a level is returned unchanged.

    Raises
    ------
    DataError
        If there is no such level, or the file cannot be read as one.
    """
    if isinstance(name, LabelLevel):
        return name
    packaged = label_levels()
    if str(name) in packaged:
        return packaged[str(name)]
    if Path(name).suffix:
        return read_label_level(name)
    close = nearest(str(name), packaged)
    known = f"choose one of {', '.join(packaged)}, or give a file"
    hint = f"did you mean {close!r}?" if close else known
    raise DataError(f"no label level {str(name)!r}", hint=hint)


def read_label_level(path: str | Path) -> LabelLevel:
    """Read a level from a file, after which it is called.

    The first two columns of a CSV are name and group; YAML has ``name: group`` or
    ``group: [names]``.

    Raises
    ------
    VarioliteError
        If the file is missing or malformed, or maps one name to two groups.
    """
    path = Path(path)
    if path.suffix.casefold() not in (".yaml", ".yml"):
        frame = read_table(path)
        if frame.width < 2:
            raise DataError("the table has fewer than two columns", where=str(path), hint=_HINT)
        two = frame.select(frame.columns[:2]).cast(pl.String).drop_nulls()
        return LabelLevel(path.stem, _unique(two.rows(), str(path)))
    content = read_yaml(path, where=str(path))
    if isinstance(content, dict) and isinstance(content.get("groups"), dict):
        return _level_of(content, path.stem, str(path))
    return LabelLevel(path.stem, _pairs(content, str(path)))


def _level_of(content: Mapping[str, Any], name: str, where: str) -> LabelLevel:
    if unknown := set(content) - {"level", "title", "source", "beside", "groups", "heads"}:
        raise DataError(f"unknown key '{min(map(str, unknown))}'", where=where, hint=_HINT)
    return LabelLevel(
        name=str(content.get("level", name)),
        groups=_pairs(content["groups"], where),
        heads=_pairs(content["heads"], where) if content.get("heads") else {},
        title=str(content.get("title", "")),
        beside=tuple(content.get("beside", ())),
    )


def _pairs(content: Any, where: str) -> Mapping[str, str]:
    """Read ``name: group`` and ``group: [names]`` alike."""
    if not isinstance(content, dict):
        raise DataError("the file holds no mapping", where=where, hint=_HINT)
    pairs: list[tuple[str, str]] = []
    for key, value in content.items():
        names = value if isinstance(value, list) else [value]
        if not all(isinstance(name, str | int | float) for name in names):
            raise DataError(f"'{key}' stands for no group", where=where, hint=_HINT)
        for name in names:
            pair = (name, key) if isinstance(value, list) else (key, name)
            pairs.append((str(pair[0]), str(pair[1])))
    return _unique(pairs, where)


def _unique(pairs: Iterable[tuple[str, str]], where: str) -> Mapping[str, str]:
    groups: dict[str, str] = {}
    for name, group in pairs:
        key = _key(name)
        if groups.setdefault(key, group.strip()) != group.strip():
            what = f"'{name}' stands in two groups, '{groups[key]}' and '{group}'"
            raise DataError(what, where=where, hint="keep one of them")
    if not groups:
        raise DataError("the file maps nothing", where=where, hint=_HINT)
    return groups


def _key(label: str) -> str:
    """Fold case and spaces; a code that was read as floating point is whole again."""
    text = " ".join(label.casefold().split())
    head, dot, tail = text.partition(".")
    return head if dot and head.isdigit() and tail.strip("0") == "" else text


COVERAGE = 0.95  # share of labelled rows that a packaged level must map to be used unasked


class LevelChooser:
    """Labels of some rows at every level that fits; the levels are chosen at the first call.

    Training and held-out rows of one run are thereby labelled alike. ``wanted`` are packaged
    levels or files beside those that fit. A level whose labels others use too fits only where
    all its columns are among the ``columns`` of the table.
    """

    def __init__(self, wanted: Iterable[str | Path] = (), columns: Iterable[str] = ()) -> None:
        self.wanted = tuple(wanted)
        self.columns = frozenset(columns)
        self.levels: tuple[LabelLevel, ...] | None = None
        self.renamed: set[str] = set()

    def __call__(self, labels: Mapping[str, NDArray[np.str_]]) -> dict[str, NDArray[np.str_]]:
        """Return the labels of rows, [n], by level, "" where a level does not map them.

        A level that renames every label one to one takes the place of the raw labels: codes
        become names, and nothing is scored twice.
        """
        if self.levels is None:
            every = np.concatenate([*labels.values(), np.empty(0, "U1")])
            known = every[every != ""]
            levels = {level.name: level for level in map(label_level, self.wanted)}
            for level in label_levels().values() if len(known) else ():
                named = (_mapped(level, known) != "").mean()
                if named >= COVERAGE and self.columns.issuperset(level.beside):
                    levels.setdefault(level.name, level)
            self.levels = tuple(levels.values())
            self.renamed = {
                name
                for name, values in labels.items()
                if any(_one_to_one(values, _mapped(level, values)) for level in self.levels)
            }
        result = {name: values for name, values in labels.items() if name not in self.renamed}
        for values in labels.values():
            result |= {level.name: _mapped(level, values) for level in self.levels}
        return result

    def lines(self) -> list[str]:
        """Say which packaged levels were used."""
        packaged = label_levels()
        used = [level for level in self.levels or () if packaged.get(level.name) is level]
        return [f"labels by the key {level.name}: {level.title}" for level in used]


def _mapped(level: LabelLevel, values: NDArray[np.str_]) -> NDArray[np.str_]:
    return level.apply(pl.Series(values.astype(str))).fill_null("").to_numpy().astype(np.str_)


def _one_to_one(values: NDArray[np.str_], mapped: NDArray[np.str_]) -> bool:
    pairs = {(a, b) for a, b in np.unique([values, mapped], axis=1).T.tolist() if a}
    return len({b for _, b in pairs if b}) == len({a for a, _ in pairs}) == len(pairs)
