"""Crystals for the tests of this folder, and ways of writing the same crystal differently."""

from dataclasses import replace

import numpy as np

from variolite.crystals import Crystal, Crystals, textbook_crystals

TEXTBOOK = textbook_crystals()
NAMES = TEXTBOOK.names.tolist()


def rewritten(crystal, seed, *, cells=1):
    """The same crystal: another cell, origin, orientation and order of atoms."""
    rng = np.random.default_rng(seed)
    repeat = np.array([np.eye(3, dtype=int), np.diag([1, 2, 1]), np.diag([2, 2, 1])][cells - 1])
    shift = np.argwhere(np.ones(np.diag(repeat), dtype=bool))
    coordinates = (crystal.coordinates[None] + shift[:, None]).reshape(-1, 3) / np.diag(repeat)
    species = np.tile(crystal.species, len(shift))
    shear = np.eye(3)
    for _ in range(3):
        i, j = rng.permutation(3)[:2]
        shear[i] += rng.integers(-2, 3) * shear[j]
    coordinates = coordinates @ np.rint(np.linalg.inv(shear)) + rng.random(3)
    turn, _ = np.linalg.qr(rng.normal(size=(3, 3)))
    order = rng.permutation(len(species))
    lattice = shear @ repeat @ crystal.lattice @ turn
    return Crystal(species[order], coordinates[order] % 1.0, lattice, f"{crystal.name}*")


def shaken(crystal, seed, size):
    """The crystal with every atom moved by about ``size`` Angstrom."""
    moves = np.random.default_rng(seed).normal(size=(len(crystal), 3)) * size / np.sqrt(3)
    moved = crystal.coordinates + moves @ np.linalg.inv(crystal.lattice)
    return replace(crystal, coordinates=moved % 1.0)


def shaken_textbook(size):
    return Crystals.of([shaken(crystal, seed, size) for seed, crystal in enumerate(TEXTBOOK)])


def cubic(a, species, coordinates, name=""):
    places = np.array(coordinates, dtype=np.float64).reshape(-1, 3)
    return Crystal(np.array(species, dtype=np.uint8), places, a * np.eye(3), name)


def random_compositions(count, seed, most=4):
    """Crystals without sense, of random elements: their compositions alone matter."""
    rng = np.random.default_rng(seed)
    found = []
    for place in range(count):
        elements = rng.choice(np.arange(1, 95), size=rng.integers(1, most + 1), replace=False)
        species = np.repeat(elements, rng.integers(1, 7, size=len(elements)))
        coordinates = rng.random((len(species), 3))
        found.append(cubic(9.0, species.tolist(), coordinates.tolist(), str(place)))
    return Crystals.of(found)


def broken():
    """Crystals of which some cannot be measured, and which can."""
    good = cubic(4.0, [11, 17], [[0, 0, 0], [0.5, 0.5, 0.5]], "good")
    bad = [
        replace(good, lattice=np.diag([4.0, 4.0, 0.0]), name="flat"),
        replace(good, coordinates=good.coordinates * np.nan, name="lost"),
        replace(good, lattice=np.diag([4.0, np.inf, 4.0]), name="endless"),
        Crystal(good.species[:0], good.coordinates[:0], good.lattice, "empty"),
        replace(good, lattice=np.array([[4.0, 0, 0], [4.0, 1e-9, 0], [0, 0, 4.0]]), name="sheet"),
    ]
    return Crystals.of([good, *bad]), np.array([True, False, False, False, False, False])
