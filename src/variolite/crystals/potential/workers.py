"""Potentials by name, and long work in worker processes, each with its own potential."""

from __future__ import annotations

import multiprocessing
import signal
import threading
import time
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

import torch

from variolite.crystals.potential.chgnet import ChgnetPotential
from variolite.crystals.potential.potential import Potential
from variolite.errors import DataError, nearest

# Potentials by name.


POTENTIALS: Mapping[str, Callable[[torch.device], Potential]] = {"chgnet": ChgnetPotential}


def load_potential(name: str = "chgnet", *, device: torch.device | str = "cpu") -> Potential:
    """Load a pretrained potential whose weights come with its package; nothing is downloaded.

    Parameters
    ----------
    name
        One of `POTENTIALS`.
    device
        Where to run.

    Raises
    ------
    DataError
        If the name is unknown or its package is missing.
    """
    if name not in POTENTIALS:
        close = nearest(name, POTENTIALS)
        raise DataError(
            f"there is no potential {name!r}",
            hint=f"did you mean {close}?"
            if close
            else f"choose from {', '.join(POTENTIALS)}, or wrap a calculator in AsePotential",
        )
    return POTENTIALS[name](torch.device(device))


# Long work on crystals in worker processes, each with its own potential and one thread.


Part = TypeVar("Part")
Result = TypeVar("Result")
Work = Callable[[Potential, Part], Result]


@dataclass(frozen=True)
class Source:
    """Which potential to load; see `load_potential`.

    Attributes
    ----------
    name
        One of `POTENTIALS`.
    device
        Where it runs when there is one process; worker processes use the CPU.
    """

    name: str = "chgnet"
    device: str = "cpu"

    def load(self) -> Potential:
        """Load it."""
        return load_potential(self.name, device=self.device)


def loaded(source: Source | Potential) -> Potential:
    """Return the potential of a source; a potential is its own source."""
    return source.load() if isinstance(source, Source) else source


def silent(_: str) -> None:
    """Say nothing."""


class Progress:
    """Says now and then how far the work is and how long it will take.

    Parameters
    ----------
    tell
        Takes the sentence.
    total
        Number of crystals.
    pause
        Seconds between two sentences.
    """

    def __init__(self, tell: Callable[[str], None], total: int, *, pause: float = 2.0) -> None:
        self.tell = tell
        self.total = total
        self.pause = pause
        self.done = 0
        self.began = self.told = time.monotonic()

    def add(self, crystals: int) -> None:
        """Count crystals as done."""
        self.done += crystals
        now = time.monotonic()
        if now - self.told >= self.pause or self.done == self.total:
            self.told = now
            left = (now - self.began) / max(self.done, 1) * (self.total - self.done)
            self.tell(f"{self.done:,} of {self.total:,} crystals, {_duration(left)} left")


def _duration(seconds: float) -> str:
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min"


_POTENTIAL: list[Potential] = []
"""The potential of this worker process."""


@contextmanager
def _deaf() -> Iterator[None]:
    """Start processes that do not hear an interruption, even while they load.

    It is for the parent, which stops giving out work; a process inherits that it ignores it.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    usual = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, usual)


def _begin(source: Source) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    torch.set_num_threads(1)
    _POTENTIAL.append(Source(source.name).load())


def _perform(work: Work[Part, Result], part: Part) -> Result:
    return work(_POTENTIAL[0], part)


def carried_out(
    work: Work[Part, Result],
    parts: Sequence[Part],
    potential: Potential,
    source: Source | Potential,
    workers: int,
) -> Generator[tuple[int, Result], None, None]:
    """Carry out work on parts and yield each result with its place as soon as it is there.

    Parameters
    ----------
    work
        A function of a module, so that a worker process can find it.
    parts
        What it takes beside the potential.
    potential
        What ``source`` loads, for work in this process.
    source
        Loaded once by each worker process; a potential itself works in this process only.
    workers
        Processes; 1 works in this one.

    Raises
    ------
    DataError
        If a worker process dies, or a potential that is no `Source` should work in several.
    """
    workers = min(workers, len(parts))
    if workers <= 1:
        for place, part in enumerate(parts):
            yield place, work(potential, part)
        return
    if not isinstance(source, Source):
        raise DataError(
            "a potential given as an object works in one process",
            where="workers",
            hint="Leave them at 1",
        )
    context = multiprocessing.get_context("spawn")
    others = set(multiprocessing.active_children())
    pool = ProcessPoolExecutor(workers, context, _begin, (source,))
    finished = False
    waiting: dict[Future[Any], int] = {}
    try:
        todo = iter(enumerate(parts))
        while True:
            # Few parts ahead: what is handed out cannot be called back.
            while len(waiting) < 2 * workers and (following := next(todo, None)) is not None:
                with _deaf():
                    waiting[pool.submit(_perform, work, following[1])] = following[0]
            if not waiting:
                finished = True
                break
            for future in wait(waiting, return_when=FIRST_COMPLETED).done:
                yield waiting.pop(future), future.result()
    except BrokenProcessPool:
        raise DataError(
            "a worker process died, for lack of memory or because the script that starts it "
            'has no `if __name__ == "__main__":`',
            hint="mend the script, or use workers=1",
        ) from None
    finally:
        if not finished:
            # Who interrupts does not want to wait for work that nobody will collect.
            for process in set(multiprocessing.active_children()) - others:
                process.terminate()
        pool.shutdown(wait=True, cancel_futures=True)
