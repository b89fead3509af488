"""Runs on crystals: fitting, the model and its file, and the run folder."""

from variolite.crystals.runs.model import CrystalModel
from variolite.crystals.runs.modelfile import load_crystal_model, save_crystal_model
from variolite.crystals.runs.session import (
    PreparedCrystals,
    load_run,
    prepare_crystals,
    refit_prior,
    train_crystal_run,
)

__all__ = [
    "CrystalModel",
    "PreparedCrystals",
    "load_crystal_model",
    "load_run",
    "prepare_crystals",
    "refit_prior",
    "save_crystal_model",
    "train_crystal_run",
]
