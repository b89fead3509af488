"""Pretrained interatomic potentials: features, energies, relaxation, alignment of latents."""

from variolite.crystals.foundation.ase_potential import AsePotential
from variolite.crystals.foundation.cache import foundation_features, user_cache
from variolite.crystals.foundation.energies import energy_function, relaxation_function
from variolite.crystals.foundation.potential import POTENTIALS, load_potential
from variolite.crystals.foundation.relaxation import Relaxation, RelaxationLimits, relax
from variolite.crystals.foundation.responses import Forces, Potential, Prediction
from variolite.crystals.foundation.workers import Source

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
