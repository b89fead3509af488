"""Splits by group: whole boreholes, structure families or campaigns stay together.

A split holds *names* of groups, never row numbers, so that the same split can be
laid over any table, and a row of a test group can never be trained on.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import ArrayLike, NDArray

from variolite.errors import SchemaError
from variolite.records.values import as_text

_PARTS = ("train", "validation", "test")


@dataclass(frozen=True)
class Split:
    """Names of the groups in each part.

    Attributes
    ----------
    train, validation, test
        Disjoint tuples of names, sorted.
    seed
        The seed that drew them.

    Raises
    ------
    SchemaError
        If a group is in two parts, or no group is left to train on.
    """

    train: tuple[str, ...]
    validation: tuple[str, ...]
    test: tuple[str, ...]
    seed: int = 0

    def __post_init__(self) -> None:
        seen: dict[str, str] = {}
        for part in _PARTS:
            names = tuple(sorted(str(name) for name in getattr(self, part)))
            object.__setattr__(self, part, names)
            for name in names:
                other = seen.setdefault(name, part)
                if other != part:
                    raise SchemaError(f"group {name!r} is both in {other} and in {part}")
            if len(set(names)) != len(names):
                raise SchemaError(f"a group is named twice in {part}")
        if not self.train:
            raise SchemaError("no group is left to train on")

    def rows(self, group: ArrayLike | None) -> dict[str, NDArray[np.int64]]:
        """Return the row numbers of each part, ascending.

        Parameters
        ----------
        group
            Group name of every row, shape [n]. A name the split does not hold counts
            as test: it was not trained on.

        Returns
        -------
        dict
            ``train``, ``validation`` and ``test``; together every row once.
        """
        names = pl.Series(_group_text(group))
        train = names.is_in(list(self.train)).to_numpy()
        validation = names.is_in(list(self.validation)).to_numpy()
        masks = {"train": train, "validation": validation, "test": ~(train | validation)}
        return {part: np.flatnonzero(masks[part]).astype(np.int64) for part in _PARTS}

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON types."""
        return {**{part: list(getattr(self, part)) for part in _PARTS}, "seed": self.seed}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Split:
        """Rebuild from :meth:`to_dict`; SchemaError when a part is missing."""
        try:
            parts = {part: tuple(str(name) for name in data[part]) for part in _PARTS}
            return cls(**parts, seed=int(data["seed"]))
        except (KeyError, TypeError) as error:
            raise SchemaError(f"a split cannot be read (problem with {error})") from None


def split_groups(
    group: ArrayLike | None,
    *,
    test: float = 0.25,
    validation: float = 0.15,
    seed: int = 0,
    stratify: ArrayLike | None = None,
) -> Split:
    """Draw one split by group.

    Parameters
    ----------
    group
        Group name of every row, shape [n]; rows with an empty name are left out.
    test, validation
        Fractions of the *groups*, each above 0 and together below 1. Every part gets
        one group at least.
    seed
        Seed of the draw: the same names and seed give the same split, whatever the
        order of the rows.
    stratify
        Label of every row, shape [n]: groups are spread over the parts by the label
        most frequent in them.

    Raises
    ------
    SchemaError
        If there is no group column (None), there are fewer than three groups, or a
        fraction is impossible.

    Examples
    --------
    >>> split = split_groups(["A", "A", "B", "C", "C", "D"], seed=0)
    >>> {part: len(rows) for part, rows in split.rows(["A", "B", "C", "D"]).items()}
    {'train': 2, 'validation': 1, 'test': 1}
    """
    rows = _group_text(group)
    names = _names(rows, needed=3)
    _check_fractions(test, validation)
    count = len(names)
    n_test = max(1, round(test * count))
    n_validation = max(1, round(validation * count))
    while n_test + n_validation > count - 1:
        if n_test >= n_validation:
            n_test -= 1
        else:
            n_validation -= 1
    rng = np.random.default_rng(seed)
    order = rng.permutation(count)
    if stratify is not None:
        strata = _dominant_labels(rows, as_text(stratify), names)
        # Neighbours in this order share a label; an evenly spaced draw from it then
        # gives every label its share of each part, to within one group.
        ranks = rng.permutation(len(set(strata)))
        rank_of = dict(zip(sorted(set(strata)), ranks.tolist(), strict=True))
        order = np.array(sorted(order.tolist(), key=lambda index: rank_of[strata[index]]))
    drawn = _evenly_spaced(count, n_test, rng)
    rest = order[~drawn]
    drawn_next = _evenly_spaced(len(rest), n_validation, rng)
    return Split(
        train=tuple(names[i] for i in rest[~drawn_next]),
        validation=tuple(names[i] for i in rest[drawn_next]),
        test=tuple(names[i] for i in order[drawn]),
        seed=seed,
    )


