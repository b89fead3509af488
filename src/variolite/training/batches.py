"""Training rows on the device, handed out in shuffled batches with their noise.

Everything random is a function of (member seed, epoch) alone. A killed run
that starts an epoch again draws the same numbers, and a member draws the same
numbers whether it trains alone or beside others.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from variolite.records import Records
from variolite.vae import Batch

__all__ = ["Member", "Rows", "TrainingBatches", "evaluation_batches", "generator"]

CHUNK_ROWS = 16_384
"""Rows gathered and noise drawn at once: a working set that stays in the cache."""

EVALUATION_ROWS = 8_192


@dataclass(frozen=True)
class Member:
    """What makes one member differ from its neighbours.

    Attributes
    ----------
    seed
        Of its starting weights, order of rows and noise.
    beta
        Factor on the schedule. 0 makes the member a plain autoencoder: no
        divergence, and no noise either.
    latent
        Latent dimensions.
    """

    seed: int
    beta: float
    latent: int


def generator(device: torch.device, *key: int) -> torch.Generator:
    """Return a generator that depends on the integers of ``key`` alone."""
    state = np.random.SeedSequence(key).generate_state(1, np.uint32)
    return torch.Generator(device).manual_seed(int(state[0]))


@dataclass(frozen=True)
class Rows:
    """Records as tensors on one device.

    Attributes
    ----------
    numeric
        Shape (n, D).
    observed
        Shape (n, D), None when complete.
    category
        Shape (n, C), None without categories.
    condition
        Shape (n, K), None without conditions.
    """

    numeric: Tensor
    observed: Tensor | None
    category: Tensor | None
    condition: Tensor | None

    @classmethod
    def from_records(cls, records: Records, device: torch.device) -> Rows:
        """Copy records to a device once."""

        def put(array: np.ndarray) -> Tensor | None:
            return torch.from_numpy(array).to(device) if array.shape[1] else None

        complete = bool(records.observed.all())
        return cls(
            numeric=torch.from_numpy(records.numeric).to(device),
            observed=None if complete else torch.from_numpy(records.observed).to(device),
            category=put(records.category),
            condition=put(records.condition),
        )

    def __len__(self) -> int:
        return len(self.numeric)

    def gather(self, index: Tensor) -> Rows:
        """Copy rows in the order of ``index``, shape (M, b), to (M, b, ...)."""

        def pick(values: Tensor | None) -> Tensor | None:
            if values is None:
                return None
            chosen = values.index_select(0, index.reshape(-1))
            return chosen.view(*index.shape, values.shape[1])

        numeric = pick(self.numeric)
        assert numeric is not None
        return Rows(numeric, pick(self.observed), pick(self.category), pick(self.condition))

    def batch(self, span: slice, noise: Tensor, generators: Sequence[torch.Generator]) -> Batch:
        """Cut rows (M, b, ...) to a `Batch`."""

        def cut(values: Tensor | None) -> Tensor | None:
            return None if values is None else values[:, span]

        return Batch(
            self.numeric[:, span],
            cut(self.observed),
            cut(self.category),
            cut(self.condition),
            noise,
            generators,
        )


class TrainingBatches:
    """Shuffled batches of equal size for every epoch.

    The few rows left over when n is no multiple of the batch size sit an epoch
    out; the next shuffle brings them back.

    Parameters
    ----------
    rows
        Training rows.
    members
        One entry per member.
    batch_size
        Rows per step; at most all rows.
    dropout
        Whether batches carry generators for dropout.
    """

    def __init__(
        self, rows: Rows, members: Sequence[Member], batch_size: int, *, dropout: bool
    ) -> None:
        self.rows = rows
        self.members = members
        self.batch_size = min(batch_size, len(rows))
        self.steps = len(rows) // self.batch_size
        self.dropout = dropout
        self.latent = max(member.latent for member in members)

    def epoch(self, number: int) -> Iterator[Batch]:
        """Yield the batches of one epoch."""
        device = self.rows.numeric.device
        order = torch.stack(
            [
                torch.randperm(
                    len(self.rows), generator=generator(device, m.seed, number, 0), device=device
                )
                for m in self.members
            ]
        )
        noise_sources = [generator(device, m.seed, number, 1) for m in self.members]
        dropouts = [generator(device, m.seed, number, 2) for m in self.members]
        generators = dropouts if self.dropout else ()
        per_chunk = max(1, CHUNK_ROWS // self.batch_size)
        for first in range(0, self.steps, per_chunk):
            count = min(per_chunk, self.steps - first) * self.batch_size
            start = first * self.batch_size
            chunk = self.rows.gather(order[:, start : start + count])
            noise = self._noise(count, noise_sources, device)
            for at in range(0, count, self.batch_size):
                span = slice(at, at + self.batch_size)
                yield chunk.batch(span, noise[:, span], generators)

    def _noise(
        self, count: int, sources: Sequence[torch.Generator], device: torch.device
    ) -> Tensor:
        """Noise of every member for its own dimensions, zero for those it lacks."""
        shape = (len(self.members), count, self.latent)
        noise = torch.empty(shape, device=device)
        for block, member, source in zip(noise, self.members, sources, strict=True):
            if member.beta == 0.0:
                block.zero_()
            elif member.latent == self.latent:
                block.normal_(generator=source)
            else:
                own = torch.empty((count, member.latent), device=device)
                block.zero_()[:, : member.latent] = own.normal_(generator=source)
        return noise


def evaluation_batches(
    rows: Rows, members: Sequence[Member], *, noise_seed: int | None
) -> Iterator[Batch]:
    """Yield all rows in order, for every member the same ones.

    ``noise_seed`` fixes the noise, so that a monitored value moves with the
    weights alone; None gives zeros, for uses of the posterior mean.
    """
    device = rows.numeric.device
    latent = max(member.latent for member in members)
    for start in range(0, len(rows), EVALUATION_ROWS):
        span = slice(start, min(start + EVALUATION_ROWS, len(rows)))
        count = span.stop - span.start
        noise = torch.zeros((len(members), count, latent), device=device)
        if noise_seed is not None:
            for block, member in zip(noise, members, strict=True):
                if member.beta == 0.0:
                    continue
                source = generator(device, noise_seed, start)
                own = torch.empty((count, member.latent), device=device)
                block[:, : member.latent] = own.normal_(generator=source)
        whole = Rows(
            rows.numeric.unsqueeze(0),
            None if rows.observed is None else rows.observed.unsqueeze(0),
            None if rows.category is None else rows.category.unsqueeze(0),
            None if rows.condition is None else rows.condition.unsqueeze(0),
        )
        yield whole.batch(span, noise, ())
