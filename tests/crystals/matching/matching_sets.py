"""Sets of crystals for the tests of matching."""

from dataclasses import replace

import numpy as np

from variolite.crystals.files.reading import load_crystals
from variolite.crystals.files.textbook import textbook_crystals

DATA = {"perov_5": "test", "carbon_24": "htl_val", "mp_20": "train_head", "mpts_52": "val"}


def textbook(most=12):
    crystals = textbook_crystals()
    return crystals.take(crystals.counts <= most)


def some_rows(shared, name, count, seed=0):
    """Rows of a file of real data, drawn at random."""
    path = shared / "crystals" / name / f"{DATA[name]}.csv.gz"
    crystals = load_crystals(path, properties=False)
    chosen = np.random.default_rng(seed).choice(len(crystals), count, replace=False)
    return crystals.take(chosen)


def noisy(crystals, angstrom, seed=0):
    """Every coordinate moved by a normal displacement of the given deviation."""
    draws = np.random.default_rng(seed).normal(size=crystals.coordinates.shape) * angstrom
    inverse = np.linalg.inv(crystals.lattices)[crystals.owner]
    moved = crystals.coordinates + np.einsum("ni,nij->nj", draws, inverse)
    return replace(crystals, coordinates=moved)


def strained(crystals, amount, seed=0):
    draws = np.random.default_rng(seed).normal(size=crystals.lattices.shape) * amount
    return replace(crystals, lattices=crystals.lattices @ (np.eye(3) + draws))


def unimodular(seed, steps=4):
    """A random integer matrix of determinant 1."""
    draw = np.random.default_rng(seed)
    change = np.eye(3, dtype=np.int64)
    for _ in range(steps):
        row, other = draw.choice(3, 2, replace=False)
        change[row] += draw.choice([-1, 1]) * change[other]
    return change


def rebased(crystals, seed=0):
    """The same crystals in other cells."""
    changes = np.array([unimodular(seed + i) for i in range(len(crystals))])
    inverse = np.rint(np.linalg.inv(changes))
    coordinates = np.einsum("ni,nij->nj", crystals.coordinates, inverse[crystals.owner])
    return replace(crystals, coordinates=coordinates, lattices=changes @ crystals.lattices)


def rotated(crystals):
    """Turned or mirrored, uniformly."""
    turns = np.linalg.qr(np.random.default_rng(0).normal(size=crystals.lattices.shape))[0]
    return replace(crystals, lattices=crystals.lattices @ turns)
