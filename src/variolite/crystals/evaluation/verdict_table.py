"""One row for each sample: what was found about it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import polars as pl
from numpy.typing import NDArray

from variolite.crystals.evaluation.charge_balance import ChargeBalance
from variolite.crystals.evaluation.novelty import Newness
from variolite.crystals.evaluation.stability import Stability
from variolite.crystals.structures.crystals import Crystals
from variolite.crystals.structures.formula import reduced_formulas

__all__ = ["energy_columns", "newness_columns", "verdict_columns"]

Mask = NDArray[np.bool_]


def verdict_columns(
    samples: Crystals, shortest: NDArray[np.float64], valid: Mask, balance: ChargeBalance
) -> pl.DataFrame:
    """Return the table of B samples with what is known of their validity."""
    return pl.DataFrame(
        {
            "name": samples.names.tolist(),
            "formula": reduced_formulas(samples).tolist(),
            "n_atoms": samples.counts,
            "shortest_distance": pl.Series(shortest).fill_nan(None),
            "distance_valid": valid,
            "composition_valid": [
                bool(good) if known else None
                for good, known in zip(balance.balanced, balance.judged, strict=True)
            ],
        }
    )


def newness_columns(
    valid: Mask, newness: Newness, kept: Crystals, known: Crystals
) -> list[pl.Series]:
    """Return columns on uniqueness and novelty; empty where a sample is not valid."""
    return [
        _spread("unique", valid, newness.unique.tolist()),
        _spread("repeats", valid, _named(newness.earlier.of, kept)),
        _spread("novel", valid, newness.novel.tolist()),
        _spread("known_as", valid, _named(newness.known.of, known)),
    ]


def energy_columns(valid: Mask, stability: Stability, suffix: str) -> list[pl.Series]:
    """Return columns of energies in eV/atom; empty where a sample is not judged."""
    return [
        _spread(f"{name}{suffix}", valid, [float(v) if np.isfinite(v) else None for v in values])
        for name, values in (
            ("formation_energy_per_atom", stability.formation),
            ("e_above_hull", stability.above),
        )
    ]


def _named(places: NDArray[np.int64], crystals: Crystals) -> list[str | None]:
    return [str(crystals.names[place]) if place >= 0 else None for place in places]


def _spread(name: str, valid: Mask, values: Sequence[object]) -> pl.Series:
    """A column of all samples from values of the valid ones."""
    column: list[object] = [None] * len(valid)
    for place, value in zip(np.flatnonzero(valid), values, strict=True):
        column[place] = value
    return pl.Series(name, column)
