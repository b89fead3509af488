"""The held-out rows of a run, ready to be drawn, with clusters and labels as coloured categories.

The same name has the same colour everywhere on the page.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

from variolite.corelogs.striplog.patterns import colours_of, free_colour
from variolite.errors import counted
from variolite.report.formatting import plain
from variolite.report.style import CATEGORIES, OTHER, PAPER
from variolite.scoring.scorecard import Scorecard
from variolite.training.run_folder import RunFiles

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

# Names of a group column that read well as what a group is called.
_GROUP_NOUNS = frozenset({"borehole", "core", "hole", "sample", "section", "site", "well"})


@dataclass(frozen=True)
class Classes:
    """Rows sorted into named, coloured categories by their ``codes`` [n]; -1 is none."""

    names: tuple[str, ...]
    colours: tuple[str, ...]
    codes: Integers

    def __len__(self) -> int:
        return len(self.names)

    def colour(self, code: int) -> str:
        """Return the colour of a category, and the one for rows without a category."""
        return self.colours[code] if code >= 0 else PAPER

    def counts(self) -> Integers:
        """Return the number of rows in each category, [categories]."""
        return np.bincount(self.codes[self.codes >= 0], minlength=len(self)).astype(np.int64)


def code_labels(labels: NDArray[np.str_], *, room: int = len(CATEGORIES)) -> Classes:
    """Sort labels [n] by how often they occur; the empty string is none.

    Those beyond ``room`` categories are pooled in a last one, "other", in grey. Rocks have their
    customary colours.
    """
    found, inverse, counts = np.unique(labels, return_inverse=True, return_counts=True)
    order = [int(i) for i in np.argsort(-counts, kind="stable") if found[i] != ""]
    shown, rest = (order, []) if len(order) <= room else (order[: room - 1], order[room - 1 :])
    lookup = np.full(len(found), -1, dtype=np.int64)
    lookup[shown] = np.arange(len(shown))
    lookup[rest] = len(shown)
    names = [str(found[i]) for i in shown]
    colours = colours_of(names)
    if rest:
        names.append(f"other ({len(rest)} labels)")
        colours.append(OTHER)
    return Classes(tuple(names), tuple(colours), lookup[inverse.reshape(-1)])


def code_clusters(clusters: Integers, labels: Classes | None) -> Classes:
    """Sort clusters [n] next to the labels they match, each in the colour of its label.

    Clusters and labels are paired one to one so that as many rows as possible lie in a pair
    (the assignment problem); the remaining clusters follow by size in the colours that are
    left, and in grey when these run out. A number below zero is not a cluster.
    """
    numbers = np.unique(clusters[clusters >= 0])
    codes = np.where(clusters >= 0, np.searchsorted(numbers, clusters), -1).astype(np.int64)
    if not len(numbers):
        return Classes((), (), codes)
    by_number = Classes(tuple(f"C{n}" for n in numbers), ("",) * len(numbers), codes)
    palette = labels.colours if labels is not None else ()
    pairs: dict[int, int] = {}
    if labels is not None:
        overlap = contingency(by_number, labels)
        # It minimises a cost; pairs without a common row are no match.
        matched = zip(*linear_sum_assignment(-overlap), strict=True)
        pairs = {int(c): int(label) for c, label in matched if overlap[c, label] > 0}
    sizes = by_number.counts()
    rest = sorted(set(range(len(numbers))) - pairs.keys(), key=lambda i: -sizes[i])
    order = [*sorted(pairs, key=pairs.__getitem__), *rest]
    colours: list[str] = []
    for c in order:
        taken = (*palette, *colours)
        colours.append(palette[pairs[c]] if c in pairs else free_colour(taken))
    place = np.argsort(order)  # the inverse of the order
    names = tuple(by_number.names[c] for c in order)
    return Classes(names, tuple(colours), np.where(codes >= 0, place[codes], -1))


def contingency(clusters: Classes, labels: Classes) -> Integers:
    """Count rows by cluster and label, [clusters, labels]; rows lacking one are left out."""
    both = (clusters.codes >= 0) & (labels.codes >= 0)
    counts = np.zeros((len(clusters), len(labels)), dtype=np.int64)
    np.add.at(counts, (clusters.codes[both], labels.codes[both]), 1)
    return counts


@dataclass(frozen=True)
class HeldOut:
    """Held-out rows; a part the file lacks is None or empty.

    ``inputs`` and ``reconstructions`` hold [n] values in original units, NaN where missing;
    ``latent`` is [n, L] posterior means. ``labels`` are those of the main ``level``, rare ones
    pooled, and ``every_label`` the same without pooling.
    """

    rows: int
    group_noun: str
    groups: NDArray[np.str_] | None
    order: Floats | None
    order_unit: str | None
    inputs: dict[str, Floats]
    reconstructions: dict[str, Floats]
    units: dict[str, str]
    latent: Floats | None
    level: str | None
    labels: Classes | None
    every_label: Classes | None
    levels: dict[str, Classes]
    clusters: Classes | None

    def title(self, name: str) -> str:
        """Return an input's name with its unit, for an axis."""
        unit = self.units.get(name)
        return f"{plain(name)} ({unit})" if unit else plain(name)

    @property
    def n_groups(self) -> int:
        """Number of groups that the rows come from; 0 when the file does not say."""
        return 0 if self.groups is None else len(np.unique(self.groups))

    @property
    def extent(self) -> str:
        """How many rows there are, and of how many groups."""
        rows = counted(self.rows, "held-out row")
        return f"{rows} of {counted(self.n_groups, self.group_noun)}" if self.n_groups else rows


