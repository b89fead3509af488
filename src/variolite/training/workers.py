"""Work over many independent items in worker processes, each task with a hard time limit.

:class:`Workers` is a :class:`concurrent.futures.Executor`, so that ``submit``, ``map``,
``as_completed`` and ``wait`` work with it, and another executor (dask, parsl, executorlib,
submitit) can take its place. Beyond what ``ProcessPoolExecutor`` does, it stops a task that
outlasts its limit by killing its process, survives a process that dies, and leaves no process
behind when it is interrupted. It needs no alarm signals: it works on every system and off the
main thread.

What a process needs once, such as a model, is loaded by ``initializer`` into a variable of its
module and used by every task; its time does not count::

    with Workers(4, initializer=load_potential, initargs=("chgnet",)) as pool:
        places = {pool.submit(relax, part): place for place, part in enumerate(parts)}
        for future in as_completed(places):
            yield places[future], future.result()

Leaving the block by an error, an interruption or a closed generator kills the processes.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import BrokenExecutor, Executor, Future, as_completed
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from math import inf
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from threading import Lock, Thread
from types import TracebackType
from typing import Any, Literal, ParamSpec, TypeVar

from variolite.errors import DataError

Given = ParamSpec("Given")
Result = TypeVar("Result")
_Work = tuple[Callable[..., Any], tuple[Any, ...], dict[str, Any]]

_START_LIMIT = 120.0
_FAILED_STARTS = 3
_THREAD_LIMITS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


class TimeLimitError(TimeoutError):
    """A task took longer than its limit; its process was killed."""


class WorkerDiedError(BrokenExecutor):
    """The process of a task ended before the task did; the other tasks are not affected."""


class Workers(Executor):
    """Worker processes with one thread each, started when there is work for them.

    Parameters
    ----------
    workers
        Largest number of processes, at least 1.
    limit
        Seconds that one task may take. The start of a process does not count.
    initializer, initargs
        Called once in every process before its first task.

    Raises
    ------
    DataError
        If the number or the limit is not positive.

    Notes
    -----
    Functions must stand at the top level of a module, and a script that starts workers needs
    the guard ``if __name__ == "__main__"``. Futures hold the error that a task raised,
    `TimeLimitError`, `WorkerDiedError`, or a `DataError` where no process can be started.
    """

    def __init__(
        self,
        workers: int,
        *,
        limit: float = inf,
        initializer: Callable[..., object] | None = None,
        initargs: tuple[Any, ...] = (),
    ) -> None:
        if workers < 1 or not limit > 0:
            raise DataError(
                f"{workers} processes with {limit} s per task were asked for",
                where="workers",
                hint="Take at least one process and a positive time",
            )
        self._workers = workers
        self._limit = limit
        self._start = (initializer, initargs)
        self._queue: deque[tuple[Future[Any], _Work]] = deque()
        self._crew: list[_Worker] = []
        self._failed_starts = 0
        self._broken: BaseException | None = None
        self._state: Literal["open", "closed", "killed"] = "open"
        self._lock = Lock()
        self._thread: Thread | None = None
        self._alarm, self._wake = multiprocessing.Pipe(duplex=False)

    def submit(
        self, fn: Callable[Given, Result], /, *args: Given.args, **kwargs: Given.kwargs
    ) -> Future[Result]:
        """Queue a call; see :meth:`concurrent.futures.Executor.submit`."""
        future: Future[Result] = Future()
        with self._lock:
            self.require_started()
            if self._state != "open":
                raise RuntimeError("no task can be submitted after shutdown")
            self._queue.append((future, (fn, args, kwargs)))
            if self._thread is None:
                # A daemon: a program that ends without shutdown must not hang.
                self._thread = Thread(target=self._manage, name="workers", daemon=True)
                self._thread.start()
        self._wake.send_bytes(b"!")
        return future

    def require_started(self) -> None:
        """Raise the reason for which no process can be started, if there is one."""
        if self._broken is not None:
            raise self._broken

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Take no more tasks; see :meth:`concurrent.futures.Executor.shutdown`."""
        self._close("closed", cancel=cancel_futures, wait_for_end=wait)

    def kill(self) -> None:
        """Stop at once: running tasks are lost, waiting ones are cancelled."""
        self._close("killed", cancel=True, wait_for_end=True)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        # Who interrupts does not want to wait for results that nobody will collect.
        if kind is None:
            self.shutdown()
        else:
            self.kill()

    def _close(
        self, state: Literal["closed", "killed"], *, cancel: bool, wait_for_end: bool
    ) -> None:
        with self._lock:
            if self._state != "killed":
                self._state = state
            cancelled = list(self._queue) if cancel else []
            if cancel:
                self._queue.clear()
        for future, _ in cancelled:
            future.cancel()
        if self._thread is not None:
            self._wake.send_bytes(b"!")
            if wait_for_end:
                self._thread.join()

    # All that follows runs on the managing thread, which alone touches the processes.

    def _manage(self) -> None:
        error: BaseException = WorkerDiedError("the workers were stopped")
        try:
            while self._state != "killed":
                self._hand_out()
                busy = self._queue or any(worker.future for worker in self._crew)
                if self._broken is not None or (self._state == "closed" and not busy):
                    break
                for worker in self._due():
                    self._take_answer(worker)
        except BaseException as unexpected:
            error = unexpected
        finally:
            with self._lock:
                self._broken = self._broken or (error if self._state == "open" else None)
                left = [future for future, _ in self._queue]
                self._queue.clear()
            left += [worker.future for worker in self._crew if worker.future]
            for worker in self._crew:
                worker.stop()
            for future in left:
                _fail(future, self._broken or error)

    def _hand_out(self) -> None:
        """Start the processes that are needed, and give tasks to those that are free."""
        running = sum(worker.future is not None for worker in self._crew)
        needed = min(self._workers, running + len(self._queue))
        while len(self._crew) < needed:
            self._crew.append(_Worker(*self._start))
        for worker in self._crew:
            while worker.free and self._queue:
                with suppress(IndexError):  # cancelled by another thread meanwhile
                    worker.give(*self._queue.popleft(), self._limit)

    def _due(self) -> list[_Worker]:
        """Wait until a worker answers, dies or is late, or something is submitted."""
        deadline = min((worker.deadline for worker in self._crew), default=inf)
        patience = None if deadline == inf else max(0.0, deadline - time.monotonic())
        ready = wait([self._alarm, *(worker.connection for worker in self._crew)], patience)
        while self._alarm.poll():
            self._alarm.recv_bytes()
        now = time.monotonic()
        return [w for w in self._crew if w.connection in ready or now >= w.deadline]

    def _take_answer(self, worker: _Worker) -> None:
        kind, value = worker.answer(self._limit)
        future, worker.future = worker.future, None
        worker.deadline = inf
        if kind in ("late", "died"):
            self._crew.remove(worker)
            worker.stop()
        if not worker.started:
            # A start that fails for its own reasons fails again; a killed one may not.
            self._failed_starts = 0 if kind == "done" else self._failed_starts + 1
            if kind == "raised":
                self._broken = value
            elif self._failed_starts >= _FAILED_STARTS:
                self._broken = DataError(
                    f"a worker process cannot be started: {value}",
                    where="workers",
                    hint='In a script, guard what starts them by if __name__ == "__main__"',
                )
            worker.started = kind == "done"
        elif future is not None and kind == "done":
            future.set_result(value)
        elif future is not None:
            _fail(future, value)


