"""Sizes of the source design, and the two that the contest compares at."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from variolite.errors import RecipeError

__all__ = ["SIZES", "SourceArchitecture"]


@dataclass(frozen=True)
class SourceArchitecture:
    """Sizes that make a `SourceModule`; the defaults are those that were published.

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
                where="source architecture",
                hint="take an even width that is a multiple of the number of heads",
            )


SIZES = {
    "0.86M": SourceArchitecture(
        width=128, heads=4, encoder_layers=3, decoder_layers=3, feedforward=256
    ),
    "6.5M": SourceArchitecture(
        width=256, heads=8, encoder_layers=4, decoder_layers=4, feedforward=1024
    ),
    "51M": SourceArchitecture(),
}
"""The published size, and two that train within minutes on a processor."""
