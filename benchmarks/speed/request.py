"""What the driver asks of one worker process and what the worker answers."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from typing import Any


@dataclass(frozen=True)
class Request:
    """One training run in one process.

    Attributes
    ----------
    engine : str
        A key of :data:`benchmarks.speed.worker.ENGINES`.
    batch : int or None
        Rows per step; None leaves the choice to the engine.
    epochs : int
        Epochs to train. The driver leaves the first out of the timing.
    seed : int
    options : dict
        What else the engine understands: ``norm``, ``members``, ``autograd``.
    watch : bool
        Whether to evaluate the held-out ELBO after every epoch, outside the timing.
    """

    engine: str
    batch: int | None
    epochs: int
    seed: int = 0
    options: dict[str, Any] = field(default_factory=dict)
    watch: bool = False

    def to_json(self) -> str:
        """The request as one line of JSON."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> Request:
        """Read :meth:`to_json`."""
        return cls(**json.loads(text))


@dataclass(frozen=True)
class Epoch:
    """One epoch of training.

    Attributes
    ----------
    cpu : float
        CPU seconds of the process, all threads, evaluation not counted.
    loss : float or None
        Mean training loss per row as ``SSE + 0.5 KL``, where the engine reports it.
    elbo : float or None
        Held-out ELBO per row in nats after the epoch, where it was asked for.
    """

    cpu: float
    loss: float | None = None
    elbo: float | None = None
