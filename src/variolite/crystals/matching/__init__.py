"""Matching of structures, and the scores of crystal reconstructions."""

from variolite.crystals.matching.baselines import (
    fixed_template,
    nearest_template,
    random_coordinates,
)
from variolite.crystals.matching.displacements import periodic_errors
from variolite.crystals.matching.pairs import (
    CDVAE,
    DEFAULT,
    STRICT,
    TOLERANCES,
    Tolerance,
    match_pairs,
)
from variolite.crystals.matching.reconstruction import (
    held_out_table,
    reconstruction_notes,
    reconstruction_rows,
    score_reconstruction,
)
from variolite.crystals.matching.scores import SETTINGS, Setting, score_pairs

__all__ = [
    "CDVAE",
    "DEFAULT",
    "SETTINGS",
    "STRICT",
    "TOLERANCES",
    "Setting",
    "Tolerance",
    "fixed_template",
    "held_out_table",
    "match_pairs",
    "nearest_template",
    "periodic_errors",
    "random_coordinates",
    "reconstruction_notes",
    "reconstruction_rows",
    "score_pairs",
    "score_reconstruction",
]
