"""Pretrained interatomic potentials: features, energies, relaxation, alignment of latents."""

from variolite.crystals.potential.features import energy_function, foundation_features
from variolite.crystals.potential.potential import (
    AsePotential,
    Forces,
    Potential,
    Prediction,
    load_potential,
)
from variolite.crystals.potential.relaxation import Relaxation, RelaxationLimits, relax

__all__ = [
    "AsePotential",
    "Forces",
    "Potential",
    "Prediction",
    "Relaxation",
    "RelaxationLimits",
    "energy_function",
    "foundation_features",
    "load_potential",
    "relax",
]
