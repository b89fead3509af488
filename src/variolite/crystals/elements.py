"""Chemical elements, formulas and chemical families."""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike, NDArray

from variolite.crystals.crystals import Crystals
from variolite.errors import DataError, nearest

# Chemical elements: symbols, atomic numbers, masses and electronegativities.

_LINES = Path(__file__).with_name("elements.csv").read_text(encoding="utf-8").splitlines()
_SYMBOLS, _MASSES, _PAULING, _RADII = zip(
    *[line.split(",") for line in _LINES if not line.startswith("#")][1:], strict=True
)

SYMBOLS: tuple[str, ...] = ("X", *_SYMBOLS)  # Symbol by atomic number; place 0 is not an element.
HEAVIEST = len(SYMBOLS) - 1  # The largest atomic number that is known.

ATOMIC_NUMBERS: dict[str, int] = {symbol: z for z, symbol in enumerate(SYMBOLS) if z}

ELECTRONEGATIVITIES = np.array([np.nan, *(float(value or "nan") for value in _PAULING)])
"""Pauling electronegativity by atomic number, shape (119,), NaN where none is given."""

MASSES = np.array([np.nan, *map(float, _MASSES)])
"""Standard atomic weight by atomic number in unified mass units, shape (119,), NaN at 0;
of elements without stable isotopes the mass number of a long-lived one."""

COVALENT_RADII = np.array([np.nan, *map(float, _RADII)])
"""Single-bond covalent radius by atomic number in Angstrom, shape (119,), NaN at 0."""

_SYMBOL_ARRAY = np.array(SYMBOLS)


def symbols_of(species: ArrayLike) -> NDArray[np.str_]:
    """Symbols of atomic numbers, in their shape; DataError for numbers beyond 1 to 118."""
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
    """Atomic numbers of symbols such as "Na", (n,); DataError where one is not a symbol."""
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


_NOBLE = (0, 2, 10, 18, 36, 54, 86, 118)


def place_in_table(z: int) -> tuple[int, int]:
    """Return row and column, from 0, of an element in the periodic table of 18 columns.

    Lanthanides and actinides, La and Ac among them, stand in rows 7 and 8.
    """
    row = bisect_left(_NOBLE, z) - 1
    place, length = z - _NOBLE[row] - 1, _NOBLE[row + 1] - _NOBLE[row]
    if length == 32 and 2 <= place <= 16:
        return row + 2, place
    return row, place if place < min(2, length - 1) else place + 18 - length


# Chemical formulas: reading one, and spelling those of many crystals at once.

_PIECE = re.compile(r"([A-Z][a-z]?|[()\[\]])\s*([0-9]*\.?[0-9]*)")


def parse_formula(text: str, where: str | None = None) -> dict[int, float]:
    """Amount of each element in a formula, by atomic number in the order given.

    Formulas are such as ``SrTiO3``, ``Nd(Al2Cu)4`` or ``Li0.5 Co O2``; DataError, with
    ``where``, if it is not a formula.

    >>> parse_formula("Ca(OH)2")
    {20: 1.0, 8: 2.0, 1: 2.0}
    """
    invalid = DataError(f"{text!r} is not a chemical formula", where=where)
    compact = re.sub(r"\s+", "", text)
    # Amounts of the whole formula and of every bracket that is open.
    open_groups: list[dict[int, float]] = [{}]
    position = 0
    while position < len(compact):
        piece = _PIECE.match(compact, position)
        if piece is None:
            raise invalid
        position = piece.end()
        symbol, digits = piece.groups()
        if symbol in "([" and not digits:
            open_groups.append({})
            continue
        if symbol in ATOMIC_NUMBERS:
            group = {ATOMIC_NUMBERS[symbol]: 1.0}
        elif symbol in ")]" and len(open_groups) > 1:
            group = open_groups.pop()
        else:
            raise invalid
        if digits == ".":
            raise invalid
        for number, amount in group.items():
            total = open_groups[-1].get(number, 0.0) + amount * float(digits or 1.0)
            open_groups[-1][number] = total
    if len(open_groups) != 1 or not sum(open_groups[0].values()) > 0:
        raise invalid
    return open_groups[0]


GRAMS = 1.66053906892  # Mass of one unified mass unit per cubic Angstrom in g/cm3 (CODATA 2022).


