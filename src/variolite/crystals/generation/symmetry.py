"""Crystals moved onto the symmetry that they nearly have.

Decoded atoms are a little out of place, so that a crystal which is plainly cubic has
no symmetry by the letter. The operations come from the tables of the space group that
spglib finds, carried over to the given cell, and not from the atoms: they form a
group exactly, and the mean over a group is invariant under it. (The positions that spglib
itself idealises are not always: disturbed by 0.01 Angstrom, nickeline stays in group 12.)
"""

from __future__ import annotations

import warnings
from dataclasses import replace
from itertools import product
from typing import Any

import numpy as np
from numpy.typing import NDArray

from variolite.crystals.crystals import Crystal, Crystals
from variolite.crystals.files.formats import import_extra
from variolite.crystals.files.groups import symmetry_datasets
from variolite.crystals.periodic import has_cell
from variolite.errors import DataError

Floats = NDArray[np.float64]

_STEPS = np.array(list(product(range(-3, 4), repeat=3)), dtype=np.float64)


def symmetrised(crystals: Crystals, precision: float) -> Crystals:
    """Return crystals with exact symmetry, wherever spglib finds any within a tolerance.

    Numbers and order of atoms stay, and crystals without a cell; a changed cell comes in
    standard orientation.

    Parameters
    ----------
    crystals
        B structures.
    precision
        Distance in Angstrom by which symmetry may be missed.

    Raises
    ------
    DataError
        If spglib is not installed, or the precision is not positive.
    """
    if not precision > 0.0:
        raise DataError(
            f"a precision of {precision} Angstrom is not positive",
            where="symmetry",
            hint="give 0.1 or 0.3, for instance",
        )
    sound = np.flatnonzero(has_cell(crystals))
    made = list(crystals)
    found = symmetry_datasets(crystals.take(sound), precision)
    for place, dataset in zip(sound.tolist(), found, strict=True):
        made[place] = _symmetrised(made[place], dataset)
    return replace(Crystals.of(made), properties=crystals.properties) if made else crystals


def _symmetrised(crystal: Crystal, dataset: Any) -> Crystal:
    if dataset is None or dataset.number == 1:
        return crystal
    operations = _operations(dataset)
    if operations is None:
        return crystal
    rotations, translations = operations
    metric = crystal.lattice @ crystal.lattice.T
    positions = _mean_positions(crystal, metric, rotations, translations)
    if positions is None:
        return crystal
    mean = np.einsum("oji,jk,okl->il", rotations, metric, rotations) / len(rotations)
    return Crystal(crystal.species, positions % 1.0, np.linalg.cholesky(mean), crystal.name)


def _operations(dataset: Any) -> tuple[Floats, Floats] | None:
    """Rotations (O, 3, 3) and translations (O, 3) of column vectors in the given cell.

    With x' = P x + p in the standard cell and x' -> R x' + t there, the given cell has
    x -> (P^-1 R P) x + P^-1 (R p + t - p), and the translations of the standard lattice.
    """
    with warnings.catch_warnings():
        # spglib announces that failures will become exceptions; a group it found has a table.
        warnings.simplefilter("ignore", DeprecationWarning)
        table = import_extra("spglib").get_symmetry_from_database(dataset.hall_number)
    change, shift = np.asarray(dataset.transformation_matrix), np.asarray(dataset.origin_shift)
    back = np.linalg.inv(change)
    rotations = back @ table["rotations"] @ change
    whole = np.rint(rotations)
    if np.abs(rotations - whole).max() > 1e-4:
        return None
    translations = (table["rotations"] @ shift + table["translations"] - shift) @ back.T
    # Where the given cell is larger than the standard one, the steps between its copies count too.
    lattice = _distinct((_STEPS @ back.T) % 1.0)
    both = (translations[:, None] + lattice) % 1.0
    return np.repeat(whole, len(lattice), axis=0), both.reshape(-1, 3)


def _distinct(translations: Floats) -> Floats:
    """Translations that differ by more than rounding, those near 1 counted as 0."""
    rounded = np.round(translations, 4) % 1.0
    _, first = np.unique(rounded, axis=0, return_index=True)
    return translations[np.sort(first)]


def _mean_positions(
    crystal: Crystal, metric: Floats, rotations: Floats, translations: Floats
) -> Floats | None:
    """Mean over the images of every atom; None where an operation is no permutation."""
    x = crystal.coordinates
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
            return None
        sums[partner] += x[partner] + apart[np.arange(len(x)), partner]
    return np.asarray(sums / len(rotations))
