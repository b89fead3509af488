"""Rows made by worker processes, kept beside the result until it is whole.

An interrupted command resumes: rows that are in the journal are not made again.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from contextlib import suppress
from math import inf
from pathlib import Path
from typing import Any
from zlib import crc32

from variolite.atomic import try_lock
from variolite.errors import DataError
from variolite.progress import Progress
from variolite.training.workers import each_outcome

Row = dict[str, Any]


class Journal:
    """A file of JSON lines: settings, then ``[key, row, checksum]`` for each row that is done.

    It is only added to, so that a kill at any moment loses nothing. Raises a DataError on entry
    where another command is writing it, or it was begun with other settings.
    """

    def __init__(self, path: Path, settings: Mapping[str, Any]) -> None:
        self.path = path
        self.settings = settings
        self.found: dict[str, Row] = {}

    def __enter__(self) -> Journal:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self._file = self.path.open("a+b")
        try:
            self._resume()
        except BaseException:
            self._file.close()
            raise
        return self

    def _resume(self) -> None:
        if try_lock(self._file.fileno()) is False:
            hint = "Wait until it has ended, or give another --out"
            raise DataError("another command is writing it", where=str(self.path), hint=hint)
        self._file.seek(0)
        lines = self._file.read().splitlines(keepends=True)
        # A line that was being written when the run was killed has no end.
        if lines and not lines[-1].endswith(b"\n"):
            self._file.truncate(sum(map(len, lines[:-1])))
            del lines[-1]
        for line in lines[1:]:
            with suppress(ValueError, TypeError):  # a damaged line costs its own row only
                key, row, *crc = json.loads(line)
                if crc in ([], [_crc(key, row)]):
                    self.found |= {key: dict(row)}
        if not self.found:
            self._file.truncate(0)
            self._add(self.settings)
        elif lines[0] != _line(self.settings):
            hint = "Give those again to resume, or delete it to start over"
            raise DataError("it was begun with other settings", where=str(self.path), hint=hint)

    def __exit__(self, *_: object) -> None:
        self._file.close()
        if not self.found:  # Nothing to resume from.
            self.path.unlink(missing_ok=True)

    def write(self, key: str, row: Row) -> None:
        """Keep a row, even if this process is killed after it."""
        self.found[key] = row
        self._add([key, row, _crc(key, row)])

    def _add(self, entry: Any) -> None:
        self._file.write(_line(entry))
        self._file.flush()

    def remove(self) -> None:
        """Forget the rows: their table is written."""
        self._file.close()
        self.path.unlink(missing_ok=True)

    def rows(
        self,
        function: Callable[..., Row],
        tasks: Mapping[str, tuple[Any, ...]],
        *,
        title: str,
        progress: Progress,
        workers: int | None,
        limit: float = inf,
        initializer: Callable[..., object] | None = None,
        initargs: tuple[Any, ...] = (),
    ) -> dict[str, Row]:
        """Call a function with the arguments of every key that has no row; return all rows by key.

        Rows hold what JSON can hold. A call that raises an error, kills its process or takes more
        than ``limit`` seconds becomes a row with nothing but a ``problem``.
        """
        left = {key: task for key, task in tasks.items() if key not in self.found}
        if done := len(tasks) - len(left):
            progress.note(f"resumed: {done:,} of {len(tasks):,} are done")
        keys = list(left)
        with progress.stage(title, len(left)) as step:
            for count, (place, outcome) in enumerate(
                each_outcome(
                    function,
                    list(left.values()),
                    workers=workers,
                    limit=limit,
                    initializer=initializer,
                    initargs=initargs,
                ),
                start=1,
            ):
                row = outcome.value if outcome.status == "done" else {"problem": outcome.reason}
                self.write(keys[place], row)
                step(f"{count:,}/{len(left):,}", done=count)
        return {key: self.found[key] for key in tasks}


def _crc(key: str, row: Row) -> int:
    return crc32(json.dumps([key, row]).encode())


def _line(entry: Any) -> bytes:
    return json.dumps(entry).encode() + b"\n"


def beside(out: Path) -> Path:
    """Path of the journal of a command that writes a table."""
    return out.with_name(f"{out.name}.unfinished")
