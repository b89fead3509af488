"""Work over many independent items in worker processes, each task with a hard time limit.

:class:`Workers` is a :class:`concurrent.futures.Executor`, so that another one (dask, parsl,
executorlib, submitit) can take its place. Beyond what ``ProcessPoolExecutor`` and joblib's loky
do, it stops a task that outlasts its limit by killing its process, survives a process that dies,
and leaves no process behind when its block is left by an error or an interruption. It needs no
alarm signals: it works on every system and off the main thread.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import BrokenExecutor, Executor, Future, as_completed
from contextlib import suppress
from dataclasses import dataclass
from math import inf
from multiprocessing.connection import Connection
from threading import Condition, Lock, Thread
from typing import Any, Literal, ParamSpec, TypeVar

from variolite.errors import DataError, VarioliteError

Given = ParamSpec("Given")
Result = TypeVar("Result")

_START_LIMIT = 120.0
_STARTS = 3
_THREAD_LIMITS = ("OMP_NUM", "OPENBLAS_NUM", "MKL_NUM", "POLARS_MAX")

# `multiprocessing` lists its children without a lock of its own.
_CHILDREN = Lock()


class TimeLimitError(TimeoutError):
    """A task took longer than its limit; its process was killed."""


class WorkerDiedError(BrokenExecutor):
    """The process of a task ended before the task did; the other tasks are not affected."""


_LOST = (TimeLimitError, WorkerDiedError)


class Workers(Executor):
    """At most ``workers`` processes with one thread each, started when there is work for them.

    A task may take ``limit`` seconds. What a process needs once, such as a model, is loaded by
    ``initializer`` into a variable of its module; its time does not count. Functions must stand at
    the top level of a module, and a script that starts workers needs the guard
    ``if __name__ == "__main__"``. Futures hold the error that a task raised, `TimeLimitError`,
    `WorkerDiedError`, or a `DataError` where no process can be started.
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
            what = f"{workers} processes with {limit} s per task were asked for"
            hint = "Take at least one process and a positive time"
            raise DataError(what, where="workers", hint=hint)
        self._workers, self._limit = workers, limit
        self._initializer = (initializer, initargs)
        self._queue: deque[tuple[Future[Any], Any]] = deque()
        self._unfinished = 0
        self._threads: list[Thread] = []
        self._processes: set[_Process] = set()
        self._broken: BaseException | None = None
        self._open, self._killed = True, False
        self._changed = Condition()

    def submit(
        self, fn: Callable[Given, Result], /, *args: Given.args, **kwargs: Given.kwargs
    ) -> Future[Result]:
        """Queue a call; see :meth:`concurrent.futures.Executor.submit`."""
        future: Future[Result] = Future()
        with self._changed:
            self.require_started()
            if not self._open:
                raise RuntimeError("no task can be submitted after shutdown")
            self._queue.append((future, (fn, args, kwargs)))
            self._unfinished += 1
            self._changed.notify()
            if len(self._threads) < min(self._workers, self._unfinished):
                # A daemon: a program that ends without shutdown must not hang.
                self._threads.append(Thread(target=self._serve, name="worker", daemon=True))
                self._threads[-1].start()
        return future

    def require_started(self) -> None:
        """Raise the reason for which no process can be started, if there is one."""
        if self._broken is not None:
            raise self._broken

    def shutdown(
        self, wait: bool = True, *, cancel_futures: bool = False, kill: bool = False
    ) -> None:
        """Take no more tasks; see :meth:`concurrent.futures.Executor.shutdown`.

        ``kill`` also cancels those that wait, and ends those that run.
        """
        with self._changed:
            self._killed |= kill
            left = self._end(cancel=cancel_futures or kill)
            for running in self._processes if kill else ():
                running.process.kill()  # its thread reads that it died
        for future in left:
            future.cancel()
        if wait:
            for thread in self._threads:
                thread.join()

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        # Who interrupts does not want to wait for results that nobody will collect.
        self.shutdown(kill=kind is not None)

    def _end(self, *, cancel: bool) -> list[Future[Any]]:
        """Let threads end when the queue is empty, at once where its tasks are handed back."""
        self._open = False
        left = [future for future, _ in self._queue] if cancel else []
        if cancel:
            self._queue.clear()
        self._changed.notify_all()
        return left

    # What follows runs on as many threads as there are processes, each with a process of its
    # own, which it replaces after it was killed or died.

    def _serve(self) -> None:
        if hasattr(signal, "pthread_sigmask"):
            # A terminal sends Ctrl-C to the whole group of processes; the parent alone decides.
            # A process inherits the signals that its starting thread blocks, so that it does
            # not even see one while it imports. The tracker's first start would unblock it.
            from multiprocessing import resource_tracker

            resource_tracker.ensure_running()
            signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        process: _Process | None = None
        try:
            while self._has_work():
                if process is None and (process := self._start()) is None:
                    continue
                with self._changed:
                    # After the start: a free process may have taken the task meanwhile.
                    if not self._queue:
                        continue
                    future, work = self._queue.popleft()
                if not self._carry_out(process, future, work):
                    self._stop(process)
                    process = None
                # A waiting thread must not keep results alive.
                del future, work
        except BaseException as error:  # of a start, or unexpected
            self._break(error)
        finally:
            if process is not None:
                self._stop(process)

    def _has_work(self) -> bool:
        """Wait for a task; False when there will be no more."""
        with self._changed:
            self._changed.wait_for(lambda: self._queue or not self._open)
            return bool(self._queue)

    def _start(self) -> _Process | None:
        """Start a process; None when the pool was killed or broke meanwhile."""
        reason: Exception | None = None
        for _ in range(_STARTS):
            process = _Process(*self._initializer)
            with self._changed:
                self._processes.add(process)
                if self._killed:
                    process.process.kill()
            try:
                process.answer(_START_LIMIT)
            except Exception as error:
                self._stop(process)
                if self._killed or self._broken is not None:
                    return None
                # A start that was killed may succeed the next time, one that raised will not.
                if not isinstance(error, _LOST):
                    raise
                reason = error
            else:
                return process
        hint = 'In a script, guard what starts them by if __name__ == "__main__"'
        what = f"a worker process cannot be started: {reason}"
        raise DataError(what, where="workers", hint=hint)

    def _carry_out(self, process: _Process, future: Future[Any], work: Any) -> bool:
        """Settle a future; False when the process cannot be used after it."""
        wanted, result, error = future.set_running_or_notify_cancel(), None, None
        try:
            result = process.ask(work, self._limit) if wanted else None
        except BaseException as raised:  # unpickling runs foreign code
            error = raised.with_traceback(None)  # whose frames would keep the future alive
        with self._changed:
            self._unfinished -= 1
        if wanted and error is None:
            future.set_result(result)
        elif wanted:
            future.set_exception(error)
        return not isinstance(error, _LOST)

    def _stop(self, process: _Process) -> None:
        with self._changed:
            self._processes.discard(process)
        process.stop()

    def _break(self, error: BaseException) -> None:
        """Fail all tasks that wait, and all that come."""
        with self._changed:
            self._broken = self._broken or error
            left = self._end(cancel=True)
        for future in left:
            if future.set_running_or_notify_cancel():
                future.set_exception(error)


