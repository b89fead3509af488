"""Matching of structures, and the scores of crystal reconstructions."""

from variolite.crystals.matching.pairs import Matches, match_pairs
from variolite.crystals.matching.tolerances import CDVAE, DEFAULT, STRICT, TOLERANCES, Tolerance

__all__ = [
    "CDVAE",
    "DEFAULT",
    "STRICT",
    "TOLERANCES",
    "Matches",
    "Tolerance",
    "match_pairs",
]
