"""Features computed once and kept by content.

A crystal is known by the hash of its species, coordinates and cell, to the last bit,
together with the name and version of the potential. What a run computes is written
piece by piece, so that an interrupted run is taken up where it stopped; at its end
the pieces become one file.
"""

from __future__ import annotations

import hashlib
import json
import os
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import safetensors
import safetensors.numpy
from numpy.typing import NDArray

from variolite.crystals.foundation.responses import REASON, Potential, Prediction
from variolite.crystals.foundation.workers import Progress, Source, carried_out, loaded, silent
from variolite.crystals.structures import Crystals
from variolite.errors import DataError
from variolite.records import write_bytes_atomic

__all__ = ["content_hashes", "foundation_features", "user_cache"]

ENDING = ".features.safetensors"
PART = 64
"""Crystals per piece of work: a third of a second, so little is lost by an interruption."""

WORTH_A_PROCESS = 1000
"""Crystals for which it pays to start one more process: it loads for some four seconds."""

PIECE = 1024
"""Crystals per file while a run goes on."""


def user_cache() -> Path:
    """Return the user's folder for features, by the conventions of the system."""
    given = os.environ.get("XDG_CACHE_HOME") or (
        os.environ.get("LOCALAPPDATA") if sys.platform == "win32" else None
    )
    return (Path(given) if given else Path.home() / ".cache") / "variolite" / "foundation"


def content_hashes(crystals: Crystals) -> list[bytes]:
    """Return a hash of the species, coordinates and cell of every crystal, names aside."""
    species = np.ascontiguousarray(crystals.species)
    coordinates = np.ascontiguousarray(crystals.coordinates, dtype="<f8")
    lattices = np.ascontiguousarray(crystals.lattices, dtype="<f8")
    hashes = []
    for i, (start, end) in enumerate(pairwise(crystals.offsets)):
        hashed = hashlib.blake2b(species[start:end].tobytes(), digest_size=16)
        hashed.update(coordinates[start:end].tobytes())
        hashed.update(lattices[i].tobytes())
        hashes.append(hashed.digest())
    return hashes


@dataclass(frozen=True)
class _Kept:
    """What is known of a number of crystals, by their hashes."""

    hashes: NDArray[np.uint8]
    counts: NDArray[np.int64]
    prediction: Prediction

    def bytes(self) -> bytes:
        known, codes = np.unique(self.prediction.reasons, return_inverse=True)
        return safetensors.numpy.save(
            {
                "hashes": self.hashes,
                "counts": self.counts,
                "energies": self.prediction.energies,
                "features": self.prediction.features.astype(np.float16),
                "reasons": codes.astype(np.uint8),
            },
            metadata={"reasons": json.dumps(known.tolist())},
        )

    @classmethod
    def read(cls, path: Path, width: int) -> _Kept:
        with safetensors.safe_open(path, framework="numpy") as file:
            arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            known = np.array(json.loads(file.metadata()["reasons"]), dtype=REASON)
        features = arrays["features"].astype(np.float32)
        if features.shape != (arrays["counts"].sum(), width):
            raise ValueError("the arrays do not fit each other")
        prediction = Prediction(arrays["energies"], features, known[arrays["reasons"]])
        return cls(arrays["hashes"], arrays["counts"], prediction)

    @classmethod
    def joined(cls, parts: list[_Kept]) -> _Kept:
        """Join parts; a crystal in several of them is kept once."""
        hashes = np.concatenate([part.hashes for part in parts])
        once = np.sort(np.unique(hashes, axis=0, return_index=True)[1])
        counts = np.concatenate([part.counts for part in parts])
        whole = Prediction(
            np.concatenate([part.prediction.energies for part in parts]),
            np.concatenate([part.prediction.features for part in parts]),
            np.concatenate([part.prediction.reasons for part in parts]),
        )
        return cls(hashes[once], counts[once], _taken(whole, counts, once))


def _taken(
    prediction: Prediction, counts: NDArray[np.int64], chosen: NDArray[np.int64]
) -> Prediction:
    """Choose crystals of a prediction by place; a place may come several times."""
    ends = np.cumsum(counts)
    taken = counts[chosen]
    before = np.repeat(ends[chosen] - taken - (np.cumsum(taken) - taken), taken)
    atoms = before + np.arange(taken.sum())
    return Prediction(
        prediction.energies[chosen], prediction.features[atoms], prediction.reasons[chosen]
    )


