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

from variolite.crystals.crystals import Crystals
from variolite.crystals.elements import anonymous_formulas, chemical_systems, reduced_formulas
from variolite.crystals.files.formats import import_extra
from variolite.errors import DataError, nearest
from variolite.records import Split
from variolite.training.workers import Workers

# Prototypes: which crystals share symmetry and stoichiometry.


UNKNOWN_GROUP = 0
"""Space group of a structure whose symmetry cannot be found."""

_CHUNK = 512


def prototypes(
    crystals: Crystals,
    *,
    symprec: float = 0.01,
    workers: int = 1,
    log: Callable[[str], None] = lambda _: None,
) -> NDArray[np.str_]:
    """Return a label for stoichiometry, space group and size of the primitive cell.

    Crystals of one structure type have one label, such as ``ABC3 221 5`` for cubic
    perovskites, whatever cell they are given in. Different types may share a label.

    Parameters
    ----------
    crystals
        The structures.
    symprec, workers, log
        See :func:`space_groups`.

    Returns
    -------
    ndarray of str, shape (B,)

    Raises
    ------
    DataError
        If spglib is not installed.
    """
    groups, sizes = space_groups(crystals, symprec=symprec, workers=workers, log=log)
    formulas = anonymous_formulas(crystals)
    labels = [
        f"{formula} {group} {size}"
        for formula, group, size in zip(
            formulas.tolist(), groups.tolist(), sizes.tolist(), strict=True
        )
    ]
    return np.array(labels, dtype=np.str_)


