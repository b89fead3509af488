"""The crystal VAE as a module: encoder, decoder and objective."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from variolite.crystals.foundation.alignment import Projection, align
from variolite.crystals.model.batch import AtomBatch, Layout
from variolite.crystals.model.geometry import torus_features
from variolite.crystals.model.network import Transformer
from variolite.errors import RecipeError
from variolite.vae import Parts, Posterior

__all__ = [
    "CrystalArchitecture",
    "CrystalModule",
    "Decoded",
    "LossWeights",
    "PartsByName",
    "Shares",
]

TABLE = 128
"""Places in the table from atomic number to the elements of the model."""


@dataclass(frozen=True)
class CrystalArchitecture:
    """Sizes of a crystal VAE and what it is told.

    Attributes
    ----------
    elements
        Atomic numbers it knows, ascending.
    latent
        Latent dimensions of an atom.
    width, heads, feedforward, encoder_layers, decoder_layers
        Of the two transformers.
    waves
        Waves per axis that coordinates enter with.
    species_given
        Whether the decoder is told the elements instead of decoding them.
    features
        Width of the foundation features that latents are aligned with; 0 for none.
    """

    elements: tuple[int, ...]
    latent: int = 8
    width: int = 128
    heads: int = 4
    feedforward: int = 256
    encoder_layers: int = 3
    decoder_layers: int = 3
    waves: int = 4
    species_given: bool = False
    features: int = 0

    def __post_init__(self) -> None:
        sizes = (self.latent, self.width, self.heads, self.feedforward, self.waves)
        layers = (self.encoder_layers, self.decoder_layers)
        if min(sizes) < 1 or min(layers) < 0 or self.features < 0 or self.width % self.heads:
            raise RecipeError(
                "the sizes of the network are impossible",
                where="crystal architecture",
                mend="take sizes above 0 and a width that is a multiple of the number of heads",
            )
        if not self.elements or self.elements[0] < 1 or self.elements[-1] >= TABLE:
            raise RecipeError("the table of elements is none", where="crystal architecture")
        if list(self.elements) != sorted(set(self.elements)):
            raise RecipeError("the elements do not ascend", where="crystal architecture")


@dataclass(frozen=True)
class LossWeights:
    """Weights of the objective: lambda_1 (parts), and lambda_3.

    lambda_2 is the factor on the schedule of beta.
    """

    reconstruction: float = 1.0
    species: float = 1.0
    coordinates: float = 10.0
    lattice: float = 1.0
    alignment: float = 0.0


@dataclass(frozen=True)
class Decoded:
    """What the decoder says of a batch.

    Attributes
    ----------
    species_logits
        Shape (N, E); None where the species were given.
    pairs
        Cosines and sines of the coordinates, any length, shape (N, 6).
    metric
        Logarithm of the metric, shape (B, 6): always a cell of positive volume.
    """

    species_logits: Tensor | None
    pairs: Tensor
    metric: Tensor


@dataclass(frozen=True)
class PartsByName:
    """Parts of the reconstruction loss before their weights, scalars.

    ``species`` in nats per atom, ``coordinates`` as squared fractional distance,
    ``lattice`` in squared standard deviations of the training cells.
    """

    species: Tensor
    coordinates: Tensor
    lattice: Tensor


@dataclass(frozen=True)
class Shares:
    """Weights of the means over atoms and over crystals.

    Where several processes each take a portion of a batch and their gradients are
    averaged, (number of processes) (own atoms) / (all atoms), and likewise for crystals,
    makes the average the gradient of the whole batch.
    """

    atoms: Tensor | float = 1.0
    crystals: Tensor | float = 1.0


EVEN = Shares()


class CrystalModule(nn.Module):
    """Per-atom Gaussian latents, decoded by a transformer.

    Parameters
    ----------
    architecture
        Sizes and elements.
    weights
        Of the objective.
    seed
        Of the starting weights.
    """

    metric_mean: Tensor
    metric_scale: Tensor
    element_index: Tensor

    def __init__(
        self, architecture: CrystalArchitecture, weights: LossWeights, seed: int = 0
    ) -> None:
        super().__init__()
        self.architecture = architecture
        self.weights = weights
        a = architecture
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.element = nn.Embedding(len(a.elements), a.width)
            self.position = nn.Linear(6 * a.waves, a.width)
            self.cell = nn.Linear(6, a.width)
            self.encoder = Transformer(a.width, a.heads, a.feedforward, a.encoder_layers)
            self.to_latent = nn.Linear(a.width, 2 * a.latent)
            # Straight ways round both transformers: circles, cell and element go through a
            # wide enough latent at once, and attention learns what is left.
            self.around_encoder = nn.Linear(a.width, a.latent, bias=False)
            self.from_latent = nn.Linear(a.latent, a.width)
            self.given = nn.Embedding(len(a.elements), a.width) if a.species_given else None
            self.decoder = Transformer(a.width, a.heads, a.feedforward, a.decoder_layers)
            self.to_species = None if a.species_given else nn.Linear(a.width, len(a.elements))
            self.to_pairs = nn.Linear(a.width, 6)
            self.to_metric = nn.Linear(a.width, 6)
            self.around_decoder = nn.Linear(a.latent, 12, bias=False)
            self.aligned = Projection(a.latent, a.features) if a.features else None
        index = torch.full((TABLE,), -1, dtype=torch.int64)
        index[torch.tensor(a.elements)] = torch.arange(len(a.elements))
        self.register_buffer("element_index", index, persistent=False)
        self.register_buffer("metric_mean", torch.zeros(6))
        self.register_buffer("metric_scale", torch.ones(6))

    def set_metric_statistics(self, mean: Sequence[float], scale: Sequence[float]) -> None:
        """Standardise log metrics by those of the training cells."""
        self.metric_mean.copy_(torch.tensor(mean))
        self.metric_scale.copy_(torch.tensor(scale))

    def round_products(self, rounded: bool) -> None:
        """Choose whether matrix products are rounded to bfloat16 while training."""
        self.encoder.rounded = self.decoder.rounded = rounded

    def infer(self, batch: AtomBatch) -> Posterior:
        """Return the posterior of every atom, each tensor of shape (1, N, L)."""
        layout = batch.layout
        cell = (batch.metric - self.metric_mean) / self.metric_scale
        entered = (
            self.element(self.element_index[batch.species])
            + self.position(torus_features(batch.coordinates, self.architecture.waves))
            + self.cell(cell).index_select(0, layout.owner)
        )
        both = self.to_latent(self.encoder(entered, layout)).unsqueeze(0)
        mean, log_variance = both.chunk(2, dim=-1)
        return Posterior(mean + self.around_encoder(entered), log_variance)

    def generate(self, z: Tensor, layout: Layout, species: Tensor | None = None) -> Decoded:
        """Decode latents (N, L); ``species`` (N,) where the model is given them."""
        atoms = self.from_latent(z)
        if self.given is not None:
            assert species is not None
            atoms = atoms + self.given(self.element_index[species])
        atoms = self.decoder(atoms, layout)
        pairs, cell = self.around_decoder(z).split(6, dim=1)
        metric = self.to_metric(mean_by_crystal(atoms, layout)) + mean_by_crystal(cell, layout)
        return Decoded(
            None if self.to_species is None else self.to_species(atoms),
            self.to_pairs(atoms) + pairs,
            metric * self.metric_scale + self.metric_mean,
        )

    def parts(self, batch: AtomBatch, decoded: Decoded) -> PartsByName:
        """Compare what was decoded with the batch."""
        species = batch.coordinates.new_zeros(())
        if decoded.species_logits is not None:
            species = functional.cross_entropy(
                decoded.species_logits, self.element_index[batch.species]
            )
        direction = functional.normalize(decoded.pairs.view(-1, 2, 3), dim=1)
        phase = (2.0 * math.pi) * batch.coordinates
        # 1 - cos of the angle between, which is (2 pi d)^2 / 2 for small d and never jumps.
        cosine = (direction[:, 0] * phase.cos() + direction[:, 1] * phase.sin()).mean()
        coordinates = (1.0 - cosine) / (2.0 * math.pi**2)
        lattice = ((decoded.metric - batch.metric) / self.metric_scale).square().mean()
        return PartsByName(species, coordinates, lattice)

    def loss(self, batch: AtomBatch, beta: Tensor, shares: Shares = EVEN) -> Parts:
        """Return the parts of the objective, each of shape (1,).

        The divergence is in nats per atom; the reconstruction is the weighted sum of
        `PartsByName`, and of the foundation alignment where there is one. ``shares``
        weigh the batch as a portion of a larger one.
        """
        posterior = self.infer(batch)
        z = posterior.sample(batch.noise.unsqueeze(0))[0]
        parts = self.parts(batch, self.generate(z, batch.layout, batch.species))
        w = self.weights
        of_atoms = w.species * parts.species + w.coordinates * parts.coordinates
        of_cells = w.lattice * parts.lattice
        reconstruction = w.reconstruction * (shares.atoms * of_atoms + shares.crystals * of_cells)
        divergence = shares.atoms * posterior.divergence_per_dimension().sum(-1).mean(1)
        if self.aligned is not None and batch.features is not None and w.alignment > 0.0:
            assert batch.chance is not None
            compared = align(self.aligned(z), batch.features, batch.layout.owner, batch.chance)
            reconstruction = reconstruction + shares.atoms * w.alignment * compared.total
        reconstruction = reconstruction.view(1)
        return Parts(reconstruction + beta * divergence, reconstruction, divergence)


def mean_by_crystal(atoms: Tensor, layout: Layout) -> Tensor:
    """Average atoms (N, W) over every crystal, (B, W)."""
    blocks = torch.split(atoms, [crystals * size for crystals, size in layout.groups])
    means = [
        block.view(crystals, size, -1).mean(1)
        for (crystals, size), block in zip(layout.groups, blocks, strict=True)
    ]
    return torch.cat(means)
