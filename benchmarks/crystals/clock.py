"""Processor and wall time of a process and its ended children."""

from __future__ import annotations

import resource
import time
from dataclasses import dataclass, field


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
