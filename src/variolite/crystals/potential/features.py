"""Features of a pretrained potential, kept by content, and alignment of latents with them."""

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
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.functional import cosine_similarity

from variolite.crystals.crystals import Crystals
from variolite.crystals.potential.potential import REASON, Potential, Prediction
from variolite.crystals.potential.relaxation import RelaxationLimits, relax
from variolite.crystals.potential.workers import Progress, Source, carried_out, loaded, silent
from variolite.errors import DataError
from variolite.records import write_bytes_atomic

# Features computed once and kept by content.
#
# A crystal is known by the hash of its species, coordinates and cell, to the last bit,
# together with the name and version of the potential. What a run computes is written
# piece by piece, so that an interrupted run is taken up where it stopped; at its end
# the pieces become one file.


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
            hint="give another folder",
        ) from None
    path = store / f"{hashlib.blake2b(kept.hashes.tobytes(), digest_size=12).hexdigest()}{ENDING}"
    write_bytes_atomic(path, kept.bytes())
    return path


# The potential in the form that scoring asks for: functions of crystals.


def energy_function(
    source: Source | Potential = Source(),
    *,
    folder: Path | None = None,
    workers: int = 1,
    tell: Callable[[str], None] = silent,
) -> Callable[[Crystals], NDArray[np.float64]]:
    """Return a function from B crystals to eV per atom, NaN where there is none, shape (B,).

    The parameters are those of `foundation_features`. The zero of the energies is that of the
    potential; formation energies need references of the elements in the same potential.
    """

    def energies(crystals: Crystals) -> NDArray[np.float64]:
        found = foundation_features(crystals, source, folder=folder, workers=workers, tell=tell)
        return found.energies

    return energies


def relaxation_function(
    source: Source | Potential = Source(),
    *,
    limits: RelaxationLimits = RelaxationLimits(),
    workers: int = 1,
    tell: Callable[[str], None] = silent,
) -> Callable[[Crystals], Crystals]:
    """Return a function from crystals to relaxed crystals in the same order.

    The parameters are those of `relax`. A crystal that has not converged is returned as far
    as it came.
    """

    def relaxed(crystals: Crystals) -> Crystals:
        return relax(crystals, source, limits=limits, workers=workers, tell=tell).crystals

    return relaxed


# Alignment of per-atom latents with the features of a pretrained potential.
#
# After the alignment of latents with vision models (Yao, Yang and Wang 2025, VA-VAE). With
# u = W z + b, features f and the cosine c, the losses are hinges that leave small
# differences alone:
#
#     point  max(0, 1 - POINT_MARGIN - c(u_i, f_i))            mean over atoms
#     pair   max(0, |c(u_i, u_j) - c(f_i, f_j)| - PAIR_MARGIN)   mean over pairs i != j
#
# Features are standardised first: raw ones share a direction, and an output that is the
# same for every atom already takes two thirds off the point loss. Pairs are drawn, as all of
# them grow with the square of the batch, and separately within and across crystals, of which
# the former are few but tell atoms of one structure apart.


PAIR_MARGIN = 0.25
POINT_MARGIN = 0.5

SMALLEST_DEVIATION = 1e-6
"""A feature that varies less over the training atoms is a constant and left unscaled."""


@dataclass(frozen=True)
class FeatureScale:
    """Mean and standard deviation of every feature over the training atoms, shape (F,)."""

    mean: Tensor
    deviation: Tensor

    def apply(self, features: Tensor) -> Tensor:
        """Standardise features of shape (N, F); rows of NaN stay NaN."""
        return (features - self.mean) / self.deviation


def fit_scale(features: Tensor) -> FeatureScale:
    """Measure the features of training atoms, (N, F), leaving out rows without numbers."""
    known = features[torch.isfinite(features).all(1)].double()
    mean = known.mean(0)
    deviation = (known - mean).square().mean(0).sqrt()
    deviation = torch.where(deviation > SMALLEST_DEVIATION, deviation, 1.0)
    return FeatureScale(mean.to(features.dtype), deviation.to(features.dtype))


class Projection(nn.Module):
    """The map from a latent to the space of the features, u = W z + b.

    Parameters
    ----------
    latent
        Width L of a latent.
    features
        Width F of the features, as the file of features has it.
    """

    def __init__(self, latent: int, features: int) -> None:
        super().__init__()
        self.map = nn.Linear(latent, features)

    def forward(self, z: Tensor) -> Tensor:
        """Map latents (N, L) to (N, F)."""
        projected: Tensor = self.map(z)
        return projected


@dataclass(frozen=True)
class Alignment:
    """The parts of the loss, scalars; a part without terms is 0.

    Attributes
    ----------
    point
        Mean over atoms with features.
    within, across
        Means over pairs of atoms of one crystal, and of different ones.
    atoms
        Number of atoms with features.
    """

    point: Tensor
    within: Tensor
    across: Tensor
    atoms: Tensor

    @property
    def pair(self) -> Tensor:
        """Mean of both kinds of pairs, each with the same say."""
        return 0.5 * (self.within + self.across)

    @property
    def total(self) -> Tensor:
        """Point and pair loss together."""
        return self.point + self.pair


