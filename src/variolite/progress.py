"""Progress of long work: silent from Python, on stderr with an estimate of the time left else."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Protocol

from variolite.errors import printable

if TYPE_CHECKING:
    from variolite.training import EpochRecord

PAUSE = 10.0
"""Seconds between two lines of one stage where stderr is no terminal."""


class Step(Protocol):
    """Called within a stage: what is being done, and how much of the total is done."""

    def __call__(self, text: str, /, *, done: int | None = None) -> None: ...


class Progress:
    """Where long work reports to; this one is silent."""

    def note(self, text: str) -> None:
        """Report a sentence worth reading."""

    @contextmanager
    def stage(self, title: str, total: int | None = None) -> Iterator[Step]:
        """Begin something longer, of ``total`` steps where that is known."""
        del title, total
        yield _ignore

    @contextmanager
    def training(self, epochs: int) -> Iterator[Callable[[EpochRecord], None]]:
        """Begin training; what is yielded is called after every epoch."""
        with self.stage("training", epochs) as step:
            yield lambda record: step(_state(record, epochs), done=record.epoch + 1)


def _ignore(text: str, /, *, done: int | None = None) -> None:
    del text, done


class ConsoleProgress(Progress):
    """Lines on stderr; on a terminal a bar, or the step at hand, that is wiped away again."""

    def note(self, text: str) -> None:
        print(f"  {printable(text)}", file=sys.stderr, flush=True)

    @contextmanager
    def stage(self, title: str, total: int | None = None) -> Iterator[Step]:
        began = time.monotonic()
        try:
            with (_bar if sys.stderr.isatty() else _lines)(title, total) as step:
                yield step
        finally:
            self.note(f"{title}: {time.monotonic() - began:.1f} s")


@contextmanager
def _bar(title: str, total: int | None) -> Iterator[Step]:
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    texts = ("  {task.description}", "{task.fields[state]}")
    # No markup: a name such as "[bold]" is shown as it is.
    columns: list[Any] = [TextColumn(text, markup=False) for text in texts]
    if total is not None:
        columns += [BarColumn(), TimeRemainingColumn()]
    # Notes of the stage are printed above the bar, as rich takes over stderr meanwhile.
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(title, total=total, state="", start=total is None)

        def step(text: str, /, *, done: int | None = None) -> None:
            bar.start_task(task)
            bar.update(task, completed=done, state=printable(text))

        yield step


@contextmanager
def _lines(title: str, total: int | None) -> Iterator[Step]:
    began = last = time.monotonic()
    last_kind = ""

    def step(text: str, /, *, done: int | None = None) -> None:
        nonlocal last, last_kind
        # The first word tells one kind of work from the next: "epoch 3/40", "matching ...";
        # a count, as in "49/60 kmeans", does not.
        kind, now = text.split(" ")[0].strip("0123456789/.,%"), time.monotonic()
        if kind == last_kind and now - last < PAUSE:
            return
        last, last_kind = now, kind
        left = ""
        if total is not None and done:
            left = f", at most {(now - began) / done * (total - done):.0f} s left"
        print(f"  {title}: {printable(text)}{left}", file=sys.stderr, flush=True)

    yield step


def _state(record: EpochRecord, epochs: int) -> str:
    best = min(record.val_monitored)
    state = f"epoch {record.epoch + 1}/{epochs}: validation loss {best:.4g}"
    if record.measures:
        return ", ".join(
            [state, *(f"{k.replace('_', ' ')} {v:.3g}" for k, v in record.measures.items())]
        )
    return f"{state} nats, beta {record.beta:.2f}, {max(record.active_units)} active"
