"""What an unfinished command has found, kept beside its result until that is whole."""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import IO, Any

from variolite.errors import DataError

Row = dict[str, Any]


class Journal:
    """Findings by key, a line of JSON each below one with the settings.

    On entry those of the same command that was interrupted are there again. Raises a DataError
    if they were found with other settings.
    """

    def __init__(self, out: Path, settings: Mapping[str, Any]) -> None:
        self.path = out.with_name(f"{out.name}.unfinished")
        self.settings = json.loads(json.dumps(settings))
        self.found: dict[str, Row] = {}
        self._file: IO[bytes] | None = None

    def __enter__(self) -> Journal:
        file, entries = continued(self.path)
        with ExitStack() as stack:
            stack.callback(file.close)
            found = dict(entry for entry in entries[1:] if _is_finding(entry))
            if not found:
                file.truncate(0)
                file.write(as_line(self.settings))
                file.flush()
            elif entries[0] != self.settings:
                raise DataError(
                    "it was begun with other settings",
                    where=str(self.path),
                    hint="Give those again to go on, or delete it to begin anew",
                )
            stack.pop_all()
        self._file, self.found = file, found
        return self

    def write(self, key: str, found: Row) -> None:
        """Keep what was found, even if this process is killed after it."""
        assert self._file is not None
        self.found[key] = found
        self._file.write(as_line([key, found]))
        self._file.flush()

    def __exit__(self, *_: object) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None

    def remove(self) -> None:
        """Forget the run: its table is written."""
        self.__exit__()
        self.path.unlink(missing_ok=True)


def continued(path: Path) -> tuple[IO[bytes], list[Any]]:
    """Open a file of JSON lines to add to it, and read what it holds; None for a damaged line.

    It is only added to, never written again: a kill at any moment loses nothing. Other processes
    are kept off it until it is closed; raises a DataError where one writes it already.
    """
    with ExitStack() as stack:
        file = path.open("a+b")
        stack.callback(file.close)
        _hold(file, path)
        file.seek(0)
        lines = file.read().splitlines(keepends=True)
        # A line that was being written when the run was killed has no end.
        if lines and not lines[-1].endswith(b"\n"):
            del lines[-1]
            file.truncate(sum(map(len, lines)))
        entries = [_read(line) for line in lines]
        stack.pop_all()
    return file, entries


def as_line(entry: Any) -> bytes:
    """Write a line of JSON."""
    return json.dumps(entry).encode() + b"\n"


def _read(line: bytes) -> Any:
    try:
        return json.loads(line)
    except ValueError:
        return None


def _hold(file: IO[bytes], path: Path) -> None:
    try:
        import fcntl
    except ImportError:  # Windows
        return
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        hint = "Wait until it has ended, or give another --out"
        raise DataError("another command is writing it", where=str(path), hint=hint) from None
    except OSError:  # A file system without locks.
        return


def _is_finding(entry: Any) -> bool:
    return (
        isinstance(entry, list)
        and len(entry) == 2
        and isinstance(entry[0], str)
        and isinstance(entry[1], dict)
    )