class _Process:
    """A worker process and the connection to it."""

    def __init__(self, initializer: Callable[..., object] | None, initargs: Any) -> None:
        context = multiprocessing.get_context("spawn")
        self.connection, theirs = context.Pipe()
        self.process = context.Process(
            target=_answer_tasks, args=(theirs, initializer, initargs), daemon=True
        )
        with _CHILDREN:
            self.process.start()
        theirs.close()

    def ask(self, work: Any, limit: float) -> Any:
        """Return the result of a task, or raise what it or its pickling raised."""
        with suppress(OSError):  # The process died; that is noticed when its answer is read.
            self.connection.send(work)
        return self.answer(limit)

    def answer(self, limit: float) -> Any:
        """Wait for what the process sends: a result, or an error to raise."""
        try:
            late = not self.connection.poll(None if limit == inf else limit)
            result, error = (None, None) if late else self.connection.recv()
        except (EOFError, OSError):
            with _CHILDREN:
                self.process.join(1.0)
                code = self.process.exitcode
            raise WorkerDiedError(f"its process ended with exit code {code}") from None
        if late:
            raise TimeLimitError(f"it took longer than {limit:g} s")
        if error is not None:
            raise error
        return result

    def stop(self) -> None:
        with _CHILDREN:
            self.process.kill()
            self.process.join()
            self.process.close()
        self.connection.close()


