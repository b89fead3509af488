"""Scores of generated crystals: valid, like real ones, new, stable."""

from variolite.crystals.evaluation.distributions import densities
from variolite.crystals.evaluation.hull import Hull, read_hull
from variolite.crystals.evaluation.metrics import METRICS, Metric, format_generation
from variolite.crystals.evaluation.novelty import (
    Matcher,
    Novelty,
    StructureEquivalence,
    find_novelty,
)
from variolite.crystals.evaluation.score import BASELINE, GenerationScores, Relax, score_generation
from variolite.crystals.evaluation.stability import (
    ElementReferences,
    Energies,
    Stability,
    evaluate_stability,
    references_from,
)
from variolite.crystals.evaluation.validity import (
    ChargeBalance,
    MinimumDistances,
    charge_balance,
    distance_validity,
    minimum_distances,
)
from variolite.crystals.periodic import shortest_distances

__all__ = [
    "BASELINE",
    "METRICS",
    "ChargeBalance",
    "ElementReferences",
    "Energies",
    "GenerationScores",
    "Hull",
    "Matcher",
    "Metric",
    "MinimumDistances",
    "Novelty",
    "Relax",
    "Stability",
    "StructureEquivalence",
    "charge_balance",
    "densities",
    "distance_validity",
    "evaluate_stability",
    "find_novelty",
    "format_generation",
    "minimum_distances",
    "read_hull",
    "references_from",
    "score_generation",
    "shortest_distances",
]
