"""The lines of the benchmark: which engine, at which batch, with which options."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from benchmarks.speed.request import Request


@dataclass(frozen=True)
class Line:
    """One line of the table.

    Attributes
    ----------
    key : str
        Name in ``speed.json``.
    label : str
        Name in ``speed.md``.
    engine : str
        A key of :data:`benchmarks.speed.worker.ENGINES`.
    batch : int or None
        Rows per step; None where the engine chooses.
    options : dict
    peer : str or None
        Environment of :mod:`benchmarks.speed.peers` it runs in; None for our own.
    """

    key: str
    label: str
    engine: str
    batch: int | None
    options: dict[str, Any] = field(default_factory=dict)
    peer: str | None = None

    def request(self, epochs: int, *, seed: int = 0, watch: bool = False) -> Request:
        """The line as a request to a worker."""
        return Request(self.engine, self.batch, epochs, seed, self.options, watch)


def _at(
    batches: tuple[int | None, ...], key: str, label: str, engine: str, **more: Any
) -> list[Line]:
    peer = more.pop("peer", None)
    return [
        Line(f"{key}-{batch or 'default'}", label, engine, batch, more, peer) for batch in batches
    ]


_EQUAL = (256, 1024)

LINES: tuple[Line, ...] = (
    *_at((None, *_EQUAL), "variolite", "Variolite", "variolite", members=1),
    *_at((None, *_EQUAL), "variolite-8", "Variolite, 8 members at once", "variolite", members=8),
    *_at(
        (None, *_EQUAL),
        "variolite-autograd",
        "Variolite, gradients by autograd",
        "variolite",
        members=1,
        autograd=True,
    ),
    *_at(_EQUAL, "plain", "plain PyTorch, DataLoader loop", "plain", norm=False),
    *_at((256,), "plain-norm", "the same with BatchNorm and dropout", "plain", norm=True),
    *_at(_EQUAL, "pythae", "pythae, same network", "pythae", peer="pythae"),
    *_at(
        _EQUAL,
        "scvi-tools",
        "scvi-tools, two layers of 32, normal likelihood",
        "scvi-tools",
        peer="scvi-tools",
    ),
    *_at(_EQUAL, "c", "C by hand, gcc -O3 (the floor)", "c"),
)
"""In the order of the table."""

OURS = "variolite-default"
WARM_UP = Line(
    "variolite-warm-up",
    "Variolite with its usual warm-up of beta",
    "variolite",
    None,
    {"members": 1, "warm_up": True},
)
"""Not timed per epoch, where it equals :data:`OURS`; only to the ELBO."""
SOURCES = ("plain-256", "plain-norm-256")
"""The lines whose held-out ELBO ours has to reach: without and with BatchNorm and dropout."""


def line(key: str) -> Line:
    """The line of that key."""
    return next(found for found in LINES if found.key == key)
