"""Checks of many structures at once: cells, counts, volumes, distances."""

from __future__ import annotations

import gemmi
import numpy as np
from numpy.typing import NDArray

from variolite.crystals.structures.cells import cell_heights, cell_parameters
from variolite.crystals.structures.elements import SYMBOLS
from variolite.crystals.structures.parsed import Parsed
from variolite.crystals.structures.rejection import Limits

__all__ = ["close_pairs", "faults"]

Floats = NDArray[np.float64]
_PAIRS = 1_000_000
_SAME_PLACE = 0.1


def faults(parsed: Parsed, limits: Limits) -> dict[int, tuple[str, str]]:
    """Return what is wrong with structures, by place: reason code and detail.

    Parameters
    ----------
    parsed
        The structures.
    limits
        Bounds to hold them against.
    """
    lattices, counts = parsed.lattices, parsed.counts
    starts = np.concatenate([[0], np.cumsum(counts)])
    found: dict[int, tuple[str, str]] = {}

    def mark(wrong: NDArray[np.bool_], code: str, details: NDArray[np.float64], form: str) -> None:
        for place in np.flatnonzero(wrong).tolist():
            found.setdefault(place, (code, form.format(details[place])))

    lengths = cell_parameters(lattices)[:, :3]
    low, high = limits.lengths
    finite = np.isfinite(lattices).all(axis=(1, 2))
    mark(~finite, "bad_cell", lengths[:, 0], "the angles enclose no cell, or a value is no number")
    with np.errstate(invalid="ignore", over="ignore", divide="ignore"):
        outside = np.where((lengths < low) | (lengths > high), lengths, np.nan)
        worst = np.where(np.isnan(outside).all(axis=1), 0.0, np.nanmax(np.nan_to_num(outside), 1))
        mark(
            finite & (worst != 0), "bad_cell", worst, f"length {{:.4g}} A, not {low:g} to {high:g}"
        )
        mark(counts == 0, "no_atoms", lengths[:, 0], "")
        bad = np.bincount(
            np.repeat(np.arange(len(counts)), counts)[~np.isfinite(parsed.coordinates).all(axis=1)],
            minlength=len(counts),
        )
        mark(bad > 0, "bad_coordinates", bad.astype(float), "{:.0f} atoms")
        mark(
            counts > limits.max_atoms,
            "too_many_atoms",
            counts.astype(float),
            f"{{:.0f}} atoms, the limit is {limits.max_atoms}",
        )
        per_atom = np.abs(np.linalg.det(np.nan_to_num(lattices))) / np.maximum(counts, 1)
        low, high = limits.volume_per_atom
        mark(
            (per_atom < low) | (per_atom > high),
            "volume_per_atom",
            per_atom,
            f"{{:.4g}} A^3, not {low:g} to {high:g}",
        )
    sound = np.array([place not in found for place in range(len(counts))], dtype=bool)
    pairs, distances = close_pairs(
        parsed.coordinates, lattices, starts, np.flatnonzero(sound), limits.min_distance
    )
    for (place, i, j), distance in zip(pairs.tolist(), distances.tolist(), strict=True):
        first, second = (SYMBOLS[parsed.species[starts[place] + k]] for k in (i, j))
        same = first == second and i != j and distance < _SAME_PLACE
        code = "duplicate_atoms" if same else "overlapping_atoms"
        found[place] = (code, f"{first} and {second} are {distance:.3f} A apart")
    return found


