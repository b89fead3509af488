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

from variolite.crystals.model.batch import CrystalBatch, Layout, fourier_features
from variolite.crystals.potential.alignment import align
from variolite.crystals.recipe import CrystalArchitecture, LossWeights
from variolite.errors import RecipeError
from variolite.vae import LossTerms, Posterior

# Matrix products in bfloat16 where the processor has them; everything else in float32.
#
# A training step of a transformer is two thirds matrix products. Processors with AVX512-BF16 or AMX
# do them up to four times as fast in bfloat16. Weights, residual stream, norms, attention and
# optimiser stay float32; a product's factors are rounded to 8 bits, which changes gradients by 0.4
# % (relative norm), less than a batch of crystals does. Small attention is five times slower in
# bfloat16 on a processor, which is why autocast does not help.


def bf16_is_fast(device: torch.device) -> bool:
    """Whether matrix products in bfloat16 are fast on this device; they are used on processors."""
    # Not in every version of torch: a processor of which nothing is known counts as slow.
    supported = getattr(torch.cpu, "_is_avx512_bf16_supported", None)
    return device.type == "cpu" and supported is not None and bool(supported())


class _Bf16Linear(Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        x, weight = x.bfloat16(), weight.bfloat16()
        ctx.save_for_backward(x, weight)
        return torch.mm(x, weight.t()).float().add_(bias)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        x, weight = ctx.saved_tensors
        gradient16 = gradient.bfloat16()
        back = torch.mm(gradient16, weight).float()
        return back, torch.mm(gradient16.t(), x).float(), gradient.sum(0)


class _Bf16FeedForward(Function):
    @staticmethod
    def forward(
        ctx: Any, x: Tensor, widen: Tensor, first: Tensor, narrow: Tensor, second: Tensor
    ) -> Tensor:
        # In one node the wide (N, F) tensors between both products are never float32.
        x, widen, narrow = x.bfloat16(), widen.bfloat16(), narrow.bfloat16()
        hidden = torch.addmm(first.bfloat16(), x, widen.t())
        active = functional.gelu(hidden, approximate="tanh")
        ctx.save_for_backward(x, widen, narrow, hidden, active)
        return torch.mm(active, narrow.t()).float().add_(second)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, ...]:
        # Products take bfloat16; what sums over atoms, the gradients of biases, adds in float32.
        x, widen, narrow, hidden, active = ctx.saved_tensors
        gradient16 = gradient.bfloat16()
        by_active = torch.mm(gradient16, narrow)
        by_hidden = torch.ops.aten.gelu_backward(by_active, hidden, approximate="tanh")
        return (
            torch.mm(by_hidden, widen).float(),
            torch.mm(by_hidden.t(), x).float(),
            by_hidden.sum(0, dtype=torch.float32),
            torch.mm(gradient16.t(), active).float(),
            gradient.sum(0),
        )


def bf16_linear(x: Tensor, layer: torch.nn.Linear) -> Tensor:
    """x W^T + b with factors in bfloat16, (N, I) to (N, O)."""
    return _Bf16Linear.apply(x, layer.weight, layer.bias)  # type: ignore[no-any-return, no-untyped-call]


def bf16_feed_forward(x: Tensor, widen: torch.nn.Linear, narrow: torch.nn.Linear) -> Tensor:
    """Narrow(GELU(widen(x))) with factors in bfloat16, as one node, (N, W) to (N, W)."""
    return _Bf16FeedForward.apply(  # type: ignore[no-any-return, no-untyped-call]
        x, widen.weight, widen.bias, narrow.weight, narrow.bias
    )


def linear(x: Tensor, layer: nn.Linear, *, bf16: bool) -> Tensor:
    """Apply a layer, (N, I) to (N, O), in float32 or as `bf16_linear`."""
    found: Tensor = bf16_linear(x, layer) if bf16 else layer(x)
    return found


def feed_forward(x: Tensor, widen: nn.Linear, narrow: nn.Linear, *, bf16: bool) -> Tensor:
    """Narrow(GELU(widen(x))), (N, W) to (N, W), in float32 or as `bf16_feed_forward`."""
    if bf16:
        return bf16_feed_forward(x, widen, narrow)
    found: Tensor = narrow(functional.gelu(widen(x), approximate="tanh"))
    return found


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

    def forward(self, atoms: Tensor, layout: Layout, *, bf16: bool) -> Tensor:
        # Both parts add to the residual stream (N, W), which stays float32 in either case.
        joint = linear(self.before_attention(atoms), self.joint, bf16=bf16)
        atoms = atoms + linear(attend(joint, layout, self.heads), self.out, bf16=bf16)
        normed = self.before_feedforward(atoms)
        return atoms + feed_forward(normed, self.widen, self.narrow, bf16=bf16)


