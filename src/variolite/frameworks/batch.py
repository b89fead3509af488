"""Many structures, one after another or side by side: every one ends as a row, none is lost."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import as_completed
from math import inf
from pathlib import Path

from variolite.errors import DataError
from variolite.frameworks.journal import Journal, Row
from variolite.progress import Progress
from variolite.training.workers import TimeLimitError, Workers


def rows_of(
    function: Callable[[str], Row],
    keys: Sequence[str],
    journal: Journal,
    *,
    title: str,
    progress: Progress,
    workers: int = 1,
    limit: float = inf,
    ready: Callable[[], None] | None = None,
) -> list[Row]:
    """Apply a function to every key in worker processes, in the order of the keys.

    It returns a row that JSON can hold. A process is given ``limit`` seconds per key, and calls
    ``ready`` once before. What raises an error, dies or takes too long becomes a row that holds
    nothing but the ``problem``. Rows that are in the journal are not made again.
    """
    left = [key for key in dict.fromkeys(keys) if key not in journal.found]
    if found := len(journal.found):
        progress.note(f"resumed: {found:,} are done, {len(left):,} are left")
    with (
        progress.stage(title, len(left)) as step,
        Workers(
            workers, limit=limit, initializer=ready or id, initargs=() if ready else (0,)
        ) as pool,
    ):
        waiting = {pool.submit(function, key): key for key in left}
        for done, future in enumerate(as_completed(waiting), 1):
            key = waiting.pop(future)
            try:
                row = future.result()
            except Exception as error:
                pool.require_started()
                row = {"problem": _problem(error, limit)}
            journal.write(key, row)
            step(f"{done:,}/{len(left):,} {Path(key).name}", done=done)
    return [journal.found[key] for key in keys]


def _problem(error: Exception, limit: float) -> str:
    if isinstance(error, TimeLimitError):
        return f"time limit {limit:g} s"
    if isinstance(error, DataError):
        return error.what
    return f"{type(error).__name__}: {error}"[:200]
