"""The chemical family of every crystal, told by its anions."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from variolite.crystals.structures.crystals import Crystals
from variolite.crystals.structures.elements import ATOMIC_NUMBERS, HEAVIEST

__all__ = ["FAMILIES", "METALLIC", "chemical_family"]

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
