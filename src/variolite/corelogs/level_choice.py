"""Which label levels a table's labels can be scored at."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np
import polars as pl
from numpy.typing import NDArray

from variolite.corelogs.lithology import LabelLevel, label_level, label_levels

__all__ = ["LevelChooser", "choose_levels"]

COVERAGE = 0.95
"""Share of labelled rows that a packaged level must map to be used unasked."""


class LevelChooser:
    """Labels of some rows at every level; the choice is made once, at the first call.

    Training and held-out rows of one run are thereby labelled alike.

    Parameters
    ----------
    wanted
        Names of packaged levels or files, beside those that fit.
    """

    def __init__(self, wanted: Iterable[str | Path] = ()) -> None:
        self.wanted = tuple(wanted)
        self.levels: tuple[LabelLevel, ...] | None = None
        self.renamed: set[str] = set()

    def __call__(self, labels: Mapping[str, NDArray[np.str_]]) -> dict[str, NDArray[np.str_]]:
        """Return the labels of rows, [n], by level, "" where a level does not map them.

        A level that renames every label one to one takes the place of the raw
        labels: codes become names, and nothing is scored twice.
        """
        if self.levels is None:
            every = np.concatenate(list(labels.values()) or [np.empty(0, "U1")])
            self.levels = choose_levels(every, self.wanted)
            self.renamed = {
                name
                for name, values in labels.items()
                if any(_one_to_one(values, _mapped(level, values)) for level in self.levels)
            }
        result = {name: values for name, values in labels.items() if name not in self.renamed}
        for values in labels.values():
            result |= {level.name: _mapped(level, values) for level in self.levels}
        return result


def choose_levels(
    labels: NDArray[np.str_], wanted: Iterable[str | Path] = ()
) -> tuple[LabelLevel, ...]:
    """Return the levels asked for, and the packaged ones that fit the labels.

    Parameters
    ----------
    labels
        Label of every row, [n]; "" where missing.
    wanted
        Names of packaged levels or files, used whatever they cover.
    """
    asked = tuple(label_level(name) for name in wanted)
    known = labels[labels != ""]
    if not len(known):
        return asked
    names, counts = np.unique(known, return_counts=True)
    fitting = [
        level
        for level in label_levels().values()
        if sum(
            int(count)
            for name, count in zip(names, counts, strict=True)
            if level.group_of(str(name)) is not None
        )
        >= COVERAGE * len(known)
    ]
    taken = {level.name for level in asked}
    return asked + tuple(level for level in fitting if level.name not in taken)


def _mapped(level: LabelLevel, values: NDArray[np.str_]) -> NDArray[np.str_]:
    return level.apply(pl.Series(values.astype(str))).fill_null("").to_numpy().astype(np.str_)


def _one_to_one(values: NDArray[np.str_], mapped: NDArray[np.str_]) -> bool:
    pairs = {(str(a), str(b)) for a, b in zip(*np.unique([values, mapped], axis=1), strict=True)}
    labelled = {a for a, _ in pairs if a}
    groups = {b for a, b in pairs if a and b}
    return len(groups) == len(labelled) == len({pair for pair in pairs if pair[0]})
