"""The model file: weights as safetensors, everything else as JSON. No pickle.

``model.json`` names every tensor with its shape and type, holds the SHA-256 of
the weights and of itself, and is written last: a folder with a ``model.json``
is complete. The format number rises with every change of layout; `_MIGRATIONS`
keeps old numbers readable.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
import torch
from pydantic import TypeAdapter

from variolite.errors import ModelFileError, VarioliteError
from variolite.records import FittedSchema, write_bytes_atomic, write_text_atomic
from variolite.training.batches import Member
from variolite.training.model import TabularModel
from variolite.vae import Architecture, TabularModule
from variolite.vae.members import blank

__all__ = ["FORMAT", "load_model", "save_model"]

FORMAT = 1
KIND = "variolite.tabular_vae"
WEIGHTS = "weights.safetensors"
DESCRIPTION = "model.json"

_MIGRATIONS: Mapping[int, Callable[[dict[str, Any]], dict[str, Any]]] = {}
"""From format number n to n + 1; one entry and one fixture file for every past format."""

_ARCHITECTURE = TypeAdapter(Architecture)
_MEMBERS = TypeAdapter(tuple[Member, ...])


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _canonical(description: Mapping[str, Any]) -> bytes:
    signed = {key: value for key, value in description.items() if key != "sha256"}
    return json.dumps(signed, sort_keys=True, separators=(",", ":")).encode()


def save_model(folder: Path, model: TabularModel) -> None:
    """Write a model into a folder; nothing of the training rows goes with it."""
    tensors = {k: v.detach().cpu().contiguous() for k, v in model.module.state_dict().items()}
    weights = safetensors.torch.save(tensors)
    description: dict[str, Any] = {
        "format": FORMAT,
        "kind": KIND,
        "architecture": asdict(model.module.architecture),
        "members": [asdict(member) for member in model.members],
        "schema": model.schema.to_dict(),
        "provenance": model.provenance,
        "tensors": {
            name: {"shape": list(value.shape), "dtype": str(value.dtype).removeprefix("torch.")}
            for name, value in tensors.items()
        },
        "weights_sha256": _sha256(weights),
    }
    description = json.loads(json.dumps(description))
    description["sha256"] = _sha256(_canonical(description))
    folder.mkdir(parents=True, exist_ok=True)
    write_bytes_atomic(folder / WEIGHTS, weights)
    write_text_atomic(folder / DESCRIPTION, json.dumps(description, indent=1) + "\n")


def load_model(folder: Path, device: torch.device | None = None) -> TabularModel:
    """Read a model, whatever device it was trained on.

    Raises
    ------
    ModelFileError
        If a file is missing, foreign, truncated, altered, or of a newer format.
    """
    place = str(folder / DESCRIPTION)
    description = _read_description(folder / DESCRIPTION)
    try:
        architecture = _ARCHITECTURE.validate_python(description["architecture"])
        members = _MEMBERS.validate_python(description["members"])
        schema = FittedSchema.from_dict(description["schema"])
        provenance = dict(description["provenance"])
        module = blank(architecture, len(members))
        _load_weights(folder / WEIGHTS, description, module)
    except (ValueError, LookupError, TypeError, AttributeError, ArithmeticError, RuntimeError) as e:
        if isinstance(e, ModelFileError) and e.where:
            raise
        what = e.what if isinstance(e, VarioliteError) else f"{type(e).__name__}: {e}"
        raise ModelFileError(
            f"the model description does not hold together ({' '.join(what.split())})",
            where=place,
            mend="save the model again with the version that trained it",
        ) from None
    module.to(device or torch.device("cpu")).eval()
    return TabularModel(schema, module, members, provenance)


def _read_description(path: Path) -> dict[str, Any]:
    try:
        content: Any = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ModelFileError(
            "there is no model here", where=str(path), mend="give a folder made by `variolite fit`"
        ) from None
    except (OSError, ValueError, RecursionError):
        raise ModelFileError(
            "this is not a Variolite model, or it is truncated",
            where=str(path),
            mend="copy the whole folder again",
        ) from None
    if not isinstance(content, dict) or content.get("kind") != KIND:
        raise ModelFileError(
            "this JSON is not the description of a tabular Variolite model",
            where=str(path),
            mend="give a folder made by `variolite fit`",
        )
    number = content.get("format")
    if type(number) is not int or not 1 <= number <= FORMAT:
        raise ModelFileError(
            f"the model has format {number!r:.40}, this version reads 1 to {FORMAT}",
            where=str(path),
            mend="upgrade variolite",
        )
    if content.get("sha256") != _sha256(_canonical(content)):
        raise ModelFileError(
            "the model description was changed after it was saved",
            where=str(path),
            mend="take the original file",
        )
    description: dict[str, Any] = content
    for old in range(number, FORMAT):
        description = _MIGRATIONS[old](description)
    return description


def _load_weights(path: Path, description: Mapping[str, Any], module: TabularModule) -> None:
    again = "copy the whole model folder again"
    try:
        content = path.read_bytes()
    except OSError:
        raise ModelFileError("the weights are missing", where=str(path), mend=again) from None
    if _sha256(content) != description["weights_sha256"]:
        raise ModelFileError(
            "the weights are truncated, altered or of another model", where=str(path), mend=again
        )
    try:
        tensors = safetensors.torch.load(content)
    except safetensors.SafetensorError:
        raise ModelFileError("the weights are damaged", where=str(path), mend=again) from None
    expected = module.state_dict()
    for name, own in expected.items():
        stored = tensors.get(name)
        if stored is None or stored.shape != own.shape or stored.dtype != own.dtype:
            found = "nothing" if stored is None else f"{tuple(stored.shape)} {stored.dtype}"
            raise ModelFileError(
                f"tensor {name} should be {tuple(own.shape)} {own.dtype}, found {found}",
                where=str(path),
                mend=again,
            )
    extra = sorted(set(tensors) - set(expected))
    if extra:
        raise ModelFileError(f"unexpected tensor {extra[0]}", where=str(path), mend=again)
    module.load_state_dict(tensors)
