"""Where a model trains, with how many threads, and its random numbers."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch

from variolite.errors import TrainingError

SMALL_NETWORK = 1_000_000
"""Multiply-adds per row below which a network gains nothing from a second thread or a GPU."""


def choose_device(wanted: str, multiply_adds: int) -> tuple[torch.device, str]:
    """Turn ``auto``, ``cpu``, ``cuda``, ``cuda:1`` or ``mps`` into a device, and say why.

    Raises a TrainingError if the device is not there.
    """
    if wanted == "auto":
        if multiply_adds < SMALL_NETWORK:
            return torch.device("cpu"), "cpu: the network is too small to gain from a GPU"
        if torch.cuda.is_available():
            return torch.device("cuda"), f"cuda: {torch.cuda.get_device_name()}"
        if torch.backends.mps.is_available():
            return torch.device("mps"), "mps: the GPU of this machine"
        return torch.device("cpu"), "cpu: no GPU was found"
    try:
        device = torch.device(wanted)
    except RuntimeError:
        hint = "choose auto, cpu, cuda, cuda:1 or mps"
        what = f"there is no device called {wanted!r}"
        raise TrainingError(what, where="--device", hint=hint) from None
    available = {
        "cpu": device.index is None,
        "cuda": torch.cuda.is_available() and (device.index or 0) < torch.cuda.device_count(),
        "mps": torch.backends.mps.is_available(),
    }
    if not available.get(device.type, False):
        what = f"device {wanted!r} is not available on this machine"
        raise TrainingError(what, where="--device", hint="use --device auto or --device cpu")
    return device, f"{wanted}: as asked"


@contextmanager
def single_thread(multiply_adds: int) -> Iterator[None]:
    """Use one thread for a small network, and put the former number back.

    With several threads the barriers of OpenMP spin whenever a partner is descheduled: a busy
    machine then slows small networks a hundredfold.
    """
    before = torch.get_num_threads()
    if multiply_adds < SMALL_NETWORK:
        torch.set_num_threads(1)
    # Torch can set this but not read it: look at what becomes of a denormal number.
    flushed = not bool(torch.tensor(1e-310, dtype=torch.float64) * 1.0)
    torch.set_flush_denormal(True)
    try:
        yield
    finally:
        torch.set_flush_denormal(flushed)
        torch.set_num_threads(before)


def generator(device: torch.device, *key: int) -> torch.Generator:
    """Return a generator that depends on the integers of ``key`` alone."""
    return torch.Generator(device).manual_seed(seed_of(*key))


def seed_of(*key: int) -> int:
    """Return a seed of 32 bits that depends on the integers of ``key`` alone."""
    return int(np.random.SeedSequence(key).generate_state(1, np.uint32)[0])
