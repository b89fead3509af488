"""Splits by group: whole boreholes, structure families or campaigns stay together.

A split holds *names* of groups, never row numbers, so that the same split can be laid over any
table, and a row of a test group can never be trained on.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import ArrayLike, NDArray

from variolite.errors import SchemaError, counted
from variolite.records.names import normalised
from variolite.records.records import as_text

_PARTS = ("train", "validation", "test")


@dataclass(frozen=True)
class Split:
    """Names of the groups in each part, sorted, and the seed that drew them.

    SchemaError if a group is in two parts, or no group is left to train on.
    """

    train: tuple[str, ...]
    validation: tuple[str, ...]
    test: tuple[str, ...]
    seed: int = 0

    def __post_init__(self) -> None:
        seen: dict[str, str] = {}
        for part in _PARTS:
            names = tuple(sorted(map(str, getattr(self, part))))
            object.__setattr__(self, part, names)
            if len(set(names)) != len(names):
                raise SchemaError(f"a group is named twice in {part}")
            for name in names:
                if name in seen:
                    raise SchemaError(f"group {name!r} is both in {seen[name]} and in {part}")
            seen |= dict.fromkeys(names, part)
        if not self.train:
            raise SchemaError("no group is left to train on")

    def rows(
        self, group: ArrayLike | None, key: Callable[[str], str] = str
    ) -> dict[str, NDArray[np.int64]]:
        """Return the row numbers of each part, ascending; ``group`` is that of every row, (n,).

        The split holds what ``key`` makes of the names. A name that it does not hold counts as
        test: it was not trained on.
        """
        names = pl.Series(_group_text(group))
        keys = {name: key(name) for name in names.unique()}
        train, validation = (
            names.is_in([name for name, found in keys.items() if found in part]).to_numpy()
            for part in map(set, (self.train, self.validation))
        )
        masks = (train, validation, ~(train | validation))
        return {part: np.flatnonzero(mask) for part, mask in zip(_PARTS, masks, strict=True)}

    def normalised(self) -> Split:
        """Return the split with normalised names; SchemaError where one would be in two parts."""
        train, validation, test = (
            tuple(dict.fromkeys(map(normalised, getattr(self, part)))) for part in _PARTS
        )
        try:
            return Split(train, validation, test, self.seed)
        except SchemaError as error:
            hint = "Train again: the rows of one group were on both sides of the split"
            raise SchemaError(f"{error.what}, under two spellings", hint=hint) from None

    @property
    def fingerprint(self) -> str:
        """Identify the parts, whatever the seed that drew them."""
        parts = json.dumps([getattr(self, part) for part in _PARTS])
        return hashlib.sha256(parts.encode()).hexdigest()[:16]

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON types."""
        return {**{part: list(getattr(self, part)) for part in _PARTS}, "seed": self.seed}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Split:
        """Rebuild from `to_dict`; SchemaError when a part is missing."""
        try:
            train, validation, test = (tuple(data[part]) for part in _PARTS)
            return cls(train, validation, test, int(data["seed"]))
        except (KeyError, TypeError) as error:
            raise SchemaError(f"a split cannot be read (problem with {error})") from None


