"""Matching of structures, and the scores of crystal reconstructions."""

from variolite.crystals.matching.baselines import (
    fixed_template,
    nearest_template,
    random_coordinates,
)
from variolite.crystals.matching.pairs import Matches, match_pairs
from variolite.crystals.matching.reconstruction import (
    GroupedReconstructions,
    held_out_table,
    reconstruction_notes,
    reconstruction_rows,
    score_reconstruction,
)
from variolite.crystals.matching.scores import (
    SETTINGS,
    PairScores,
    PeriodicErrors,
    ReconstructionScores,
    Setting,
    assigned_periodic_errors,
    periodic_errors,
    score_pairs,
)
from variolite.crystals.matching.tolerances import CDVAE, DEFAULT, STRICT, TOLERANCES, Tolerance

__all__ = [
    "CDVAE",
    "DEFAULT",
    "SETTINGS",
    "STRICT",
    "TOLERANCES",
    "GroupedReconstructions",
    "Matches",
    "PairScores",
    "PeriodicErrors",
    "ReconstructionScores",
    "Setting",
    "Tolerance",
    "assigned_periodic_errors",
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
