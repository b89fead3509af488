"""The task written by hand in C: what the arithmetic costs when nothing else is paid for."""

from __future__ import annotations

import ctypes
import math
import os
import shutil
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from benchmarks.speed.elbo import held_out_elbo
from benchmarks.speed.request import Epoch, Request
from benchmarks.speed.task import FEATURES, HIDDEN, LATENT, NOISE_VARIANCE, RATE
from torch import Tensor

_SOURCE = Path(__file__).with_suffix(".c")
_FLAGS = ("-O3", "-march=native", "-ffast-math", "-fPIC")
_SHAPES = (
    (HIDDEN[0], FEATURES),
    (HIDDEN[1], HIDDEN[0]),
    (2 * LATENT, HIDDEN[1]),
    (HIDDEN[1], LATENT),
    (HIDDEN[0], HIDDEN[1]),
    (FEATURES, HIDDEN[0]),
)


def _compiled(folder: Path) -> Any:
    compiler = os.environ.get("CC") or shutil.which("gcc") or shutil.which("cc")
    if compiler is None:
        raise RuntimeError("no C compiler found: install gcc or set CC")
    library, part = folder / "floor.so", folder / "floor.o"
    subprocess.run([compiler, *_FLAGS, "-c", str(_SOURCE), "-o", str(part)], check=True)
    # Linked with -ffast-math, loading it would flush denormals in the whole process for good.
    subprocess.run([compiler, "-shared", str(part), "-o", str(library), "-lm"], check=True)
    return ctypes.CDLL(str(library))


def _layers(weights: np.ndarray[Any, np.dtype[np.float32]]) -> list[tuple[Tensor, Tensor]]:
    """Each layer's weight (out, in) and bias as views of the flat vector."""
    flat, layers, at = torch.from_numpy(weights), [], 0
    for outputs, inputs in _SHAPES:
        middle, end = at + outputs * inputs, at + outputs * inputs + outputs
        layers.append((flat[at:middle].view(outputs, inputs), flat[middle:end]))
        at = end
    return layers


def run(request: Request, train: Tensor, held_out: Tensor) -> list[Epoch]:
    """Compile ``floor.c``, train with it and time every epoch.

    Parameters
    ----------
    request : Request
    train, held_out : Tensor, shape (n, 6)

    Returns
    -------
    list of Epoch
    """
    with tempfile.TemporaryDirectory() as folder:
        trained = _compiled(Path(folder)).epoch
    trained.restype = ctypes.c_double
    generator = torch.Generator().manual_seed(request.seed)
    weights = np.empty(sum(outputs * (inputs + 1) for outputs, inputs in _SHAPES), np.float32)
    layers = _layers(weights)
    for weight, bias in layers:
        reach = 1.0 / math.sqrt(weight.shape[1])
        weight.uniform_(-reach, reach, generator=generator)
        bias.uniform_(-reach, reach, generator=generator)

    def through(rows: Tensor, chosen: slice) -> Tensor:
        *inner, (weight, bias) = layers[chosen]
        for inner_weight, inner_bias in inner:
            rows = torch.relu(torch.addmm(inner_bias, rows, inner_weight.T))
        return torch.addmm(bias, rows, weight.T)

    def encode(rows: Tensor) -> tuple[Tensor, Tensor]:
        both = through(rows, slice(0, 3))
        return both[:, :LATENT], both[:, LATENT:]

    table, order = train.numpy(), np.arange(len(train), dtype=np.int32)
    first, second = np.zeros_like(weights), np.zeros_like(weights)
    step = ctypes.c_long(0)
    epochs = []
    for number in range(request.epochs):
        start = time.process_time()
        loss = trained(
            table.ctypes.data_as(ctypes.c_void_p),
            order.ctypes.data_as(ctypes.c_void_p),
            ctypes.c_int(len(train)),
            ctypes.c_int(request.batch or 256),
            ctypes.c_float(2.0 * NOISE_VARIANCE),
            ctypes.c_float(RATE),
            weights.ctypes.data_as(ctypes.c_void_p),
            first.ctypes.data_as(ctypes.c_void_p),
            second.ctypes.data_as(ctypes.c_void_p),
            ctypes.byref(step),
            ctypes.c_uint32(1_000_003 * request.seed + 7_654_321 * (number + 1)),
        )
        spent = time.process_time() - start
        elbo = None
        if request.watch:
            elbo = held_out_elbo(encode, lambda latent: through(latent, slice(3, 6)), held_out)
        epochs.append(Epoch(spent, loss, elbo))
    return epochs
