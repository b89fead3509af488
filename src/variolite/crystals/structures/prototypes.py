"""Prototypes: which crystals share symmetry and stoichiometry."""

from __future__ import annotations

import multiprocessing
import os
import warnings
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor

import numpy as np
from numpy.typing import NDArray

from variolite.crystals.structures.crystals import Crystals
from variolite.crystals.structures.formula import anonymous_formulas
from variolite.errors import DataError

__all__ = ["UNKNOWN_GROUP", "prototypes", "space_groups"]

UNKNOWN_GROUP = 0
"""Space group of a structure whose symmetry cannot be found."""

_CHUNK = 512


def _silent(text: str) -> None:
    del text


def prototypes(
    crystals: Crystals,
    *,
    symprec: float = 0.01,
    workers: int = 1,
    tell: Callable[[str], None] = _silent,
) -> NDArray[np.str_]:
    """Return a label for stoichiometry, space group and size of the primitive cell.

    Crystals of one structure type have one label, such as ``ABC3 221 5`` for cubic
    perovskites, whatever cell they are given in. Different types may share a label.

    Parameters
    ----------
    crystals
        The structures.
    symprec, workers, tell
        See :func:`space_groups`.

    Returns
    -------
    ndarray of str, shape (B,)

    Raises
    ------
    DataError
        If spglib is not installed.
    """
    groups, sizes = space_groups(crystals, symprec=symprec, workers=workers, tell=tell)
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
    tell: Callable[[str], None] = _silent,
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
    tell
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
    try:
        import spglib  # noqa: F401
    except ImportError:
        raise DataError(
            "spglib is not installed", mend="pip install 'variolite[crystals]'"
        ) from None
    starts = range(0, len(crystals), _CHUNK)
    parts = [crystals.take(slice(start, start + _CHUNK)) for start in starts]
    found: list[tuple[list[int], list[int]]] = []
    if workers <= 1 or len(parts) < 2:
        for part in parts:
            found.append(_search(part, symprec))
            tell(f"symmetry of {min(len(found) * _CHUNK, len(crystals)):,} of {len(crystals):,}")
    else:
        context = multiprocessing.get_context("spawn")
        with ProcessPoolExecutor(workers, mp_context=context) as pool:
            for answer in pool.map(_search, parts, [symprec] * len(parts)):
                found.append(answer)
                done = min(len(found) * _CHUNK, len(crystals))
                tell(f"symmetry of {done:,} of {len(crystals):,}")
    groups = [group for answer, _ in found for group in answer]
    sizes = [size for _, answer in found for size in answer]
    return np.array(groups, dtype=np.int64), np.array(sizes, dtype=np.int64)


def _search(crystals: Crystals, symprec: float) -> tuple[list[int], list[int]]:
    # spglib writes a line for every tolerance that it tries; what it finds is all we need.
    os.environ.setdefault("SPGLIB_WARNING", "OFF")
    import spglib

    groups, sizes = [], []
    with warnings.catch_warnings():
        # spglib announces that failures will become exceptions; both are handled below.
        warnings.simplefilter("ignore", DeprecationWarning)
        for crystal in crystals:
            cell = (
                crystal.lattice.tolist(),
                crystal.coordinates.tolist(),
                crystal.species.tolist(),
            )
            # A coordinate that is no number brings spglib, and with it the program, down.
            finite = np.isfinite(crystal.coordinates).all() and np.isfinite(crystal.lattice).all()
            try:
                dataset = spglib.get_symmetry_dataset(cell, symprec=symprec) if finite else None
            except spglib.error.SpglibError:
                dataset = None
            if dataset is None:
                groups.append(UNKNOWN_GROUP)
                sizes.append(len(crystal))
            else:
                groups.append(int(dataset.number))
                sizes.append(len(np.unique(dataset.mapping_to_primitive)))
    return groups, sizes
