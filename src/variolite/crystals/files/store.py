"""The flat store: one memory-mapped file in the safetensors format for a set of crystals.

Besides the arrays of :class:`~variolite.crystals.Crystals`, text is kept as UTF-8 bytes with
offsets. The header holds the format number, the order of the properties, and the SHA-256 of that
and of the arrays with their names, types and shapes.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from itertools import pairwise
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from variolite.crystals.crystals import Crystals
from variolite.errors import DataError
from variolite.records import write_bytes_atomic

FORMAT = 3
KIND = "variolite.crystals"
_DTYPES: Mapping[str, str] = {"U8": "|u1", "I64": "<i8", "F64": "<f8"}
_NUMBERS = "property.number."
_TEXT = "property.text."
_AGAIN = "Pack it again, or copy the whole file again"


def fingerprint(crystals: Crystals) -> str:
    """Return the SHA-256 of species, coordinates and cells, whatever names and properties."""
    return _sha256(_structure_arrays(crystals).values())


def _sha256(arrays: Iterable[NDArray[Any]]) -> str:
    digest = hashlib.sha256()
    for values in arrays:
        digest.update(np.ascontiguousarray(values).data)
    return digest.hexdigest()


def write_store(path: str | Path, crystals: Crystals) -> None:
    """Write a store; an existing file is replaced in one step.

    Parameters
    ----------
    path
        Commonly ending in .crystals.
    crystals
        The structures.

    Raises
    ------
    DataError
        If the file cannot be written, or a property is neither numbers nor text.
    """
    arrays = _structure_arrays(crystals) | _encoded("names", crystals.names)
    for name, values in crystals.properties.items():
        if values.dtype.kind in "biuf":
            arrays[_NUMBERS + name] = values.astype("<f8")
        elif values.dtype.kind == "U":
            arrays |= _encoded(_TEXT + name, values)
        else:
            what = f"property {name!r} holds {values.dtype}, neither numbers nor text"
            hint = "Leave it out, or make numbers or text of it"
            raise DataError(what, where=str(path), hint=hint)
    arrays = {name: np.ascontiguousarray(arrays[name]) for name in sorted(arrays)}
    described: dict[str, Any] = {"format": FORMAT, "properties": list(crystals.properties)}
    described["sha256"] = _signature(described, arrays)
    # One entry: several would be written in an order that changes from run to run.
    write_bytes_atomic(path, save(arrays, {KIND: json.dumps(described)}))


def _signature(described: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]]) -> str:
    if described["format"] < 3:  # The first format hashed arrays in the order of the file.
        return _sha256(arrays[n] for n in (arrays if described["format"] == 1 else sorted(arrays)))
    layout = {name: (values.dtype.str, values.shape) for name, values in sorted(arrays.items())}
    text = json.dumps([described["format"], described["properties"], layout]).encode()
    return _sha256([np.frombuffer(text, np.uint8), *(arrays[name] for name in layout)])


def open_store(path: str | Path) -> Crystals:
    """Open a store; its arrays are mapped into memory, not copied.

    The arrays may be written to: changes stay in this process, the file keeps what it has. Raises
    `DataError` if the file is missing, foreign, truncated, altered or of a newer format.
    """
    place = str(path)
    try:
        content = np.memmap(path, dtype=np.uint8, mode="c")
        # What safetensors loads is a copy; it says where in the file the arrays are.
        with safe_open(path, framework="numpy") as file:
            described = _described(file.metadata() or {}, place)
            slices = {name: file.get_slice(name) for name in file.offset_keys()}
            layout = {name: (s.get_dtype(), s.get_shape()) for name, s in slices.items()}
        begin = 8 + int.from_bytes(content[:8].tobytes(), "little")
        arrays: dict[str, NDArray[Any]] = {}
        for name, (code, shape) in layout.items():
            values = np.frombuffer(content, _DTYPES[code], prod(shape), begin)
            arrays[name] = values.reshape(shape)
            begin += values.nbytes
        if _signature(described, arrays) != described["sha256"]:
            raise DataError("the file was altered or damaged", where=place, hint=_AGAIN)
        return Crystals(
            arrays["species"],
            arrays["coordinates"],
            arrays["lattices"],
            arrays["offsets"],
            _decoded(arrays, "names"),
            {
                name: arrays[key]
                if (key := _NUMBERS + name) in arrays
                else _decoded(arrays, _TEXT + name)
                for name in described["properties"]
            },
        )
    except FileNotFoundError:
        raise DataError("no such file", where=place, hint="Check the path") from None
    except OSError as error:
        raise DataError(f"cannot be read ({error.strerror or error})", where=place) from None
    except SafetensorError as error:
        text = str(error).lower()
        if "incomplete" in text:
            what = "the file is truncated, or has grown"
            raise DataError(what, where=place, hint=_AGAIN) from None
        if not any(word in text for word in ("shape", "offset", "info")):
            raise _foreign(place) from None
    except (KeyError, TypeError, ValueError, IndexError) as error:
        if isinstance(error, DataError) and error.where:
            raise
        if not Path(path).stat().st_size:
            raise DataError("the file is empty", where=place, hint=_AGAIN) from None
    raise DataError("the store does not hold together", where=place, hint=_AGAIN)


def _described(metadata: Mapping[str, str], place: str) -> dict[str, Any]:
    """Return format, hash and order of the properties."""
    described: dict[str, Any]
    try:
        if metadata.get("kind") == KIND:  # Format 1 spread them over the header.
            described = {**metadata, "properties": json.loads(metadata["properties"])}
        else:
            described = json.loads(metadata[KIND])
        number = described["format"] = int(described["format"])
    except (ValueError, KeyError, TypeError, RecursionError):
        raise _foreign(place) from None
    if not 1 <= number <= FORMAT:
        what = f"the store has format {number}, this version reads 1 to {FORMAT}"
        raise DataError(what, where=place, hint="Upgrade variolite")
    return described


def _foreign(place: str) -> DataError:
    what = "this is not a store of crystals, or it is truncated"
    return DataError(what, where=place, hint="Give a file that `variolite crystals pack` wrote")


def _structure_arrays(crystals: Crystals) -> dict[str, NDArray[Any]]:
    return {
        "coordinates": crystals.coordinates.astype("<f8"),
        "lattices": crystals.lattices.astype("<f8"),
        "offsets": crystals.offsets.astype("<i8"),
        "species": crystals.species.astype("|u1"),
    }


def _encoded(name: str, texts: NDArray[np.str_]) -> dict[str, NDArray[Any]]:
    """Return texts as the bytes of all and where each ends."""
    encoded = [text.encode("utf-8", "surrogatepass") for text in texts.tolist()]
    ends = np.concatenate([[0], np.cumsum([len(data) for data in encoded], dtype=np.int64)])
    return {
        f"{name}.bytes": np.frombuffer(b"".join(encoded), dtype=np.uint8),
        f"{name}.offsets": ends.astype("<i8"),
    }


def _decoded(arrays: Mapping[str, NDArray[Any]], name: str) -> NDArray[np.str_]:
    data = arrays[f"{name}.bytes"].tobytes()
    ends = arrays[f"{name}.offsets"].tolist()
    texts = [data[start:end].decode("utf-8", "surrogatepass") for start, end in pairwise(ends)]
    return np.array(texts, dtype=np.str_)
