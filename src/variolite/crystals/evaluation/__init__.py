"""Scores of generated crystals: valid, like real ones, new, stable."""

from variolite.crystals.evaluation.hull import Hull, read_hull
from variolite.crystals.evaluation.metrics import format_generation
from variolite.crystals.evaluation.novelty import Matcher, find_novelty
from variolite.crystals.evaluation.score import BASELINE, GenerationScores, score_generation
from variolite.crystals.evaluation.stability import (
    ElementReferences,
    Energies,
    evaluate_stability,
    references_from,
)
from variolite.crystals.evaluation.validity import (
    charge_balance,
    distance_validity,
    minimum_distances,
)

__all__ = [
    "BASELINE",
    "ElementReferences",
    "Energies",
    "GenerationScores",
    "Hull",
    "Matcher",
    "charge_balance",
    "distance_validity",
    "evaluate_stability",
    "find_novelty",
    "format_generation",
    "minimum_distances",
    "read_hull",
    "references_from",
    "score_generation",
]
