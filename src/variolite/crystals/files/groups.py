"""Groups of crystals by formula, system or prototype, and splits that keep them whole."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import nullcontext
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from variolite.crystals.crystals import Crystal, Crystals
from variolite.crystals.elements import anonymous_formulas, chemical_systems, reduced_formulas
from variolite.crystals.files.formats import import_extra
from variolite.errors import DataError, nearest
from variolite.records import Split
from variolite.training.workers import Workers

Integers = NDArray[np.int64]
Log = Callable[[str], None]

# Prototypes: which crystals share symmetry and stoichiometry.

_CHUNK = 512
SYMPREC = 0.01
"""Angstrom by which symmetry may be missed."""


def prototypes(crystals: Crystals) -> NDArray[np.str_]:
    """Return a label for stoichiometry, space group and size of the primitive cell, shape (B,).

    Cubic perovskites are ``ABC3 221 5``, whatever their cell. Different types may share a label.
    """
    columns = (anonymous_formulas(crystals), *space_groups(crystals))
    rows = zip(*(column.tolist() for column in columns), strict=True)
    return np.array([" ".join(map(str, row)) for row in rows], dtype=np.str_)


def space_groups(
    crystals: Crystals, *, symprec: float = SYMPREC, workers: int = 1, log: Log = lambda _: None
) -> tuple[Integers, Integers]:
    """Find space groups and the numbers of atoms in primitive cells with spglib, shape (B,) each.

    Symmetry may be missed by ``symprec`` angstrom. Where spglib finds none, the group is 0 and the
    number that of all atoms. Raises a DataError if spglib is not installed.
    """
    import_extra("spglib")
    starts = range(0, len(crystals), _CHUNK)
    parts = [crystals.take(slice(start, start + _CHUNK)) for start in starts]
    found: list[tuple[int, int]] = []
    with Workers(workers) if workers > 1 and len(parts) > 1 else nullcontext() as pool:
        search = partial(_search, symprec=symprec)
        for rows in map(search, parts) if pool is None else pool.map(search, parts):
            found += rows
            log(f"symmetry of {len(found):,} of {len(crystals):,}")
    groups, sizes = np.array(found, dtype=np.int64).reshape(-1, 2).T.copy()
    return groups, sizes


def _search(crystals: Crystals, symprec: float) -> list[tuple[int, int]]:
    return [
        (0, len(crystal)) if d is None else (int(d.number), len(np.unique(d.mapping_to_primitive)))
        for crystal, d in zip(crystals, symmetry_datasets(crystals, symprec), strict=True)
    ]


def symmetry_datasets(crystals: Crystals, symprec: float) -> Iterator[Any]:
    """Yield what spglib finds in each crystal within ``symprec`` angstrom, None if nothing."""
    for crystal in crystals:
        yield ask_spglib("get_symmetry_dataset", crystal, symprec=symprec)


def ask_spglib(function: str, crystal: Crystal, **options: Any) -> Any:
    """Return what a function of spglib finds in a crystal, None if nothing."""
    # spglib writes a line for every tolerance that it tries; what it finds is all we need.
    os.environ.setdefault("SPGLIB_WARNING", "OFF")
    spglib = import_extra("spglib")
    # A coordinate that is not a number brings spglib, and with it the program, down.
    if not (np.isfinite(crystal.coordinates).all() and np.isfinite(crystal.lattice).all()):
        return None
    cell = [a.tolist() for a in (crystal.lattice, crystal.coordinates, crystal.species)]
    with warnings.catch_warnings():
        # spglib announces that failures will become exceptions; both are handled here.
        warnings.simplefilter("ignore", DeprecationWarning)
        try:
            return getattr(spglib, function)(cell, **options)
        except spglib.error.SpglibError:
            return None


# Splits of crystals: by formula, by prototype, by a number such as the year, at random.

_GROUPS: Mapping[str, Callable[[Crystals], NDArray[np.str_]]] = {
    "formula": reduced_formulas,
    "system": chemical_systems,
    "prototype": prototypes,
    "random": lambda crystals: np.arange(len(crystals)).astype(np.str_),
}


def groups_by(crystals: Crystals, by: str) -> NDArray[np.str_]:
    """Return the group of every structure, shape (B,).

    ``by`` is "formula" (reduced), "system" (set of elements), "prototype" (needs spglib), "random"
    (each structure is a group), or the name of a property; anything else is a DataError.
    """
    if by in _GROUPS:
        return _GROUPS[by](crystals)
    if by not in crystals.properties:
        ways = [*_GROUPS, *crystals.properties]
        close = nearest(by, ways)
        hint = f"Did you mean {close!r}?" if close else f"There are {', '.join(ways)}"
        raise DataError(f"crystals cannot be grouped by {by!r}", hint=hint)
    values: NDArray[np.str_] = crystals.properties[by].astype(np.str_)
    return values


def split_crystals(
    crystals: Crystals,
    by: str = "formula",
    *,
    test: float = 0.1,
    validation: float = 0.1,
    seed: int = 0,
) -> dict[str, Integers]:
    """Return the places of ``train``, ``validation`` and ``test``; see `draw_split`."""
    groups = groups_by(crystals, by)
    return draw_split(groups, test=test, validation=validation, seed=seed).rows(groups)


def draw_split(
    groups: NDArray[np.str_], *, test: float = 0.1, validation: float = 0.1, seed: int = 0
) -> Split:
    """Draw groups for each part, by fractions of the *structures*, whose groups are given (B,).

    :func:`variolite.records.split_groups` counts groups; formulas and prototypes differ in size by
    a factor of a thousand. A fraction is missed by at most twice the largest group, every part
    gets one group at least, and the order of the structures does not matter. Raises a DataError
    if a fraction is impossible or there are fewer than three groups.
    """
    if not (test > 0 and validation > 0 and test + validation < 1):
        what = f"shares of {test:g} for test and {validation:g} for validation are impossible"
        raise DataError(what, hint="Give shares above 0 whose sum is below 1")
    names, sizes = np.unique(groups, return_counts=True)
    if len(names) < 3:
        hint = "Split by something with more distinct values, or at random"
        raise DataError(f"{len(names)} groups cannot be split into three parts", hint=hint)
    wanted = np.array([1.0 - test - validation, validation, test]) * sizes.sum()
    have = np.zeros(3)
    part = np.empty(len(names), dtype=np.int64)
    # In random order each group goes to the part that lacks most of what it wants, among those
    # with room for it.
    for group in np.random.default_rng(seed).permutation(len(names)):
        lacks = wanted - have
        room = lacks >= sizes[group]
        chosen = np.where(room, lacks / wanted, -np.inf) if room.any() else lacks
        part[group] = int(np.argmax(chosen))
        have[part[group]] += sizes[group]
    # An empty part gets the smallest group of the part with most groups.
    for empty in range(3):
        if not (part == empty).any():
            members = np.flatnonzero(part == np.argmax(np.bincount(part, minlength=3)))
            part[members[sizes[members].argmin()]] = empty
    train, validated, tested = (tuple(names[part == k].tolist()) for k in range(3))
    return Split(train, validated, tested, seed)


def split_by_number(
    crystals: Crystals, column: str, *, validation_from: float, test_from: float
) -> dict[str, Integers]:
    """Split by the smallest value of a property, such as the year, in each of the later parts.

    Structures without a value are in no part. Raises a DataError if there is no such property of
    numbers, or nothing is left to train on.
    """
    values = crystals.properties.get(column)
    if values is None or values.dtype.kind not in "iuf":
        numbers = [k for k, v in crystals.properties.items() if v.dtype.kind in "iuf"]
        hint = f"There are {', '.join(numbers) or 'none'}"
        raise DataError(f"there is no property {column!r} of numbers", hint=hint)
    if validation_from > test_from:
        raise DataError("validation begins after test", hint="Exchange the two thresholds")
    if not (values < validation_from).any():
        what = f"no structure has {column} below {validation_from:g}"
        raise DataError(what, hint="Choose a later threshold")
    return {
        "train": np.flatnonzero(values < validation_from),
        "validation": np.flatnonzero((values >= validation_from) & (values < test_from)),
        "test": np.flatnonzero(values >= test_from),
    }
