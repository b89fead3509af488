"""Tables of frameworks as counts: real rows and samples coded in the same states.

A set is one state as a whole, and shares over its members where members are compared: a framework
of two linkers is half a row for each. Numbers are binned by quantiles of the training rows. Rows
that lack a value are left out where that column is looked at.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from itertools import zip_longest

import numpy as np
import polars as pl
from numpy.typing import NDArray
from scipy.sparse import csr_array

from variolite.errors import DataError
from variolite.frameworks.columns import SEPARATOR, split
from variolite.frameworks.diagnosis.diversity import shares
from variolite.scoring.intervals import FloatArray, IntArray

BINS = 5
COMMON = 5
"""Real rows from which on a member is a state of its own; the others are one state together."""


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
    """One column of S states with M members in all: the ``code`` of every row, -1 where missing.

    ``content`` (S, M) is 1 for the members of a state; a category is its only member. ``profile``
    (S, K) has the shares over members that are common among real rows, the others together in the
    last; numbers have their S bins.
    """

    name: str
    kind: str
    members: tuple[str, ...]
    code: IntArray
    content: csr_array
    profile: FloatArray

    @property
    def states(self) -> int:
        return int(self.content.shape[0])

    def rows(self, which: IntArray) -> FloatArray:
        """Shares over the members (n, K), zero in rows that lack the column."""
        code = self.code[which]
        return np.asarray(np.where(code[:, None] < 0, 0.0, self.profile[code]))

    def counts(self, which: IntArray) -> IntArray:
        """Rows of every state (S,)."""
        code = self.code[which]
        return np.bincount(code[code >= 0], minlength=self.states)

    def known(self, which: IntArray) -> int:
        """Rows that have the column."""
        return int((self.code[which] >= 0).sum())

    def member_counts(self, which: IntArray) -> IntArray:
        """Rows that hold every member (M,)."""
        return np.asarray(self.content.T @ self.counts(which)).astype(np.int64)


@dataclass(frozen=True)
class Tallies:
    """Training rows, held-out rows and samples (one per seed), and the columns that all have.

    ``frame`` has their rows one below the other, in which ``train``, ``held_out`` and ``samples``
    are places; ``families`` are of the real rows. ``combination`` joins the columns ``combined``;
    ``left_out`` are columns that one of the tables lacks.
    """

    frame: pl.DataFrame
    train: IntArray
    held_out: IntArray
    samples: tuple[IntArray, ...]
    families: NDArray[np.str_]
    columns: dict[str, Tally]
    combination: Tally
    combined: tuple[Tally, ...]
    left_out: tuple[str, ...]

    @property
    def words(self) -> list[Tally]:
        """Sets and categories."""
        return [column for column in self.columns.values() if column.kind != "number"]

    @property
    def numbers(self) -> list[Tally]:
        return [column for column in self.columns.values() if column.kind == "number"]


def tally(
    train: pl.DataFrame, held_out: pl.DataFrame, samples: Sequence[pl.DataFrame], layout: Layout
) -> Tallies:
    """Code the tables. Raises DataError if one is empty or none has a column to look at."""
    tables = [train, held_out, *samples]
    where = ("training rows", "held-out rows", *["generated rows"] * max(1, len(samples)))
    for name, table in zip_longest(where, tables):
        if table is None or not table.height:
            raise DataError("the table has no rows", where=name)
    kinds = dict.fromkeys(layout.sets, "set") | dict.fromkeys(layout.categories, "category")
    kinds |= dict.fromkeys(layout.numbers, "number")
    clean = [
        pl.DataFrame([_clean(table[n], kind) for n, kind in kinds.items() if n in table.columns])
        for table in tables
    ]
    filled = {name: [name in t.columns and t[name].count() > 0 for t in clean] for name in kinds}
    shared = [name for name, known in filled.items() if all(known)]
    combined = [name for name in layout.combination if name in shared]
    if not combined:
        what = f"none of {', '.join(layout.combination)} is filled in all tables"
        raise DataError(what, where="diagnosis", hint="give tables that describe frameworks")
    frame = pl.concat([table.select(shared) for table in clean])
    ends = np.cumsum([table.height for table in tables])
    parts = np.split(np.arange(ends[-1]), ends[:-1])
    real = np.arange(ends[1])
    columns = {
        name: _binned(frame[name], parts[0])
        if kinds[name] == "number"
        else _worded(frame[name], kinds[name], real)
        for name in shared
    }
    joined = frame.select(pl.concat_str(combined, separator=" + ").alias(" x ".join(combined)))
    return Tallies(
        frame=frame,
        train=parts[0],
        held_out=parts[1],
        samples=tuple(parts[2:]),
        families=_families(train, held_out),
        columns=columns,
        combination=_worded(joined.to_series(), "category", real),
        combined=tuple(columns[name] for name in combined),
        left_out=tuple(n for n, known in filled.items() if any(known) and not all(known)),
    )


def joint_rows(columns: Sequence[Tally], rows: Sequence[IntArray]) -> FloatArray:
    """Shares of every row over combinations of members, (n, K1 * K2 ...).

    Every column may look at other rows, as those of independent marginals do.
    """
    out = columns[0].rows(rows[0])
    for column, which in zip(columns[1:], rows[1:], strict=True):
        out = (out[:, :, None] * column.rows(which)[:, None, :]).reshape(len(out), -1)
    return out


def joint_shares(columns: Sequence[Tally], rows: Sequence[IntArray]) -> FloatArray:
    """Mean of `joint_rows` over rows, (K1 * K2 ...), as shares; small columns come first."""
    # A product of matrices: rows of all columns together would be a thousand times as much.
    *others, last = columns
    sums = joint_rows(others, rows[:-1]).T @ last.rows(rows[-1])
    return shares(sums.ravel())


def _clean(series: pl.Series, kind: str) -> pl.Series:
    """Texts or numbers, null where missing; members of sets are sorted, so that order is none."""
    if kind == "number":
        values = series.cast(pl.Float64, strict=False)
        return values.set(~values.is_finite(), None)
    try:
        texts = series.list.join(SEPARATOR) if series.dtype == pl.List(pl.String) else series
        texts = texts.cast(pl.String).str.strip_chars()
    except pl.exceptions.PolarsError:
        what = f"the column holds {series.dtype}, not texts"
        raise DataError(what, where=series.name) from None
    if kind == "set":
        member = pl.element().str.strip_chars()
        members = texts.str.split(SEPARATOR).list.eval(member.filter(member != "").unique().sort())
        texts = members.list.join(SEPARATOR)
    return texts.set(texts == "", None)


def _binned(values: pl.Series, train: IntArray) -> Tally:
    known = values.gather(train).drop_nulls().to_numpy()
    # Ties at zero (no accessible pore) may fill a bin: equal edges become one.
    edges = np.unique(np.quantile(known, np.linspace(0, 1, BINS + 1)[1:-1]))
    edges = edges[edges > known.min()]
    numbers = values.to_numpy()
    code = np.where(np.isfinite(numbers), np.searchsorted(edges, numbers, side="right"), -1)
    bins = np.eye(len(edges) + 1)
    return Tally(values.name, "number", (), code, csr_array(bins), bins)


def _worded(texts: pl.Series, kind: str, real: IntArray) -> Tally:
    from sklearn.preprocessing import MultiLabelBinarizer

    states = texts.drop_nulls().unique().sort()
    code = (texts.rank("dense").cast(pl.Int64) - 1).fill_null(-1).to_numpy()
    parts = [split(state) if kind == "set" else (state,) for state in states]
    binarizer = MultiLabelBinarizer(sparse_output=True)
    content = csr_array(binarizer.fit_transform(parts), dtype=np.float64)
    found = Tally(texts.name, kind, tuple(binarizer.classes_), code, content, np.empty((0, 0)))
    common = found.member_counts(real) >= COMMON
    shares = csr_array(content.multiply(1.0 / content.sum(axis=1)[:, None]))
    rare = shares[:, np.flatnonzero(~common)].sum(axis=1)[:, None]
    profile = np.hstack([shares[:, np.flatnonzero(common)].toarray(), rare])
    return replace(found, profile=profile)


def _families(*tables: pl.DataFrame) -> NDArray[np.str_]:
    """Family of every real row: its own name, or a number of its own, where there is no column."""
    texts: list[str | None] = []
    for table in tables:
        known = next((name for name in ("family", "name") if name in table.columns), None)
        texts += table[known].cast(pl.String).to_list() if known else [None] * table.height
    return np.array([text or f"row {place}" for place, text in enumerate(texts)])
