"""Baselines without a model: random coordinates, and element-substituted templates."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from variolite.crystals.crystals import Crystal, Crystals
from variolite.crystals.elements import ELECTRONEGATIVITIES
from variolite.errors import DataError

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

# Where Pauling gives none, the element is put at the middle of the scale.
_ELECTRONEGATIVITIES = np.nan_to_num(ELECTRONEGATIVITIES, nan=2.0)


def random_coordinates(true: Crystals, *, seed: int = 0) -> Crystals:
    """Return uniform random coordinates in the right cells, with the right types."""
    generator = np.random.default_rng(seed)
    return replace(true, coordinates=generator.random(true.coordinates.shape), properties={})


def fixed_template(true: Crystals, training: Crystals, *, seed: int = 0) -> Crystals:
    """Return one training crystal with the right elements put in, for all crystals.

    It is drawn among those of the commonest number of atoms. Crystals with another number of atoms
    get random coordinates in a cell of its shape and volume per atom.
    """
    _require_templates(training)
    generator = np.random.default_rng(seed)
    common = np.bincount(training.counts).argmax()
    template = training[int(generator.choice(np.flatnonzero(training.counts == common)))]
    return Crystals.of(_substituted(crystal, template, generator) for crystal in true)


def nearest_template(
    true: Crystals, training: Crystals, *, seed: int = 0, rank: int = 0
) -> Crystals:
    """Return for each crystal the substituted training crystal of the most similar composition.

    Candidates have the same number of atoms and the same numbers of atoms per element,
    whichever the elements; without any of those, the nearest number of atoms, and if that is
    another one the coordinates are random. Nearest is the one with the least sum over atoms of
    the difference of electronegativities, drawn among equally near ones; ``rank`` 1 is the second
    nearest and so on, up to the last candidate.
    """
    _require_templates(training)
    if rank < 0:
        raise DataError(f"there is no template of rank {rank}", where="baselines")
    generator = np.random.default_rng(seed)
    by_pattern: dict[tuple[int, ...], list[int]] = {}
    for place, crystal in enumerate(training):
        by_pattern.setdefault(_pattern(crystal.species), []).append(place)
    # Electronegativities of all atoms in the order in which those of two crystals correspond.
    ranked = np.concatenate([_ranked(crystal.species) for crystal in training])
    tie_break = generator.random(len(training)) * 1e-6
    found = []
    for crystal in true:
        candidates = np.array(by_pattern.get(_pattern(crystal.species), []), dtype=np.int64)
        if not len(candidates):
            distance = np.abs(training.counts - len(crystal))
            candidates = np.flatnonzero(distance == distance.min())
        far = tie_break[candidates]
        if training.counts[candidates[0]] == len(crystal):
            atoms = training.offsets[candidates][:, None] + np.arange(len(crystal))
            far = np.abs(ranked[atoms] - _ranked(crystal.species)).sum(axis=1) + far
        chosen = np.argsort(far, kind="stable")[min(rank, len(far) - 1)]
        template = training[int(candidates[chosen])]
        found.append(_substituted(crystal, template, generator))
    return Crystals.of(found)


def _require_templates(training: Crystals) -> None:
    if not len(training):
        raise DataError("there is no training crystal to take as a template", where="baselines")


def _pattern(species: NDArray[np.uint8]) -> tuple[int, ...]:
    """Return the numbers of atoms per element, ascending."""
    return tuple(sorted(np.unique(species, return_counts=True)[1].tolist()))


def _ranking(species: NDArray[np.uint8]) -> Integers:
    """Return the order of the atoms by size of their group, electronegativity, atomic number."""
    _, place, sizes = np.unique(species, return_inverse=True, return_counts=True)
    return np.lexsort((species, _ELECTRONEGATIVITIES[species], sizes[place]))


def _ranked(species: NDArray[np.uint8]) -> Floats:
    ranked: Floats = _ELECTRONEGATIVITIES[species][_ranking(species)]
    return ranked


def _substituted(crystal: Crystal, template: Crystal, generator: np.random.Generator) -> Crystal:
    """Return the template with the elements of a crystal, in the order of its atoms."""
    count = len(crystal)
    if len(template) == count:
        coordinates = np.empty((count, 3))
        coordinates[_ranking(crystal.species)] = template.coordinates[_ranking(template.species)]
        lattice = template.lattice
    else:
        coordinates = generator.random((count, 3))
        lattice = template.lattice * (count / len(template)) ** (1 / 3)
    return Crystal(crystal.species, coordinates, lattice, crystal.name)
