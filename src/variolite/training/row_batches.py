"""Training rows on the device, handed out in shuffled batches with their noise.

Everything random is a function of (member seed, epoch) alone. A run that is resumed starts an epoch
again with the same numbers, and a member draws the same numbers whether it trains alone or beside
others.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import torch
from torch import Tensor

from variolite.training.device import generator
from variolite.vae import Batch

VALIDATION_SEED = 20_240_901
"""Of the noise of the monitored value, so that it moves with the weights alone."""

CHUNK_ROWS = 16_384  # rows gathered and noise drawn at once: a working set that stays in the cache


@dataclass(frozen=True)
class Member:
    """What makes one member differ from the others of a model.

    ``seed`` is of its starting weights, order of rows and noise; ``beta`` is a factor on the
    schedule, 0 for a plain autoencoder: no KL, and no noise either.
    """

    seed: int
    beta: float
    latent: int


@dataclass(frozen=True)
class Masking:
    """Hides values from the encoder in every step, as a `MaskingSpec` says.

    ``blocks`` (K, D) are the sets of columns of which one is hidden where ``kind`` is sensor,
    ``group`` (n,) the codes of the groups of all rows. Unless ``scored``, the likelihood leaves
    hidden values out as well.
    """

    kind: Literal["value", "sensor", "hole"]
    share: float
    blocks: Tensor
    group: Tensor
    scored: bool = True

    def epoch(self, sources: Sequence[torch.Generator]) -> Callable[[Batch, Tensor], Batch]:
        """Return what hides values of a batch, given its rows by number (M, b).

        There is a source of randomness for each member.
        """
        device, width = self.group.device, self.blocks.shape[1]

        def happens(source: torch.Generator, rows: int, columns: int = width) -> Tensor:
            return torch.rand((rows, columns), generator=source, device=device) < self.share

        groups = int(self.group.max()) + 1
        tables = [happens(s, groups) for s in sources] if self.kind == "hole" else []

        def draw(member: int, rows: Tensor) -> Tensor:
            source = sources[member]
            if self.kind == "hole":
                return tables[member][self.group[rows]]
            if self.kind == "value":
                return happens(source, len(rows))
            size = (len(rows),)
            chosen = torch.randint(len(self.blocks), size, generator=source, device=device)
            return self.blocks[chosen] & happens(source, len(rows), 1)

        def hide(batch: Batch, rows: Tensor) -> Batch:
            hidden = torch.stack([draw(member, own) for member, own in enumerate(rows)])
            context, observed, visible = batch.context, batch.observed, ~hidden
            if observed is not None:
                hidden, visible = hidden & observed, visible & observed
            if context is not None:
                # Running means would give a hidden value away. The context of a value that was
                # not observed stays: it says what the value may have been.
                by_column = context.view(*hidden.shape, -1)
                context = by_column.masked_fill(hidden.unsqueeze(-1), 0.0).view(context.shape)
            observed = observed if self.scored else visible
            return replace(batch, visible=visible, observed=observed, context=context)

        return hide


class TrainingBatches:
    """Shuffled batches of equal size for every epoch, of at most ``batch_size`` rows.

    The few rows left over when n is not a multiple of the batch size sit an epoch out, as do those
    beyond ``rows_per_epoch``; the next shuffle brings them back. With ``dropout`` batches carry
    generators for it; ``masking`` hides values from the encoder.
    """

    def __init__(
        self,
        rows: Batch,
        members: Sequence[Member],
        batch_size: int,
        *,
        dropout: bool,
        masking: Masking | None = None,
        rows_per_epoch: int | None = None,
    ) -> None:
        self.rows = rows
        self.members = members
        count = len(rows) if rows_per_epoch is None else min(len(rows), rows_per_epoch)
        self.batch_size = min(batch_size, count)
        self.steps = count // self.batch_size
        self.dropout = dropout
        self.masking = masking

    def epoch(self, number: int) -> Iterator[Batch]:
        """Yield the batches of one epoch."""
        device = self.rows.numeric.device
        # For each purpose every member has a generator of its own.
        shuffles, noises, drops, masks = (
            [generator(device, m.seed, number, purpose) for m in self.members]
            for purpose in range(4)
        )
        # Row numbers in the order of every member, (M, n).
        order = torch.stack(
            [torch.randperm(len(self.rows), generator=g, device=device) for g in shuffles]
        )
        hide = None if self.masking is None else self.masking.epoch(masks)
        # Gathering the rows of many steps at once costs far less than step by step.
        per_chunk = max(1, CHUNK_ROWS // self.batch_size)
        for first in range(0, self.steps, per_chunk):
            count = min(per_chunk, self.steps - first) * self.batch_size
            start = first * self.batch_size
            noise = _noise(self.members, count, noises, device)
            chosen = order[:, start : start + count]
            chunk = self.rows.gather(chosen, noise, drops if self.dropout else ())
            chunk = replace(chunk, row=chosen)
            if hide is not None:
                chunk = hide(chunk, chosen)
            yield from chunk.chunks(self.batch_size)


def evaluation_batches(rows: Batch, members: Sequence[Member]) -> Iterator[Batch]:
    """Yield all rows in order, for every member the same ones with the same noise."""
    device, start = rows.numeric.device, 0
    for batch in rows.chunks():
        # Every member draws from a generator of the same state.
        sources = [generator(device, VALIDATION_SEED, start) for _ in members]
        yield replace(batch, noise=_noise(members, len(batch), sources, device))
        start += len(batch)


def _noise(
    members: Sequence[Member], rows: int, sources: Sequence[torch.Generator], device: torch.device
) -> Tensor:
    """Noise of every member for its own dimensions, zero for those it lacks, (M, rows, L)."""
    noise = torch.zeros((len(members), rows, max(m.latent for m in members)), device=device)
    for block, member, source in zip(noise, members, sources, strict=True):
        if member.beta == 0.0:  # a plain autoencoder
            continue
        # Numbers are drawn in the order of memory: a slice of a wider block would shift them.
        own = block if member.latent == noise.shape[2] else block.new_empty(rows, member.latent)
        own.normal_(generator=source)
        block[:, : member.latent] = own
    return noise
