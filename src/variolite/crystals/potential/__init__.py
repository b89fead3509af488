"""Pretrained interatomic potentials: features, energies, relaxation, alignment of latents."""

from variolite.crystals.potential.features import (
    energy_function,
    foundation_features,
    relaxation_function,
    user_cache,
)
from variolite.crystals.potential.potential import AsePotential, Forces, Potential, Prediction
from variolite.crystals.potential.relaxation import Relaxation, RelaxationLimits, relax
from variolite.crystals.potential.workers import POTENTIALS, Source, load_potential

__all__ = [
    "POTENTIALS",
    "AsePotential",
    "Forces",
    "Potential",
    "Prediction",
    "Relaxation",
    "RelaxationLimits",
    "Source",
    "energy_function",
    "foundation_features",
    "load_potential",
    "relax",
    "relaxation_function",
    "user_cache",
]
