"""Chemical formulas of many crystals at once."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from variolite.crystals.structures.crystals import Crystals
from variolite.crystals.structures.elements import ELECTRONEGATIVITIES, HEAVIEST, SYMBOLS

__all__ = ["anonymous_formulas", "chemical_systems", "compositions", "reduced_formulas"]

_CHUNK = 65_536
_ORDER = np.lexsort((np.array(SYMBOLS), np.nan_to_num(ELECTRONEGATIVITIES, nan=np.inf)))
_LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"


def compositions(crystals: Crystals, *, reduced: bool = False) -> NDArray[np.int32]:
    """Count the atoms of every element, shape (B, 119), by atomic number.

    Parameters
    ----------
    crystals
        The structures.
    reduced
        Divide the counts of each structure by their greatest common divisor.
    """
    width = HEAVIEST + 1
    counts = np.bincount(
        crystals.owner * width + crystals.species, minlength=len(crystals) * width
    ).reshape(-1, width)
    if reduced:
        counts = counts // np.maximum(np.gcd.reduce(counts, axis=1, keepdims=True), 1)
    return counts.astype(np.int32)


def reduced_formulas(crystals: Crystals) -> NDArray[np.str_]:
    """Return formulas in lowest terms, the least electronegative element first.

    Elements of unknown electronegativity come last, ties in alphabetical order:
    ``NaCl``, ``SrTiO3``, ``O``.

    Returns
    -------
    ndarray of str, shape (B,)

    Examples
    --------
    >>> from variolite.crystals.structures import textbook_crystals
    >>> reduced_formulas(textbook_crystals().take(slice(18, 21))).tolist()
    ['NaCl', 'KCl', 'LiF']
    """

    def spell(counts: NDArray[np.int32]) -> str:
        return "".join(_term(SYMBOLS[z], int(counts[z])) for z in _ORDER if counts[z])

    return _spelled(crystals, spell)


def anonymous_formulas(crystals: Crystals) -> NDArray[np.str_]:
    """Return formulas in lowest terms with letters for elements, the rarest first: ``ABC3``."""

    def spell(counts: NDArray[np.int32]) -> str:
        amounts = np.sort(counts[counts > 0]).tolist()
        return "".join(_term(_letter(place), amount) for place, amount in enumerate(amounts))

    return _spelled(crystals, spell)


def chemical_systems(crystals: Crystals) -> NDArray[np.str_]:
    """Return the elements of each structure in alphabetical order: ``Cl-Na``."""

    def spell(counts: NDArray[np.int32]) -> str:
        return "-".join(sorted(SYMBOLS[z] for z in np.flatnonzero(counts)))

    return _spelled(crystals, spell)


def _spelled(crystals: Crystals, spell: Callable[[NDArray[np.int32]], str]) -> NDArray[np.str_]:
    """Spell each distinct composition once; in chunks, to bound the table of counts."""
    parts: list[NDArray[np.str_]] = []
    for start in range(0, len(crystals), _CHUNK):
        whole = len(crystals) <= _CHUNK
        chunk = crystals if whole else crystals.take(slice(start, start + _CHUNK))
        counts = compositions(chunk, reduced=True)
        # Rows as opaque bytes: comparing 119 columns one after the other is much slower.
        rows = counts.view(np.dtype((np.void, counts.dtype.itemsize * counts.shape[1])))[:, 0]
        _, first, inverse = np.unique(rows, return_index=True, return_inverse=True)
        parts.append(np.array([spell(counts[i]) for i in first], dtype=np.str_)[inverse])
    return np.concatenate(parts) if parts else np.empty(0, dtype=np.str_)


def _term(symbol: str, amount: int) -> str:
    return symbol if amount == 1 else f"{symbol}{amount}"


def _letter(place: int) -> str:
    fold, letter = divmod(place, len(_LETTERS))
    return _LETTERS[fold - 1] * (fold > 0) + _LETTERS[letter]
