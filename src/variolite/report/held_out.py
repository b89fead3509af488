"""The held-out rows of a run, column by column, ready to be drawn."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

from variolite.report.classes import Classes, code_clusters, code_labels
from variolite.report.lettering import plain
from variolite.report.run_files import RunFiles
from variolite.report.wording import counted

__all__ = ["HeldOut", "held_out_of"]

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class HeldOut:
    """Held-out rows; a part the file lacks is None or empty.

    ``group_noun`` is what a group is called, such as "hole". ``inputs`` and
    ``reconstructions`` hold [n] values in original units, NaN where missing;
    ``latent`` is [n, L] posterior means; ``labels`` are those of the level
    called ``level``, rare ones pooled, ``every_label`` the same without pooling, and
    ``levels`` those of every level that has any.
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
    def extent(self) -> str:
        """Say how many rows there are, and of how many groups."""
        rows = counted(self.rows, "held-out row")
        return f"{rows} of {counted(self.n_groups, self.group_noun)}" if self.n_groups else rows

    @property
    def n_groups(self) -> int:
        """Number of groups that the rows come from; 0 when the file does not tell."""
        return 0 if self.groups is None else len(np.unique(self.groups))


def held_out_of(files: RunFiles) -> HeldOut | None:
    """Take apart ``held_out.parquet``; None where the run has not been scored."""
    frame = files.held_out
    if frame is None:
        return None
    numeric = {name for name, kind in frame.schema.items() if kind.is_numeric()}
    names = [name for name in frame.columns if name in numeric and f"recon:{name}" in numeric] or [
        name for name in frame.columns if name in numeric and name in files.units
    ]
    latent = [
        name
        for name in sorted(numeric, key=lambda name: (len(name), name))
        if name[:1] == "z" and name[1:].isdecimal()
    ]
    named = {
        column.removeprefix("label:"): _strings(frame[column])
        for column in frame.columns
        if column.startswith("label:")
    }
    levels = {level: code_labels(names) for level, names in named.items() if (names != "").any()}
    level = _main_level(files, levels)
    labels = levels.get(level) if level else None
    clusters = None
    if "cluster" in numeric:
        numbers = frame["cluster"].cast(pl.Int64, strict=False).fill_null(-1).to_numpy()
        clusters = code_clusters(numbers.astype(np.int64), labels)
    return HeldOut(
        rows=frame.height,
        group_noun=files.group_noun,
        groups=_strings(frame["group"]) if "group" in frame.columns else None,
        order=_floats(frame["order"]) if "order" in numeric else None,
        order_unit=files.order_unit,
        inputs={name: _floats(frame[name]) for name in names},
        reconstructions={
            name: _floats(frame[f"recon:{name}"]) for name in names if f"recon:{name}" in numeric
        },
        units=files.units,
        latent=(
            np.column_stack([_floats(frame[name]) for name in latent])
            if latent and frame.height
            else None
        ),
        level=level,
        labels=labels,
        every_label=code_labels(named[level], room=frame.height) if level else None,
        levels=levels,
        clusters=clusters if clusters is not None and len(clusters) else None,
    )


def _main_level(files: RunFiles, present: Collection[str]) -> str | None:
    """Return the label level that the scorecard names first, otherwise the file's first."""
    scored = [row.level for row in files.scorecard.rows] if files.scorecard else []
    return next((level for level in scored if level in present), next(iter(present), None))


def _floats(series: pl.Series) -> Floats:
    values = series.cast(pl.Float64, strict=False).fill_null(float("nan")).to_numpy()
    return np.where(np.isfinite(values), values, np.nan)


def _strings(series: pl.Series) -> NDArray[np.str_]:
    return np.asarray(series.cast(pl.String, strict=False).fill_null("").to_list(), dtype=np.str_)