class Transformer(nn.Module):
    """Layers of attention among the atoms of each crystal, and a last norm.

    ``heads`` divides ``width``. Where ``bf16`` is set, the factors of matrix products are
    rounded to bfloat16 while training.
    """

    def __init__(self, width: int, heads: int, feedforward: int, layers: int) -> None:
        super().__init__()
        self.bf16 = False
        self.layers = nn.ModuleList(_Layer(width, heads, feedforward) for _ in range(layers))
        self.last = nn.LayerNorm(width)

    def forward(self, atoms: Tensor, layout: Layout) -> Tensor:
        for layer in self.layers:
            atoms = layer(atoms, layout, bf16=self.bf16 and self.training)
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
        # (B n, 3 W) to three tensors (B, heads, n, W / heads): n x n scores in every crystal.
        apart = block.view(crystals, size, 3, heads, width // heads)
        query, key, value = apart.permute(2, 0, 3, 1, 4).unbind(0)
        found = functional.scaled_dot_product_attention(query, key, value)
        parts.append(found.transpose(1, 2).reshape(crystals * size, width))
    return torch.cat(parts)


# The crystal VAE as a module: encoder, decoder and objective.


TABLE = 128  # Places in the table from atomic number to the elements of the model.


@dataclass(frozen=True)
class Decoded:
    """What the decoder makes of latents.

    ``species_logits``, (N, E), are None where the species were given; ``pairs``, (N, 6), are
    cosines and sines of the coordinates, of any length; ``log_metric``, (B, 6), is a
    `log_metric_tensor`: always a cell of positive volume.
    """

    species_logits: Tensor | None
    pairs: Tensor
    log_metric: Tensor


@dataclass(frozen=True)
class ReconstructionTerms:
    """Terms of the reconstruction loss before their weights; see `LossWeights` for the units."""

    species: Tensor
    coordinates: Tensor
    lattice: Tensor


class CrystalModule(nn.Module):
    """Per-atom Gaussian latents, decoded by a transformer.

    It knows the atomic numbers ``elements``, which ascend. ``weights.kl`` is the factor on beta,
    which `loss` is given; ``features`` the width of the foundation features that latents are
    aligned with, 0 for none; ``seed`` that of the starting weights.
    """

    log_metric_mean: Tensor
    log_metric_scale: Tensor
    element_index: Tensor

    def __init__(
        self,
        architecture: CrystalArchitecture,
        weights: LossWeights,
        elements: Sequence[int],
        *,
        features: int = 0,
        seed: int = 0,
    ) -> None:
        super().__init__()
        known = tuple(int(z) for z in elements)
        if not known or not 0 < known[0] <= known[-1] < TABLE or list(known) != sorted(set(known)):
            raise RecipeError("the elements are not ascending atomic numbers", where="elements")
        self.architecture = a = architecture
        self.weights = weights
        self.elements = known
        self.features = features
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.element = nn.Embedding(len(known), a.width)
            self.position = nn.Linear(6 * a.fourier_features, a.width)
            self.cell = nn.Linear(6, a.width)
            self.encoder = Transformer(a.width, a.heads, a.feedforward, a.encoder_layers)
            self.to_latent = nn.Linear(a.width, 2 * a.latent)
            # Skip connections round both transformers: Fourier features, cell and element go
            # through a wide enough latent at once, and attention learns what is left.
            self.encoder_skip = nn.Linear(a.width, a.latent, bias=False)
            self.from_latent = nn.Linear(a.latent, a.width)
            self.given = nn.Embedding(len(known), a.width) if a.species_given else None
            self.decoder = Transformer(a.width, a.heads, a.feedforward, a.decoder_layers)
            self.to_species = None if a.species_given else nn.Linear(a.width, len(known))
            self.to_pairs = nn.Linear(a.width, 6)
            self.to_log_metric = nn.Linear(a.width, 6)
            self.decoder_skip = nn.Linear(a.latent, 12, bias=False)
            # From latents to the space of the foundation features, (L,) to (F,).
            self.aligned = (
                nn.ModuleDict({"map": nn.Linear(a.latent, features)}) if features else None
            )
        # From atomic number to the row of an element in the embeddings; -1 where unknown.
        index = torch.full((TABLE,), -1, dtype=torch.int64)
        index[torch.tensor(known)] = torch.arange(len(known))
        self.register_buffer("element_index", index, persistent=False)
        self.register_buffer("log_metric_mean", torch.zeros(6))
        self.register_buffer("log_metric_scale", torch.ones(6))

    def set_log_metric_statistics(self, mean: Sequence[float], scale: Sequence[float]) -> None:
        """Standardise log metric tensors by those of the training cells, six numbers each."""
        self.log_metric_mean.copy_(torch.tensor(mean))
        self.log_metric_scale.copy_(torch.tensor(scale))

    def use_bf16(self, bf16: bool) -> None:
        """Choose whether matrix products are in bfloat16 while training."""
        self.encoder.bf16 = self.decoder.bf16 = bf16

    def infer(self, batch: CrystalBatch) -> Posterior:
        """Posterior of every atom, each tensor of shape (1, N, L)."""
        layout = batch.layout
        cell = (batch.log_metric - self.log_metric_mean) / self.log_metric_scale
        # An atom enters (N, W) as the sum of what it is, where it is and what cell it is in;
        # the cell (B, 6) is the same for all atoms of a crystal.
        entered = (
            self.element(self.element_index[batch.species])
            + self.position(fourier_features(batch.coordinates, self.architecture.fourier_features))
            + self.cell(cell).index_select(0, layout.owner)
        )
        both = self.to_latent(self.encoder(entered, layout)).unsqueeze(0)
        mean, log_variance = both.chunk(2, dim=-1)
        return Posterior(mean + self.encoder_skip(entered), log_variance)

    def generate(self, z: Tensor, layout: Layout, species: Tensor | None = None) -> Decoded:
        """Decode latents (N, L); ``species`` (N,) where the model is given them."""
        atoms = self.from_latent(z)
        if self.given is not None:
            assert species is not None
            atoms = atoms + self.given(self.element_index[species])
        atoms = self.decoder(atoms, layout)
        # The skip connection (N, 12) adds six numbers to an atom's place and six to its cell,
        # which is the mean over the atoms of a crystal (B, 6).
        pairs, cell = self.decoder_skip(z).split(6, dim=1)
        by_atoms = self.to_log_metric(mean_by_crystal(atoms, layout))
        standardised = by_atoms + mean_by_crystal(cell, layout)
        return Decoded(
            None if self.to_species is None else self.to_species(atoms),
            self.to_pairs(atoms) + pairs,
            standardised * self.log_metric_scale + self.log_metric_mean,
        )

    def terms(self, batch: CrystalBatch, decoded: Decoded) -> ReconstructionTerms:
        species = batch.coordinates.new_zeros(())
        if decoded.species_logits is not None:
            species = functional.cross_entropy(
                decoded.species_logits, self.element_index[batch.species]
            )
        # (N, 6) to a point on the unit circle for each axis: (N, cosine or sine, 3).
        direction = functional.normalize(decoded.pairs.view(-1, 2, 3), dim=1)
        phase = (2.0 * math.pi) * batch.coordinates
        # 1 - cos of the angle between, which is (2 pi d)^2 / 2 for small d and never jumps.
        cosine = (direction[:, 0] * phase.cos() + direction[:, 1] * phase.sin()).mean()
        coordinates = (1.0 - cosine) / (2.0 * math.pi**2)
        difference = (decoded.log_metric - batch.log_metric) / self.log_metric_scale
        return ReconstructionTerms(species, coordinates, difference.square().mean())

    def loss(
        self,
        batch: CrystalBatch,
        beta: Tensor,
        *,
        atom_fraction: Tensor | float = 1.0,
        crystal_fraction: Tensor | float = 1.0,
    ) -> LossTerms:
        """Terms of the objective for a batch with noise and the weight of the KL, (1,) each.

        The KL is in nats per atom; the reconstruction is the weighted sum of
        `ReconstructionTerms`, and of the foundation alignment where there is one.

        ``atom_fraction`` and ``crystal_fraction`` weigh the means over atoms and over crystals.
        Where several processes each take a portion of a batch and their gradients are averaged,
        (number of processes) (own atoms) / (all atoms), and likewise for crystals, makes the
        average the gradient of the whole batch.
        """
        assert batch.noise is not None
        posterior = self.infer(batch)
        z = posterior.sample(batch.noise.unsqueeze(0))[0]
        found = self.terms(batch, self.generate(z, batch.layout, batch.species))
        w = self.weights
        of_atoms = w.species * found.species + w.coordinates * found.coordinates
        of_cells = w.lattice * found.lattice
        # Means over atoms and over crystals are weighed apart: portions differ in both numbers.
        reconstruction = w.reconstruction * (atom_fraction * of_atoms + crystal_fraction * of_cells)
        kl = atom_fraction * posterior.kl_per_dimension().sum(-1).mean(1)
        if self.aligned is not None and batch.features is not None and w.alignment > 0.0:
            assert batch.chance is not None
            mapped = self.aligned["map"](z)
            compared = align(mapped, batch.features, batch.layout.owner, batch.chance)
            reconstruction = reconstruction + atom_fraction * w.alignment * compared.total
        reconstruction = reconstruction.view(1)
        return LossTerms(reconstruction + beta * kl, reconstruction, kl)


def mean_by_crystal(atoms: Tensor, layout: Layout) -> Tensor:
    """Average atoms (N, W) over every crystal, (B, W)."""
    blocks = torch.split(atoms, [crystals * size for crystals, size in layout.groups])
    means = [
        block.view(crystals, size, -1).mean(1)
        for (crystals, size), block in zip(layout.groups, blocks, strict=True)
    ]
    return torch.cat(means)
