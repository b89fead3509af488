"""What an unfinished command has found, kept beside its result until that is whole."""

from __future__ import annotations

import json
from collections.abc import Mapping
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
        self._file: IO[str] | None = None

    def __enter__(self) -> Journal:
        lines = []
        if self.path.exists():
            # A line that was being written when the run was killed has no end.
            text = self.path.read_text(encoding="utf-8", errors="replace")
            lines = [line for line in text.splitlines(keepends=True) if line.endswith("\n")]
        try:
            earlier = json.loads(lines[0]) if lines else {}
            self.found = dict(json.loads(line) for line in lines[1:])
        except (ValueError, TypeError):
            self.found = {}
        if self.found and earlier != self.settings:
            self.found = {}
            raise DataError(
                "it was begun with other settings",
                where=str(self.path),
                hint="Give those again to go on, or delete it to begin anew",
            )
        entries = [self.settings, *self.found.items()]
        self._file = self.path.open("w", encoding="utf-8", newline="\n")
        self._file.writelines(json.dumps(entry) + "\n" for entry in entries)
        self._file.flush()
        return self

    def write(self, key: str, found: Row) -> None:
        """Keep what was found; it is on the disk when this returns."""
        assert self._file is not None
        self.found[key] = found
        self._file.write(json.dumps([key, found]) + "\n")
        self._file.flush()

    def __exit__(self, *_: object) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None

    def remove(self) -> None:
        """Forget the run: its table is written."""
        self.__exit__()
        self.path.unlink(missing_ok=True)
