"""One shift and one rotation for a whole batch, drawn as the source draws them."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from variolite.crystals.model.batch import AtomBatch
from variolite.crystals.source.cells import parameters_of

__all__ = ["augment", "draw_rotation", "draw_shift", "generator_of"]


def generator_of(noise: Tensor) -> torch.Generator:
    """Return a generator that depends on the noise of a batch alone.

    The noise is a function of seed, epoch and step; so is what is drawn from this then, and
    a run that was interrupted draws the same again.
    """
    bits = noise[0].detach().cpu().contiguous().view(torch.int32).long().sum()
    return torch.Generator().manual_seed(int(bits) % 2**63)


def draw_shift(lattice: Tensor, generator: torch.Generator) -> Tensor:
    """Draw one Cartesian shift in Angstrom, shape (3,): N(mean, deviation of the lengths) / 2.

    The deviation over a batch of one is taken as 0; the source stops there with an error.
    Fractional shifts are far from uniform.
    """
    lengths, _ = parameters_of(lattice)
    normal = torch.randn(3, generator=generator).to(lengths)
    mean = lengths.mean(0)
    deviation = lengths.std(0) if len(lengths) > 1 else torch.zeros_like(mean)
    return 0.5 * (mean + deviation * normal)


def draw_rotation(generator: torch.Generator) -> Tensor:
    """Draw one rotation, shape (3, 3), from a quaternion that is uniform in [0, 1]^4.

    Its axis always lies in the positive octant: this is no uniform rotation.
    """
    w, x, y, z = torch.nn.functional.normalize(torch.rand(4, generator=generator), dim=0).tolist()
    return torch.tensor(
        [
            [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)],
            [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)],
            [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)],
        ]
    )


def augment(batch: AtomBatch) -> AtomBatch:
    """Shift all crystals of a batch by the same Cartesian vector and turn them alike."""
    generator = generator_of(batch.noise)
    shift = draw_shift(batch.lattice, generator)
    rotation = draw_rotation(generator).to(batch.lattice)
    fractional = torch.linalg.solve(
        batch.lattice.transpose(1, 2), shift.expand(len(batch.lattice), 3)
    )
    return replace(
        batch,
        coordinates=(batch.coordinates + fractional[batch.layout.owner]) % 1.0,
        lattice=batch.lattice @ rotation.T,
    )
