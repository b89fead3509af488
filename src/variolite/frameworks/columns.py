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

_PORES = {
    "pore_volume": "cm3/g",
    "void_fraction": "",
    "accessible_void_fraction": "",
    "surface_area_mass": "m2/g",
    "surface_area_volume": "m2/cm3",
    "largest_cavity_diameter": "Angstrom",
    "pore_limiting_diameter": "Angstrom",
    "largest_free_path": "Angstrom",
}
PORES = tuple(_PORES)
"""What is measured of pores."""

UNITS: dict[str, str] = {
    "a": "Angstrom",
    "b": "Angstrom",
    "c": "Angstrom",
    "alpha": "degree",
    "beta": "degree",
    "gamma": "degree",
    "volume": "Angstrom^3",
    "density": "g/cm3",
    **_PORES,
    "metal_coordination": "",
    "linker_length": "Angstrom",
    "packing_fraction": "",
    "co2_uptake": "mol/kg",
    "co2_uptake_sd": "mol/kg",
    "co2_uptake_simulated": "mol/kg",
    "co2_uptake_simulated_error": "mol/kg",
}
"""Numeric columns and their units; void fractions are of a point probe, accessible ones of
`PROBE`, packing fractions of spheres with covalent radii."""

SETS = ("metals", "nodes", "linker_units", "node_formulas", "linkers", "linker_keys", "linkers_raw")


def join(members: Iterable[str]) -> str:
    """Write a set as the table holds it."""
    return SEPARATOR.join(sorted({member for member in members if member}))


def split(cell: str | None) -> tuple[str, ...]:
    """Read a set of the table."""
    return tuple(part.strip() for part in (cell or "").split(SEPARATOR) if part.strip())
