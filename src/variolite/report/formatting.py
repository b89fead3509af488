"""How numbers, names and lists are written on every page."""

from __future__ import annotations

import math

MINUS = "\N{MINUS SIGN}"
_BELOW = str.maketrans("0123456789", "₀₁₂₃₄₅₆₇₈₉")


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


def places_for(low: float, high: float, mean: float) -> int:
    """Return decimals that give an interval about two significant digits of its half-width."""
    width = (high - low) / 2
    if not (math.isfinite(width) and width > 0):
        width = abs(mean) / 10 if math.isfinite(mean) and mean != 0 else 0.1
    return min(max(1 - math.floor(math.log10(width)), 0), 6)


def percent(share: float) -> str:
    """Write a share as a whole per cent, and what would round to nothing as "<1%"."""
    return "<1%" if 0 < share < 0.005 else f"{share:.0%}"


def unit_after(unit: str | None) -> str:
    """Return a unit to stand after a number; one that begins with a digit goes in brackets."""
    if not unit:
        return ""
    if unit == "°":
        return unit
    return f" ({unit})" if unit[0].isdigit() else f" {unit}"


def listed(names: tuple[str, ...] | list[str]) -> str:
    """Join names with commas and a last "and"."""
    if len(names) < 2:
        return "".join(names)
    return f"{', '.join(names[:-1])} and {names[-1]}"


def plain(name: str) -> str:
    """Return a column or method name as words: ``bulk_density`` becomes ``bulk density``."""
    return " ".join(name.replace("_", " ").split())


def chemical(formula: str) -> str:
    """Return a formula with its numbers below the line: ``Fe2O3`` becomes ``Fe₂O₃``."""
    return formula.translate(_BELOW)
