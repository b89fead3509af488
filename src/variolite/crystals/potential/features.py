"""Features of a pretrained potential, computed once and kept by content.

A crystal is known by the hash of its species, coordinates and cell, to the last bit,
together with the name and version of the potential. What a run computes is written
piece by piece, so that an interrupted run resumes where it stopped; at its end the
pieces become one file.
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

from variolite.crystals.crystals import Crystals
from variolite.crystals.potential.potential import (
    REASON,
    Potential,
    Prediction,
    Source,
    computed_parts,
)
from variolite.errors import DataError
from variolite.records import write_bytes_atomic
from variolite.training.workers import Progress

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
    """What is known of B crystals, by their hashes (B, 16), with their numbers of atoms (B,)."""

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
        return cls(hashes[once], counts[once], _take(whole, counts, once))


def _take(
    prediction: Prediction, counts: NDArray[np.int64], chosen: NDArray[np.int64]
) -> Prediction:
    """Choose crystals of a prediction by place; a place may come several times."""
    starts, taken = np.cumsum(counts) - counts, counts[chosen]
    # Atoms of the chosen crystals one after the other: start of the crystal plus 0, 1, 2, ...
    within = np.arange(taken.sum()) - np.repeat(np.cumsum(taken) - taken, taken)
    atoms = np.repeat(starts[chosen], taken) + within
    return Prediction(
        prediction.energies[chosen], prediction.features[atoms], prediction.reasons[chosen]
    )


def foundation_features(
    crystals: Crystals,
    source: Source | Potential = Source(),
    *,
    folder: Path | None = None,
    workers: int = 1,
    log: Callable[[str], None] = lambda _: None,
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
    log
        Takes lines of progress.

    Returns
    -------
    Prediction
        Features are rounded to half precision, whether they come from the cache or not.

    Raises
    ------
    DataError
        If the potential cannot be loaded or the folder not be written.
    """
    potential = source.load() if isinstance(source, Source) else source
    hashes = np.frombuffer(b"".join(content_hashes(crystals)), np.uint8).reshape(-1, 16)
    keys = [row.tobytes() for row in hashes]
    store = None if folder is None else folder / f"{potential.name}-{potential.version}"
    files: list[Path] = []
    kept: list[_Kept] = []
    if store is not None:
        files, kept = _read(store, potential.width, log)
    known = {row.tobytes() for part in kept for row in part.hashes}
    # Each content once, at its first place.
    places = {key: place for place, key in reversed(list(enumerate(keys))) if key not in known}
    missing = np.sort(np.array(list(places.values()), dtype=np.int64))
    # At least one part, whose result has the right shapes.
    parts = np.split(missing, range(PART, len(missing), PART))
    progress = Progress("features", len(missing), log)
    workers = min(workers, 1 + len(missing) // WORTH_A_PROCESS)
    work = computed_parts(
        _predict, [crystals.take(part) for part in parts], potential, source, workers
    )
    written = len(kept)
    try:
        for place, prediction in work:
            part = parts[place]
            kept.append(_Kept(hashes[part], crystals.counts[part], prediction))
            if len(part):
                progress.add(len(part))
            if store is not None and sum(len(p.counts) for p in kept[written:]) >= PIECE:
                files.append(_write(store, _Kept.joined(kept[written:])))
                written = len(kept)
    finally:
        work.close()
        if store is not None and any(len(p.counts) for p in kept[written:]):
            files.append(_write(store, _Kept.joined(kept[written:])))
    everything = _Kept.joined(kept)
    if store is not None and len(files) > 1:
        whole = _write(store, everything)
        for file in files:
            if file != whole:
                file.unlink(missing_ok=True)
    known_at = {row.tobytes(): place for place, row in enumerate(everything.hashes)}
    chosen = np.array([known_at[key] for key in keys], dtype=np.int64)
    return _take(everything.prediction, everything.counts, chosen)


def _predict(potential: Potential, crystals: Crystals) -> Prediction:
    found = potential.predict(crystals)
    return replace(found, features=found.features.astype(np.float16).astype(np.float32))


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


def _write(store: Path, kept: _Kept) -> Path:
    """Write a file named by the crystals it knows, so that runs beside each other do not clash."""
    try:
        store.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise DataError(
            f"the cache cannot be made ({error.strerror or error})",
            where=str(store),
            hint="give another folder",
        ) from None
    path = store / f"{hashlib.blake2b(kept.hashes.tobytes(), digest_size=12).hexdigest()}{ENDING}"
    write_bytes_atomic(path, kept.bytes())
    return path


def energy_function(
    source: Source | Potential = Source(),
    *,
    folder: Path | None = None,
    workers: int = 1,
    log: Callable[[str], None] = lambda _: None,
) -> Callable[[Crystals], NDArray[np.float64]]:
    """Return a function from B crystals to eV per atom, NaN where there is none, shape (B,).

    The parameters are those of `foundation_features`. The zero of the energies is that of the
    potential; formation energies need references of the elements in the same potential.
    """

    def energies(crystals: Crystals) -> NDArray[np.float64]:
        found = foundation_features(crystals, source, folder=folder, workers=workers, log=log)
        return found.energies

    return energies
