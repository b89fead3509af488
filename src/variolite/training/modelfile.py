"""The model file of a tabular VAE: tensors in safetensors, everything else in JSON.

The format number rises with every change of layout; `_MIGRATIONS` keeps old
numbers readable.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path

import torch
from pydantic import TypeAdapter

from variolite.errors import ModelFileError, VarioliteError
from variolite.records import FittedSchema
from variolite.training.batches import Member
from variolite.training.model import TabularModel
from variolite.training.signedfile import (
    DESCRIPTION,
    Migration,
    fill,
    read_description,
    read_weights,
    write_signed,
)
from variolite.vae import Architecture
from variolite.vae.members import blank

__all__ = ["FORMAT", "KIND", "load_model", "save_model"]

FORMAT = 1
KIND = "variolite.tabular_vae"

_MIGRATIONS: Mapping[int, Migration] = {}
"""From format number n to n + 1; one entry and one fixture file for every past format."""

_ARCHITECTURE = TypeAdapter(Architecture)
_MEMBERS = TypeAdapter(tuple[Member, ...])


def save_model(folder: Path, model: TabularModel) -> None:
    """Write a model into a folder; nothing of the training rows goes with it."""
    content = {
        "architecture": asdict(model.module.architecture),
        "members": [asdict(member) for member in model.members],
        "schema": model.schema.to_dict(),
        "provenance": model.provenance,
    }
    write_signed(folder, KIND, FORMAT, content, model.module.state_dict())


def load_model(folder: Path, device: torch.device | None = None) -> TabularModel:
    """Read a model, whatever device it was trained on.

    Raises
    ------
    ModelFileError
        If a file is missing, foreign, truncated, altered, or of a newer format.
    """
    description = read_description(folder, KIND, FORMAT, _MIGRATIONS, "a tabular model")
    try:
        architecture = _ARCHITECTURE.validate_python(description["architecture"])
        members = _MEMBERS.validate_python(description["members"])
        schema = FittedSchema.from_dict(description["schema"])
        provenance = dict(description["provenance"])
        module = blank(architecture, len(members))
        fill(module, read_weights(folder, description), folder)
    except (ValueError, LookupError, TypeError, AttributeError, ArithmeticError, RuntimeError) as e:
        if isinstance(e, ModelFileError) and e.where:
            raise
        what = e.what if isinstance(e, VarioliteError) else f"{type(e).__name__}: {e}"
        raise ModelFileError(
            f"the model description does not hold together ({' '.join(what.split())})",
            where=str(folder / DESCRIPTION),
            mend="save the model again with the version that trained it",
        ) from None
    module.to(device or torch.device("cpu")).eval()
    return TabularModel(schema, module, members, provenance)
