"""Matching of structures, and the scores of crystal reconstructions."""

from variolite.crystals.matching.baselines import (
    fixed_template,
    nearest_template,
    random_coordinates,
)
from variolite.crystals.matching.held_out import held_out_table
from variolite.crystals.matching.pair_scores import (
    SETTINGS,
    PairScores,
    Setting,
    score_pairs,
)
from variolite.crystals.matching.pairs import Matches, match_pairs
from variolite.crystals.matching.periodic import (
    PeriodicErrors,
    assigned_periodic_errors,
    periodic_errors,
)
from variolite.crystals.matching.reconstruction import score_reconstruction
from variolite.crystals.matching.reconstruction_rows import (
    GroupedReconstructions,
    reconstruction_notes,
    reconstruction_rows,
)
from variolite.crystals.matching.reconstruction_scores import ReconstructionScores
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
