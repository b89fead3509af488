"""The crystal VAE as a network: transformers over atoms, and the objective."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd import Function
from torch.autograd.function import once_differentiable
from torch.nn import functional

from variolite.crystals.model.batch import AtomBatch, Layout, torus_features
from variolite.crystals.potential.alignment import Projection, align
from variolite.errors import RecipeError
from variolite.vae import Parts, Posterior

# Matrix products in bfloat16 where the processor has them; everything else in float32.
#
# A training step of a transformer is two thirds matrix products. Processors with
# AVX512-BF16 or AMX do them up to four times as fast in bfloat16. Weights,
# residual stream, norms, attention and optimiser stay float32; a product's factors are rounded
# to 8 bits, which changes gradients by 0.4 % (relative norm), less than a batch of crystals
# does. Small attention is five times slower in bfloat16 on a processor, which is why autocast
# does not help.


def fast_products(device: torch.device) -> bool:
    """Whether products in bfloat16 are fast on a processor."""
    supported = getattr(torch.cpu, "_is_avx512_bf16_supported", None)
    return device.type == "cpu" and supported is not None and bool(supported())


class _Linear(Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        x, weight = x.bfloat16(), weight.bfloat16()
        ctx.save_for_backward(x, weight)
        return torch.mm(x, weight.t()).float().add_(bias)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        x, weight = ctx.saved_tensors
        rounded = gradient.bfloat16()
        back = torch.mm(rounded, weight).float()
        return back, torch.mm(rounded.t(), x).float(), gradient.sum(0)


class _FeedForward(Function):
    @staticmethod
    def forward(
        ctx: Any, x: Tensor, widen: Tensor, first: Tensor, narrow: Tensor, second: Tensor
    ) -> Tensor:
        x, widen, narrow = x.bfloat16(), widen.bfloat16(), narrow.bfloat16()
        hidden = torch.addmm(first.bfloat16(), x, widen.t())
        active = functional.gelu(hidden, approximate="tanh")
        ctx.save_for_backward(x, widen, narrow, hidden, active)
        return torch.mm(active, narrow.t()).float().add_(second)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, ...]:
        x, widen, narrow, hidden, active = ctx.saved_tensors
        rounded = gradient.bfloat16()
        by_active = torch.mm(rounded, narrow)
        by_hidden = torch.ops.aten.gelu_backward(by_active, hidden, approximate="tanh")
        return (
            torch.mm(by_hidden, widen).float(),
            torch.mm(by_hidden.t(), x).float(),
            by_hidden.sum(0, dtype=torch.float32),
            torch.mm(rounded.t(), active).float(),
            gradient.sum(0),
        )


def linear(x: Tensor, layer: torch.nn.Linear) -> Tensor:
    """x W^T + b with rounded factors, (N, I) to (N, O)."""
    return _Linear.apply(x, layer.weight, layer.bias)  # type: ignore[no-any-return, no-untyped-call]


def feed_forward(x: Tensor, widen: torch.nn.Linear, narrow: torch.nn.Linear) -> Tensor:
    """Narrow(GELU(widen(x))) with rounded factors in one node, (N, W) to (N, W)."""
    return _FeedForward.apply(  # type: ignore[no-any-return, no-untyped-call]
        x, widen.weight, widen.bias, narrow.weight, narrow.bias
    )


# Transformers over the atoms of crystals: no padding, no index of an atom.


class _Layer(nn.Module):
    """Pre-norm attention and feed-forward, as Xiong et al. (2020) order them."""

    def __init__(self, width: int, heads: int, feedforward: int) -> None:
        super().__init__()
        self.heads = heads
        self.before_attention = nn.LayerNorm(width)
        self.joint = nn.Linear(width, 3 * width)
        self.out = nn.Linear(width, width)
        self.before_feedforward = nn.LayerNorm(width)
        self.widen = nn.Linear(width, feedforward)
        self.narrow = nn.Linear(feedforward, width)

    def forward(self, atoms: Tensor, layout: Layout, *, rounded: bool) -> Tensor:
        if rounded:
            joint = linear(self.before_attention(atoms), self.joint)
            atoms = atoms + linear(attend(joint, layout, self.heads), self.out)
            return atoms + feed_forward(self.before_feedforward(atoms), self.widen, self.narrow)
        attended = attend(self.joint(self.before_attention(atoms)), layout, self.heads)
        atoms = atoms + self.out(attended)
        wide = functional.gelu(self.widen(self.before_feedforward(atoms)), approximate="tanh")
        added: Tensor = atoms + self.narrow(wide)
        return added


class Transformer(nn.Module):
    """Layers of attention among the atoms of each crystal, and a last norm.

    Parameters
    ----------
    width, heads, feedforward, layers
        Sizes; ``heads`` divides ``width``.

    Attributes
    ----------
    rounded
        Round the factors of matrix products to bfloat16 while training; see
        `variolite.crystals.model.products`.
    """

    def __init__(self, width: int, heads: int, feedforward: int, layers: int) -> None:
        super().__init__()
        self.rounded = False
        self.layers = nn.ModuleList(_Layer(width, heads, feedforward) for _ in range(layers))
        self.last = nn.LayerNorm(width)

    def forward(self, atoms: Tensor, layout: Layout) -> Tensor:
        """Map atoms (N, width) to atoms (N, width)."""
        for layer in self.layers:
            atoms = layer(atoms, layout, rounded=self.rounded and self.training)
        normed: Tensor = self.last(atoms)
        return normed


def attend(joint: Tensor, layout: Layout, heads: int) -> Tensor:
    """Scaled dot-product attention within every crystal, (N, 3 width) to (N, width).

    ``joint`` holds queries, keys and values. Crystals of one size are one dense product,
    so that no padded place is computed.
    """
    width = joint.shape[1] // 3
    parts = []
    # One split, not a slice a group: the gradient of slices is a sum of mostly empty tensors.
    blocks = torch.split(joint, [crystals * size for crystals, size in layout.groups])
    for (crystals, size), block in zip(layout.groups, blocks, strict=True):
        heads_apart = block.view(crystals, size, 3, heads, width // heads)
        query, key, value = heads_apart.permute(2, 0, 3, 1, 4).unbind(0)
        found = functional.scaled_dot_product_attention(query, key, value)
        parts.append(found.transpose(1, 2).reshape(crystals * size, width))
    return torch.cat(parts)


# The crystal VAE as a module: encoder, decoder and objective.


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
                hint="take sizes above 0 and a width that is a multiple of the number of heads",
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

    @property
    def elements(self) -> tuple[int, ...]:
        """Atomic number of every place of the species logits."""
        return self.architecture.elements

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
