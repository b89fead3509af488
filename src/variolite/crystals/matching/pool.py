"""Work in processes of its own, each task with a hard time limit.

A task that outlasts its limit is stopped by killing its process, which a new one
replaces; so is a task whose process dies. This works on every system and off the main
thread, where alarm signals do not.
"""

from __future__ import annotations

import multiprocessing
import signal
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from types import MappingProxyType
from typing import Any, Literal

from variolite.errors import DataError

_Answer = Literal["ready", "done", "raised", "late", "died"]

_START_LIMIT = 120.0
_FAILED_STARTS = 3


@dataclass(frozen=True)
class Outcome:
    """What became of a task.

    Attributes
    ----------
    status
        "done", "timed out" or "crashed" (an error was raised, or the process died).
    value
        What the function returned, or None.
    reason
        The error in words, where there was one.
    """

    status: Literal["done", "timed out", "crashed"]
    value: Any = None
    reason: str = ""


_OUTCOMES: Mapping[_Answer, Callable[[Any], Outcome]] = MappingProxyType(
    {
        "done": lambda value: Outcome("done", value),
        "raised": lambda reason: Outcome("crashed", reason=reason),
        "died": lambda reason: Outcome("crashed", reason=reason),
        "late": lambda reason: Outcome("timed out", reason=reason),
    }
)


@dataclass
class Progress:
    """Tells how much is done and how long the rest will take, about once a second.

    Attributes
    ----------
    what
        What is being done, e.g. "matching".
    total
        Number of parts.
    tell
        Where the lines go.
    """

    what: str
    total: int
    tell: Callable[[str], None]

    def __post_init__(self) -> None:
        self._done = 0
        self._began = self._told = time.monotonic()

    def add(self, parts: int) -> None:
        """Count parts that are done."""
        self._done += parts
        now = time.monotonic()
        if now - self._told < 1.0 and self._done < self.total:
            return
        self._told = now
        left = (now - self._began) / max(self._done, 1) * (self.total - self._done)
        rest = f", about {left:.0f} s left" if self._done < self.total else ""
        self.tell(f"{self.what}: {self._done:,} of {self.total:,}{rest}")


class _Worker:
    """One process and the task it is at."""

    def __init__(self, function: Callable[[Any], Any]) -> None:
        context = multiprocessing.get_context("spawn")
        self.connection, theirs = context.Pipe()
        self.process: BaseProcess = context.Process(
            target=_serve, args=(theirs, function), daemon=True
        )
        self.process.start()
        theirs.close()
        self.task: int | None = None
        self.started = False
        self.deadline = time.monotonic() + _START_LIMIT

    @property
    def busy(self) -> bool:
        return self.task is not None or not self.started

    def give(self, place: int, task: Any, limit: float) -> None:
        self.task = place
        self.deadline = time.monotonic() + limit
        # A process that died meanwhile is noticed when its answer is read.
        with suppress(OSError):
            self.connection.send(task)

    def answer(self) -> tuple[_Answer, Any]:
        """What the process says; "late" where it says nothing."""
        if not self.connection.poll():
            return "late", "it took too long"
        try:
            answer: tuple[_Answer, Any] = self.connection.recv()
        except (EOFError, OSError):
            self.process.join(1.0)
            return "died", f"its process ended with exit code {self.process.exitcode}"
        return answer

    def stop(self) -> None:
        self.process.kill()
        self.process.join()
        self.connection.close()
        self.process.close()


def run_in_workers(
    function: Callable[[Any], Any],
    tasks: Sequence[Any],
    *,
    workers: int,
    limit: float,
    told: Callable[[int], None] = lambda _: None,
) -> list[Outcome]:
    """Apply a function to tasks in worker processes.

    Parameters
    ----------
    function
        A function at the top level of a module.
    tasks
        Arguments; what they are made of must survive the way between processes.
    workers
        Number of processes, at least 1.
    limit
        Seconds that one task may take. The start of a process does not count.
    told
        Called with the place of every task when it has an outcome.

    Returns
    -------
    list of Outcome
        In the order of the tasks.

    Raises
    ------
    DataError
        If worker processes cannot be started.

    Notes
    -----
    When the caller is interrupted, all processes are killed before the interruption goes
    on; a worker whose parent has vanished ends by itself.
    """
    if workers < 1 or limit <= 0:
        raise DataError(
            f"{workers} processes with {limit} s per task were asked for",
            where="workers",
            hint="Take at least one process and a positive time",
        )
    outcomes: dict[int, Outcome] = {}
    waiting = list(range(len(tasks)))[::-1]
    crew: list[_Worker] = []
    failed_starts = 0
    try:
        crew.extend(_Worker(function) for _ in range(min(workers, len(tasks))))
        while len(outcomes) < len(tasks):
            for worker in _due(crew):
                kind, value = worker.answer()
                if worker.started and worker.task is not None:
                    outcomes[worker.task] = _OUTCOMES[kind](value)
                    told(worker.task)
                failed_starts = 0 if worker.started or kind == "ready" else failed_starts + 1
                if failed_starts >= _FAILED_STARTS:
                    raise DataError(
                        f"a worker process cannot be started: {value}",
                        where="workers",
                        hint='In a script, guard what starts them by if __name__ == "__main__"',
                    )
                worker.started, worker.task = True, None
                if kind in ("late", "died"):
                    crew.remove(worker)
                    worker.stop()
                    if waiting:
                        crew.append(_Worker(function))
                elif waiting:
                    place = waiting.pop()
                    worker.give(place, tasks[place], limit)
    finally:
        for worker in crew:
            worker.stop()
    return [outcomes[place] for place in range(len(tasks))]


def _due(crew: Sequence[_Worker]) -> list[_Worker]:
    """Wait until a worker has something to say, or is late; return those."""
    busy = [worker for worker in crew if worker.busy]
    patience = min(worker.deadline for worker in busy) - time.monotonic()
    spoke = wait([worker.connection for worker in busy], max(0.0, patience))
    now = time.monotonic()
    return [worker for worker in busy if worker.connection in spoke or now >= worker.deadline]


def _serve(connection: Connection, function: Callable[[Any], Any]) -> None:
    """Answer tasks until the other side hangs up."""
    # An interruption from the keyboard reaches the whole group; the parent decides.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with suppress(EOFError, OSError):
        connection.send(("ready", None))
        while True:
            task = connection.recv()
            try:
                answer = ("done", function(task))
            except Exception as error:
                # Whatever a task raises is its own outcome; the others go on.
                answer = ("raised", f"{type(error).__name__}: {error}")
            connection.send(answer)
