"""Chemical elements, formulas and chemical families."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import numpy as np
from numpy.typing import ArrayLike, NDArray

from variolite.crystals.crystals import Crystals
from variolite.errors import DataError, nearest

# Chemical elements: symbols, atomic numbers, masses and electronegativities.


# fmt: off
SYMBOLS: tuple[str, ...] = (
    "X",
    "H", "He", "Li", "Be", "B", "C", "N", "O", "F", "Ne",
    "Na", "Mg", "Al", "Si", "P", "S", "Cl", "Ar", "K", "Ca",
    "Sc", "Ti", "V", "Cr", "Mn", "Fe", "Co", "Ni", "Cu", "Zn",
    "Ga", "Ge", "As", "Se", "Br", "Kr", "Rb", "Sr", "Y", "Zr",
    "Nb", "Mo", "Tc", "Ru", "Rh", "Pd", "Ag", "Cd", "In", "Sn",
    "Sb", "Te", "I", "Xe", "Cs", "Ba", "La", "Ce", "Pr", "Nd",
    "Pm", "Sm", "Eu", "Gd", "Tb", "Dy", "Ho", "Er", "Tm", "Yb",
    "Lu", "Hf", "Ta", "W", "Re", "Os", "Ir", "Pt", "Au", "Hg",
    "Tl", "Pb", "Bi", "Po", "At", "Rn", "Fr", "Ra", "Ac", "Th",
    "Pa", "U", "Np", "Pu", "Am", "Cm", "Bk", "Cf", "Es", "Fm",
    "Md", "No", "Lr", "Rf", "Db", "Sg", "Bh", "Hs", "Mt", "Ds",
    "Rg", "Cn", "Nh", "Fl", "Mc", "Lv", "Ts", "Og",
)
"""Symbol by atomic number; place 0 is no element."""

_NONE = float("nan")
_PAULING: tuple[float, ...] = (
    _NONE,
    2.20, _NONE, 0.98, 1.57, 2.04, 2.55, 3.04, 3.44, 3.98, _NONE,
    0.93, 1.31, 1.61, 1.90, 2.19, 2.58, 3.16, _NONE, 0.82, 1.00,
    1.36, 1.54, 1.63, 1.66, 1.55, 1.83, 1.88, 1.91, 1.90, 1.65,
    1.81, 2.01, 2.18, 2.55, 2.96, 3.00, 0.82, 0.95, 1.22, 1.33,
    1.60, 2.16, 1.90, 2.20, 2.28, 2.20, 1.93, 1.69, 1.78, 1.96,
    2.05, 2.10, 2.66, 2.60, 0.79, 0.89, 1.10, 1.12, 1.13, 1.14,
    1.13, 1.17, 1.20, 1.20, 1.10, 1.22, 1.23, 1.24, 1.25, 1.10,
    1.27, 1.30, 1.50, 2.36, 1.90, 2.20, 2.20, 2.28, 2.54, 2.00,
    1.62, 2.33, 2.02, 2.00, 2.20, 2.20, 0.70, 0.90, 1.10, 1.30,
    1.50, 1.38, 1.36, 1.28, 1.30, 1.30, 1.30, 1.30, 1.30, 1.30,
    1.30, 1.30, 1.30, *(_NONE,) * 15,
)
_MASSES: tuple[float, ...] = (
    _NONE,
    1.008, 4.0026, 6.94, 9.0122, 10.81, 12.011, 14.007, 15.999, 18.998, 20.180,
    22.990, 24.305, 26.982, 28.085, 30.974, 32.06, 35.45, 39.948, 39.098, 40.078,
    44.956, 47.867, 50.942, 51.996, 54.938, 55.845, 58.933, 58.693, 63.546, 65.38,
    69.723, 72.630, 74.922, 78.971, 79.904, 83.798, 85.468, 87.62, 88.906, 91.224,
    92.906, 95.95, 97.0, 101.07, 102.91, 106.42, 107.87, 112.41, 114.82, 118.71,
    121.76, 127.60, 126.90, 131.29, 132.91, 137.33, 138.91, 140.12, 140.91, 144.24,
    145.0, 150.36, 151.96, 157.25, 158.93, 162.50, 164.93, 167.26, 168.93, 173.05,
    174.97, 178.49, 180.95, 183.84, 186.21, 190.23, 192.22, 195.08, 196.97, 200.59,
    204.38, 207.2, 208.98, 209.0, 210.0, 222.0, 223.0, 226.0, 227.0, 232.04,
    231.04, 238.03, 237.0, 244.0, 243.0, 247.0, 247.0, 251.0, 252.0, 257.0,
    258.0, 259.0, 262.0, 267.0, 268.0, 269.0, 270.0, 269.0, 278.0, 281.0,
    282.0, 285.0, 286.0, 289.0, 290.0, 293.0, 294.0, 294.0,
)
# fmt: on

HEAVIEST = len(SYMBOLS) - 1
"""The largest atomic number that is known."""

ATOMIC_NUMBERS: dict[str, int] = {symbol: z for z, symbol in enumerate(SYMBOLS) if z}
"""Atomic number by symbol."""

ELECTRONEGATIVITIES: NDArray[np.float64] = np.array(_PAULING)
"""Pauling electronegativity by atomic number, shape (119,), NaN where none is given."""

MASSES: NDArray[np.float64] = np.array(_MASSES)
"""Standard atomic weight by atomic number in unified mass units, shape (119,), NaN at 0;
of elements without stable isotopes the mass number of a long-lived one."""

_SYMBOL_ARRAY = np.array(SYMBOLS)


def symbols_of(species: ArrayLike) -> NDArray[np.str_]:
    """Return the symbols of atomic numbers, in their shape.

    Raises
    ------
    DataError
        If a number is not between 1 and 118.
    """
    numbers = np.asarray(species)
    wrong = (numbers < 1) | (numbers > HEAVIEST)
    if wrong.any():
        raise DataError(
            f"{int(numbers[wrong].flat[0])} is not the atomic number of an element",
            hint=f"Atomic numbers go from 1 to {HEAVIEST}",
        )
    symbols: NDArray[np.str_] = _SYMBOL_ARRAY[numbers]
    return symbols


def atomic_numbers(symbols: Iterable[str]) -> NDArray[np.uint8]:
    """Return the atomic numbers of symbols such as "Na", shape (n,).

    Raises
    ------
    DataError
        If a symbol is not that of an element.
    """
    found = list(symbols)
    try:
        return np.array([ATOMIC_NUMBERS[symbol] for symbol in found], dtype=np.uint8)
    except KeyError:
        unknown = next(symbol for symbol in found if symbol not in ATOMIC_NUMBERS)
        close = nearest(unknown, ATOMIC_NUMBERS)
        raise DataError(
            f"{unknown!r} is not the symbol of an element",
            hint=f"Did you mean {close!r}?" if close else None,
        ) from None


# Chemical formulas of many crystals at once.


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
    >>> from variolite.crystals.files import textbook_crystals
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


# The chemical family of every crystal, told by its anions.


_ANIONS: dict[str, tuple[str, ...]] = {
    "oxide": ("O",),
    "halide": ("F", "Cl", "Br", "I", "At", "Ts"),
    "chalcogenide": ("S", "Se", "Te", "Po", "Lv"),
    "nitride": ("N",),
    "pnictide": ("P", "As", "Sb", "Bi", "Mc"),
    "hydride": ("H",),
    "carbide": ("C",),
    "boride": ("B",),
    "silicide or germanide": ("Si", "Ge"),
    "other": ("He", "Ne", "Ar", "Kr", "Xe", "Rn", "Og"),
}
_METAL = len(_ANIONS)

FAMILIES: tuple[str, ...] = (
    *(name for name in _ANIONS if name != "other"),
    "intermetallic",
    "elemental",
    "other",
)
"""Every family there is, in the order in which anions decide."""


def _class_of_elements() -> NDArray[np.int64]:
    classes = np.full(HEAVIEST + 1, _METAL, dtype=np.int64)
    for place, symbols in enumerate(_ANIONS.values()):
        classes[[ATOMIC_NUMBERS[symbol] for symbol in symbols]] = place
    return classes


_CLASSES = _class_of_elements()

METALLIC: NDArray[np.bool_] = (_CLASSES == _METAL) & (np.arange(HEAVIEST + 1) > 0)
"""Whether an element is none of the anions that tell families apart, by atomic number,
shape (119,)."""


def chemical_family(crystals: Crystals) -> NDArray[np.str_]:
    """Return the chemical family of every crystal, one of :data:`FAMILIES`.

    A crystal of one element is "elemental". Any other belongs to the first of these that it
    has an atom of: O (oxide), a halogen, S, Se or Te (chalcogenide), N, another element of
    group 15 (pnictide), H, C, B, Si or Ge; with none of them it is "intermetallic", and
    "other" where it holds a noble gas. Salts of oxoanions such as carbonates count as oxides.
    Where halogen atoms outnumber oxygen the crystal is a halide.

    Parameters
    ----------
    crystals
        B structures.

    Returns
    -------
    ndarray of str, shape (B,)
        A structure without atoms is "other".
    """
    owner, species = crystals.owner, crystals.species.astype(np.int64)
    width = _METAL + 1
    atoms = np.bincount(owner * width + _CLASSES[species], minlength=len(crystals) * width).reshape(
        -1, width
    )
    pairs = np.unique(owner * (HEAVIEST + 1) + species)
    elements = np.bincount(pairs // (HEAVIEST + 1), minlength=len(crystals))

    # Metals are the last class, so that they decide only where nothing else is there.
    family = np.argmax(atoms > 0, axis=1)
    oxygen, halogen = atoms[:, 0], atoms[:, 1]
    family[(oxygen > 0) & (halogen > oxygen)] = 1
    names = np.array([*_ANIONS, "intermetallic"])
    found: NDArray[np.str_] = names[family]
    found[elements == 1] = "elemental"
    found[elements == 0] = "other"
    return found
