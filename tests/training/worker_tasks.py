"""Tasks for worker processes, at the top level of a module that they can import."""

import os
import sys
import time

import numpy as np  # noqa: F401  # its BLAS has threads
from threadpoolctl import threadpool_info

from variolite.errors import DataError

KEPT: list[str] = []


class Trap:
    """Unpickling it ends the program that does."""

    def __reduce__(self):
        return sys.exit, ("trap",)


def prepare(text):
    KEPT.append(text)


def prepared():
    (text,) = KEPT
    return text


def refuse():
    raise DataError("no such potential")


def threads():
    return {pool["num_threads"] for pool in threadpool_info()}


def carry_out(task):
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
    elif kind == "trap":
        return Trap()
    return value, os.getpid()
