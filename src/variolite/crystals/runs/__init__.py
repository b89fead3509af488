"""Runs on crystals: fitting, the model and its file, and the run folder."""

from variolite.crystals.runs.estimator import CrystalVAE, as_crystals
from variolite.crystals.runs.model import CrystalModel
from variolite.crystals.runs.modelfile import load_crystal_model, save_crystal_model
from variolite.crystals.runs.session import (
    PreparedCrystals,
    load_run,
    prepare_crystals,
    refit_prior,
    train_crystal_run,
)
from variolite.crystals.runs.shipped import model_card, shipped_models, shipped_run

__all__ = [
    "CrystalModel",
    "CrystalVAE",
    "PreparedCrystals",
    "as_crystals",
    "load_crystal_model",
    "load_run",
    "model_card",
    "prepare_crystals",
    "refit_prior",
    "save_crystal_model",
    "shipped_models",
    "shipped_run",
    "train_crystal_run",
]