def foundation_features(
    crystals: Crystals,
    source: Source | Potential = Source(),
    *,
    folder: Path | None = None,
    workers: int = 1,
    tell: Callable[[str], None] = silent,
) -> Prediction:
    """Return features and energies, computing only what the cache does not hold.

    Parameters
    ----------
    crystals
        B crystals with N atoms in all.
    source
        The potential.
    folder
        The cache, such as a folder in a run or `user_cache`; None keeps nothing.
    workers
        Processes to compute in. More than one needs a main module that may be imported.
    tell
        Takes sentences on the progress.

    Returns
    -------
    Prediction
        Features are rounded to half precision, whether they come from the cache or not.

    Raises
    ------
    DataError
        If the potential cannot be loaded or the folder not be written.
    """
    potential = loaded(source)
    hashes = np.frombuffer(b"".join(content_hashes(crystals)), np.uint8).reshape(-1, 16)
    store = folder / f"{potential.name}-{potential.version}" if folder is not None else None
    files: list[Path] = []
    kept = [_nothing(potential.width)]
    if store is not None:
        files, found = _read(store, potential.width, tell)
        kept += found
    known = {row.tobytes() for part in kept for row in part.hashes}
    lacking = _first_places(hashes, known)
    fresh: list[_Kept] = []
    written = 0
    progress = Progress(tell, len(lacking))
    parts = [lacking[i : i + PART] for i in range(0, len(lacking), PART)]
    workers = min(workers, 1 + len(lacking) // WORTH_A_PROCESS)
    work = carried_out(
        _predict, [crystals.take(part) for part in parts], potential, source, workers
    )
    try:
        for place, prediction in work:
            part = parts[place]
            fresh.append(_Kept(hashes[part], crystals.counts[part], _rounded(prediction)))
            progress.add(len(part))
            if store is not None and sum(len(p.counts) for p in fresh[written:]) >= PIECE:
                files.append(_write(store, _Kept.joined(fresh[written:])))
                written = len(fresh)
    finally:
        work.close()
        if store is not None and written < len(fresh):
            files.append(_write(store, _Kept.joined(fresh[written:])))
    everything = _Kept.joined(kept + fresh)
    if store is not None and len(files) > 1:
        whole = _write(store, everything)
        for file in files:
            if file != whole:
                file.unlink(missing_ok=True)
    places = {row.tobytes(): i for i, row in enumerate(everything.hashes)}
    chosen = np.array([places[row.tobytes()] for row in hashes], dtype=np.int64)
    return _taken(everything.prediction, everything.counts, chosen)


def _predict(potential: Potential, crystals: Crystals) -> Prediction:
    return potential.predict(crystals)


def _first_places(hashes: NDArray[np.uint8], known: set[bytes]) -> NDArray[np.int64]:
    """Places of the crystals whose hash is not known yet, each content once."""
    found: dict[bytes, int] = {}
    for place, row in enumerate(hashes):
        if (key := row.tobytes()) not in known:
            found.setdefault(key, place)
    return np.array(list(found.values()), dtype=np.int64)


def _rounded(prediction: Prediction) -> Prediction:
    features = prediction.features.astype(np.float16).astype(np.float32)
    return replace(prediction, features=features)


def _nothing(width: int) -> _Kept:
    none = Prediction(np.empty(0), np.empty((0, width), np.float32), np.empty(0, REASON))
    return _Kept(np.empty((0, 16), np.uint8), np.empty(0, np.int64), none)


def _read(store: Path, width: int, tell: Callable[[str], None]) -> tuple[list[Path], list[_Kept]]:
    """Read what is there; a damaged file is told of, left alone and computed anew."""
    files, kept = [], []
    for path in sorted(store.glob(f"*{ENDING}")):
        try:
            kept.append(_Kept.read(path, width))
            files.append(path)
        except (OSError, ValueError, LookupError, TypeError, safetensors.SafetensorError):
            tell(f"{path} is damaged and is not used")
    return files, kept


def _write(store: Path, kept: _Kept) -> Path:
    """Write a file named by the crystals it knows, so that runs beside each other do not clash."""
    try:
        store.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise DataError(
            f"the cache cannot be made ({error.strerror or error})",
            where=str(store),
            mend="give another folder",
        ) from None
    path = store / f"{hashlib.blake2b(kept.hashes.tobytes(), digest_size=12).hexdigest()}{ENDING}"
    write_bytes_atomic(path, kept.bytes())
    return path
