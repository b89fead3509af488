"""A killed run goes on where it stopped: one file, replaced in one step."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
from torch import Tensor

from variolite.errors import RunFolderError
from variolite.records import write_bytes_atomic
from variolite.training.history import EpochRecord

__all__ = ["Checkpoint", "load_checkpoint", "save_checkpoint"]


@dataclass(frozen=True)
class Checkpoint:
    """All that training needs to go on.

    Attributes
    ----------
    fingerprint
        Of the recipe, the data and the machine-independent set-up: a
        checkpoint continues only the run that it came from.
    epoch
        Next epoch to train.
    steps
        Optimiser steps so far.
    tensors
        Weights, optimiser moments, rates and best weights.
    progress
        State of early stopping, JSON-able.
    history
        Epochs so far.
    """

    fingerprint: str
    epoch: int
    steps: int
    tensors: dict[str, Tensor]
    progress: dict[str, Any]
    history: list[EpochRecord]


def save_checkpoint(path: Path, checkpoint: Checkpoint) -> None:
    """Write a checkpoint; a reader sees the old one or the new one, never half."""
    meta = {
        "fingerprint": checkpoint.fingerprint,
        "epoch": checkpoint.epoch,
        "steps": checkpoint.steps,
        "progress": checkpoint.progress,
        "history": [asdict(record) for record in checkpoint.history],
    }
    tensors = {
        name: value.detach().cpu().contiguous() for name, value in checkpoint.tensors.items()
    }
    text = json.dumps(meta)
    signed = {"variolite": text, "sha256": _digest(text, tensors)}
    content = safetensors.torch.save(tensors, metadata=signed)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_bytes_atomic(path, content)


def _digest(text: str, tensors: dict[str, Tensor]) -> str:
    digest = hashlib.sha256(text.encode())
    for name, value in sorted(tensors.items()):
        digest.update(f"{name} {value.dtype} {tuple(value.shape)}".encode())
        digest.update(value.numpy().tobytes())
    return digest.hexdigest()


def load_checkpoint(path: Path, fingerprint: str) -> Checkpoint | None:
    """Read a checkpoint, or return None where there is none.

    Raises
    ------
    RunFolderError
        If it is damaged, or belongs to another recipe or other data.
    """
    if not path.is_file():
        return None
    restart = "choose another --out, or start this run afresh with --restart"
    try:
        with safetensors.safe_open(path, framework="pt") as file:
            stored = file.metadata()
            tensors: dict[str, Tensor] = {k: file.get_tensor(k) for k in file.keys()}  # noqa: SIM118
        if stored["sha256"] != _digest(stored["variolite"], tensors):
            raise ValueError
        meta = json.loads(stored["variolite"])
        history = [EpochRecord(**record) for record in meta["history"]]
        checkpoint = Checkpoint(
            meta["fingerprint"],
            meta["epoch"],
            meta["steps"],
            tensors,
            meta["progress"],
            history,
        )
    except (safetensors.SafetensorError, KeyError, TypeError, ValueError, OSError):
        raise RunFolderError("the checkpoint is damaged", where=str(path), mend=restart) from None
    if checkpoint.fingerprint != fingerprint:
        raise RunFolderError(
            "the unfinished run in this folder has another recipe, other data or other seeds",
            where=str(path.parent.parent),
            mend=restart,
        )
    return checkpoint
