"""Features of a pretrained potential, kept by content.

A crystal is known by the hash of its species, coordinates and cell, to the last bit, together with
the name and version of the potential. What a run computes is written piece by piece, so that an
interrupted run resumes where it stopped; at its end the pieces become one file.
"""

from __future__ import annotations

import hashlib
import json
import os
import sys
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import safetensors
import safetensors.numpy
from numpy.typing import NDArray

from variolite.crystals.crystals import Crystals, offsets_of, ragged_places
from variolite.crystals.potential.potential import (
    REASON,
    Floats,
    Potential,
    Prediction,
    computed_parts,
    load_potential,
)
from variolite.errors import DataError
from variolite.records import write_bytes_atomic
from variolite.training.workers import Progress

ENDING = ".features.safetensors"
PART = 64  # crystals per piece of work: a third of a second, so an interruption loses little
WORTH_A_PROCESS = 1000  # crystals that pay for one more process, which loads for four seconds
PIECE = 1024  # crystals per file while the work is unfinished


def user_cache() -> Path:
    """Return the user's folder for features, by the conventions of the system."""
    own = "LOCALAPPDATA" if sys.platform == "win32" else "XDG_CACHE_HOME"
    given = os.environ.get("XDG_CACHE_HOME") or os.environ.get(own)
    return (Path(given) if given else Path.home() / ".cache") / "variolite" / "foundation"


def content_hashes(crystals: Crystals) -> NDArray[np.uint8]:
    """Return a hash of the species, coordinates and cell of every crystal, names aside, (B, 16)."""
    # The same bytes on every machine, however it orders those of a number.
    coordinates, lattices = (a.astype("<f8") for a in (crystals.coordinates, crystals.lattices))
    hashes = []
    for i, (start, end) in enumerate(pairwise(crystals.offsets)):
        parts = crystals.species[start:end], coordinates[start:end], lattices[i]
        content = b"".join(part.tobytes() for part in parts)
        hashes.append(hashlib.blake2b(content, digest_size=16).digest())
    return np.frombuffer(b"".join(hashes), np.uint8).reshape(-1, 16)


class _Kept(NamedTuple):
    """What is known of B crystals, by their hashes (B, 16), with their numbers of atoms (B,)."""

    hashes: NDArray[np.uint8]
    counts: NDArray[np.int64]
    prediction: Prediction

    @property
    def keys(self) -> list[bytes]:
        return [row.tobytes() for row in self.hashes]

    def take(self, chosen: NDArray[np.int64]) -> _Kept:
        """Choose crystals by place, with their atoms."""
        found, counts = self.prediction, self.counts[chosen]
        atoms = ragged_places(offsets_of(self.counts)[:-1][chosen], counts)
        own = Prediction(found.energies[chosen], found.features[atoms], found.reasons[chosen])
        return _Kept(self.hashes[chosen], counts, own)

    @classmethod
    def joined(cls, parts: list[_Kept]) -> _Kept:
        """Join parts; a crystal in several of them is kept once."""
        hashes, counts, predictions = zip(*parts, strict=True)
        columns = map(np.concatenate, zip(*predictions, strict=True))
        whole = cls(np.concatenate(hashes), np.concatenate(counts), Prediction(*columns))
        return whole.take(np.sort(np.unique(whole.hashes, axis=0, return_index=True)[1]))

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

    def write(self, folder: Path) -> Path:
        """Write a file named by what it knows, so that runs beside each other do not clash."""
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise DataError(
                f"the cache cannot be made ({error.strerror or error})",
                where=str(folder),
                hint="give another folder",
            ) from None
        known, codes = np.unique(self.prediction.reasons, return_inverse=True)
        content = safetensors.numpy.save(
            {
                "hashes": self.hashes,
                "counts": self.counts,
                "energies": self.prediction.energies,
                "features": self.prediction.features.astype(np.float16),
                "reasons": codes.astype(np.uint8),
            },
            metadata={"reasons": json.dumps(known.tolist())},
        )
        name = hashlib.blake2b(self.hashes.tobytes(), digest_size=12).hexdigest()
        path = folder / f"{name}{ENDING}"
        write_bytes_atomic(path, content)
        return path


def foundation_features(
    crystals: Crystals,
    source: str | Potential = "chgnet",
    *,
    folder: Path | None = None,
    workers: int = 1,
    log: Callable[[str], None] = lambda _: None,
) -> Prediction:
    """Return features and energies, computing only what the cache does not hold.

    The source is a potential or its name; the cache is a folder in a run or `user_cache`, and None
    keeps nothing. More than one worker process needs a main module that may be imported. Features
    are rounded to half precision, whether they come from the cache or not. Raises `DataError` if
    the potential cannot be loaded or the folder not be written.
    """
    potential = load_potential(source)
    hashes = content_hashes(crystals)
    store = None if folder is None else folder / f"{potential.name}-{potential.version}"
    files, kept = ([], []) if store is None else _read(store, potential.width, log)
    known = {key for part in kept for key in part.keys}
    keys = [row.tobytes() for row in hashes]
    # Each content once, at its first place.
    places = {key: place for place, key in reversed(list(enumerate(keys))) if key not in known}
    missing = np.sort(np.array(list(places.values()), dtype=np.int64))
    # At least one part, whose result has the right shapes.
    parts = np.split(missing, range(PART, len(missing), PART))
    progress = Progress("features", len(missing), log)
    workers = min(workers, 1 + len(missing) // WORTH_A_PROCESS)
    asked = [crystals.take(part) for part in parts]
    work = computed_parts(_predict, asked, source, workers)
    fresh: list[_Kept] = []
    try:
        for place, prediction in work:
            part = parts[place]
            fresh.append(_Kept(hashes[part], crystals.counts[part], prediction))
            if len(part):
                progress.add(len(part))
            if store is not None and sum(len(p.counts) for p in fresh) >= PIECE:
                files.append(_Kept.joined(fresh).write(store))
                kept += fresh
                fresh = []
    finally:
        work.close()
        if store is not None and any(len(p.counts) for p in fresh):
            files.append(_Kept.joined(fresh).write(store))
    everything = _Kept.joined(kept + fresh)
    if store is not None and len(files) > 1:
        whole = everything.write(store)
        for file in files:
            if file != whole:
                file.unlink(missing_ok=True)
    found_at = {key: place for place, key in enumerate(everything.keys)}
    return everything.take(np.array([found_at[key] for key in keys], dtype=np.int64)).prediction


def _predict(potential: Potential, crystals: Crystals) -> Prediction:
    found = potential.predict(crystals)
    return found._replace(features=found.features.astype(np.float16).astype(np.float32))


def _read(store: Path, width: int, log: Callable[[str], None]) -> tuple[list[Path], list[_Kept]]:
    """Read what is there; a damaged file is reported, left alone and computed again."""
    files, kept = [], []
    for path in sorted(store.glob(f"*{ENDING}")):
        try:
            kept.append(_Kept.read(path, width))
            files.append(path)
        except (OSError, ValueError, LookupError, TypeError, safetensors.SafetensorError):
            log(f"{path} is damaged and is not used")
    return files, kept


def energy_function(
    source: str | Potential = "chgnet", **settings: Any
) -> Callable[[Crystals], Floats]:
    """Return a function from B crystals to eV per atom, NaN where there is none, shape (B,).

    Settings are those of `foundation_features`. The energies have the zero of the potential.
    """
    return lambda crystals: foundation_features(crystals, source, **settings).energies
