"""Names of wells, holes and other groups: which spellings are one name, and which look alike."""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import lru_cache
from unicodedata import normalize

_INVISIBLE = re.compile("[\u00ad\u200b-\u200d\u2060\ufeff]")
_WHOLE = re.compile(r"(-?\d+)(\.0+)?")
# Blanks, dashes of every kind and what else stands between the parts of a name.
_SEPARATOR = re.compile(r"[\s_/\\.,:;#()\[\]\u2010-\u2015\u2212-]+")
_NOT_BETWEEN_DIGITS = re.compile(r"(?<!\d)-|-(?!\d)")
_LEADING_ZEROS = re.compile(r"(?<!\d)0+(?=\d)")
_DIGITS = re.compile(r"\d+")
_CONFUSED = str.maketrans("oil", "011", "-")
_LONG = 6  # Letters from which a word that differs in one letter is taken for a typing error.


@lru_cache(maxsize=65_536)
def normalised(name: str) -> str:
    """Return what all spellings of one name have in common.

    Case, separators and leading zeros do not count, nor the point of a number that was read as
    floating point; numbers stay apart: 15/9-13 is 15-9-13 and W-01 is w1, but 1-11 is not 11-1.
    """
    text = _INVISIBLE.sub("", normalize("NFKC", normalize("NFKC", name).casefold())).strip()
    if whole := _WHOLE.fullmatch(text):
        return whole[1] if whole[1][0] == "-" else whole[1].lstrip("0") or "0"
    parted = _SEPARATOR.sub("-", text)
    joined = _LEADING_ZEROS.sub("", _NOT_BETWEEN_DIGITS.sub("", parted))
    return normalize("NFC", joined) or text or name


def spellings(names: Iterable[str]) -> dict[str, list[str]]:
    """Return the distinct spellings among ``names``, by normalised name; empty ones left out."""
    found: dict[str, list[str]] = {}
    for name in dict.fromkeys(names):
        if name:
            found.setdefault(normalised(name), []).append(name)
    return found


def look_alikes(names: Iterable[str]) -> list[tuple[str, str]]:
    """Return pairs of different names that may be one: typing errors to report, not to correct.

    They differ by separators between numbers, by O for 0 or I for 1, or by one letter of a long
    word. Names that differ in their numbers only are a series, not a typing error.
    """
    first: dict[tuple[str, ...], str] = {}
    pairs: dict[tuple[str, str], None] = {}
    for key, (written, *_) in spellings(names).items():
        variants: list[tuple[str, ...]] = [("", key.translate(_CONFUSED))]
        letters, numbers = _DIGITS.sub(" ", key), _DIGITS.findall(key)
        if sum(map(str.isalpha, letters)) >= _LONG:
            # Words that are a letter apart share what is left of both without one letter. The
            # last one stays: it distinguishes the members of a series (site A, site B).
            cut = [letters[:i] + letters[i + 1 :] for i in range(len(letters) - 1)]
            variants += [(text, *numbers) for text in (letters, *cut)]
        for variant in variants:
            other = first.setdefault(variant, written)
            if other != written:
                pairs[other, written] = None
    return list(pairs)