def repeated_splits(
    group: ArrayLike | None,
    repeats: int = 4,
    *,
    test: float = 0.25,
    validation: float = 0.15,
    seed: int = 0,
    stratify: ArrayLike | None = None,
) -> tuple[Split, ...]:
    """Draw several splits with the seeds ``seed``, ``seed + 1``, ...; see :func:`split_groups`."""
    if repeats < 1:
        raise SchemaError(f"{repeats} splits were asked for", hint="Ask for one at least")
    return tuple(
        split_groups(group, test=test, validation=validation, seed=seed + i, stratify=stratify)
        for i in range(repeats)
    )


def leave_one_group_out(
    group: ArrayLike | None, *, validation: int = 1, seed: int = 0
) -> tuple[Split, ...]:
    """Hold out each group in turn, in the order of their names.

    Parameters
    ----------
    group
        Group name of every row, shape [n].
    validation
        Number of groups to validate on, drawn from the others: those that follow the
        held-out one in a seeded circle, so that each group validates equally often.
    seed
        Seed of that circle.

    Raises
    ------
    SchemaError
        If there are fewer than ``validation + 2`` groups.
    """
    if validation < 1:
        raise SchemaError(f"{validation} validation groups were asked for", hint="Ask for one")
    names = _names(_group_text(group), needed=validation + 2)
    circle = [names[i] for i in np.random.default_rng(seed).permutation(len(names))]
    splits: dict[str, Split] = {}
    for position, held_out in enumerate(circle):
        following = [circle[(position + 1 + i) % len(circle)] for i in range(validation)]
        rest = [name for name in names if name != held_out and name not in following]
        splits[held_out] = Split(tuple(rest), tuple(following), (held_out,), seed)
    return tuple(splits[name] for name in names)


def _group_text(group: ArrayLike | None) -> NDArray[np.str_]:
    if group is None:
        raise SchemaError(
            "there is no group column to split by",
            hint="Give the column that names boreholes, families or campaigns the role 'group'",
        )
    return as_text(group)


def _names(rows: NDArray[np.str_], needed: int) -> list[str]:
    names = sorted(name for name in pl.Series(rows).unique().to_list() if name)
    if len(names) < needed:
        listed = ", ".join(names[:5]) or "none"
        raise SchemaError(
            f"{len(names)} groups ({listed}) cannot be split: {needed} are needed",
            hint="Choose a group column with more distinct names, or add data from other groups",
        )
    return names


def _check_fractions(test: float, validation: float) -> None:
    for name, fraction in (("test", test), ("validation", validation)):
        if not 0 < fraction < 1:
            raise SchemaError(
                f"the {name} fraction is {fraction:g}",
                hint="Give a fraction of the groups between 0 and 1",
            )
    if test + validation >= 1:
        raise SchemaError(
            f"test ({test:g}) and validation ({validation:g}) leave no group to train on",
            hint="Their sum must stay below 1",
        )


def _evenly_spaced(count: int, chosen: int, rng: np.random.Generator) -> NDArray[np.bool_]:
    """Mark ``chosen`` of ``count`` positions at equal distances from a random start."""
    start = rng.random() * count / chosen
    mask = np.zeros(count, dtype=bool)
    mask[np.floor((start + np.arange(chosen) * count / chosen) % count).astype(int)] = True
    return mask


def _dominant_labels(
    rows: NDArray[np.str_], labels: NDArray[np.str_], names: list[str]
) -> list[str]:
    if len(labels) != len(rows):
        raise SchemaError(f"{len(labels)} labels to stratify by, but {len(rows)} rows")
    counted = (
        pl.DataFrame({"group": rows, "label": labels})
        .filter(pl.col("label") != "")
        .group_by("group", "label")
        .len()
        .sort(["group", "len", "label"], descending=[False, True, False])
        .unique("group", keep="first", maintain_order=True)
    )
    dominant = dict(zip(counted["group"].to_list(), counted["label"].to_list(), strict=True))
    return [dominant.get(name, "") for name in names]
