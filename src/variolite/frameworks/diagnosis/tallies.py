"""Tables of frameworks as counts: real rows and samples coded in the same states.

A set is one state as a whole, and shares over its members where members are compared: a framework
of two linkers is half a row for each. Numbers are binned by quantiles of the training rows. Rows
that lack a value are left out where that column is looked at.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from itertools import pairwise, zip_longest
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray
from scipy.sparse import csr_array, identity

from variolite.errors import DataError
from variolite.frameworks.columns import SEPARATOR, join, split
from variolite.scoring.intervals import FloatArray, IntArray

BINS = 5
COMMON = 5
"""Real rows from which on a member is a state of its own; the others are one state together."""
_NOTHING = np.array([np.nan])


@dataclass(frozen=True)
class Layout:
    """Columns to look at, by kind; ``combination`` is what counts as one kind of framework."""

    sets: tuple[str, ...] = ("metals", "linkers")
    categories: tuple[str, ...] = ("net",)
    numbers: tuple[str, ...] = (
        "density",
        "void_fraction",
        "accessible_void_fraction",
        "surface_area_mass",
        "pore_limiting_diameter",
        "largest_cavity_diameter",
        "volume",
    )
    combination: tuple[str, ...] = ("metals", "linkers")

    @classmethod
    def among(cls, columns: Collection[str]) -> Layout:
        """The usual one; of tables without metals and linkers, that of what can be assembled."""
        if {"metals", "linkers"} & set(columns):
            return cls()
        sets = ("nodes", "linker_units")
        return cls(sets=sets, combination=("net", *sets))


@dataclass(frozen=True)
class Tally:
    """One column: ``states``, the ``code`` of every row (-1 where missing), and ``profile``.

    ``content`` (S, M) has what a state is made of, one for each of its members; ``profile`` (S, K)
    has the shares over those that are common among real rows, all others together in the last.
    ``exact`` is the code of the value itself, numbers to four digits.
    """

    name: str
    kind: str
    states: tuple[str, ...]
    code: IntArray
    content: csr_array
    profile: FloatArray
    exact: IntArray

    def rows(self, which: IntArray) -> FloatArray:
        """Shares over the members (n, K), zero in rows that lack the column."""
        code = self.code[which]
        return np.asarray(np.where(code[:, None] < 0, 0.0, self.profile[code]))

    def counts(self, which: IntArray) -> IntArray:
        """Rows of every state (S,)."""
        code = self.code[which]
        return np.bincount(code[code >= 0], minlength=len(self.states))

    def known(self, which: IntArray) -> int:
        """Rows that have the column."""
        return int((self.code[which] >= 0).sum())

    def member_counts(self, which: IntArray) -> IntArray:
        """Rows that hold every member (M,)."""
        return np.asarray(self.content.T @ self.counts(which)).astype(np.int64)


@dataclass(frozen=True)
class Tallies:
    """Training rows, held-out rows and samples, (one per seed), and the columns that all have.

    ``train``, ``held_out`` and ``samples`` are row numbers of the columns; ``combination`` is the
    code of the combination of every row and ``combined`` what it consists of; ``left_out`` are
    columns that one of the tables lacks.
    """

    train: IntArray
    held_out: IntArray
    samples: tuple[IntArray, ...]
    families: NDArray[np.str_]
    columns: dict[str, Tally]
    combination: Tally
    combined: tuple[Tally, ...]
    left_out: tuple[str, ...] = field(default=())


def tally(
    train: pl.DataFrame,
    held_out: pl.DataFrame,
    samples: Sequence[pl.DataFrame],
    layout: Layout,
) -> Tallies:
    """Code the tables. Raises DataError if one is empty or none has a column to look at."""
    tables = [train, held_out, *samples]
    names = ("training rows", "held-out rows", *["generated rows"] * max(1, len(samples)))
    for name, table in zip_longest(names, tables):
        if table is None or not table.height:
            raise DataError("the table has no rows", where=name)
    ends = np.cumsum([table.height for table in tables])
    parts = [np.arange(end - table.height, end) for end, table in zip(ends, tables, strict=True)]
    real = np.concatenate(parts[:2])
    columns, left_out = {}, []
    for kind, names in (
        ("set", layout.sets),
        ("category", layout.categories),
        ("number", layout.numbers),
    ):
        for name in names:
            read: Callable[[pl.Series], Any] = _numbers if kind == "number" else _words
            stacked = [read(table[name]) if name in table.columns else _NOTHING for table in tables]
            filled = [bool(_known(values).any()) for values in stacked]
            if not all(filled):
                left_out += [name] if any(filled) else []
            elif kind == "number":
                columns[name] = _binned(name, np.concatenate(stacked), parts[0])
            else:
                columns[name] = _worded(name, kind, np.concatenate(stacked), real)
    combined = [columns[name] for name in layout.combination if name in columns]
    if not combined:
        what = f"none of {', '.join(layout.combination)} is filled in all tables"
        raise DataError(what, where="diagnosis", hint="give tables that describe frameworks")
    return Tallies(
        train=parts[0],
        held_out=parts[1],
        samples=tuple(parts[2:]),
        families=_families(train, held_out),
        columns=columns,
        combination=combination_of(combined),
        combined=tuple(combined),
        left_out=tuple(left_out),
    )


def combination_of(columns: Sequence[Tally]) -> Tally:
    """Join columns to one whose states are the combinations that occur."""
    codes = np.stack([column.code for column in columns], axis=1)
    known = (codes >= 0).all(axis=1)
    found, inverse = np.unique(codes[known], axis=0, return_inverse=True)
    code = np.full(len(codes), -1)
    code[known] = inverse.reshape(-1)
    states = tuple(
        " + ".join(column.states[c] for column, c in zip(columns, row, strict=True))
        for row in found
    )
    name = " x ".join(column.name for column in columns)
    return Tally(name, "combination", states, code, *_alone(len(states)), code)


def joint_rows(columns: Sequence[Tally], rows: Sequence[IntArray]) -> FloatArray:
    """Shares of every row over combinations of members, (n, K1 * K2 ...).

    Every column may look at other rows, as those of independent marginals do.
    """
    out = columns[0].rows(rows[0])
    for column, which in zip(columns[1:], rows[1:], strict=True):
        out = (out[:, :, None] * column.rows(which)[:, None, :]).reshape(len(out), -1)
    return out


def _words(series: pl.Series) -> NDArray[np.str_]:
    """Texts, "" where missing; lists of texts are sets."""
    if series.dtype == pl.List(pl.String):
        series = series.list.join(SEPARATOR)
    try:
        words = series.cast(pl.String).fill_null("").str.strip_chars()
    except pl.exceptions.PolarsError:
        what = f"the column holds {series.dtype}, not texts"
        raise DataError(what, where=series.name) from None
    return words.to_numpy().astype(str)


def _known(values: NDArray[Any]) -> NDArray[np.bool_]:
    return np.isfinite(values) if values.dtype.kind == "f" else np.asarray(values != "")


def _numbers(series: pl.Series) -> FloatArray:
    values = series.cast(pl.Float64, strict=False).to_numpy().astype(np.float64)
    return np.where(np.isfinite(values), values, np.nan)


def _binned(name: str, values: FloatArray, train: IntArray) -> Tally:
    known = values[train][np.isfinite(values[train])]
    # Ties at zero (no accessible pore) may fill a bin: equal edges become one.
    edges = np.unique(np.quantile(known, np.linspace(0, 1, BINS + 1)[1:-1]))
    edges = edges[edges > known.min()]
    code = np.where(np.isfinite(values), np.searchsorted(edges, values, side="right"), -1)
    bounds = ["", *(f"{edge:.3g}" for edge in edges), ""]
    states = tuple(f"{low}..{high}" for low, high in pairwise(bounds))
    rounded = pl.Series(values, nan_to_null=True).round_sig_figs(4).rank("dense").fill_null(0)
    exact = rounded.to_numpy().astype(np.int64)
    return Tally(name, "number", states, code, *_alone(len(states)), exact)


def _alone(states: int) -> tuple[csr_array, FloatArray]:
    """Content and profile of states that are members themselves."""
    content = csr_array(identity(states, format="csr"))
    # A combination is never spread over its members; its profile would have no use, and no end.
    return content, np.eye(states) if states <= BINS else np.zeros((states, 0))


def _worded(name: str, kind: str, words: NDArray[np.str_], real: IntArray) -> Tally:
    """Code a column of texts; sets are sorted first, so that order makes no state."""
    raw, inverse = np.unique(words, return_inverse=True)
    clean = [join(split(word)) if kind == "set" else str(word) for word in raw]
    states = tuple(sorted({word for word in clean if word}))
    place = {word: index for index, word in enumerate(states)} | {"": -1}
    code = np.array([place[word] for word in clean])[inverse.reshape(-1)]
    parts = [split(state) if kind == "set" else (state,) for state in states]
    members = {part: i for i, part in enumerate(sorted({p for some in parts for p in some}))}
    columns = [members[part] for some in parts for part in some]
    starts = np.r_[0, np.cumsum([len(some) for some in parts])]
    shape = (len(states), len(members))
    content = csr_array((np.ones(len(columns)), np.array(columns, int), starts), shape=shape)
    counted = content.T @ np.bincount(code[real][code[real] >= 0], minlength=len(states))
    common = np.asarray(counted) >= COMMON
    each = content.multiply(1.0 / np.maximum(np.diff(starts), 1)[:, None]).tocsr()
    rare = np.asarray(each[:, np.flatnonzero(~common)].sum(axis=1)).reshape(-1, 1)
    profile = np.hstack([each[:, np.flatnonzero(common)].toarray(), rare])
    return Tally(name, kind, states, code, content, profile, code)


def _families(*tables: pl.DataFrame) -> NDArray[np.str_]:
    """Family of every real row: its own name, or a number of its own, where there is no column."""
    out: list[str] = []
    for table in tables:
        known = next((name for name in ("family", "name") if name in table.columns), None)
        texts = table[known].cast(pl.String).to_list() if known else [None] * table.height
        out += [text or f"row {len(out) + i}" for i, text in enumerate(texts)]
    return np.array(out)
