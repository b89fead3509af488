"""What training keeps on disk: checksummed model files, checkpoints and the history."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
import safetensors
from numpy.typing import NDArray

from variolite.errors import ModelFileError, RunFolderError, VarioliteError
from variolite.records import write_bytes_atomic, write_text_atomic

# Torch is loaded where weights are: a report reads descriptions and histories alone.
if TYPE_CHECKING:
    from torch import Tensor, nn

# A model: weights and a description that belong together, whole and unaltered or refused.
#
# The description carries a hash of the weights and of itself. New weights lie beside the old ones
# until it is replaced: that one step puts a whole new model in the place of a whole old one.
# Formats are numbered; a reader upgrades old ones.

WEIGHTS = "weights.safetensors"
DESCRIPTION = "model.json"

M = TypeVar("M", bound="nn.Module")
Migration = Callable[[dict[str, Any]], dict[str, Any]]

_AGAIN = "copy the whole model folder again"


def _refusal(path: Path, what: str, hint: str = _AGAIN) -> ModelFileError:
    return ModelFileError(what, where=str(path), hint=hint)


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _canonical(description: Mapping[str, Any]) -> bytes:
    bare = {key: value for key, value in description.items() if key != "sha256"}
    return json.dumps(bare, sort_keys=True, separators=(",", ":")).encode()


def signed(content: Mapping[str, Any]) -> dict[str, Any]:
    """Add the SHA-256 of JSON-able content to it."""
    return {**content, "sha256": _sha256(_canonical(content))}


def checksum(path: Path) -> str:
    """SHA-256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _on_host(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name: tensors[name].detach().cpu().contiguous() for name in sorted(tensors)}


def write_signed(
    folder: Path, kind: str, number: int, content: Mapping[str, Any], tensors: Mapping[str, Tensor]
) -> None:
    """Write weights and their JSON-able description, of a kind and format number, into a folder.

    A model that is read and saved again gives the same bytes.
    """
    from safetensors.torch import save

    weights = _on_host(tensors)
    stored = save(weights)
    described = {
        name: {"shape": list(value.shape), "dtype": str(value.dtype).removeprefix("torch.")}
        for name, value in weights.items()
    }
    description = {"format": number, "kind": kind, **content, "tensors": described}
    description = signed(json.loads(json.dumps(description | {"weights_sha256": _sha256(stored)})))
    folder.mkdir(parents=True, exist_ok=True)
    settle_weights(folder)
    write_bytes_atomic(_next_weights(folder, description["weights_sha256"]), stored)
    try:
        write_text_atomic(folder / DESCRIPTION, json.dumps(description, indent=1) + "\n")
    finally:
        settle_weights(folder)


def settle_weights(folder: Path) -> None:
    """Put the weights that the description names into their place; remove what else is beside it.

    This is the end of writing a model, and of one whose writer was killed before it.
    """
    try:
        named = _next_weights(folder, str(_read_json(folder / DESCRIPTION).get("weights_sha256")))
    except ModelFileError:
        named = None
    for beside in list(folder.glob(_next_weights(folder, "?" * 16).name)):
        if beside == named:
            beside.replace(folder / WEIGHTS)
        else:
            beside.unlink(missing_ok=True)


def _next_weights(folder: Path, sha256: str) -> Path:
    """Where weights lie until the description that names them is in place."""
    return folder / f".weights-{sha256[:16]}.safetensors"


def kind_of(folder: Path) -> str:
    """Return the kind of the model in a folder; a ModelFileError where there is none."""
    return str(_read_json(folder / DESCRIPTION)["kind"])


def _read_json(path: Path) -> dict[str, Any]:
    made = "give a folder made by `variolite fit`"
    try:
        content: Any = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise _refusal(path, "there is no model here", made) from None
    except (OSError, ValueError, RecursionError):
        raise _refusal(path, "this is not a Variolite model, or it is truncated") from None
    kind = content.get("kind") if isinstance(content, dict) else None
    if not isinstance(kind, str) or not kind.startswith("variolite."):
        raise _refusal(path, "this JSON is not the description of a Variolite model", made)
    return dict(content)