def space_groups(
    crystals: Crystals,
    *,
    symprec: float = 0.01,
    workers: int = 1,
    log: Callable[[str], None] = lambda _: None,
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Find the space group and the number of atoms in the primitive cell with spglib.

    Parameters
    ----------
    crystals
        The structures.
    symprec
        Distance in Angstrom by which symmetry may be missed.
    workers
        Processes; more than one needs the guard ``if __name__ == "__main__"`` in a script.
    log
        Called with the state of progress.

    Returns
    -------
    groups
        Numbers 1 to 230, or 0 where spglib finds none, shape (B,).
    sizes
        Atoms in the primitive cell, all atoms where spglib finds none, shape (B,).

    Raises
    ------
    DataError
        If spglib is not installed.
    """
    import_extra("spglib")
    starts = range(0, len(crystals), _CHUNK)
    parts = [crystals.take(slice(start, start + _CHUNK)) for start in starts]
    several = workers > 1 and len(parts) > 1
    found = []
    with Workers(workers) if several else nullcontext() as pool:
        search = partial(_search, symprec=symprec)
        for answer in pool.map(search, parts) if pool is not None else map(search, parts):
            found.append(answer)
            done = min(len(found) * _CHUNK, len(crystals))
            log(f"symmetry of {done:,} of {len(crystals):,}")
    groups, sizes = ([number for part in found for number in part[k]] for k in (0, 1))
    return np.array(groups, dtype=np.int64), np.array(sizes, dtype=np.int64)


def _search(crystals: Crystals, symprec: float) -> tuple[list[int], list[int]]:
    found = list(symmetry_datasets(crystals, symprec))
    groups = [UNKNOWN_GROUP if d is None else int(d.number) for d in found]
    sizes = [
        len(crystal) if d is None else len(np.unique(d.mapping_to_primitive))
        for crystal, d in zip(crystals, found, strict=True)
    ]
    return groups, sizes


def symmetry_datasets(crystals: Crystals, symprec: float) -> Iterator[Any]:
    """Yield what spglib finds in each crystal, None where that is nothing.

    Raises
    ------
    DataError
        If spglib is not installed.
    """
    # spglib writes a line for every tolerance that it tries; what it finds is all we need.
    os.environ.setdefault("SPGLIB_WARNING", "OFF")
    spglib = import_extra("spglib")
    for crystal in crystals:
        arrays = crystal.lattice, crystal.coordinates, crystal.species
        # A coordinate that is no number brings spglib, and with it the program, down.
        if not (np.isfinite(crystal.coordinates).all() and np.isfinite(crystal.lattice).all()):
            yield None
            continue
        with warnings.catch_warnings():
            # spglib announces that failures will become exceptions; both are handled here.
            warnings.simplefilter("ignore", DeprecationWarning)
            try:
                found = spglib.get_symmetry_dataset([a.tolist() for a in arrays], symprec=symprec)
            except spglib.error.SpglibError:
                found = None
        yield found


# Splits of crystals: by formula, by prototype, by a number such as the year, at random.


Places = NDArray[np.int64]
_PARTS = ("train", "validation", "test")


def _each_its_own(crystals: Crystals) -> NDArray[np.str_]:
    return np.arange(len(crystals)).astype(np.str_)


_GROUPS: Mapping[str, Callable[[Crystals], NDArray[np.str_]]] = {
    "formula": reduced_formulas,
    "system": chemical_systems,
    "prototype": prototypes,
    "random": _each_its_own,
}


def groups_by(crystals: Crystals, by: str) -> NDArray[np.str_]:
    """Return the group of every structure, shape (B,).

    Parameters
    ----------
    crystals
        The structures.
    by
        "formula" (reduced), "system" (set of elements), "prototype" (stoichiometry, space
        group and size; needs spglib), "random" (each structure is a group), or the name
        of a property.

    Raises
    ------
    DataError
        If there is no such way and no such property.
    """
    if by in _GROUPS:
        return _GROUPS[by](crystals)
    if by not in crystals.properties:
        ways = [*_GROUPS, *crystals.properties]
        close = nearest(by, ways)
        raise DataError(
            f"crystals cannot be grouped by {by!r}",
            hint=f"Did you mean {close!r}?" if close else f"There are {', '.join(ways)}",
        )
    values: NDArray[np.str_] = crystals.properties[by].astype(np.str_)
    return values


def split_crystals(
    crystals: Crystals,
    by: str = "formula",
    *,
    test: float = 0.1,
    validation: float = 0.1,
    seed: int = 0,
) -> dict[str, Places]:
    """Split so that no group is in two parts.

    Parameters
    ----------
    crystals
        The structures.
    by
        See :func:`groups_by`.
    test, validation, seed
        See :func:`draw_split`.

    Returns
    -------
    dict
        ``train``, ``validation`` and ``test``: places, ascending, together all.

    Raises
    ------
    DataError
        If the shares are impossible or there are fewer than three groups.

    Examples
    --------
    >>> from variolite.crystals.files import textbook_crystals
    >>> rows = split_crystals(textbook_crystals(), by="formula", test=0.2, validation=0.1)
    >>> {part: len(places) for part, places in rows.items()}
    {'train': 55, 'validation': 8, 'test': 15}
    """
    groups = groups_by(crystals, by)
    return draw_split(groups, test=test, validation=validation, seed=seed).rows(groups)


def draw_split(
    groups: NDArray[np.str_], *, test: float = 0.1, validation: float = 0.1, seed: int = 0
) -> Split:
    """Draw groups for each part, by shares of the *structures*.

    :func:`variolite.records.split_groups` counts groups; formulas and prototypes differ in
    size by a factor of a thousand. Here groups are taken in random order, and each goes to
    the part that lacks most of its share and has room for it. The share of a part is missed
    by no more than twice the largest group.

    Parameters
    ----------
    groups
        Group of every structure, shape (B,).
    test, validation
        Shares of the structures, each above 0 and together below 1; every part gets one
        group at least.
    seed
        The same groups and seed give the same split, whatever the order of structures.

    Raises
    ------
    DataError
        If a share is impossible or there are fewer than three groups.
    """
    if not (test > 0 and validation > 0 and test + validation < 1):
        raise DataError(
            f"shares of {test:g} for test and {validation:g} for validation are impossible",
            hint="Give shares above 0 whose sum is below 1",
        )
    names, sizes = np.unique(np.asarray(groups, dtype=np.str_), return_counts=True)
    if len(names) < 3:
        raise DataError(
            f"{len(names)} groups cannot be split into three parts",
            hint="Split by something with more distinct values, or at random",
        )
    shares = np.array([1.0 - test - validation, validation, test])
    wanted = shares * sizes.sum()
    have = np.zeros(3)
    part = np.empty(len(names), dtype=np.int64)
    for group in np.random.default_rng(seed).permutation(len(names)):
        lacks = wanted - have
        room = lacks >= sizes[group]
        chosen = np.where(room, lacks / wanted, -np.inf) if room.any() else lacks
        part[group] = int(np.argmax(chosen))
        have[part[group]] += sizes[group]
    _fill_empty(part, sizes)
    train, validated, tested = (tuple(names[part == k].tolist()) for k in range(3))
    return Split(train, validated, tested, seed)


def _fill_empty(part: Places, sizes: NDArray[np.int64]) -> None:
    """Give each empty part the smallest group of the part with most groups."""
    for empty in range(3):
        if (part == empty).any():
            continue
        richest = int(np.argmax(np.bincount(part, minlength=3)))
        members = np.flatnonzero(part == richest)
        part[members[sizes[members].argmin()]] = empty


def split_by_number(
    crystals: Crystals, column: str, *, validation_from: float, test_from: float
) -> dict[str, Places]:
    """Split by thresholds on a property, such as the year of discovery.

    Parameters
    ----------
    crystals
        The structures.
    column
        Name of a property of numbers. Structures without a value are in no part.
    validation_from, test_from
        Smallest value in each of the later parts.

    Returns
    -------
    dict
        ``train``, ``validation`` and ``test``: places, ascending.

    Raises
    ------
    DataError
        If there is no such property of numbers, or nothing is left to train on.
    """
    values = crystals.properties.get(column)
    if values is None or values.dtype.kind not in "iuf":
        numbers = [k for k, v in crystals.properties.items() if v.dtype.kind in "iuf"]
        raise DataError(
            f"there is no property {column!r} of numbers",
            hint=f"There are {', '.join(numbers) or 'none'}",
        )
    if validation_from > test_from:
        raise DataError("validation begins after test", hint="Exchange the two thresholds")
    places = {
        "train": np.flatnonzero(values < validation_from),
        "validation": np.flatnonzero((values >= validation_from) & (values < test_from)),
        "test": np.flatnonzero(values >= test_from),
    }
    if not len(places["train"]):
        raise DataError(
            f"no structure has {column} below {validation_from:g}", hint="Choose a later threshold"
        )
    return {part: places[part].astype(np.int64) for part in _PARTS}


def without_ids(crystals: Crystals, others: Crystals) -> Places:
    """Return the places of the structures whose id is not among those of ``others``."""
    return np.flatnonzero(~np.isin(crystals.names, others.names)).astype(np.int64)


def without_repeated_ids(crystals: Crystals) -> Places:
    """Return the place of the first structure of every id, ascending."""
    first = np.unique(crystals.names, return_index=True)[1]
    return np.sort(first).astype(np.int64)
