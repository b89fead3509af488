"""A description and weights that belong together, whole and unaltered or refused.

``model.json`` describes the model and carries a hash of the weights and of
itself. It is written last: a folder with a ``model.json`` is complete. Formats
are numbered; a reader upgrades old ones.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
from torch import Tensor, nn

from variolite.errors import ModelFileError
from variolite.records import write_bytes_atomic, write_text_atomic

__all__ = [
    "DESCRIPTION",
    "WEIGHTS",
    "Migration",
    "fill",
    "kind_of",
    "read_description",
    "read_weights",
    "write_signed",
]

WEIGHTS = "weights.safetensors"
DESCRIPTION = "model.json"

Migration = Callable[[dict[str, Any]], dict[str, Any]]

_AGAIN = "copy the whole model folder again"


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _canonical(description: Mapping[str, Any]) -> bytes:
    signed = {key: value for key, value in description.items() if key != "sha256"}
    return json.dumps(signed, sort_keys=True, separators=(",", ":")).encode()


def write_signed(
    folder: Path, kind: str, number: int, content: Mapping[str, Any], tensors: Mapping[str, Tensor]
) -> None:
    """Write weights and their description into a folder.

    Parameters
    ----------
    folder
        Made if it is not there.
    kind, number
        What the file is, and its format number.
    content
        JSON-able description.
    tensors
        Weights by name.
    """
    # In the order of their names, so that a model that is read and saved gives the same bytes.
    on_host = {name: tensors[name].detach().cpu().contiguous() for name in sorted(tensors)}
    weights = safetensors.torch.save(on_host)
    description: dict[str, Any] = {
        "format": number,
        "kind": kind,
        **content,
        "tensors": {
            name: {"shape": list(value.shape), "dtype": str(value.dtype).removeprefix("torch.")}
            for name, value in on_host.items()
        },
        "weights_sha256": _sha256(weights),
    }
    description = json.loads(json.dumps(description))
    description["sha256"] = _sha256(_canonical(description))
    folder.mkdir(parents=True, exist_ok=True)
    write_bytes_atomic(folder / WEIGHTS, weights)
    write_text_atomic(folder / DESCRIPTION, json.dumps(description, indent=1) + "\n")


def kind_of(folder: Path) -> str:
    """Return the kind of model in a folder.

    Raises
    ------
    ModelFileError
        If there is none, or it is no model of Variolite.
    """
    return str(_read_json(folder / DESCRIPTION)["kind"])


def _read_json(path: Path) -> dict[str, Any]:
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
    kind = content.get("kind") if isinstance(content, dict) else None
    if not isinstance(kind, str) or not kind.startswith("variolite."):
        raise ModelFileError(
            "this JSON is not the description of a Variolite model",
            where=str(path),
            mend="give a folder made by `variolite fit`",
        )
    known: dict[str, Any] = content
    return known


def read_description(
    folder: Path, kind: str, latest: int, migrations: Mapping[int, Migration], what: str
) -> dict[str, Any]:
    """Read a description of the given kind and bring it to the latest format.

    Parameters
    ----------
    folder
        Of the model.
    kind, latest
        What is expected, and the newest format number that can be read.
    migrations
        From format number n to n + 1.
    what
        The kind in words, for messages.

    Raises
    ------
    ModelFileError
        If the file is missing, foreign, of another kind, altered or too new.
    """
    path = folder / DESCRIPTION
    content = _read_json(path)
    if content["kind"] != kind:
        raise ModelFileError(
            f"this is a model of another kind ({content['kind']:.60}), not {what}",
            where=str(path),
            mend=f"give {what} made by `variolite fit`",
        )
    number = content.get("format")
    if type(number) is not int or not 1 <= number <= latest:
        raise ModelFileError(
            f"the model has format {number!r:.40}, this version reads 1 to {latest}",
            where=str(path),
            mend="upgrade variolite",
        )
    if content.get("sha256") != _sha256(_canonical(content)):
        raise ModelFileError(
            "the model description was changed after it was saved",
            where=str(path),
            mend="take the original file",
        )
    for old in range(number, latest):
        content = migrations[old](content)
    return content


def read_weights(folder: Path, description: Mapping[str, Any]) -> dict[str, Tensor]:
    """Read the weights that a description was signed with."""
    path = folder / WEIGHTS
    try:
        content = path.read_bytes()
    except OSError:
        raise ModelFileError("the weights are missing", where=str(path), mend=_AGAIN) from None
    if _sha256(content) != description["weights_sha256"]:
        raise ModelFileError(
            "the weights are truncated, altered or of another model", where=str(path), mend=_AGAIN
        )
    try:
        tensors: dict[str, Tensor] = safetensors.torch.load(content)
    except safetensors.SafetensorError:
        raise ModelFileError("the weights are damaged", where=str(path), mend=_AGAIN) from None
    return tensors


def fill(module: nn.Module, tensors: Mapping[str, Tensor], folder: Path) -> None:
    """Load weights into a module; every tensor has to be there, in its shape, and no other."""
    path = str(folder / WEIGHTS)
    expected = module.state_dict()
    for name, own in expected.items():
        stored = tensors.get(name)
        if stored is None or stored.shape != own.shape or stored.dtype != own.dtype:
            found = "nothing" if stored is None else f"{tuple(stored.shape)} {stored.dtype}"
            raise ModelFileError(
                f"tensor {name} should be {tuple(own.shape)} {own.dtype}, found {found}",
                where=path,
                mend=_AGAIN,
            )
    extra = sorted(set(tensors) - set(expected))
    if extra:
        raise ModelFileError(f"unexpected tensor {extra[0]}", where=path, mend=_AGAIN)
    module.load_state_dict(dict(tensors))