def read_description(
    folder: Path, kind: str, latest: int, migrations: Mapping[int, Migration], what: str
) -> dict[str, Any]:
    """Read a description of ``kind``, in words ``what``, and bring it to the ``latest`` format.

    ``migrations`` lead from format number n to n + 1. Raises a ModelFileError if the file is
    missing, of another kind, altered or too new.
    """
    path = folder / DESCRIPTION
    content = _read_json(path)
    number = content.get("format")
    if content["kind"] != kind:
        other = f"this is a model of another kind ({content['kind']:.60}), not {what}"
        raise _refusal(path, other, f"give {what} made by `variolite fit`")
    if type(number) is not int or not 1 <= number <= latest:
        unknown = f"the model has format {number!r:.40}, this version reads 1 to {latest}"
        raise _refusal(path, unknown, "upgrade variolite")
    if content.get("sha256") != _sha256(_canonical(content)):
        altered = "the model description was changed after it was saved"
        raise _refusal(path, altered, "take the original file")
    for old in range(number, latest):
        content = migrations[old](content)
    return content


def read_weights(folder: Path, description: Mapping[str, Any]) -> dict[str, Tensor]:
    """Read the weights that a description was signed with."""
    from safetensors.torch import load

    path, expected = folder / WEIGHTS, description["weights_sha256"]
    beside = _next_weights(folder, expected)  # still there where the writer was killed
    try:
        content = (beside if beside.is_file() else path).read_bytes()
    except OSError:
        raise _refusal(path, "the weights are missing") from None
    if _sha256(content) != expected:
        raise _refusal(path, "the weights are truncated, altered or of another model")
    try:
        tensors: dict[str, Tensor] = load(content)
    except safetensors.SafetensorError:
        raise _refusal(path, "the weights are damaged") from None
    return tensors


def module_with(
    make: Callable[[], M], tensors: Mapping[str, Tensor], folder: Path, *, unknown: str = ""
) -> M:
    """Make a module of weights: every tensor has to be there, in its shape, and no other.

    Sizes are compared before memory is taken for them. All numbers are finite, but for those of
    the tensor ``unknown``.
    """
    import torch
    from torch.nn.modules.module import register_module_parameter_registration_hook

    path, seen = folder / WEIGHTS, 0

    def count(_module: nn.Module, _name: str, value: object) -> None:
        nonlocal seen
        seen += value is not None
        if seen > 2 * len(tensors):  # a number of layers that would take forever to make
            raise _refusal(path, "there are fewer weights than the description says")

    counting = register_module_parameter_registration_hook(count)
    try:
        with torch.device("meta"):
            expected = make().state_dict()
    finally:
        counting.remove()
    for name, own in expected.items():
        stored = tensors.get(name)
        if stored is None or stored.shape != own.shape or stored.dtype != own.dtype:
            found = "nothing" if stored is None else f"{tuple(stored.shape)} {stored.dtype}"
            wanted = f"{tuple(own.shape)} {own.dtype}"
            raise _refusal(path, f"tensor {name} should be {wanted}, found {found}")
        if name != unknown and not stored.isfinite().all():
            raise _refusal(path, f"tensor {name} holds values that are not finite")
    if extra := sorted(set(tensors) - set(expected)):
        raise _refusal(path, f"unexpected tensor {extra[0]}")
    module = make()
    module.load_state_dict(dict(tensors))
    return module


@contextmanager
def reading_model(folder: Path) -> Iterator[None]:
    """Turn whatever a model raises whose parts do not fit together into one ModelFileError."""
    path = folder / DESCRIPTION
    try:
        yield
    except (ValueError, LookupError, TypeError, AttributeError, ArithmeticError, RuntimeError) as e:
        if isinstance(e, ModelFileError) and e.hint:
            raise ModelFileError(e.what, where=e.where or str(path), hint=e.hint) from None
        reason = e.what if isinstance(e, VarioliteError) else f"{type(e).__name__}: {e}"
        what = f"the model description does not hold together ({' '.join(reason.split())})"
        hint = "save the model again with the version that trained it"
        raise _refusal(path, what, hint) from None


# What happened in every epoch, one JSON object a line.


@dataclass(frozen=True)
class EpochRecord:
    """One epoch, counted from 0; lists hold a number for every member, in nats per row.

    ``beta`` is the schedule's value and that of the training means; ``seconds`` is wall time and
    ``rate`` the learning rate. ``val_monitored``, by which the best epoch is chosen, never moves
    with the schedule: reconstruction + final beta * KL on the validation rows. ``active_units``
    counts the latent dimensions whose mean KL exceeds 0.01 nats there, and ``measures`` are
    further numbers with their unit in the name.
    """

    epoch: int
    beta: float
    seconds: float
    rate: list[float]
    train_total: list[float]
    train_reconstruction: list[float]
    train_kl: list[float]
    val_monitored: list[float]
    val_reconstruction: list[float]
    val_kl: list[float]
    active_units: list[int]
    measures: dict[str, float] = field(default_factory=dict)


