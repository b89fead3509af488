"""Checks of many structures at once: cells, coordinates, sizes, volumes, distances."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from variolite.crystals.structures.cells import cell_parameters
from variolite.crystals.structures.crystals import Crystals
from variolite.crystals.structures.distances import close_pairs
from variolite.crystals.structures.elements import SYMBOLS
from variolite.crystals.structures.parsed import Parsed
from variolite.crystals.structures.rejection import Limits

__all__ = ["faults"]

Floats = NDArray[np.float64]
Fault = tuple[str, str]
Structures = Parsed | Crystals

_SAME_PLACE = 0.1
_FARTHEST = 1000.0
_FLATTEST = 1e-6


def faults(structures: Structures, limits: Limits) -> dict[int, Fault]:
    """Return what is wrong with structures: reason code and detail, by place.

    Parameters
    ----------
    structures
        What was parsed, or a set.
    limits
        Bounds to hold them against.
    """
    found: dict[int, Fault] = {}
    # Whatever a file may hold is computed with; what comes out is looked at, not warned of.
    with np.errstate(all="ignore"):
        _check_cells(structures, limits, found)
        _check_atoms(structures, limits, found)
        _check_volumes(structures, limits, found)
        _check_distances(structures, limits, found)
    return found


def _mark(
    found: dict[int, Fault], wrong: NDArray[np.bool_], code: str, details: NDArray[np.str_]
) -> None:
    for place, detail in zip(np.flatnonzero(wrong).tolist(), details.tolist(), strict=True):
        found.setdefault(place, (code, detail))


def _spelled(form: str, values: NDArray[np.generic]) -> NDArray[np.str_]:
    return np.array([form.format(value) for value in values.tolist()], dtype=np.str_)


def _check_cells(parsed: Structures, limits: Limits, found: dict[int, Fault]) -> None:
    lengths = cell_parameters(parsed.lattices)[:, :3]
    low, high = limits.lengths
    outside = (lengths < low) | (lengths > high)
    wrong = np.asarray(outside.any(axis=1))
    worst = lengths[wrong, outside[wrong].argmax(axis=1)]
    _mark(found, wrong, "bad_cell", _spelled(f"length {{:.4g}} A, not {low:g} to {high:g}", worst))
    spanned = np.abs(np.linalg.det(parsed.lattices)) > _FLATTEST * lengths.prod(axis=1)
    finite = np.isfinite(parsed.lattices).all(axis=(1, 2))
    wrong = ~(finite & spanned)
    _mark(found, wrong, "bad_cell", np.full(wrong.sum(), "the vectors or angles span no volume"))


def _check_atoms(parsed: Structures, limits: Limits, found: dict[int, Fault]) -> None:
    wrong = np.asarray(parsed.counts == 0)
    _mark(found, wrong, "no_atoms", np.full(wrong.sum(), ""))
    owner = np.repeat(np.arange(len(parsed.counts)), parsed.counts)
    # Beyond a thousand cells it is a Cartesian coordinate, or has lost its digits.
    usable = (np.abs(parsed.coordinates) < _FARTHEST).all(axis=1)
    unusable = np.bincount(owner[~usable], minlength=len(parsed.counts))
    wrong = unusable > 0
    _mark(found, wrong, "bad_coordinates", _spelled("of {} atoms", unusable[wrong]))
    wrong = parsed.counts > limits.max_atoms
    form = f"{{}}, the limit is {limits.max_atoms}"
    _mark(found, wrong, "too_many_atoms", _spelled(form, parsed.counts[wrong]))


def _check_volumes(parsed: Structures, limits: Limits, found: dict[int, Fault]) -> None:
    per_atom = np.abs(np.linalg.det(parsed.lattices)) / np.maximum(parsed.counts, 1)
    low, high = limits.volume_per_atom
    wrong = (per_atom < low) | (per_atom > high)
    form = f"{{:.4g}} A^3, not {low:g} to {high:g}"
    _mark(found, wrong, "volume_per_atom", _spelled(form, per_atom[wrong]))


def _check_distances(parsed: Structures, limits: Limits, found: dict[int, Fault]) -> None:
    offsets = np.concatenate([[0], np.cumsum(parsed.counts)]).astype(np.int64)
    sound = np.ones(len(parsed.counts), dtype=bool)
    sound[list(found)] = False
    pairs = close_pairs(
        parsed.coordinates, parsed.lattices, offsets, np.flatnonzero(sound), limits.min_distance
    )
    for place, first, second, distance in zip(
        pairs.structure.tolist(),
        pairs.first.tolist(),
        pairs.second.tolist(),
        pairs.distance.tolist(),
        strict=True,
    ):
        one, two = (SYMBOLS[parsed.species[offsets[place] + atom]] for atom in (first, second))
        same = one == two and first != second and distance < _SAME_PLACE
        code = "duplicate_atoms" if same else "overlapping_atoms"
        found[place] = (code, f"{one} and {two} are {distance:.3f} A apart")
