"""Pretrained interatomic potentials: features, energies, relaxation, alignment of latents."""

from variolite.crystals.foundation.cache import foundation_features, user_cache
from variolite.crystals.foundation.potential import POTENTIALS, load_potential
from variolite.crystals.foundation.responses import Forces, Potential, Prediction
from variolite.crystals.foundation.workers import Source

__all__ = [
    "POTENTIALS",
    "Forces",
    "Potential",
    "Prediction",
    "Source",
    "foundation_features",
    "load_potential",
    "user_cache",
]
