"""What comes after training: a prior over latents, generation, properties, interpolation."""

from variolite.crystals.generation.conditions import Known, Vocabulary, Where, known_of, parse_where
from variolite.crystals.generation.flow import FlowSettings
from variolite.crystals.generation.prior import (
    LatentPrior,
    PriorSettings,
    fit_prior,
    prior_from,
    prior_state,
)
from variolite.crystals.generation.sampling import Generated, generate

__all__ = [
    "FlowSettings",
    "Generated",
    "Known",
    "LatentPrior",
    "PriorSettings",
    "Vocabulary",
    "Where",
    "fit_prior",
    "generate",
    "known_of",
    "parse_where",
    "prior_from",
    "prior_state",
]