def close_pairs(
    coordinates: Floats,
    lattices: Floats,
    offsets: NDArray[np.int64],
    chosen: NDArray[np.int64],
    within: float,
) -> tuple[NDArray[np.int64], Floats]:
    """Find two atoms closer than ``within``, periodic images included, in each structure.

    Exact for every cell: where the distance between opposite faces is at least twice
    ``within``, only the image with wrapped coordinates can be that close; other cells are
    reduced first and all 27 images are tried.

    Parameters
    ----------
    coordinates, lattices, offsets
        As in :class:`~variolite.crystals.structures.Crystals`.
    chosen
        Places of the structures to look at.
    within
        Distance in Angstrom.

    Returns
    -------
    pairs
        Structure and its two atoms, shape (m, 3): the closest pair of each structure that
        has one; the same atom twice where it meets its own image.
    distances
        In Angstrom, shape (m,).
    """
    heights = cell_heights(lattices[chosen])
    roomy = (heights >= 2 * within).all(axis=1)
    best: dict[int, tuple[float, int, int]] = {}
    counts = np.diff(offsets)[chosen]
    for count in np.unique(counts[roomy]).tolist():
        members = np.flatnonzero(roomy & (counts == count))
        if count < 2:
            continue
        first, second = np.triu_indices(count, 1)
        step = max(1, _PAIRS // len(first))
        for start in range(0, len(members), step):
            part = members[start : start + step]
            places = chosen[part]
            atoms = coordinates[offsets[places][:, None] + np.arange(count)]
            reach = within / heights[part]
            _search(best, places, atoms, first, second, reach, lattices[places], within)
    for place in chosen[~roomy].tolist():
        span = slice(offsets[place], offsets[place + 1])
        _search_images(best, place, coordinates[span], lattices[place], within)
    pairs = np.array([(place, i, j) for place, (_, i, j) in best.items()], dtype=np.int64)
    distances = np.array([distance for distance, _, _ in best.values()], dtype=np.float64)
    return pairs.reshape(-1, 3), distances


def _search(
    best: dict[int, tuple[float, int, int]],
    places: NDArray[np.int64],
    atoms: Floats,
    first: NDArray[np.int64],
    second: NDArray[np.int64],
    reach: Floats,
    lattices: Floats,
    within: float,
) -> None:
    """Look at structures of equal size; ``reach`` bounds each component of a short vector."""
    component = atoms[:, first, 0] - atoms[:, second, 0]
    component -= np.rint(component)
    row, pair = np.nonzero(np.abs(component) < reach[:, :1])
    for axis in (1, 2):
        component = atoms[row, first[pair], axis] - atoms[row, second[pair], axis]
        component -= np.rint(component)
        near = np.abs(component) < reach[row, axis]
        row, pair = row[near], pair[near]
    if not len(row):
        return
    vector = atoms[row, first[pair]] - atoms[row, second[pair]]
    vector -= np.rint(vector)
    distance = np.linalg.norm(np.einsum("mi,mij->mj", vector, lattices[row]), axis=1)
    for k in np.argsort(-distance[distance < within], kind="stable"):
        index = np.flatnonzero(distance < within)[k]
        place = int(places[row[index]])
        best[place] = (float(distance[index]), int(first[pair[index]]), int(second[pair[index]]))


def _search_images(
    best: dict[int, tuple[float, int, int]],
    place: int,
    atoms: Floats,
    lattice: Floats,
    within: float,
) -> None:
    """Look at one structure in a flat or skewed cell."""
    cell = gemmi.UnitCell(*cell_parameters(lattice)[0])
    vector = gemmi.GruberVector(cell, "P", True)
    vector.niggli_reduce()
    basis = np.array(vector.change_of_basis.rot, dtype=np.float64) / gemmi.Op.DEN
    reduced = basis.T @ lattice
    moved = atoms @ np.linalg.inv(basis.T)
    images = np.stack(np.meshgrid(*[[-1.0, 0.0, 1.0]] * 3, indexing="ij"), axis=-1).reshape(-1, 3)
    shifts = images @ reduced
    for i in range(len(moved)):
        difference = moved[i:] - moved[i]
        difference -= np.rint(difference)
        distance = np.linalg.norm((difference @ reduced)[:, None] + shifts, axis=-1)
        distance[0, 13] = np.inf
        nearest = distance.min(axis=1)
        j = int(nearest.argmin())
        if nearest[j] < within and nearest[j] < best.get(place, (np.inf, 0, 0))[0]:
            best[place] = (float(nearest[j]), i, i + j)
