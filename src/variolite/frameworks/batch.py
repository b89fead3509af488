"""Many structures, one after another or side by side: every one ends as a row, none is lost."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import inf
from pathlib import Path

from variolite.frameworks.journal import Journal, Row
from variolite.progress import Progress
from variolite.training.workers import each_outcome


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
    tasks = [(key,) for key in left]
    with progress.stage(title, len(left)) as step:
        for done, (place, outcome) in enumerate(
            each_outcome(function, tasks, workers=workers, limit=limit, initializer=ready), 1
        ):
            row = outcome.value if outcome.status == "done" else {"problem": outcome.reason}
            journal.write(left[place], row)
            step(f"{done:,}/{len(left):,} {Path(left[place]).name}", done=done)
    return [journal.found[key] for key in keys]
