"""Crystals moved onto the symmetry that they nearly have.

Decoded atoms are a little out of place, so that a crystal which is plainly cubic has no symmetry by
the letter. The operations come from the tables of the space group that spglib finds, carried over
to the given cell, and not from the atoms: they form a group exactly, and the mean over a group is
invariant under it. `ase.spacegroup.symmetrize.refine_symmetry` finds the same groups in three times
the time (``benchmarks/results/crystal_symmetrise.md``).
"""

from __future__ import annotations

import warnings
from itertools import product
from typing import Any

import numpy as np

from variolite.crystals.crystals import Crystal, Crystals
from variolite.crystals.files.formats import import_extra
from variolite.crystals.files.groups import symmetry_datasets
from variolite.crystals.generation.conditions import Floats, Integers
from variolite.crystals.geometry.periodic import has_cell
from variolite.errors import DataError

_STEPS = np.array(list(product(range(-3, 4), repeat=3)), dtype=np.float64)


def symmetrised(crystals: Crystals, precision: float) -> tuple[Crystals, Integers]:
    """Make symmetry exact that spglib finds within ``precision`` Angstrom.

    Returns the crystals and the numbers of their space groups, 0 where there is none, (B,). Numbers
    and order of atoms stay, and crystals without a cell; a changed cell comes in standard
    orientation. Raises `DataError` if spglib is missing, or the precision not positive.
    """
    if not precision > 0.0:
        raise DataError(
            f"a precision of {precision} Angstrom is not positive",
            where="symmetry",
            hint="give 0.1 or 0.3, for instance",
        )
    sound = np.flatnonzero(has_cell(crystals))
    made, groups = list(crystals), np.zeros(len(crystals), dtype=np.int64)
    found = symmetry_datasets(crystals.take(sound), precision)
    for place, dataset in zip(sound.tolist(), found, strict=True):
        if dataset is not None:
            groups[place] = dataset.number
            if dataset.number > 1:
                made[place] = _symmetrised(made[place], *_operations(dataset))
    return Crystals.of(made), groups


def _operations(dataset: Any) -> tuple[Floats, Floats]:
    """Rotations (O, 3, 3) and translations (O, 3) of column vectors in the given cell.

    With x' = P x + p in the standard cell and x' -> R x' + t there, the given cell has
    x -> (P^-1 R P) x + P^-1 (R p + t - p), and the translations of the standard lattice.
    There are none where the given cell is not invariant under the rotations.
    """
    with warnings.catch_warnings():
        # spglib announces that failures will become exceptions; a group it found has a table.
        warnings.simplefilter("ignore", DeprecationWarning)
        table = import_extra("spglib").get_symmetry_from_database(dataset.hall_number)
    change, shift = np.asarray(dataset.transformation_matrix), np.asarray(dataset.origin_shift)
    back = np.linalg.inv(change)
    rotations = back @ table["rotations"] @ change
    # In any cell of the crystal a rotation is a matrix of whole numbers.
    whole = np.rint(rotations)
    if np.abs(rotations - whole).max() > 1e-4:
        return np.empty((0, 3, 3)), np.empty((0, 3))
    translations = (table["rotations"] @ shift + table["translations"] - shift) @ back.T
    # Where the given cell is larger than the standard one, the steps between its copies count
    # too; those that differ by rounding are one, and those near 1 count as 0.
    steps = (_STEPS @ back.T) % 1.0
    _, first = np.unique(np.round(steps, 4) % 1.0, axis=0, return_index=True)
    lattice = steps[np.sort(first)]
    both = (translations[:, None] + lattice) % 1.0
    return np.repeat(whole, len(lattice), axis=0), both.reshape(-1, 3)


def _symmetrised(crystal: Crystal, rotations: Floats, translations: Floats) -> Crystal:
    """Average atoms and metric over all images; a crystal with an impossible image stays."""
    x, metric = crystal.coordinates, crystal.lattice @ crystal.lattice.T
    other = crystal.species[:, None] != crystal.species
    sums = np.zeros_like(x)
    for rotation, translation in zip(rotations, translations, strict=True):
        # Each image belongs to the nearest atom of its element, along the shorter way round.
        image = x @ rotation.T + translation
        apart = image[:, None] - x
        apart -= np.rint(apart)
        distance = np.einsum("ijk,kl,ijl->ij", apart, metric, apart)
        distance[other] = np.inf
        partner = distance.argmin(axis=1)
        if len(np.unique(partner)) < len(partner):
            return crystal
        sums[partner] += x[partner] + apart[np.arange(len(x)), partner]
    if not len(rotations):
        return crystal
    # The metric G of the mean cell is invariant, R^T G R = G; its Cholesky factor is a cell of it.
    mean = np.einsum("oji,jk,okl->il", rotations, metric, rotations) / len(rotations)
    positions = sums / len(rotations) % 1.0
    return Crystal(crystal.species, positions, np.linalg.cholesky(mean), crystal.name)