def held_out_of(files: RunFiles, scorecard: Scorecard | None) -> HeldOut | None:
    """Take apart ``held_out.parquet``; None where the run has not been scored."""
    frame = files.held_out
    if frame is None:
        return None
    columns = files.columns
    units = {name: str(column["unit"]) for name, column in columns.items() if column.get("unit")}
    by_role = {column.get("role"): name for name, column in columns.items()}
    noun = by_role.get("group")
    numeric = {name for name, kind in frame.schema.items() if kind.is_numeric()}
    known = [name for name in frame.columns if name in numeric]
    names = [name for name in known if f"recon:{name}" in numeric]
    names = names or [name for name in known if name in units]
    latent = [name for name in known if name[:1] == "z" and name[1:].isdecimal()]
    latent.sort(key=lambda name: int(name[1:]))
    labelled = [column for column in frame.columns if column.startswith("label:")]
    named = {column.removeprefix("label:"): _strings(frame[column]) for column in labelled}
    levels = {level: code_labels(names) for level, names in named.items() if (names != "").any()}
    # The level that the scorecard names first, otherwise the file's first.
    scored = [row.level for row in scorecard.rows] if scorecard else []
    level = next((level for level in (*scored, *levels) if level in levels), None)
    labels = levels[level] if level else None
    clusters = None
    if "cluster" in numeric:
        numbers = frame["cluster"].cast(pl.Int64, strict=False).fill_null(-1).to_numpy()
        clusters = code_clusters(numbers, labels)
    recon = {name: f"recon:{name}" for name in names if f"recon:{name}" in numeric}
    return HeldOut(
        rows=frame.height,
        group_noun=noun if noun in _GROUP_NOUNS else "group",
        groups=_strings(frame["group"]) if "group" in frame.columns else None,
        order=_floats(frame["order"]) if "order" in numeric else None,
        order_unit=units.get(by_role.get("order", "")),
        inputs={name: _floats(frame[name]) for name in names},
        reconstructions={name: _floats(frame[column]) for name, column in recon.items()},
        units=units,
        latent=_floats(frame.select(latent)) if latent and frame.height else None,
        level=level,
        labels=labels,
        every_label=code_labels(named[level], room=frame.height) if level else None,
        levels=levels,
        clusters=clusters if clusters is not None and len(clusters) else None,
    )


def _floats(values: pl.Series | pl.DataFrame) -> Floats:
    array = values.cast(pl.Float64).to_numpy()
    return np.where(np.isfinite(array), array, np.nan)


def _strings(series: pl.Series) -> NDArray[np.str_]:
    return np.asarray(series.cast(pl.String, strict=False).fill_null("").to_list(), dtype=np.str_)
