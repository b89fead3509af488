"""The command that made a page, with every option of the run, and the time that it took."""

from __future__ import annotations

import argparse
import json
import resource
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from variolite.records import write_text_atomic


def spelled(module: str, arguments: argparse.Namespace) -> str:
    """Return the command line with all options, defaults included, but for folders."""
    words = ["python -m", module]
    for name, value in vars(arguments).items():
        option = f"--{name.replace('_', '-')}"
        if isinstance(value, Path) or value is None or value is False:
            continue
        if value is True:
            words.append(option)
        elif isinstance(value, Sequence) and not isinstance(value, str):
            words += [option, *(str(one) for one in value)]
        else:
            words += [option, str(value)]
    return " ".join(words)


@dataclass
class Clock:
    """Seconds since it was made: of all processors, ended worker processes included, and by
    the clock."""

    _processor: float = field(default_factory=lambda: _processor_seconds())
    _wall: float = field(default_factory=time.monotonic)

    @property
    def processor(self) -> float:
        """Processor seconds."""
        return _processor_seconds() - self._processor

    @property
    def wall(self) -> float:
        """Seconds by the clock."""
        return time.monotonic() - self._wall


def _processor_seconds() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.process_time() + used.ru_utime + used.ru_stime


class Meter:
    """Processor seconds of the phases of a work that may be broken off and taken up again.

    Parameters
    ----------
    file
        Where they are kept; what an earlier process spent is added to.
    """

    def __init__(self, file: Path) -> None:
        self._file = file
        self.seconds: dict[str, float] = {}
        if file.is_file():
            self.seconds = json.loads(file.read_text(encoding="utf-8"))
        self._last = _processor_seconds()

    def charge(self, phase: str) -> None:
        """Charge what was spent since the last call to a phase."""
        now = _processor_seconds()
        self.seconds[phase] = self.seconds.get(phase, 0.0) + now - self._last
        self._last = now
        self._file.parent.mkdir(parents=True, exist_ok=True)
        write_text_atomic(self._file, json.dumps(self.seconds) + "\n")

    def rest(self) -> None:
        """Leave out what was spent since the last call."""
        self._last = _processor_seconds()


def plain(value: Any) -> Any:
    """Return a value that JSON can hold: numbers that are none become null."""
    if isinstance(value, dict):
        return {key: plain(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [plain(one) for one in value]
    if isinstance(value, float) and value != value:
        return None
    return value
