"""The canonical frame: one cell, one origin and one orientation for every crystal."""

from variolite.crystals.frame.canonical import Frame, canonical
from variolite.crystals.frame.reduction import reduced_basis, shortest_bases

__all__ = ["Frame", "canonical", "reduced_basis", "shortest_bases"]
