"""The layers of chemeleon2: attention over padded blocks, messages between all pairs.

Rebuilt from its description, with its flaws. Both encoders take atomic numbers, coordinates and
lattices as they come: nothing here is invariant that chemeleon2 did not make so.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from variolite.errors import RecipeError


@dataclass(frozen=True)
class BaselineArchitecture:
    """Sizes of the network; the defaults are those that were published.

    Attributes
    ----------
    encoder
        ``transformer``, or ``cspnet``: message passing over all pairs of a crystal.
    latent
        Latent dimensions of every atom L.
    width
        Features of every atom d.
    heads
        Attention heads.
    encoder_layers, decoder_layers
        Layers of either side; those of the encoder are message passing for ``cspnet``.
    feedforward
        Width within the feed-forward part of a transformer layer.
    elements
        Rows of the table of elements: atomic numbers below this one.
    frequencies
        Waves of the Fourier features of ``cspnet``.
    """

    encoder: Literal["transformer", "cspnet"] = "transformer"
    latent: int = 8
    width: int = 512
    heads: int = 8
    encoder_layers: int = 8
    decoder_layers: int = 8
    feedforward: int = 2048
    elements: int = 100
    frequencies: int = 128

    def __post_init__(self) -> None:
        if self.width % self.heads or self.width % 2:
            raise RecipeError(
                f"a width of {self.width} cannot be shared by {self.heads} heads",
                where="baseline architecture",
                hint="take an even width that is a multiple of the number of heads",
            )


SIZES = {
    "0.86M": BaselineArchitecture(
        width=128, heads=4, encoder_layers=3, decoder_layers=3, feedforward=256
    ),
    "6.5M": BaselineArchitecture(
        width=256, heads=8, encoder_layers=4, decoder_layers=4, feedforward=1024
    ),
    "51M": BaselineArchitecture(),
}
"""The published size, and two that train within minutes on a processor."""


@dataclass(frozen=True)
class Padding:
    """Where the atoms of a batch lie in a dense block of B crystals by M places.

    Attributes
    ----------
    owner
        Crystal of every atom, shape (N,).
    place
        Its number within the crystal, from 0, shape (N,).
    counts
        Atoms of every crystal, shape (B,).
    present
        True where a place holds an atom, shape (B, M).
    """

    owner: Tensor
    place: Tensor
    counts: Tensor
    present: Tensor

    @classmethod
    def of(cls, owner: Tensor, counts: Tensor, places: int | None = None) -> Padding:
        """Lay out atoms that lie crystal by crystal.

        Parameters
        ----------
        places
            M; None takes the size of the largest crystal.
        """
        starts = counts.cumsum(0) - counts
        place = torch.arange(len(owner), device=owner.device) - starts[owner]
        most = int(counts.max()) if places is None else places
        present = torch.arange(most, device=owner.device) < counts[:, None]
        return cls(owner, place, counts, present)

    def spread(self, values: Tensor) -> Tensor:
        """Put values of atoms (N, d) into their places, zero elsewhere, (B, M, d)."""
        block = values.new_zeros(*self.present.shape, values.shape[-1])
        return block.index_put((self.owner, self.place), values)

    def gather(self, block: Tensor) -> Tensor:
        """Take the atoms (N, d) out of a block (B, M, d)."""
        return block[self.owner, self.place]

    def mean(self, values: Tensor) -> Tensor:
        """Mean over the atoms (N, d) of every crystal, (B, d)."""
        sums = values.new_zeros(len(self.counts), values.shape[-1])
        return sums.index_add(0, self.owner, values) / self.counts[:, None]


def index_embedding(place: Tensor, width: int) -> Tensor:
    """Sines and cosines of the number of an atom within its crystal.

    Wavelengths form a geometric series from 2 pi to 10,000 * 2 pi (Vaswani et al. 2017,
    section 3.5).

    Parameters
    ----------
    place
        Shape (N,).
    width
        Even.

    Returns
    -------
    Tensor
        Shape (N, width).
    """
    steps = torch.arange(0, width, 2, device=place.device)
    angle = place[:, None] * torch.exp(steps * (-math.log(10_000.0) / width))
    return torch.stack([angle.sin(), angle.cos()], dim=-1).flatten(1)


class Layer(nn.Module):
    """A pre-norm transformer layer without dropout (Xiong et al. 2020)."""

    def __init__(self, width: int, heads: int, feedforward: int) -> None:
        super().__init__()
        self.heads = heads
        self.attention_norm = nn.LayerNorm(width)
        self.project = nn.Linear(width, 3 * width)
        self.join = nn.Linear(width, width)
        self.feedforward_norm = nn.LayerNorm(width)
        self.widen = nn.Linear(width, feedforward)
        self.narrow = nn.Linear(feedforward, width)
        # As torch.nn.MultiheadAttention starts them.
        nn.init.xavier_uniform_(self.project.weight)
        nn.init.zeros_(self.project.bias)
        nn.init.zeros_(self.join.bias)

    def forward(self, block: Tensor, present: Tensor) -> Tensor:
        """Update a block (B, M, d); ``present`` (B, 1, 1, M) hides padding from attention."""
        crystals, places, width = block.shape
        parts = self.project(self.attention_norm(block))
        parts = parts.view(crystals, places, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        query, key, value = parts.unbind(0)
        seen = functional.scaled_dot_product_attention(query, key, value, attn_mask=present)
        block = block + self.join(seen.transpose(1, 2).reshape(crystals, places, width))
        hidden = functional.gelu(self.widen(self.feedforward_norm(block)), approximate="tanh")
        updated: Tensor = block + self.narrow(hidden)
        return updated


class Transformer(nn.Module):
    """Layers and a closing norm over padded crystals."""

    def __init__(self, width: int, heads: int, feedforward: int, layers: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList(Layer(width, heads, feedforward) for _ in range(layers))
        self.norm = nn.LayerNorm(width)

    def forward(self, features: Tensor, padding: Padding) -> Tensor:
        """Update features of atoms (N, d); all arithmetic is over places, padding included."""
        block = padding.spread(features)
        present = padding.present[:, None, None, :]
        for layer in self.layers:
            block = layer(block, present)
        return padding.gather(self.norm(block))


def _perceptron(inputs: int, width: int) -> nn.Sequential:
    # No bias in the first layer: with it the published size has 1,024 parameters too many.
    first = nn.Linear(inputs, width, bias=False)
    return nn.Sequential(first, nn.SiLU(), nn.Linear(width, width))


class TransformerEncoder(nn.Module):
    """Species, raw lattice matrix, raw coordinates and index, added and attended."""

    def __init__(self, a: BaselineArchitecture) -> None:
        super().__init__()
        self.species = nn.Embedding(a.elements, a.width)
        self.lattice = _perceptron(9, a.width)
        self.coordinates = _perceptron(3, a.width)
        self.transformer = Transformer(a.width, a.heads, a.feedforward, a.encoder_layers)

    def forward(
        self, species: Tensor, coordinates: Tensor, lattice: Tensor, padding: Padding
    ) -> Tensor:
        """Features of atoms, shape (N, d)."""
        features = self.species(species) + self.coordinates(coordinates)
        features = features + self.lattice(lattice.flatten(1))[padding.owner]
        features = features + index_embedding(padding.place, features.shape[-1])
        return self.transformer(features, padding)  # type: ignore[no-any-return]


@dataclass(frozen=True)
class Pairs:
    """All ordered pairs of atoms of the same crystal, an atom with itself included.

    Attributes
    ----------
    to, of
        Receiving and sending atom, shape (E,).
    """

    to: Tensor
    of: Tensor

    @classmethod
    def within(cls, padding: Padding) -> Pairs:
        """List the pairs crystal by crystal: memory grows with the sum of n^2, not with N^2."""
        counts = padding.counts
        per_atom = counts[padding.owner]
        to = torch.arange(len(per_atom), device=counts.device).repeat_interleave(per_atom)
        begins = (per_atom.cumsum(0) - per_atom)[to]
        starts = (counts.cumsum(0) - counts)[padding.owner[to]]
        return cls(to, torch.arange(len(to), device=counts.device) - begins + starts)


class MessageLayer(nn.Module):
    """Messages over all pairs, averaged (after Jiao et al. 2023, DiffCSP, equations 4-6)."""

    def __init__(self, width: int, waves: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        # One linear map of (receiver, sender, metric, waves), split so that what belongs to
        # an atom or a crystal is multiplied once and not for every pair.
        self.receiver = nn.Linear(width, width)
        self.sender = nn.Linear(width, width, bias=False)
        self.metric = nn.Linear(9, width, bias=False)
        self.waves = nn.Linear(waves, width, bias=False)
        self.message = nn.Sequential(nn.SiLU(), nn.Linear(width, width), nn.SiLU())
        self.update = nn.Sequential(
            nn.Linear(2 * width, width), nn.SiLU(), nn.Linear(width, width), nn.SiLU()
        )

    def forward(
        self, features: Tensor, metric: Tensor, waves: Tensor, pairs: Pairs, padding: Padding
    ) -> Tensor:
        normed = self.norm(features)
        atom = self.receiver(normed) + self.metric(metric)[padding.owner]
        message = self.message(atom[pairs.to] + self.sender(normed)[pairs.of] + self.waves(waves))
        summed = torch.zeros_like(features).index_add(0, pairs.to, message)
        heard = summed / padding.counts[padding.owner][:, None]
        updated: Tensor = features + self.update(torch.cat([normed, heard], dim=-1))
        return updated


class MessageEncoder(nn.Module):
    """The alternative encoder: periodic differences and the metric L L^T alone.

    Invariant to rotation, origin and integer shifts; the choice of cell still matters.
    """

    def __init__(self, a: BaselineArchitecture) -> None:
        super().__init__()
        self.frequencies = a.frequencies
        self.species = nn.Embedding(a.elements, a.width)
        self.start = nn.Linear(a.width, a.width)
        self.layers = nn.ModuleList(
            MessageLayer(a.width, 6 * a.frequencies) for _ in range(a.encoder_layers)
        )
        self.norm = nn.LayerNorm(a.width)

    def forward(
        self, species: Tensor, coordinates: Tensor, lattice: Tensor, padding: Padding
    ) -> Tensor:
        """Features of atoms, shape (N, d)."""
        pairs = Pairs.within(padding)
        metric = (lattice @ lattice.transpose(1, 2)).flatten(1)
        difference = (coordinates[pairs.of] - coordinates[pairs.to]) % 1.0
        number = torch.arange(self.frequencies, device=coordinates.device)
        angle = 2.0 * math.pi * (difference[:, :, None] * number).flatten(1)
        waves = torch.cat([angle.sin(), angle.cos()], dim=-1)
        features = self.start(self.species(species))
        for layer in self.layers:
            features = layer(features, metric, waves, pairs, padding)
        return self.norm(features)  # type: ignore[no-any-return]
