"""Many structures, one after another or side by side: every one ends as a row, none is lost.

Rows go to a journal beside the result as they are found. An interrupted command finds them there
when it is given again, and does only what is left.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import as_completed
from math import inf
from pathlib import Path
from typing import Any

from variolite.errors import DataError
from variolite.progress import Progress
from variolite.training.workers import TimeLimitError, Workers

Row = dict[str, Any]


class Journal:
    """Rows that were found so far, by their keys, in a file of one line of JSON for each.

    Its first line holds the settings. Raises a DataError if those of an earlier command differ.
    """

    def __init__(self, out: Path, settings: Mapping[str, Any]) -> None:
        self.path = out.with_name(f"{out.name}.journal")
        self.rows: dict[str, Row] = {}
        head = json.dumps({"settings": settings}, sort_keys=True)
        lines = self.path.read_text("utf-8").splitlines() if self.path.exists() else []
        if lines and lines[0] != head:
            raise DataError(
                "it belongs to an interrupted command with other settings",
                where=str(self.path),
                hint="Give those settings again to resume, or delete it to begin anew",
            )
        for line in lines[1:]:
            try:
                entry = json.loads(line)
                self.rows[entry["key"]] = entry["row"]
            except (ValueError, KeyError):  # cut off as the process was killed
                continue
        # Written anew: nothing may be appended to half a line.
        text = "".join(self._line(key, row) for key, row in self.rows.items())
        self.path.write_text(f"{head}\n{text}", "utf-8")

    def add(self, key: str, row: Row) -> None:
        """Keep a row."""
        self.rows[key] = row
        with self.path.open("a", encoding="utf-8") as file:
            file.write(self._line(key, row))

    @staticmethod
    def _line(key: str, row: Row) -> str:
        return json.dumps({"key": key, "row": row}) + "\n"

    def remove(self) -> None:
        """Delete the file; call it once the result is written."""
        self.path.unlink(missing_ok=True)


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
    nothing but the ``problem``.
    """
    left = [key for key in dict.fromkeys(keys) if key not in journal.rows]
    if found := len(journal.rows):
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
            journal.add(key, row)
            step(f"{done:,}/{len(left):,} {Path(key).name}", done=done)
    return [journal.rows[key] for key in keys]


def _problem(error: Exception, limit: float) -> str:
    if isinstance(error, TimeLimitError):
        return f"time limit {limit:g} s"
    if isinstance(error, DataError):
        return error.what
    return f"{type(error).__name__}: {error}"[:200]
