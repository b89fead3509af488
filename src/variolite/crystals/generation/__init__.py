"""What comes after training: a prior over latents, generation, properties, interpolation."""

from variolite.crystals.generation.conditions import Conditions, Vocabulary
from variolite.crystals.generation.prior import LatentPrior, fit_prior, prior_from, prior_state
from variolite.crystals.generation.sampling import Generated, Sampling, generate
from variolite.crystals.generation.where import Where, parse_where

__all__ = [
    "Conditions",
    "Generated",
    "LatentPrior",
    "Sampling",
    "Vocabulary",
    "Where",
    "fit_prior",
    "generate",
    "parse_where",
    "prior_from",
    "prior_state",
]
