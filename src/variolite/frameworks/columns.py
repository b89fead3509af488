"""The table of frameworks: one row per framework, its columns and their units.

`describe` writes it, a model is trained on it and writes more of it, the assembler reads those.
Sets are texts joined with `SEPARATOR`, sorted; what is missing is empty, never a default.
"""

from __future__ import annotations

from collections.abc import Iterable

SEPARATOR = ";"
PROBE = 1.655
"""Radius in Angstrom of the probe of accessible areas and volumes: half of N2's diameter."""

CELL = ("a", "b", "c", "alpha", "beta", "gamma")

PORES = (
    "pore_volume",
    "void_fraction",
    "accessible_void_fraction",
    "surface_area_mass",
    "surface_area_volume",
    "largest_cavity_diameter",
    "pore_limiting_diameter",
    "largest_free_path",
)
"""What is measured of pores; void fractions are of a point probe, accessible ones of `PROBE`."""

UNITS = {
    **dict.fromkeys(("a", "b", "c", "linker_length", *PORES[5:]), "Å"),
    **dict.fromkeys(("alpha", "beta", "gamma"), "°"),
    "volume": "Å³",
    "density": "g/cm³",
    "pore_volume": "cm³/g",
    "surface_area_mass": "m²/g",
    "surface_area_volume": "m²/cm³",
    "co2_uptake": "mol/kg",
}
"""Units of numeric columns as they are printed; the others have none."""

SETS = ("metals", "nodes", "linker_units", "node_formulas", "linkers", "linker_keys", "linkers_raw")


def join(members: Iterable[str]) -> str:
    """Write a set as the table holds it."""
    return SEPARATOR.join(sorted({member for member in members if member}))


def split(cell: str | None) -> tuple[str, ...]:
    """Read a set of the table."""
    return tuple(part.strip() for part in (cell or "").split(SEPARATOR) if part.strip())
