"""Pretrained interatomic potentials: features, energies, relaxation, alignment of latents."""

from variolite.crystals.potential.features import energy_function, foundation_features, user_cache
from variolite.crystals.potential.potential import (
    POTENTIALS,
    AsePotential,
    Forces,
    Potential,
    Prediction,
    Source,
    load_potential,
)
from variolite.crystals.potential.relaxation import Relaxation, RelaxationLimits, relax

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
    "user_cache",
]
