"""How an element looks in a drawing of a structure: its colour and its radius."""

from __future__ import annotations

import gemmi
import numpy as np
from numpy.typing import NDArray

from variolite.crystals.elements import ATOMIC_NUMBERS, HEAVIEST

__all__ = ["COVALENT_RADII", "element_colour"]

# The colours of Jmol (jmol.sourceforge.net/jscolors), by atomic number from 1 to 109.
_JMOL = (
    "ffffffd9ffffcc80ffc2ff00ffb5b59090903050f8ff0d0d90e050b3e3f5ab5cf28aff00bfa6a6f0c8a0"
    "ff8000ffff301ff01f80d1e38f40d43dff00e6e6e6bfc2c7a6a6ab8a99c79c7ac7e06633f090a050d050"
    "c880337d80b0c28f8f668f8fbd80e3ffa100a629295cb8d1702eb000ff0094ffff94e0e073c2c954b5b5"
    "3b9e9e248f8f0a7d8c006985c0c0c0ffd98fa675736680809e63b5d47a00940094429eb057178f00c900"
    "70d4ffffffc7d9ffc7c7ffc7a3ffc78fffc761ffc745ffc730ffc71fffc700ff9c00e67500d45200bf38"
    "00ab244dc2ff4da6ff2194d6267dab266696175487d0d0e0ffd123b8b8d0a6544d5759619e4fb5ab5c00"
    "754f45428296420066007d0070abfa00baff00a1ff008fff0080ff006bff545cf2785ce38a4fe3a136d4"
    "b31fd4b31fbab30da6bd0d87c70066cc0059d1004fd90045e00038e6002eeb0026"
)


def _covalent_radii() -> NDArray[np.float64]:
    radii = np.array([np.nan, *(gemmi.Element(z).covalent_r for z in range(1, HEAVIEST + 1))])
    # The table of gemmi 0.7 has these two the wrong way round.
    radii[[ATOMIC_NUMBERS["Lu"], ATOMIC_NUMBERS["Hf"]]] = 1.87, 1.75
    return radii


COVALENT_RADII = _covalent_radii()
"""Single-bond covalent radius by atomic number in Angstrom (Cordero et al. 2008,
doi:10.1039/b801115j), shape (119,), NaN at 0."""


def element_colour(number: int) -> str:
    """Return the colour of an element as ``#rrggbb``; beyond Z = 109 that of the last one."""
    place = 6 * (min(number, len(_JMOL) // 6) - 1)
    return f"#{_JMOL[place : place + 6]}"
