"""Scores of generated crystals: valid, like real ones, new, stable."""

from variolite.crystals.evaluation.charge_balance import (
    ChargeBalance,
    ChemicalRules,
    charge_balance,
    smact_rules,
)
from variolite.crystals.evaluation.coverage import (
    Coverage,
    CutOffs,
    Fingerprints,
    calibrate,
    coverage,
    fingerprints_of,
)
from variolite.crystals.evaluation.distributions import (
    Traits,
    compare_distributions,
    densities,
    jensen_shannon,
    total_variation,
    traits_of,
    wasserstein,
)
from variolite.crystals.evaluation.fingerprints import (
    average_minimum_distances,
    composition_distance,
    composition_fingerprints,
)
from variolite.crystals.evaluation.formation import (
    ElementReferences,
    choose_references,
    element_fractions,
    fit_references,
)
from variolite.crystals.evaluation.generation import (
    BASELINE,
    GenerationScores,
    Relax,
    score_generation,
)
from variolite.crystals.evaluation.hull import Hull, HullDistances
from variolite.crystals.evaluation.known_phases import fractions_of_formula, read_hull
from variolite.crystals.evaluation.likeness import Likeness, judge_likeness
from variolite.crystals.evaluation.measures import Measure
from variolite.crystals.evaluation.novelty import Newness, judge_newness
from variolite.crystals.evaluation.sameness import Matcher, SameStructure
from variolite.crystals.evaluation.stability import (
    Energies,
    Stability,
    judge_stability,
    references_from,
)
from variolite.crystals.evaluation.table import format_generation
from variolite.crystals.evaluation.validity import distance_validity
from variolite.crystals.frame.distances import shortest_distances

__all__ = [
    "BASELINE",
    "ChargeBalance",
    "ChemicalRules",
    "Coverage",
    "CutOffs",
    "ElementReferences",
    "Energies",
    "Fingerprints",
    "GenerationScores",
    "Hull",
    "HullDistances",
    "Likeness",
    "Matcher",
    "Measure",
    "Newness",
    "Relax",
    "SameStructure",
    "Stability",
    "Traits",
    "average_minimum_distances",
    "calibrate",
    "charge_balance",
    "choose_references",
    "compare_distributions",
    "composition_distance",
    "composition_fingerprints",
    "coverage",
    "densities",
    "distance_validity",
    "element_fractions",
    "fingerprints_of",
    "fit_references",
    "format_generation",
    "fractions_of_formula",
    "jensen_shannon",
    "judge_likeness",
    "judge_newness",
    "judge_stability",
    "read_hull",
    "references_from",
    "score_generation",
    "shortest_distances",
    "smact_rules",
    "total_variation",
    "traits_of",
    "wasserstein",
]
