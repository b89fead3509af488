"""Parsing in worker processes, in order."""

from __future__ import annotations

import multiprocessing
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor

from variolite.crystals.structures.rejection import Limits
from variolite.crystals.structures.sources import Checked, Chunk, Unusable, Whole, check_chunk

__all__ = ["checked_in_order"]

Source = Chunk | Whole | Unusable
Finished = tuple[Chunk, Checked] | Whole | Unusable


def checked_in_order(sources: Iterable[Source], limits: Limits, workers: int) -> Iterator[Finished]:
    """Yield every source in the given order, texts with the structures parsed from them.

    Parameters
    ----------
    sources
        What was read; it is read ahead by a few chunks only, to bound the memory.
    limits
        Bounds between which a structure is believed.
    workers
        Number of processes; 1 parses in this one.
    """
    if workers <= 1:
        for source in sources:
            yield (source, check_chunk(source, limits)) if isinstance(source, Chunk) else source
        return
    waiting: deque[tuple[Chunk, Future[Checked]] | Whole | Unusable] = deque()
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(workers, mp_context=context) as pool:
        try:
            for source in sources:
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


def _finished(item: tuple[Chunk, Future[Checked]] | Whole | Unusable) -> Finished:
    return (item[0], item[1].result()) if isinstance(item, tuple) else item
