"""What happened in every epoch, one JSON object a line."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

from variolite.errors import RunFolderError
from variolite.records import write_text_atomic

__all__ = ["EpochRecord", "read_history", "write_history"]


@dataclass(frozen=True)
class EpochRecord:
    """One epoch; lists hold a number for every member, in nats per row.

    Attributes
    ----------
    epoch
        Counted from 0.
    beta
        The schedule's value in this epoch.
    seconds
        Wall time of the epoch.
    rate
        Learning rate of every member.
    train_total, train_reconstruction, train_kl
        Means over the epoch's batches, with the beta of the epoch.
    val_monitored
        reconstruction + final beta * KL on the validation rows: what the run
        is judged by. It never moves with the schedule.
    val_reconstruction, val_kl
        The parts of the monitored value.
    active_units
        Latent dimensions whose mean KL on the validation rows exceeds 0.01 nats.
    measures
        Further numbers on the validation rows, with their unit in the name.
    """

    epoch: int
    beta: float
    seconds: float
    rate: list[float]
    train_total: list[float]
    train_reconstruction: list[float]
    train_kl: list[float]
    val_monitored: list[float]
    val_reconstruction: list[float]
    val_kl: list[float]
    active_units: list[int]
    measures: dict[str, float] = field(default_factory=dict)


def write_history(path: Path, records: Sequence[EpochRecord]) -> None:
    """Write all epochs, replacing the file in one step."""
    lines = (json.dumps(asdict(record)) for record in records)
    write_text_atomic(path, "".join(f"{line}\n" for line in lines))


def read_history(path: Path) -> list[EpochRecord]:
    """Read the epochs of a run.

    Raises
    ------
    RunFolderError
        If the file is missing or damaged.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
        return [EpochRecord(**json.loads(line)) for line in lines]
    except FileNotFoundError:
        raise RunFolderError("there is no training history", where=str(path)) from None
    except (TypeError, ValueError, OSError) as error:
        raise RunFolderError(f"the training history is damaged: {error}", where=str(path)) from None