def _fail(future: Future[Any], error: BaseException) -> None:
    if future.running() or future.set_running_or_notify_cancel():
        future.set_exception(error)


class _Worker:
    """One process and the task it is at."""

    def __init__(self, initializer: Callable[..., object] | None, initargs: Any) -> None:
        context = multiprocessing.get_context("spawn")
        self.connection, theirs = context.Pipe()
        self.process: BaseProcess = context.Process(
            target=_serve, args=(theirs, initializer, initargs), daemon=True
        )
        with _without_interruptions():
            self.process.start()
        theirs.close()
        self.future: Future[Any] | None = None
        self.started = False
        self.deadline = time.monotonic() + _START_LIMIT

    @property
    def free(self) -> bool:
        return self.started and self.future is None

    def give(self, future: Future[Any], work: _Work, limit: float) -> None:
        if not future.set_running_or_notify_cancel():
            return
        try:
            self.connection.send(work)
        except OSError:
            pass  # The process died meanwhile; that is noticed when its answer is read.
        except Exception as error:  # Whatever pickling of foreign objects raises.
            future.set_exception(error)
            return
        self.future = future
        self.deadline = time.monotonic() + limit

    def answer(self, limit: float) -> tuple[Literal["done", "raised", "late", "died"], Any]:
        """What the process sent; "late" where it sent nothing."""
        try:
            if not self.connection.poll():
                return "late", TimeLimitError(f"it took longer than {limit:g} s")
            answer: tuple[Literal["done", "raised"], Any] = self.connection.recv()
        except (EOFError, OSError):
            self.process.join(1.0)
            code = self.process.exitcode
            return "died", WorkerDiedError(f"its process ended with exit code {code}")
        except Exception as error:  # An answer that cannot be read here.
            return "raised", error
        return answer

    def stop(self) -> None:
        self.process.kill()
        self.process.join()
        self.connection.close()
        self.process.close()


