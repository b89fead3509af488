"""The network of the crystal VAE with one part taken out or put in, for the ablations alone."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from benchmarks.crystals.baseline_chemeleon2 import (
    BaselineWeights,
    Padding,
    matrix_of,
    parameters_of,
)
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from variolite.crystals.crystals import Crystals
from variolite.crystals.geometry.frame import Frame, canonical
from variolite.crystals.model import CrystalModule
from variolite.crystals.model.batch import CrystalBatch, Layout, coordinates_of, lattices_of
from variolite.crystals.model.network import (
    Decoded,
    ReconstructionTerms,
    Transformer,
    bf16_feed_forward,
    bf16_linear,
)

PLACES = 64
"""Atoms that the table of places has rows for; the largest crystals have 52."""


class Variant(CrystalModule):
    """The full model; a variant overrides what it changes."""

    @staticmethod
    def frame(crystals: Crystals) -> Frame:
        """Crystals as the network sees them."""
        return canonical(crystals)

    def coordinates(self, decoded: Decoded) -> Tensor:
        """Fractional coordinates in [0, 1), shape (N, 3)."""
        return coordinates_of(decoded.pairs)

    def cells(
        self, decoded: Decoded, layout: Layout
    ) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
        """Cells in Angstrom, shape (B, 3, 3), and which of them are possible, (B,)."""
        lattices = lattices_of(decoded.log_metric.double().numpy(), layout.counts.numpy())
        return lattices, np.linalg.det(lattices) > 0.0


class PlainCoordinates(Variant):
    """Coordinates are bare numbers, compared as they stand.

    They take three of the six outputs; the other three have no effect.
    """

    def coordinates(self, decoded: Decoded) -> Tensor:
        bare = decoded.pairs[:, :3]
        return bare - bare.floor()

    def terms(self, batch: CrystalBatch, decoded: Decoded) -> ReconstructionTerms:
        parts = super().terms(batch, decoded)
        true = batch.coordinates - batch.coordinates.floor()
        plain = functional.mse_loss(decoded.pairs[:, :3], true)
        return ReconstructionTerms(parts.species, plain, parts.lattice)


class BareCells(Variant):
    """Three lengths and three angles, compared as the source compares them.

    Lengths in Angstrom over the cube root of the number of atoms, angles in radians, neither
    standardised; the encoder still takes the logarithm of the metric.
    """

    def bare(self, decoded: Decoded) -> Tensor:
        """The six outputs, shape (B, 6), without the scale that `generate` gives them."""
        return (decoded.log_metric - self.log_metric_mean) / self.log_metric_scale

    def terms(self, batch: CrystalBatch, decoded: Decoded) -> ReconstructionTerms:
        parts = super().terms(batch, decoded)
        lengths, angles = parameters_of(batch.lattice)
        lengths = lengths / batch.layout.counts.to(lengths)[:, None].pow(1.0 / 3.0)
        found, weights = self.bare(decoded), BaselineWeights()
        lattice = weights.lengths * functional.mse_loss(found[:, :3], lengths)
        lattice = lattice + weights.angles * functional.mse_loss(found[:, 3:], angles)
        return ReconstructionTerms(parts.species, parts.coordinates, lattice)

    def cells(
        self, decoded: Decoded, layout: Layout
    ) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
        found = self.bare(decoded).double()
        lengths = found[:, :3] * layout.counts.to(found)[:, None].pow(1.0 / 3.0)
        angles = found[:, 3:]
        cosines = angles.cos()
        # The squared volume over the squared product of the lengths.
        squared = 1.0 - cosines.square().sum(1) + 2.0 * cosines.prod(1)
        within = ((angles > 0.0) & (angles < torch.pi)).all(1)
        possible = (lengths > 0.0).all(1) & within & (squared > 0.0)
        return matrix_of(lengths, angles).numpy(), possible.numpy()


class _PlacedTransformer(Transformer):
    """Atoms carry the learned embedding of their place in the list of their crystal."""

    def __init__(self, width: int, heads: int, feedforward: int, layers: int) -> None:
        super().__init__(width, heads, feedforward, layers)
        self.place = nn.Embedding(PLACES, width)

    def forward(self, atoms: Tensor, layout: Layout) -> Tensor:
        place = Padding.of(layout.owner, layout.counts).place
        return super().forward(atoms + self.place(place), layout)


class _PaddedTransformer(Transformer):
    """The same layers over crystals filled up to the largest of the batch."""

    def forward(self, atoms: Tensor, layout: Layout) -> Tensor:
        padding = Padding.of(layout.owner, layout.counts)
        present = padding.present[:, None, None, :]
        places = padding.spread(atoms).flatten(0, 1)
        for layer in self.layers:
            places = self._layer(layer, places, present)
        normed: Tensor = self.last(places)
        return padding.gather(normed.view(*padding.present.shape, -1))

    def _layer(self, layer: Any, places: Tensor, present: Tensor) -> Tensor:
        rounded = self.bf16 and self.training
        product = bf16_linear if rounded else _exact
        crystals, most = present.shape[0], present.shape[-1]
        joint = product(layer.before_attention(places), layer.joint)
        joint = joint.view(crystals, most, 3, layer.heads, -1).permute(2, 0, 3, 1, 4)
        query, key, value = joint.unbind(0)
        seen = functional.scaled_dot_product_attention(query, key, value, attn_mask=present)
        places = places + product(seen.transpose(1, 2).flatten(2).flatten(0, 1), layer.out)
        normed = layer.before_feedforward(places)
        if rounded:
            return places + bf16_feed_forward(normed, layer.widen, layer.narrow)
        wide = functional.gelu(layer.widen(normed), approximate="tanh")
        added: Tensor = places + layer.narrow(wide)
        return added


def _exact(x: Tensor, layer: nn.Linear) -> Tensor:
    found: Tensor = layer(x)
    return found


class _Nothing(nn.Module):
    """A linear map whose weights are zero and stay so: it has none."""

    def __init__(self, outputs: int) -> None:
        super().__init__()
        self.outputs = outputs

    def forward(self, x: Tensor) -> Tensor:
        return x.new_zeros(len(x), self.outputs)


class Indexed(Variant):
    """Encoder and decoder are told which place an atom has in the file."""

    def __init__(self, *given: Any, **more: Any) -> None:
        super().__init__(*given, **more)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(more["seed"])
            _replace_transformers(self, _PlacedTransformer)


class Padded(Variant):
    """Crystals of different size side by side in dense tensors. For the speed alone."""

    def __init__(self, *given: Any, **more: Any) -> None:
        super().__init__(*given, **more)
        with torch.random.fork_rng(devices=[]):
            _replace_transformers(self, _PaddedTransformer)


def _replace_transformers(module: CrystalModule, kind: type[Transformer]) -> None:
    a = module.architecture
    module.encoder = kind(a.width, a.heads, a.feedforward, a.encoder_layers)
    module.decoder = kind(a.width, a.heads, a.feedforward, a.decoder_layers)


class AsGiven(Variant):
    """Cell and origin are those of the file."""

    @staticmethod
    def frame(crystals: Crystals) -> Frame:
        change = np.tile(np.eye(3, dtype=np.int64), (len(crystals), 1, 1))
        return Frame(crystals, change, np.zeros((len(crystals), 3)))


class NoSkips(Variant):
    """All goes through the transformers."""

    def __init__(self, *given: Any, **more: Any) -> None:
        super().__init__(*given, **more)
        self.encoder_skip = _Nothing(self.architecture.latent)  # type: ignore[assignment]
        self.decoder_skip = _Nothing(12)  # type: ignore[assignment]
