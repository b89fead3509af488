"""Progress that a test looks at, or stops training through."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from variolite.progress import Progress


class Watched(Progress):
    """Keeps notes and steps; ``epoch`` is called after every epoch, ``step`` at every step."""

    def __init__(
        self,
        epoch: Callable[[Any], object] = lambda _: None,
        step: Callable[[str], object] = lambda _: None,
    ) -> None:
        self.notes: list[str] = []
        self.steps: list[str] = []
        self.epoch, self.step = epoch, step

    def note(self, text: str) -> None:
        self.notes.append(text)

    @contextmanager
    def stage(self, title: str, total: int | None = None) -> Iterator[Any]:
        self._step(title)
        yield self._step

    def _step(self, text: str, *, done: int | None = None) -> None:
        self.steps.append(text)
        self.step(text)

    @contextmanager
    def training(self, epochs: int) -> Iterator[Callable[[Any], object]]:
        yield self.epoch