@contextmanager
def _without_interruptions() -> Iterator[None]:
    """Start processes that never receive Ctrl-C, not even while they import.

    A terminal sends it to the whole group of processes; the parent alone decides. A process
    inherits the signals that its starting thread blocks. Windows has no such mask: there the
    worker ignores the signal as soon as it runs.
    """
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    from multiprocessing import resource_tracker

    # Its first start would unblock the signal again.
    resource_tracker.ensure_running()
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _serve(
    connection: Connection, initializer: Callable[..., object] | None, initargs: Any
) -> None:
    """Answer tasks until the other side hangs up."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # As many processes as cores: more threads would only get into each other's way. The
    # variables limit libraries that are imported later, threadpoolctl those that are there.
    os.environ.update(dict.fromkeys(_THREAD_LIMITS, "1"))
    from threadpoolctl import threadpool_limits

    threadpool_limits(1)
    answer: tuple[str, Any] = ("done", None)
    try:
        if initializer is not None:
            initializer(*initargs)
    except Exception as error:
        answer = ("raised", error)
    while _sent(connection, answer):
        try:
            function, args, kwargs = connection.recv()
        except (EOFError, OSError):
            return
        except Exception as error:  # A task that cannot be read here.
            answer = ("raised", error)
            continue
        try:
            answer = ("done", function(*args, **kwargs))
        except Exception as error:  # Whatever a task raises is its own outcome.
            answer = ("raised", error)


def _sent(connection: Connection, answer: tuple[str, Any]) -> bool:
    """Send an answer; False where nobody listens any more."""
    try:
        connection.send(answer)
    except OSError:
        return False
    except Exception as error:  # An answer that cannot be pickled.
        return _sent(connection, ("raised", RuntimeError(f"{type(error).__name__}: {error}")))
    return True


# Many tasks at once, of which some may fail.


@dataclass(frozen=True)
class Outcome:
    """What became of a task.

    Attributes
    ----------
    status
        "done", "timed out" or "crashed" (an error was raised, or the process died).
    value
        What the function returned, or None.
    """

    status: Literal["done", "timed out", "crashed"]
    value: Any = None


def outcomes(
    function: Callable[[Any], Any],
    tasks: Sequence[Any],
    *,
    workers: int,
    limit: float,
    done: Callable[[int], None] = lambda _: None,
) -> list[Outcome]:
    """Apply a function to tasks of which some may fail or take too long.

    Parameters
    ----------
    function
        A function at the top level of a module.
    tasks
        Arguments; what they are made of must survive pickling.
    workers, limit
        See :class:`Workers`.
    done
        Called with the place of every task when it has an outcome.

    Returns
    -------
    list of Outcome
        In the order of the tasks.

    Raises
    ------
    DataError
        If worker processes cannot be started.
    """
    found: dict[int, Outcome] = {}
    # The function goes along at the start, so that importing its module is no part of a task.
    with Workers(workers, limit=limit, initializer=_imported, initargs=(function,)) as pool:
        places = {pool.submit(function, task): place for place, task in enumerate(tasks)}
        for future in as_completed(places):
            try:
                outcome = Outcome("done", future.result())
            except TimeLimitError:
                outcome = Outcome("timed out")
            except Exception:
                pool.require_started()
                outcome = Outcome("crashed")
            found[places[future]] = outcome
            done(places[future])
    return [found[place] for place in range(len(tasks))]


def _imported(function: Callable[[Any], Any]) -> None:
    del function


@dataclass
class Progress:
    """Reports how much is done and how long the rest will take, about once a second.

    Attributes
    ----------
    what
        What is being done, e.g. "matching".
    total
        Number of parts.
    log
        Where the lines go.
    """

    what: str
    total: int
    log: Callable[[str], None]

    def __post_init__(self) -> None:
        self._done = 0
        self._began = self._logged = time.monotonic()

    def add(self, parts: int) -> None:
        """Count parts that are done."""
        self._done += parts
        now = time.monotonic()
        if now - self._logged < 1.0 and self._done < self.total:
            return
        self._logged = now
        left = (now - self._began) / max(self._done, 1) * (self.total - self._done)
        rest = f", about {left:.0f} s left" if self._done < self.total else ""
        self.log(f"{self.what}: {self._done:,} of {self.total:,}{rest}")
