"""One engine, one training run, one process, one thread.

``python -m benchmarks.speed.worker TABLE.npz ANSWER.json REQUEST`` in the environment of the
engine; the driver calls it.
"""

from __future__ import annotations

import os

# Before anything imports torch: OpenMP reads it once.
os.environ["OMP_NUM_THREADS"] = "1"
os.environ["MKL_NUM_THREADS"] = "1"

import importlib
import importlib.metadata
import json
import platform
import sys
from dataclasses import asdict
from pathlib import Path

import numpy as np
import torch
from benchmarks.speed.request import Request

ENGINES = {
    "plain": "benchmarks.speed.plain",
    "pythae": "benchmarks.speed.pythae_peer",
    "scvi-tools": "benchmarks.speed.scvi_peer",
    "c": "benchmarks.speed.floor",
    "variolite": "benchmarks.speed.ours",
}
"""Engine name to the module whose ``run(request, train, held_out)`` trains with it."""

_REPORTED = ("torch", "numpy", "pythae", "scvi-tools", "lightning", "variolite")


def _versions() -> dict[str, str]:
    found = {"python": platform.python_version()}
    for name in _REPORTED:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def main(table: Path, answer: Path, request: Request) -> None:
    """Train as asked and write epochs and versions as JSON.

    Parameters
    ----------
    table : Path
        ``.npz`` with ``train`` and ``held_out``.
    answer : Path
        JSON file to write. Standard output is left to the engines, some of which chatter.
    request : Request
    """
    torch.set_num_threads(1)
    with np.load(table) as arrays:
        train, held_out = torch.from_numpy(arrays["train"]), torch.from_numpy(arrays["held_out"])
    epochs = importlib.import_module(ENGINES[request.engine]).run(request, train, held_out)
    answer.write_text(
        json.dumps({"epochs": [asdict(epoch) for epoch in epochs], "versions": _versions()})
    )


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), Request.from_json(sys.argv[3]))
