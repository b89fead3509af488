"""Elements by the symbols and labels that files write."""

from __future__ import annotations

import re
from functools import lru_cache

from variolite.crystals.structures.elements import ATOMIC_NUMBERS
from variolite.crystals.structures.rejection import RejectedError

__all__ = ["DEUTERIUM", "element_of"]

DEUTERIUM = "deuterium or tritium was read as hydrogen"

_LETTERS = re.compile(r"[A-Za-z]{1,3}")
_ISOTOPES = frozenset("DT")


@lru_cache(maxsize=4096)
def element_of(text: str, *, is_label: bool = False) -> tuple[int, bool]:
    """Return the atomic number for a symbol such as ``Fe3+`` or a label such as ``Fe1A``.

    Parameters
    ----------
    text
        What the file has.
    is_label
        A label begins with the symbol and goes on as it likes; a symbol is followed by
        a charge or a number at most.

    Returns
    -------
    number, isotope
        Whether it was written as deuterium or tritium, which counts as hydrogen.

    Raises
    ------
    RejectedError
        If it is no element, or a label in capitals that may be one of two.
    """
    match = _LETTERS.match(text)
    letters = match[0] if match else ""
    if letters in ATOMIC_NUMBERS:
        return ATOMIC_NUMBERS[letters], False
    if letters in _ISOTOPES:
        return 1, True
    two, one = letters[:2], letters[:1]
    if not is_label:
        # A symbol is one as a whole: WAT or OH is a group, not tungsten or oxygen.
        candidates = [letters.capitalize()]
    elif two[1:].islower():
        candidates = [two.capitalize(), one.upper()]
    elif two.capitalize() in ATOMIC_NUMBERS and one in ATOMIC_NUMBERS and len(two) == 2:
        raise RejectedError("unknown_element", f"label {text!r} may be {one} or {two.capitalize()}")
    else:
        candidates = [two.capitalize(), one.upper()]
    for candidate in candidates:
        if candidate in ATOMIC_NUMBERS:
            return ATOMIC_NUMBERS[candidate], False
    if is_label and one in _ISOTOPES:
        return 1, True
    raise RejectedError("unknown_element", repr(text)[:40])
