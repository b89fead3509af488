"""Tasks for worker processes, at the top level of a module that they can import."""

from __future__ import annotations

import os
import time
from typing import Any

import numpy as np  # noqa: F401  # its BLAS has threads
from threadpoolctl import threadpool_info

from variolite.errors import DataError

KEPT: list[str] = []


def prepare(text: str) -> None:
    KEPT.append(text)


def prepared() -> str:
    (text,) = KEPT
    return text


def refuse() -> None:
    raise DataError("no such potential")


def threads() -> set[int]:
    return {pool["num_threads"] for pool in threadpool_info()}


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
    elif kind == "error":
        raise DataError("wrong", hint="Mend it")
    elif kind == "lambda":
        return lambda: value
    return value, os.getpid()