@dataclass(frozen=True)
class Pairs:
    """Ordered pairs of atoms.

    Attributes
    ----------
    first, second
        Their places, int64, shape (P,).
    exist
        Whether there is such a pair at all; if not, the places say nothing. Scalar.
    """

    first: Tensor
    second: Tensor
    exist: Tensor


def draw_pairs(owner: Tensor, known: Tensor, chance: Tensor, *, within: bool) -> Pairs:
    """Draw ordered pairs of different atoms with replacement, all equally likely.

    Nothing here waits for the device.

    Parameters
    ----------
    owner
        Crystal of every atom, non-decreasing, below N, shape (N,).
    known
        Atoms that may be drawn, bool, shape (N,).
    chance
        Uniform draws from [0, 1), float64, one for each pair, shape (P,).
    within
        Whether both atoms are of one crystal or of different ones.
    """
    order = torch.argsort(~known, stable=True)
    crystal = owner[order]
    sizes = torch.zeros_like(owner).index_add(0, owner, known.to(owner.dtype))
    size = sizes[crystal]
    start = (torch.cumsum(sizes, 0) - sizes)[crystal]
    choices = (size - 1 if within else known.sum() - size) * known[order]
    ends = torch.cumsum(choices, 0)
    rank = (chance * ends[-1]).long()
    first = torch.searchsorted(ends, rank, right=True).clamp_max(len(owner) - 1)
    # The rank also says which of the possible partners it is; the atom itself, or its
    # crystal, is stepped over.
    place = rank - (ends - choices)[first]
    if within:
        place = place + start[first]
        second = place + (place >= first)
    else:
        second = place + torch.where(place >= start[first], size[first], 0)
    second = second.clamp(0, len(owner) - 1)
    return Pairs(order[first], order[second], ends[-1] > 0)


def pair_loss(projected: Tensor, features: Tensor, pairs: Pairs) -> Tensor:
    """Mean over given pairs, a scalar; 0 where there are none."""
    ours = cosine_similarity(projected[pairs.first], projected[pairs.second], dim=1)
    theirs = cosine_similarity(features[pairs.first], features[pairs.second], dim=1)
    return ((ours - theirs).abs() - PAIR_MARGIN).clamp_min(0).mean() * pairs.exist


def align(projected: Tensor, features: Tensor, owner: Tensor, chance: Tensor) -> Alignment:
    """Compare projected latents with features.

    Parameters
    ----------
    projected
        u = W z + b, shape (N, F).
    features
        Standardised by training statistics, shape (N, F); a row with NaN is missing, and its
        atom takes no part.
    owner
        Crystal of every atom, non-decreasing, shape (N,).
    chance
        Uniform draws from [0, 1), float64, for P pairs within crystals and P across them, (2, P).
    """
    known = torch.isfinite(features).all(1)
    features = torch.where(known.unsqueeze(1), features, 0.0)
    atoms = known.sum()
    hinge = (1 - POINT_MARGIN - cosine_similarity(projected, features, dim=1)).clamp_min(0)
    within = draw_pairs(owner, known, chance[0], within=True)
    across = draw_pairs(owner, known, chance[1], within=False)
    return Alignment(
        point=(hinge * known).sum() / atoms.clamp_min(1),
        within=pair_loss(projected, features, within),
        across=pair_loss(projected, features, across),
        atoms=atoms,
    )


def explained_share(
    latents: Tensor, features: Tensor, test_latents: Tensor, test_features: Tensor
) -> float:
    """Share of the variance of features that a linear map of the latents explains.

    The map is fitted by least squares on one set of atoms and judged on another; rows without
    features are left out. Features are standardised, latents of shape (N, L).

    Returns
    -------
    float
        1 - residual / variance over all features together; below 0 when worse than the mean.
    """
    known = torch.isfinite(features).all(1)
    design = torch.cat([latents, torch.ones_like(latents[:, :1])], dim=1)[known].double()
    solution = torch.linalg.lstsq(design, features[known].double(), driver="gelsd").solution
    known = torch.isfinite(test_features).all(1)
    design = torch.cat([test_latents, torch.ones_like(test_latents[:, :1])], dim=1)[known].double()
    target = test_features[known].double()
    residual = (target - design @ solution).square().sum()
    return float(1 - residual / (target - target.mean(0)).square().sum())


def principal_share(features: Tensor, width: int) -> float:
    """Share of the variance that any linear code of ``width`` numbers can hold at best."""
    known = features[torch.isfinite(features).all(1)].double()
    variances = torch.linalg.eigvalsh(torch.cov(known.T))
    return float(variances[-width:].sum() / variances.sum())
