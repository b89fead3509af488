"""How wide a piece of text is, and how numbers are written on the page.

The browser lays out SVG text only when the page is shown, so the widths of the
Helvetica family (Adobe font metrics, thousandths of the size) decide here what
fits. Liberation Sans and Arial share them.
"""

from __future__ import annotations

import math

__all__ = [
    "FONT",
    "chemical",
    "decimals",
    "integer",
    "plain",
    "shorten",
    "significant",
    "text_width",
    "wrap",
]

FONT = "Helvetica Neue, Helvetica, Arial, Liberation Sans, sans-serif"
MINUS = "\N{MINUS SIGN}"
ELLIPSIS = "…"
_BELOW = str.maketrans("0123456789", "₀₁₂₃₄₅₆₇₈₉")

_NARROW: dict[str, int] = {
    **dict.fromkeys("ijl'|", 222),
    **dict.fromkeys(" !,./:;[]\\ftI", 278),
    **dict.fromkeys("-()r`{}", 333),
    **dict.fromkeys("ckszvxyJ", 500),
    **dict.fromkeys("+<=>~−×±", 584),
    **dict.fromkeys("FTZ", 611),
    **dict.fromkeys("ABEKPSVXY&", 667),
    **dict.fromkeys("CDHNRUw", 722),
    **dict.fromkeys("GOQ", 778),
    **dict.fromkeys("mM", 833),
    **dict.fromkeys("W%", 944),
    "@": 1015,
    "…": 1000,
    **dict.fromkeys("₀₁₂₃₄₅₆₇₈₉", 354),
}


def text_width(text: str, size: float, *, bold: bool = False) -> float:
    """Return the width of one line in the unit of ``size``; bold is taken as 8 % wider."""
    thousandths = sum(
        _NARROW.get(character, 556 if ord(character) < 0x2E80 else 1000) for character in text
    )
    return thousandths * size / 1000 * (1.08 if bold else 1.0)


def shorten(text: str, width: float, size: float, *, bold: bool = False) -> str:
    """Return ``text``, or its longest beginning with an ellipsis that fits ``width``."""
    if text_width(text, size, bold=bold) <= width:
        return text
    low, high = 0, len(text)
    while low < high:
        middle = (low + high + 1) // 2
        if text_width(text[:middle] + ELLIPSIS, size, bold=bold) <= width:
            low = middle
        else:
            high = middle - 1
    return text[:low].rstrip() + ELLIPSIS


def wrap(text: str, width: float, size: float, *, lines: int = 2, bold: bool = False) -> list[str]:
    """Break ``text`` at spaces into at most ``lines`` lines, the last one shortened."""
    words = text.split()
    rows: list[str] = []
    while words and len(rows) < lines - 1:
        taken = 1
        while taken < len(words) and (
            text_width(" ".join(words[: taken + 1]), size, bold=bold) <= width
        ):
            taken += 1
        rows.append(shorten(" ".join(words[:taken]), width, size, bold=bold))
        words = words[taken:]
    if words:
        rows.append(shorten(" ".join(words), width, size, bold=bold))
    return rows


def decimals(value: float, places: int) -> str:
    """Write ``value`` with so many decimals, a true minus sign and commas between thousands."""
    if not math.isfinite(value):
        return "not defined"
    written = f"{value:,.{places}f}"
    if written.startswith("-"):
        bare = written[1:]
        return bare if not bare.strip("0.,") else MINUS + bare
    return written


def significant(value: float, digits: int = 3) -> str:
    """Write ``value`` to so many significant digits, as a power of ten beyond 1e-4 and 1e7."""
    if not math.isfinite(value):
        return "not defined"
    if value == 0:
        return "0"
    size = math.floor(math.log10(abs(value)))
    if size < -4 or size >= 7:
        mantissa, exponent = f"{value:.{digits - 1}e}".split("e")
        return f"{mantissa}e{int(exponent)}".replace("-", MINUS)
    return decimals(value, max(digits - 1 - size, 0))


def integer(count: int) -> str:
    """Write a count with commas between thousands."""
    return f"{count:,}"


def chemical(formula: str) -> str:
    """Return a formula with its numbers below the line: ``Fe2O3`` becomes ``Fe₂O₃``."""
    return formula.translate(_BELOW)


def plain(name: str) -> str:
    """Return a column or method name as words: ``bulk_density`` becomes ``bulk density``."""
    return " ".join(name.replace("_", " ").split())
