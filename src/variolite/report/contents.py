"""The contents of a run folder's files, typed and checked; unknown further fields are allowed."""

from __future__ import annotations

import math
from typing import Annotated

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, BeforeValidator, ConfigDict

__all__ = [
    "Environment",
    "History",
    "HistoryLine",
    "KeptClustering",
]

Floats = NDArray[np.float64]

Number = Annotated[float, BeforeValidator(lambda value: math.nan if value is None else value)]
"""A float for which JSON's null stands for a value that could not be computed."""


class _Content(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")


class HistoryLine(_Content):
    """One epoch: per-member values are lists of one number per member."""

    epoch: int
    beta: Number | None = None
    seconds: Number | None = None
    train_total: tuple[Number, ...] = ()
    train_reconstruction: tuple[Number, ...] = ()
    train_kl: tuple[Number, ...] = ()
    val_monitored: tuple[Number, ...] = ()
    val_reconstruction: tuple[Number, ...] = ()
    val_kl: tuple[Number, ...] = ()
    active_units: tuple[Number, ...] = ()


class History(_Content):
    """The epochs of ``history.jsonl`` in order."""

    lines: tuple[HistoryLine, ...]
    cut_short: bool = False

    @property
    def epochs(self) -> Floats:
        """Epoch numbers, [epochs]."""
        return np.array([line.epoch for line in self.lines], dtype=np.float64)

    @property
    def beta(self) -> Floats | None:
        """Weight of the KL term by epoch, [epochs]; None where it was not written."""
        values = [line.beta for line in self.lines]
        if any(value is None for value in values):
            return None
        return np.array(values, dtype=np.float64)

    def series(self, name: str) -> Floats | None:
        """Return one per-member quantity, [epochs, members]; None where it was not written."""
        rows = [getattr(line, name) for line in self.lines]
        members = {len(row) for row in rows}
        if len(members) != 1 or members == {0}:
            return None
        return np.array(rows, dtype=np.float64)


class KeptClustering(_Content):
    """What the run's stored clustering says about itself."""

    algorithm: str
    k: int


class Environment(_Content):
    """Where and when the run was made; kept whole, known parts typed."""

    model_config = ConfigDict(frozen=True, extra="allow")

    simulated: bool = False
    command: str | list[str] | None = None
    started: str | None = None
    seconds: Number | None = None
