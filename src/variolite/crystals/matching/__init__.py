"""Matching of structures, and the scores of crystal reconstructions."""

from variolite.crystals.matching.baselines import (
    fixed_template,
    nearest_template,
    random_coordinates,
)
from variolite.crystals.matching.displacements import (
    PeriodicErrors,
    assigned_periodic_errors,
    periodic_errors,
)
from variolite.crystals.matching.pairs import (
    CDVAE,
    DEFAULT,
    STRICT,
    TOLERANCES,
    Matches,
    Tolerance,
    match_pairs,
)
from variolite.crystals.matching.reconstruction import (
    GroupedReconstructions,
    ReconstructionScores,
    held_out_table,
    reconstruction_notes,
    reconstruction_rows,
    score_reconstruction,
)
from variolite.crystals.matching.scores import (
    SETTINGS,
    PairScores,
    Setting,
    score_pairs,
)

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
