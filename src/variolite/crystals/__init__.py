"""Crystals: fast reading, a flat store, the crystal VAE, matching and generation."""

from variolite.crystals.structures import Crystal, Crystals

__all__ = ["Crystal", "Crystals"]
