"""Sets of crystals for the tests of matching."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np

from variolite.crystals.crystals import Crystals
from variolite.crystals.files.formats import to_pymatgen
from variolite.crystals.files.reading import load_crystals
from variolite.crystals.files.textbook import textbook_crystals
from variolite.crystals.matching.pairs import Matches, Tolerance

DATA = {
    "perov_5": "perov_5/test.csv.gz",
    "carbon_24": "carbon_24/htl_val.csv.gz",
    "mp_20": "mp_20/train_head.csv.gz",
    "mpts_52": "mpts_52/val.csv.gz",
}


def textbook(most: int = 12) -> Crystals:
    crystals = textbook_crystals()
    return crystals.take(crystals.counts <= most)


def some_rows(shared: Path, name: str, count: int, seed: int = 0) -> Crystals:
    """Rows of a file of real data, drawn at random."""
    crystals = load_crystals(shared / "crystals" / DATA[name])
    chosen = np.random.default_rng(seed).choice(len(crystals), count, replace=False)
    return crystals.take(chosen)


def changed(
    crystals: Crystals,
    *,
    coordinates: np.ndarray | None = None,
    lattices: np.ndarray | None = None,
    species: np.ndarray | None = None,
) -> Crystals:
    return Crystals(
        crystals.species if species is None else species,
        crystals.coordinates if coordinates is None else coordinates,
        crystals.lattices if lattices is None else lattices,
        crystals.offsets,
        crystals.names,
    )


def noisy(crystals: Crystals, angstrom: float, seed: int = 0) -> Crystals:
    """Every coordinate moved by a normal displacement of the given deviation."""
    draws = np.random.default_rng(seed).normal(size=crystals.coordinates.shape) * angstrom
    inverse = np.linalg.inv(crystals.lattices)[crystals.owner]
    moved = crystals.coordinates + np.einsum("ni,nij->nj", draws, inverse)
    return changed(crystals, coordinates=moved)


def scattered(crystals: Crystals, seed: int = 0) -> Crystals:
    """Uniform random coordinates in the right cells."""
    draws = np.random.default_rng(seed).random(crystals.coordinates.shape)
    return changed(crystals, coordinates=draws)


def strained(crystals: Crystals, amount: float, seed: int = 0) -> Crystals:
    draws = np.random.default_rng(seed).normal(size=crystals.lattices.shape) * amount
    return changed(crystals, lattices=crystals.lattices @ (np.eye(3) + draws))


def unimodular(seed: int, steps: int = 4) -> np.ndarray:
    """A random integer matrix of determinant 1."""
    draw = np.random.default_rng(seed)
    change = np.eye(3, dtype=np.int64)
    for _ in range(steps):
        row, other = draw.choice(3, 2, replace=False)
        change[row] += draw.choice([-1, 1]) * change[other]
    return change


def rebased(crystals: Crystals, seed: int = 0) -> Crystals:
    """The same crystals in other cells."""
    changes = np.array([unimodular(seed + i) for i in range(len(crystals))])
    inverse = np.rint(np.linalg.inv(changes))
    coordinates = np.einsum("ni,nij->nj", crystals.coordinates, inverse[crystals.owner])
    return changed(crystals, coordinates=coordinates, lattices=changes @ crystals.lattices)


def rotations(count: int, seed: int = 0) -> np.ndarray:
    """Rotations and reflections, uniform."""
    draws = np.random.default_rng(seed).normal(size=(count, 3, 3))
    return np.linalg.qr(draws)[0]


def rotated(crystals: Crystals, seed: int = 0) -> Crystals:
    turns = rotations(len(crystals), seed)
    return changed(crystals, lattices=crystals.lattices @ turns)


def reordered(crystals: Crystals, seed: int = 0) -> Crystals:
    """Atoms of every crystal in another order."""
    keys = np.random.default_rng(seed).random(len(crystals.species))
    order = np.lexsort((keys, crystals.owner))
    return changed(
        crystals, coordinates=crystals.coordinates[order], species=crystals.species[order]
    )


def match_by_pymatgen(
    first: Crystals, second: Crystals, tolerance: Tolerance, *, primitive: bool = False
) -> Matches:
    """What pymatgen itself finds: the reference that the array implementation is held to.

    A pair on which it raises an error does not match.
    """
    from pymatgen.analysis.structure_matcher import StructureMatcher

    matcher = StructureMatcher(
        ltol=tolerance.lengths,
        stol=tolerance.sites,
        angle_tol=tolerance.angles,
        primitive_cell=primitive,
        scale=tolerance.scaled,
    )
    rms = np.full(len(second), np.nan)
    fits = np.zeros(len(second), dtype=bool)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for place, (one, other) in enumerate(zip(first, second, strict=True)):
            pair = (to_pymatgen(one), to_pymatgen(other))
            try:
                found = matcher.get_rms_dist(*pair)
                fits[place] = matcher.fit(*pair)
            except (ValueError, np.linalg.LinAlgError):
                continue
            rms[place] = np.nan if found is None else found[0]
    return Matches(rms, fits)
