"""The model file of a crystal VAE, with its prior and its property head."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from pydantic import TypeAdapter
from torch import Tensor, nn

from variolite.crystals.latent import prior_from, prior_state
from variolite.crystals.latent.property_storage import head_from, head_state
from variolite.crystals.model.module import CrystalArchitecture, CrystalModule, LossWeights
from variolite.crystals.runs.model import CrystalModel
from variolite.crystals.source.architecture import SourceArchitecture
from variolite.crystals.source.network import SourceModule
from variolite.crystals.source.objective import SourceWeights
from variolite.errors import ModelFileError, VarioliteError
from variolite.training.signedfile import (
    DESCRIPTION,
    Migration,
    fill,
    read_description,
    read_weights,
    write_signed,
)

__all__ = ["FORMAT", "KIND", "load_crystal_model", "save_crystal_model"]

FORMAT = 1
KIND = "variolite.crystal_vae"

_MIGRATIONS: Mapping[int, Migration] = {}

_PARTS = ("prior", "properties")

_ARCHITECTURE = TypeAdapter(CrystalArchitecture)
_WEIGHTS = TypeAdapter(LossWeights)
_SOURCE = TypeAdapter(SourceArchitecture)
_SOURCE_WEIGHTS = TypeAdapter(SourceWeights)


def save_crystal_model(folder: Path, model: CrystalModel) -> None:
    """Write a model into a folder; nothing of the training crystals goes with it."""
    module = model.module
    assert isinstance(module, CrystalModule | SourceModule)
    tensors: dict[str, Tensor] = {f"vae/{k}": v for k, v in module.state_dict().items()}
    content: dict[str, Any] = {
        "network": "transformer" if isinstance(module, CrystalModule) else "source",
        "architecture": asdict(module.architecture),
        "weights": asdict(module.weights),
        "provenance": dict(model.provenance),
    }
    if model.prior is not None:
        own, content["prior"] = prior_state(model.prior)
        tensors |= {f"prior/{name}": value for name, value in own.items()}
    if model.properties is not None:
        own, content["properties"] = head_state(model.properties)
        tensors |= {f"properties/{name}": value for name, value in own.items()}
    write_signed(folder, KIND, FORMAT, content, tensors)


def load_crystal_model(folder: Path, device: torch.device | None = None) -> CrystalModel:
    """Read a model, whatever device it was trained on.

    Raises
    ------
    ModelFileError
        If a file is missing, foreign, of another kind, truncated, altered or too new.
    """
    description = read_description(folder, KIND, FORMAT, _MIGRATIONS, "a crystal model")
    tensors = read_weights(folder, description)
    try:
        module = _module(description)
        fill(module, _below("vae/", tensors), folder)
        prior = properties = None
        if "prior" in description:
            prior = prior_from(_below("prior/", tensors), description["prior"])
        if "properties" in description:
            properties = head_from(_below("properties/", tensors), description["properties"])
        provenance = dict(description["provenance"])
        described = ("vae/", *(f"{part}/" for part in _PARTS if part in description))
        extra = sorted(name for name in tensors if not name.startswith(described))
        if extra:
            raise ValueError(f"nothing is said of the tensor {extra[0]}")
    except (ValueError, LookupError, TypeError, AttributeError, ArithmeticError, RuntimeError) as e:
        if isinstance(e, ModelFileError) and str(folder) in (e.where or ""):
            raise
        what = e.what if isinstance(e, VarioliteError) else f"{type(e).__name__}: {e}"
        raise ModelFileError(
            f"the model description does not hold together ({' '.join(what.split())})",
            where=str(folder / DESCRIPTION),
            mend="save the model again with the version that trained it",
        ) from None
    module.to(device or torch.device("cpu")).eval()
    return CrystalModel(module, prior, properties, provenance)


def _module(description: Mapping[str, Any]) -> nn.Module:
    if description["network"] not in ("transformer", "source"):
        raise ValueError(f"there is no network called {description['network']!r:.40}")
    if description["network"] == "source":
        source = _SOURCE.validate_python(description["architecture"])
        return SourceModule(source, 0, _SOURCE_WEIGHTS.validate_python(description["weights"]))
    architecture = _ARCHITECTURE.validate_python(description["architecture"])
    return CrystalModule(architecture, _WEIGHTS.validate_python(description["weights"]))


def _below(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}
