"""Structures in and out: flat arrays, the store, readers and writers."""

from variolite.crystals.structures.crystals import Crystal, Crystals

__all__ = ["Crystal", "Crystals"]
