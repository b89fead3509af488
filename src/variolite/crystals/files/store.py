"""The flat store: one memory-mapped file for a set of crystals.

The file has the layout of safetensors: eight bytes with the length of the header, a JSON
header, then the arrays one after the other. Besides the arrays of
:class:`~variolite.crystals.Crystals`, text is kept as UTF-8 bytes with offsets.
The header's metadata hold the format number and the SHA-256 of the arrays.
"""

from __future__ import annotations

import hashlib
import json
import mmap
import struct
from collections.abc import Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from variolite.crystals.crystals import Crystals
from variolite.errors import DataError
from variolite.records import write_bytes_atomic

FORMAT = 1
KIND = "variolite.crystals"
_DTYPES: Mapping[str, str] = {"U8": "|u1", "I64": "<i8", "F64": "<f8"}
_NUMBERS = "property.number."
_TEXT = "property.text."
_LARGEST_HEADER = 1 << 24
_AGAIN = "Pack it again, or copy the whole file again"


def fingerprint(crystals: Crystals) -> str:
    """Return the SHA-256 of species, coordinates, cells and sizes, in hexadecimal.

    Names and properties do not count: what is computed from the structures alone can be
    kept under this key.
    """
    digest = hashlib.sha256()
    for values in _structure_arrays(crystals).values():
        digest.update(np.ascontiguousarray(values).tobytes())
    return digest.hexdigest()


def write_store(path: str | Path, crystals: Crystals) -> None:
    """Write a store; an existing file is replaced in one step.

    Parameters
    ----------
    path
        Commonly ending in .crystals.
    crystals
        The structures; properties are numbers or text.

    Raises
    ------
    DataError
        If the file cannot be written, or a property is neither numbers nor text.
    """
    arrays = _structure_arrays(crystals)
    arrays |= _encoded("names", crystals.names)
    for name, values in crystals.properties.items():
        if values.dtype.kind in "biuf":
            arrays[_NUMBERS + name] = values.astype("<f8")
        elif values.dtype.kind == "U":
            arrays |= _encoded(_TEXT + name, values)
        else:
            raise DataError(
                f"property {name!r} holds {values.dtype}, neither numbers nor text",
                where=str(path),
                hint="Leave it out, or make numbers or text of it",
            )
    # Wide types first: then every array begins at a multiple of its item's size.
    ordered = sorted(arrays.items(), key=lambda item: -item[1].dtype.itemsize)
    codes = {np.dtype(dtype): code for code, dtype in _DTYPES.items()}
    header: dict[str, Any] = {}
    place = 0
    digest = hashlib.sha256()
    body = []
    for name, values in ordered:
        data = np.ascontiguousarray(values).tobytes()
        header[name] = {
            "dtype": codes[values.dtype],
            "shape": list(values.shape),
            "data_offsets": [place, place + len(data)],
        }
        place += len(data)
        digest.update(data)
        body.append(data)
    header["__metadata__"] = {
        "kind": KIND,
        "format": str(FORMAT),
        "sha256": digest.hexdigest(),
        # Stores with the same columns in another order are different sets.
        "properties": json.dumps(list(crystals.properties)),
    }
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    write_bytes_atomic(path, b"".join([struct.pack("<Q", len(text)), text, *body]))


def open_store(path: str | Path) -> Crystals:
    """Open a store; its arrays are mapped into memory, not copied.

    The arrays may be written to: changes stay in this process, the file keeps what it has.

    Raises
    ------
    DataError
        If the file is missing, foreign, truncated, altered or of a newer format.
    """
    place = str(path)
    try:
        with Path(path).open("rb") as handle:
            content = mmap.mmap(handle.fileno(), 0, access=mmap.ACCESS_COPY)
    except FileNotFoundError:
        raise DataError("no such file", where=place, hint="Check the path") from None
    except ValueError:
        raise DataError("the file is empty", where=place, hint=_AGAIN) from None
    except OSError as error:
        raise DataError(f"cannot be read ({error.strerror or error})", where=place) from None
    header, begin = _header(content, place)
    metadata = header.pop("__metadata__")
    view = memoryview(content)[begin:]
    try:
        ends = [int(entry["data_offsets"][1]) for entry in header.values()]
        if len(view) != max(ends, default=0):
            raise DataError("the file is truncated, or has grown", where=place, hint=_AGAIN)
        if hashlib.sha256(view).hexdigest() != metadata.get("sha256"):
            raise DataError("the file was altered or damaged", where=place, hint=_AGAIN)
        arrays = {name: _array(view, entry) for name, entry in header.items()}
        return _crystals(arrays, json.loads(metadata["properties"]))
    except (KeyError, TypeError, ValueError, IndexError, AttributeError) as error:
        if isinstance(error, DataError) and error.where:
            raise
        raise DataError("the store does not hold together", where=place, hint=_AGAIN) from None


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


def _header(content: mmap.mmap, place: str) -> tuple[dict[str, Any], int]:
    foreign = DataError(
        "this is not a store of crystals, or it is truncated",
        where=place,
        hint="Give a file that `variolite crystals pack` wrote",
    )
    if len(content) < 8:
        raise foreign
    length = struct.unpack("<Q", content[:8])[0]
    if length > min(_LARGEST_HEADER, len(content) - 8):
        raise foreign
    try:
        header = json.loads(content[8 : 8 + length])
        metadata = header["__metadata__"]
        kind, number = metadata["kind"], int(metadata["format"])
    except (ValueError, KeyError, TypeError, RecursionError):
        raise foreign from None
    if kind != KIND:
        raise foreign
    if not 1 <= number <= FORMAT:
        raise DataError(
            f"the store has format {number}, this version reads 1 to {FORMAT}",
            where=place,
            hint="Upgrade variolite",
        )
    return header, 8 + length


def _array(view: memoryview, entry: Mapping[str, Any]) -> NDArray[Any]:
    start, end = entry["data_offsets"]
    shape = tuple(int(extent) for extent in entry["shape"])
    return np.frombuffer(view[start:end], dtype=_DTYPES[entry["dtype"]]).reshape(shape)


def _crystals(arrays: Mapping[str, NDArray[Any]], properties: list[str]) -> Crystals:
    return Crystals(
        arrays["species"],
        arrays["coordinates"],
        arrays["lattices"],
        arrays["offsets"],
        _decoded(arrays, "names"),
        {
            name: arrays[_NUMBERS + name]
            if _NUMBERS + name in arrays
            else _decoded(arrays, _TEXT + name)
            for name in properties
        },
    )
