"""Progress on stderr, with an estimate of the time left."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from variolite.training import EpochRecord
    from variolite.training.run import Listener

__all__ = ["note", "now_and_then", "training_progress", "waiting"]


def note(text: str) -> None:
    """Print a sentence to stderr."""
    print(f"  {text}", file=sys.stderr, flush=True)


@contextmanager
def waiting(text: str) -> Iterator[Callable[[str], None]]:
    """Say that something longer has begun, and how long it took.

    Yields a function that says what is being done at the moment.
    """
    began = time.monotonic()
    terminal = sys.stderr.isatty()

    def tell(step: str) -> None:
        if terminal:
            print(f"\r  {text}: {step}\033[K", end="", file=sys.stderr, flush=True)

    tell("...")
    try:
        yield tell
    finally:
        clear = "\r\033[K" if terminal else ""
        seconds = time.monotonic() - began
        print(f"{clear}  {text}: {seconds:.1f} s", file=sys.stderr, flush=True)


@contextmanager
def training_progress(epochs: int) -> Iterator[Listener]:
    """Show a bar on a terminal, or a line now and then elsewhere."""
    from variolite.training.run import Listener

    if not sys.stderr.isatty():
        yield Listener(note=note, epoch=_plain(epochs))
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    columns: list[Any] = [
        TextColumn("  training"),
        BarColumn(),
        TextColumn("epoch {task.completed}/{task.total}"),
        TextColumn("{task.fields[state]}"),
        TimeRemainingColumn(),
    ]
    console = Console(stderr=True)
    with Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task("training", total=epochs, state="", start=False)

        def epoch(record: EpochRecord) -> None:
            bar.start_task(task)
            bar.update(task, completed=record.epoch + 1, state=_state(record))

        yield Listener(note=lambda text: console.print(f"  {text}", highlight=False), epoch=epoch)


def _state(record: EpochRecord) -> str:
    best = min(record.val_monitored)
    if record.measures:
        error = record.measures["position_error_median_angstrom"]
        return f"objective {best:.4f}, positions within {error:.3f} Angstrom (median)"
    return f"-ELBO {best:.3f} nats, beta {record.beta:.2f}, {max(record.active_units)} active"


def _plain(epochs: int) -> Callable[[EpochRecord], None]:
    began = time.monotonic()
    told = began

    def epoch(record: EpochRecord) -> None:
        nonlocal told
        now = time.monotonic()
        if now - told < 10.0 and record.epoch > 0:
            return
        told = now
        left = (now - began) / (record.epoch + 1) * (epochs - record.epoch - 1)
        note(f"epoch {record.epoch + 1}/{epochs}: {_state(record)}, at most {left:.0f} s left")

    return epoch


def now_and_then() -> Callable[[str], None]:
    """Tell of long work every ten seconds, and of every new kind of work."""
    told_at, told_of = 0.0, ""

    def tell(text: str) -> None:
        nonlocal told_at, told_of
        kind, now = text.split(" ")[0], time.monotonic()
        if kind != told_of or now - told_at > 10.0:
            told_at, told_of = now, kind
            note(text)

    return tell