def split_groups(
    group: ArrayLike | None,
    *,
    test: float = 0.25,
    validation: float = 0.15,
    seed: int = 0,
    stratify: ArrayLike | None = None,
    training: Collection[str] = (),
) -> Split:
    """Draw one split by group.

    ``group`` names the group of every row, shape (n,); rows with an empty name are left out.
    ``test`` and ``validation`` are fractions of the *groups*; every part gets one at least. The
    same names and seed give the same split, whatever the order of the rows. With ``stratify``,
    a label for every row, groups are spread over the parts by the label most frequent in them.
    Groups in ``training`` are trained on in any case, and the others are drawn from.

    SchemaError where there is no group column (None), fewer than three groups or an impossible
    fraction.
    """
    rows = _group_text(group)
    names = sorted(filter(None, pl.Series(rows).unique()))
    if len(names) < 3:
        found = f"{counted(len(names), 'group')} ({', '.join(names) or 'none'})"
        what = f"{found} cannot be split: 3 are needed"
        hint = "Choose a group column with more distinct names, or add data from other groups"
        raise SchemaError(what, hint=hint)
    kept = [name for name in names if name in training]
    names = [name for name in names if name not in training]
    if len(names) < 2:
        what = f"all groups but {len(names)} are to be trained on: none is left to hold out"
        raise SchemaError(what, hint="Add data of two other groups")
    for part, fraction in (("test", test), ("validation", validation)):
        if not 0 < fraction < 1:
            hint = "Give a fraction of the groups between 0 and 1"
            raise SchemaError(f"the {part} fraction is {fraction:g}", hint=hint)
    if test + validation >= 1:
        what = f"test ({test:g}) and validation ({validation:g}) leave no group to train on"
        raise SchemaError(what, hint="Their sum must stay below 1")
    count = len(names)
    n_test, n_validation = max(1, round(test * count)), max(1, round(validation * count))
    while n_test + n_validation > count - (not kept):
        if n_test >= n_validation:
            n_test -= 1
        else:
            n_validation -= 1
    rng = np.random.default_rng(seed)
    order = rng.permutation(count)
    if stratify is not None:
        strata = _dominant_labels(rows, as_text(stratify), names)
        # Neighbours in this order share a label; an evenly spaced draw from it then gives every
        # label its part of each draw, to within one group.
        labels = sorted(set(strata))
        rank_of = dict(zip(labels, rng.permutation(len(labels)).tolist(), strict=True))
        order = np.array(sorted(order.tolist(), key=lambda index: rank_of[strata[index]]))
    tested = _evenly_spaced(count, n_test, rng)
    rest = order[~tested]
    validated = _evenly_spaced(len(rest), n_validation, rng)
    parts = (rest[~validated], rest[validated], order[tested])
    train, valid, held_out = (tuple(names[i] for i in part) for part in parts)
    return Split((*kept, *train), valid, held_out, seed)


def _group_text(group: ArrayLike | None) -> NDArray[np.str_]:
    if group is None:
        hint = "Give the column that names boreholes, families or campaigns the role 'group'"
        raise SchemaError("there is no group column to split by", hint=hint)
    return as_text(group)


def _evenly_spaced(count: int, chosen: int, rng: np.random.Generator) -> NDArray[np.bool_]:
    """Mark ``chosen`` of ``count`` positions at equal distances from a random start."""
    start = rng.random() * count / chosen
    mask = np.zeros(count, dtype=bool)
    mask[np.floor((start + np.arange(chosen) * count / chosen) % count).astype(int)] = True
    return mask


def _dominant_labels(
    rows: NDArray[np.str_], labels: NDArray[np.str_], names: list[str]
) -> list[str]:
    """Return the most frequent label of each group, the first of equals, "" without any."""
    if len(labels) != len(rows):
        raise SchemaError(f"{len(labels)} labels to stratify by, but {len(rows)} rows")
    counted = (
        pl.DataFrame({"group": rows, "label": labels})
        .filter(pl.col("label") != "")
        .group_by("group", "label")
        .len()
        .sort("group", "len", "label", descending=[False, True, False])
        .unique("group", keep="first", maintain_order=True)
    )
    dominant = dict(counted.select("group", "label").iter_rows())
    return [dominant.get(name, "") for name in names]


def repeated_rows(cells: pl.DataFrame, train: NDArray[np.int64]) -> dict[str, int]:
    """Count ``rows`` with the cells of one above, and those outside ``train`` with those of it."""
    code = cells.hash_rows().to_numpy()
    others = np.delete(code, train)
    seen = int(np.isin(others, code[train]).sum())
    return {"rows": len(code) - len(np.unique(code)), "outside training": seen}
