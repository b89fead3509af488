"""Tasks for worker processes, at the top level of a module that they can import."""

from __future__ import annotations

import os
import time
from typing import Any


def carry_out(task: tuple[str, Any]) -> Any:
    kind, value = task
    if kind == "sleep":
        time.sleep(value)
    elif kind == "spin":
        while True:
            pass
    elif kind == "exit":
        os._exit(value)
    elif kind == "raise":
        raise ArithmeticError(value)
    return value, os.getpid()
