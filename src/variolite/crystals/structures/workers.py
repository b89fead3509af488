"""Parsing in order, in worker processes once it turns out to be long work."""

from __future__ import annotations

import multiprocessing
import signal
import time
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor

from variolite.crystals.structures.rejection import Limits
from variolite.crystals.structures.sources import Checked, Chunk, Unusable, Whole, check_chunk

__all__ = ["PATIENCE", "checked_in_order"]

Source = Chunk | Whole | Unusable
Finished = tuple[Chunk, Checked] | Whole | Unusable

PATIENCE = 5.0
"""Seconds of parsing after which worker processes begin to pay: starting them takes two to
three, in which a hundred thousand structures are parsed."""


def checked_in_order(
    sources: Iterable[Source], limits: Limits, workers: int, patience: float = PATIENCE
) -> Iterator[Finished]:
    """Yield every source in the given order, texts with the structures parsed from them.

    Parameters
    ----------
    sources
        What was read; it is read ahead by a few chunks only, to bound the memory.
    limits
        Bounds between which a structure is believed.
    workers
        Largest number of processes; with 1 all is parsed in this one.
    patience
        Seconds of parsing in this process before others are started.
    """
    left = iter(sources)
    spent = 0.0
    for source in left:
        if not isinstance(source, Chunk):
            yield source
        elif workers > 1 and spent >= patience:
            yield from _in_processes(source, left, limits, workers)
        else:
            began = time.monotonic()
            checked = check_chunk(source, limits)
            spent += time.monotonic() - began
            yield source, checked


def _in_processes(
    first: Chunk, left: Iterator[Source], limits: Limits, workers: int
) -> Iterator[Finished]:
    waiting: deque[tuple[Chunk, Future[Checked]] | Whole | Unusable] = deque()
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(workers, mp_context=context, initializer=_ignore_ctrl_c) as pool:
        try:
            waiting.append((first, pool.submit(check_chunk, first, limits)))
            for source in left:
                if isinstance(source, Chunk):
                    waiting.append((source, pool.submit(check_chunk, source, limits)))
                else:
                    waiting.append(source)
                while len(waiting) > 2 * workers:
                    yield _finished(waiting.popleft())
            while waiting:
                yield _finished(waiting.popleft())
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


def _ignore_ctrl_c() -> None:
    # The shell sends the interruption to all processes; the one that started them ends them.
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def _finished(item: tuple[Chunk, Future[Checked]] | Whole | Unusable) -> Finished:
    return (item[0], item[1].result()) if isinstance(item, tuple) else item