def _answer_tasks(
    connection: Connection, initializer: Callable[..., object] | None, initargs: Any
) -> None:
    """Answer tasks until the other side hangs up."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    Thread(target=_end_with_the_parent, daemon=True).start()
    # As many processes as cores: more threads would only get into each other's way. The
    # variables limit libraries that are imported later, threadpoolctl those that are there.
    os.environ.update({f"{name}_THREADS": "1" for name in _THREAD_LIMITS})
    from threadpoolctl import threadpool_limits

    threadpool_limits(1)
    answer = None, initializer and _result(initializer, initargs, {})[1]
    while _sent(connection, answer):
        try:
            work = connection.recv()
        except (EOFError, OSError):
            return
        except Exception as error:  # A task that cannot be read here.
            answer = None, error
        else:
            answer = _result(*work)


def _end_with_the_parent() -> None:
    """A parent that is killed has no time to end its processes, and a task may take for ever."""
    if (parent := multiprocessing.parent_process()) is not None:
        parent.join()
        os._exit(1)


def _result(function: Callable[..., Any], args: Any, kwargs: Any) -> tuple[Any, Exception | None]:
    try:
        return function(*args, **kwargs), None
    except Exception as error:  # Whatever a task raises is its own outcome.
        return None, error


def _sent(connection: Connection, answer: tuple[Any, Exception | None]) -> bool:
    """Send a result, or the error in its place; False where nobody listens any more."""
    try:
        connection.send(answer)
    except OSError:
        return False
    except Exception as error:  # An answer that cannot be pickled.
        return _sent(connection, (None, RuntimeError(f"{type(error).__name__}: {error}")))
    return True


# Many tasks at once, of which some may fail.


@dataclass(frozen=True)
class Outcome:
    """What became of a task; "crashed" is an error that it raised, or a process that died.

    ``reason`` says in words why there is no value.
    """

    status: Literal["done", "timed out", "crashed"]
    value: Any = None
    reason: str = ""


def each_outcome(
    function: Callable[..., Any],
    tasks: Sequence[tuple[Any, ...]],
    *,
    workers: int | None,
    limit: float,
    initializer: Callable[..., object] | None = None,
    initargs: tuple[Any, ...] = (),
) -> Iterator[tuple[int, Outcome]]:
    """Call a function with each of several tuples of arguments; yield place and outcome when done.

    ``workers`` is a number of processes, None for one per core. Some may fail or take too long:
    the others are not affected. Raises a DataError if worker processes cannot be started.
    """
    if initializer is None:
        # The function goes along at the start, so that importing its module is no part of a task.
        initializer, initargs = id, (function,)
    workers = min(workers or os.cpu_count() or 1, max(len(tasks), 1))
    with Workers(workers, limit=limit, initializer=initializer, initargs=initargs) as pool:
        places = {pool.submit(function, *task): place for place, task in enumerate(tasks)}
        for future in as_completed(places):
            try:
                outcome = Outcome("done", future.result())
            except TimeLimitError:
                outcome = Outcome("timed out", reason=f"time limit {limit:g} s")
            except Exception as error:
                pool.require_started()
                outcome = Outcome("crashed", reason=_in_words(error))
            yield places.pop(future), outcome


def _in_words(error: Exception) -> str:
    if isinstance(error, VarioliteError):
        return error.what
    text = " ".join(str(error).split())
    return text if isinstance(error, WorkerDiedError) else f"{type(error).__name__}: {text}"[:200]


def outcomes(
    function: Callable[[Any], Any],
    tasks: Sequence[Any],
    *,
    workers: int,
    limit: float,
    done: Callable[[int], None] = lambda _: None,
) -> list[Outcome]:
    """Apply a function to tasks of which some may fail or take too long, in their order.

    ``done`` is called with the place of every task when it has an outcome. Raises as
    `each_outcome`.
    """
    found: dict[int, Outcome] = {}
    single = [(task,) for task in tasks]
    for place, outcome in each_outcome(function, single, workers=workers, limit=limit):
        found[place] = outcome
        done(place)
    return [found[place] for place in range(len(tasks))]


class Progress:
    """Logs how many of ``total`` parts are done and the time left, about once a second."""

    def __init__(self, what: str, total: int, log: Callable[[str], None]) -> None:
        self.what, self.total, self.log = what, total, log
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
