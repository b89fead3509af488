"""What comes after training: a prior over latents, generation, properties, interpolation."""

from variolite.crystals.latent.fitting import FieldSettings
from variolite.crystals.latent.gap import Gap, latent_gap
from variolite.crystals.latent.generation import Generated, generate
from variolite.crystals.latent.known import Known, Vocabulary, known_of
from variolite.crystals.latent.mixture import MixtureSettings
from variolite.crystals.latent.prior import Density, LatentPrior
from variolite.crystals.latent.prior_fitting import KINDS, PriorSettings, fit_prior
from variolite.crystals.latent.standardise import LatentStatistics, latent_statistics
from variolite.crystals.latent.storage import prior_from, prior_state
from variolite.crystals.latent.where import Where, parse_where

__all__ = [
    "KINDS",
    "Density",
    "FieldSettings",
    "Gap",
    "Generated",
    "Known",
    "LatentPrior",
    "LatentStatistics",
    "MixtureSettings",
    "PriorSettings",
    "Vocabulary",
    "Where",
    "fit_prior",
    "generate",
    "known_of",
    "latent_gap",
    "latent_statistics",
    "parse_where",
    "prior_from",
    "prior_state",
]
