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
    """Uniform random coordinates in the right cells, with the right types."""
    generator = np.random.default_rng(seed)
    return replace(true, coordinates=generator.random(true.coordinates.shape), properties={})


def fixed_template(true: Crystals, training: Crystals, *, seed: int = 0) -> Crystals:
    """One training crystal, drawn at random, with the right elements put in, for all crystals.

    Parameters
    ----------
    true
        The crystals to reconstruct; only their types are used.
    training
        Training crystals.
    seed
        Seed of the draw, among training crystals of the commonest number of atoms.

    Raises
    ------
    DataError
        If there is no training crystal.

    Notes
    -----
    Crystals with another number of atoms get random coordinates in a cell of the
    template's shape and volume per atom.
    """
    _require_templates(training)
    generator = np.random.default_rng(seed)
    common = np.bincount(training.counts).argmax()
    template = training[int(generator.choice(np.flatnonzero(training.counts == common)))]
    return Crystals.of(_substituted(crystal, template, generator) for crystal in true)


def nearest_template(
    true: Crystals, training: Crystals, *, seed: int = 0, rank: int = 0
) -> Crystals:
    """For each crystal the element-substituted template of the most similar composition.

    Parameters
    ----------
    true
        The crystals to reconstruct; only their types are used.
    training
        Training crystals.
    seed
        Seed of the draw among equally near ones.
    rank
        0 for the nearest, 1 for the second nearest and so on; the last candidate where
        there are fewer.

    Raises
    ------
    DataError
        If there is no training crystal, or the rank is negative.

    Notes
    -----
    Candidates have the same number of atoms and the same numbers of atoms per element,
    whichever the elements; without any, the same number of atoms; without any of those, the
    nearest number of atoms, whose coordinates are then random. Nearest is the one with
    the least sum over atoms of the difference of electronegativities.
    """
    _require_templates(training)
    if rank < 0:
        raise DataError(f"there is no template of rank {rank}", where="baselines")
    generator = np.random.default_rng(seed)
    by_pattern: dict[tuple[int, ...], list[int]] = {}
    for place, crystal in enumerate(training):
        by_pattern.setdefault(_pattern(crystal.species), []).append(place)
    ranked = np.concatenate(
        [_ELECTRONEGATIVITIES[c.species][_ranking(c.species)] for c in training]
    )
    tie_break = generator.random(len(training)) * 1e-6
    found = []
    for crystal in true:
        candidates = np.array(by_pattern.get(_pattern(crystal.species), []), dtype=np.int64)
        if not len(candidates):
            distance = np.abs(training.counts - len(crystal))
            candidates = np.flatnonzero(distance == distance.min())
        if training.counts[candidates[0]] == len(crystal):
            atoms = training.offsets[candidates][:, None] + np.arange(len(crystal))
            wanted = _ELECTRONEGATIVITIES[crystal.species][_ranking(crystal.species)]
            far = np.abs(ranked[atoms] - wanted).sum(axis=1) + tie_break[candidates]
        else:
            far = tie_break[candidates]
        chosen = np.argsort(far, kind="stable")[min(rank, len(far) - 1)]
        template = training[int(candidates[chosen])]
        found.append(_substituted(crystal, template, generator))
    return Crystals.of(found)


def _require_templates(training: Crystals) -> None:
    if not len(training):
        raise DataError("there is no training crystal to take as a template", where="baselines")


def _pattern(species: NDArray[np.uint8]) -> tuple[int, ...]:
    """Numbers of atoms per element, ascending."""
    return tuple(sorted(np.unique(species, return_counts=True)[1].tolist()))


def _ranking(species: NDArray[np.uint8]) -> Integers:
    """Order of the atoms by size of their group, electronegativity and atomic number."""
    _, place, sizes = np.unique(species, return_inverse=True, return_counts=True)
    return np.lexsort((species, _ELECTRONEGATIVITIES[species], sizes[place]))


def _substituted(crystal: Crystal, template: Crystal, generator: np.random.Generator) -> Crystal:
    """The template with the elements of a crystal, in the order of its atoms."""
    count = len(crystal)
    if len(template) == count:
        coordinates = np.empty((count, 3))
        coordinates[_ranking(crystal.species)] = template.coordinates[_ranking(template.species)]
        lattice = template.lattice
    else:
        coordinates = generator.random((count, 3))
        lattice = template.lattice * (count / len(template)) ** (1 / 3)
    return Crystal(crystal.species, coordinates, lattice, crystal.name)
