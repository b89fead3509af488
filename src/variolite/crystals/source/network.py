"""The source design as one module with the interface of all crystal models.

Written anew from its description, to be compared with; `variolite.crystals.model` is the
model to use. Crystals go in as they are, in Niggli cells: atoms are told apart by their
number in the file, coordinates and lattices are raw, and the loss is not periodic. Only what
kept the source from running or repeating is mended: batches of one, and the seed 0.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from variolite.crystals.model.batch import AtomBatch, Layout
from variolite.crystals.model.network import Decoded
from variolite.crystals.source.architecture import SourceArchitecture
from variolite.crystals.source.augmentation import augment
from variolite.crystals.source.cells import log_metric_of, matrix_of
from variolite.crystals.source.layers import (
    MessageEncoder,
    Transformer,
    TransformerEncoder,
    index_waves,
)
from variolite.crystals.source.objective import (
    SourceOutput,
    SourceWeights,
    divergence,
    draw,
    reconstruction,
)
from variolite.crystals.source.padding import Padding
from variolite.vae import Parts, Posterior

__all__ = ["SourceModule"]

ENCODERS = {"transformer": TransformerEncoder, "cspnet": MessageEncoder}


class SourceModule(nn.Module):
    """Encoder, latents of atoms and decoder of the source design.

    Parameters
    ----------
    architecture
        Sizes.
    seed
        Of the starting weights; 0 is a seed like any other.
    weights
        Of the parts of the loss.
    augmented
        Shift and turn training batches.
    """

    def __init__(
        self,
        architecture: SourceArchitecture,
        seed: int,
        weights: SourceWeights | None = None,
        *,
        augmented: bool = True,
    ) -> None:
        super().__init__()
        self.architecture = a = architecture
        self.weights = weights or SourceWeights()
        self.augmented = augmented
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.encoder: nn.Module = ENCODERS[a.encoder](a)
            self.posterior = nn.Linear(a.width, 2 * a.latent, bias=False)
            self.enter = nn.Linear(a.latent, a.width, bias=False)
            self.decoder = Transformer(a.width, a.heads, a.feedforward, a.decoder_layers)
            self.species = nn.Linear(a.width, a.elements)
            self.coordinates = nn.Linear(a.width, 3, bias=False)
            self.lattice = nn.Linear(a.width, 6, bias=False)

    def infer(self, batch: AtomBatch) -> Posterior:
        """Posterior of the latents of every atom, shapes (1, N, L)."""
        padding = Padding.of(batch.layout.owner, batch.layout.counts)
        features = self.encoder(batch.species, batch.coordinates, batch.lattice, padding)
        mean, log_variance = self.posterior(features)[None].chunk(2, dim=-1)
        return Posterior(mean, log_variance)

    def output(self, z: Tensor, layout: Layout) -> SourceOutput:
        """What the decoder gives for latents (N, L)."""
        padding = Padding.of(layout.owner, layout.counts)
        features = self.enter(z)
        features = features + index_waves(padding.place, features.shape[-1])
        features = self.decoder(features, padding)
        cell = self.lattice(padding.mean(features))
        return SourceOutput(
            species_logits=self.species(features),
            coordinates=self.coordinates(features),
            lengths=cell[:, :3],
            angles=cell[:, 3:],
        )

    def generate(self, z: Tensor, layout: Layout, species: Tensor | None = None) -> Decoded:
        """Crystals for latents (N, L); cells may be flat or turned inside out.

        ``species`` is taken and not looked at: the decoder is never told the elements.
        """
        del species
        found = self.output(z, layout)
        phase = (2.0 * math.pi) * found.coordinates
        return Decoded(
            species_logits=found.species_logits,
            pairs=torch.cat([phase.cos(), phase.sin()], dim=-1),
            metric=log_metric_of(self.cells(found, layout.counts), layout.counts),
        )

    def cells(self, found: SourceOutput, counts: Tensor) -> Tensor:
        """Rows of the cells in Angstrom, shape (B, 3, 3)."""
        scale = counts.to(found.lengths)[:, None].pow(1.0 / 3.0)
        return matrix_of(found.lengths * scale, found.angles)

    def loss(self, batch: AtomBatch, beta: Tensor) -> Parts:
        """The objective in named parts, each of shape (1,).

        Parameters
        ----------
        batch
            Crystals with noise; in training they are shifted and turned first.
        beta
            Weight of the divergence, shape (1,); the source has `DIVERGENCE_WEIGHT`.
        """
        if self.training and self.augmented:
            batch = augment(batch)
        posterior = self.infer(batch)
        found = self.output(draw(posterior, batch.noise)[0], batch.layout)
        rebuilt = reconstruction(
            found,
            batch.species,
            batch.coordinates,
            batch.lattice,
            batch.layout.counts,
            self.weights,
        ).reshape(1)
        nats = divergence(posterior).reshape(1)
        return Parts(rebuilt + beta * nats, rebuilt, nats)