def densities(crystals: Crystals) -> NDArray[np.float64]:
    """Densities in g/cm3, (B,)."""
    mass = np.bincount(crystals.owner, MASSES[crystals.species], minlength=len(crystals))
    return np.asarray(GRAMS * mass / crystals.volumes)


_CHUNK = 65_536
_ORDER = np.lexsort((np.array(SYMBOLS), np.nan_to_num(ELECTRONEGATIVITIES, nan=np.inf)))
_LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"


def compositions(crystals: Crystals, *, reduced: bool = False) -> NDArray[np.int32]:
    """Atoms of every element, (B, 119), by atomic number; in lowest terms where ``reduced``."""
    width = HEAVIEST + 1
    places = crystals.owner * width + crystals.species
    counts = np.bincount(places, minlength=len(crystals) * width).reshape(-1, width)
    if reduced:
        counts = counts // np.maximum(np.gcd.reduce(counts, axis=1, keepdims=True), 1)
    return counts.astype(np.int32)


def reduced_formulas(crystals: Crystals) -> NDArray[np.str_]:
    """Formulas in lowest terms, (B,), the least electronegative element first.

    Elements of unknown electronegativity come last, ties in alphabetical order:
    ``NaCl``, ``SrTiO3``, ``O``.

    >>> from variolite.crystals.files import textbook_crystals
    >>> reduced_formulas(textbook_crystals().take(slice(18, 21))).tolist()
    ['NaCl', 'KCl', 'LiF']
    """

    def spell(counts: NDArray[np.int32]) -> str:
        return "".join(_term(SYMBOLS[z], int(counts[z])) for z in _ORDER if counts[z])

    return _spelled(crystals, spell)


def anonymous_formulas(crystals: Crystals) -> NDArray[np.str_]:
    """Formulas in lowest terms with letters for elements, (B,), the rarest first: ``ABC3``."""

    def spell(counts: NDArray[np.int32]) -> str:
        amounts = np.sort(counts[counts > 0]).tolist()
        return "".join(_term(_letter(place), amount) for place, amount in enumerate(amounts))

    return _spelled(crystals, spell)


def chemical_systems(crystals: Crystals) -> NDArray[np.str_]:
    """Elements of each structure in alphabetical order, (B,): ``Cl-Na``."""
    return _spelled(crystals, lambda c: "-".join(sorted(SYMBOLS[z] for z in np.flatnonzero(c))))


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


# The chemical family of every crystal, by its anions.

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

_CLASSES = np.full(HEAVIEST + 1, _METAL, dtype=np.int64)
for _place, _anions in enumerate(_ANIONS.values()):
    _CLASSES[[ATOMIC_NUMBERS[symbol] for symbol in _anions]] = _place

METALLIC: NDArray[np.bool_] = (_CLASSES == _METAL) & (np.arange(HEAVIEST + 1) > 0)
"""Whether an element is not one of the anions that distinguish families, by atomic number,
shape (119,)."""


def chemical_family(crystals: Crystals) -> NDArray[np.str_]:
    """Chemical family of every crystal, (B,), one of :data:`FAMILIES`.

    A crystal of one element is "elemental". Any other belongs to the first of these that it
    has an atom of: O (oxide), a halogen, S, Se or Te (chalcogenide), N, another element of
    group 15 (pnictide), H, C, B, Si or Ge; with none of them it is "intermetallic", and
    "other" where it holds a noble gas or no atom. Salts of oxoanions such as carbonates count
    as oxides. Where halogen atoms outnumber oxygen the crystal is a halide.
    """
    owner, width = crystals.owner, _METAL + 1
    places = owner * width + _CLASSES[crystals.species]
    atoms = np.bincount(places, minlength=len(crystals) * width).reshape(-1, width)
    # Metals are the last class, so that they decide only where nothing else is there.
    family = np.argmax(atoms > 0, axis=1)
    oxygen, halogen = atoms[:, 0], atoms[:, 1]
    family[(oxygen > 0) & (halogen > oxygen)] = 1
    found: NDArray[np.str_] = np.array([*_ANIONS, "intermetallic"])[family]
    elements = (compositions(crystals) > 0).sum(axis=1)
    found[elements == 1] = "elemental"
    found[elements == 0] = "other"
    return found