def write_history(path: Path, records: Sequence[EpochRecord]) -> None:
    """Write all epochs, replacing the file in one step."""
    write_text_atomic(path, "".join(f"{json.dumps(asdict(record))}\n" for record in records))


def read_history(path: Path) -> list[EpochRecord]:
    """Read the epochs of a run; a RunFolderError if the file is missing or damaged."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
        return [EpochRecord(**json.loads(line)) for line in lines]
    except FileNotFoundError:
        raise RunFolderError("there is no training history", where=str(path)) from None
    except (TypeError, ValueError, OSError) as error:
        raise RunFolderError(f"the training history is damaged: {error}", where=str(path)) from None


# An interrupted run is resumed where it stopped: one file, replaced in one step.


@dataclass(frozen=True)
class Checkpoint:
    """All that training needs to be resumed after ``epoch`` whole epochs and ``steps`` steps.

    ``fingerprint`` is of recipe, data and set-up: a checkpoint resumes only the run that it came
    from. ``tensors`` are weights, optimiser moments, rates and best weights, and ``progress`` the
    JSON-able state of early stopping.
    """

    fingerprint: str
    epoch: int
    steps: int
    tensors: dict[str, Tensor]
    progress: dict[str, Any]
    history: list[EpochRecord]


def save_checkpoint(path: Path, checkpoint: Checkpoint) -> None:
    """Write a checkpoint; a reader sees the old one or the new one, never half."""
    from safetensors.torch import save

    meta = vars(checkpoint) | {"history": [asdict(record) for record in checkpoint.history]}
    tensors = _on_host(meta.pop("tensors"))
    text = json.dumps(meta)
    metadata = {"variolite": text, "sha256": _digest(text, tensors)}
    path.parent.mkdir(parents=True, exist_ok=True)
    write_bytes_atomic(path, save(tensors, metadata=metadata))


def _digest(text: str, tensors: dict[str, Tensor]) -> str:
    digest = hashlib.sha256(text.encode())
    for name, value in sorted(tensors.items()):
        digest.update(f"{name} {value.dtype} {tuple(value.shape)}".encode())
        digest.update(value.numpy().tobytes())
    return digest.hexdigest()


def load_checkpoint(path: Path, fingerprint: str) -> Checkpoint | None:
    """Read a checkpoint; None where there is none.

    Raises a RunFolderError if it is damaged, or belongs to another recipe or other data.
    """
    if not path.is_file():
        return None
    restart = "choose another --out, or start this run afresh with --restart"
    try:
        with safetensors.safe_open(path, framework="pt") as file:
            stored = file.metadata()
            tensors: dict[str, Tensor] = {k: file.get_tensor(k) for k in file.keys()}  # noqa: SIM118
        if stored["sha256"] != _digest(stored["variolite"], tensors):
            raise ValueError
        meta = json.loads(stored["variolite"])
        meta["history"] = [EpochRecord(**record) for record in meta["history"]]
        checkpoint = Checkpoint(tensors=tensors, **meta)
    except (safetensors.SafetensorError, KeyError, TypeError, ValueError, OSError):
        raise RunFolderError("the checkpoint is damaged", where=str(path), hint=restart) from None
    if checkpoint.fingerprint != fingerprint:
        what = "the unfinished run in this folder has another recipe, other data or other seeds"
        raise RunFolderError(what, where=str(path.parent.parent), hint=restart)
    return checkpoint


# Arrays that a run keeps beside its model, with what is no array.


def write_arrays(path: Path, arrays: Mapping[str, NDArray[Any]], about: Mapping[str, Any]) -> None:
    """Write arrays by name into one file of safetensors, with JSON about them."""
    from safetensors.numpy import save

    contiguous = {name: np.ascontiguousarray(values) for name, values in arrays.items()}
    write_bytes_atomic(path, save(contiguous, metadata={"variolite": json.dumps(about)}))


@contextmanager
def reading_arrays(path: Path, what: str) -> Iterator[tuple[dict[str, Any], dict[str, Any]]]:
    """Give what was written about arrays, and the arrays; ``what`` names them in errors.

    A RunFolderError if they are damaged, or do not make what is built of them within.
    """
    try:
        with safetensors.safe_open(path, framework="numpy") as file:
            about = json.loads(file.metadata()["variolite"])
            arrays = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
        yield about, arrays
    except (safetensors.SafetensorError, KeyError, TypeError, ValueError, VarioliteError) as error:
        raise RunFolderError(
            f"the {what} is damaged ({type(error).__name__})",
            where=str(path),
            hint="copy the run folder again, or run `variolite fit` again",
        ) from None
