"""Crystals as text: CIF, POSCAR and extended XYZ."""

from __future__ import annotations

import re
from collections.abc import Mapping
from itertools import groupby
from typing import Any

import numpy as np
from numpy.typing import NDArray

from variolite.crystals.structures.cells import cell_parameters
from variolite.crystals.structures.crystals import Crystal, Crystals
from variolite.crystals.structures.elements import symbols_of
from variolite.crystals.structures.formula import compositions, reduced_formulas
from variolite.errors import DataError

__all__ = ["to_cif", "to_extxyz", "to_poscar"]

Floats = NDArray[np.float64]


def to_cif(crystal: Crystal) -> str:
    """Return a CIF in P 1 with the atoms in their order.

    Coordinates have ten decimals and are not wrapped; the cell has eight. A CIF knows no
    orientation: the crystal comes back turned, and with coordinates of opposite sign if
    its lattice vectors are left-handed, so that it is not its mirror image.

    Raises
    ------
    DataError
        If there are no atoms, or a number is not finite.
    """
    _require_finite(crystal)
    single = Crystals.of([crystal])
    formula = str(reduced_formulas(single)[0])
    counts = compositions(single)[0]
    units = int(np.gcd.reduce(counts))
    symbols = symbols_of(crystal.species).tolist()
    total = " ".join(
        f"{symbol}{count}"
        for symbol, count in ((s, symbols.count(s)) for s in dict.fromkeys(symbols))
    )
    a, b, c, alpha, beta, gamma = cell_parameters(crystal.lattice)[0].tolist()
    coordinates, _ = _right_handed(crystal)
    lines = [
        f"data_{re.sub(r'[^A-Za-z0-9_.+-]', '_', crystal.name)[:70] or formula}",
        "_symmetry_space_group_name_H-M   'P 1'",
        f"_cell_length_a   {a:.8f}",
        f"_cell_length_b   {b:.8f}",
        f"_cell_length_c   {c:.8f}",
        f"_cell_angle_alpha   {alpha:.8f}",
        f"_cell_angle_beta   {beta:.8f}",
        f"_cell_angle_gamma   {gamma:.8f}",
        "_symmetry_Int_Tables_number   1",
        f"_chemical_formula_structural   {formula}",
        f"_chemical_formula_sum   '{total}'",
        f"_cell_volume   {abs(float(np.linalg.det(crystal.lattice))):.8f}",
        f"_cell_formula_units_Z   {units}",
        "loop_",
        " _symmetry_equiv_pos_site_id",
        " _symmetry_equiv_pos_as_xyz",
        "  1  'x, y, z'",
        "loop_",
        " _atom_site_type_symbol",
        " _atom_site_label",
        " _atom_site_symmetry_multiplicity",
        " _atom_site_fract_x",
        " _atom_site_fract_y",
        " _atom_site_fract_z",
        " _atom_site_occupancy",
        *(
            f"  {symbol}  {symbol}{place}  1  {x:.10f}  {y:.10f}  {z:.10f}  1"
            for place, (symbol, (x, y, z)) in enumerate(
                zip(symbols, coordinates.tolist(), strict=True)
            )
        ),
    ]
    return "\n".join(lines) + "\n"


def to_poscar(crystal: Crystal) -> str:
    """Return a POSCAR of VASP 5 in direct coordinates with the atoms in their order.

    An element is named again where atoms of another one stand between. VASP wants
    right-handed lattice vectors: left-handed ones and their coordinates are negated.

    Raises
    ------
    DataError
        If there are no atoms, or a number is not finite.
    """
    _require_finite(crystal)
    coordinates, lattice = _right_handed(crystal)
    runs = [(s, len(list(run))) for s, run in groupby(symbols_of(crystal.species).tolist())]
    lines = [
        " ".join(crystal.name.split()) or "crystal",
        "1.0",
        *("  " + "  ".join(f"{value:.10f}" for value in row) for row in lattice.tolist()),
        "  ".join(symbol for symbol, _ in runs),
        "  ".join(str(count) for _, count in runs),
        "Direct",
        *("  " + "  ".join(f"{value:.10f}" for value in row) for row in coordinates.tolist()),
    ]
    return "\n".join(lines) + "\n"


def to_extxyz(crystal: Crystal, properties: Mapping[str, Any] | None = None) -> str:
    """Return one frame of extended XYZ with the atoms in their order.

    Parameters
    ----------
    crystal
        The structure; its name is written as ``material_id``.
    properties
        Numbers and words for the comment line; missing ones (NaN, "") are left out.

    Raises
    ------
    DataError
        If there are no atoms, or a number is not finite.
    """
    _require_finite(crystal)
    lattice = " ".join(f"{value:.10f}" for value in crystal.lattice.ravel().tolist())
    words = [f'Lattice="{lattice}"', "Properties=species:S:1:pos:R:3", 'pbc="T T T"']
    values = {"material_id": crystal.name, **(properties or {})}
    for key, value in values.items():
        spelled = _spelled(value)
        if spelled:
            words.append(f"{re.sub(r'[^A-Za-z0-9_.-]', '_', key)}={spelled}")
    positions = crystal.coordinates @ crystal.lattice
    lines = [
        str(len(crystal)),
        " ".join(words),
        *(
            f"{symbol} {x:.10f} {y:.10f} {z:.10f}"
            for symbol, (x, y, z) in zip(
                symbols_of(crystal.species).tolist(), positions.tolist(), strict=True
            )
        ),
    ]
    return "\n".join(lines) + "\n"


def _spelled(value: Any) -> str:
    """Return a value for the comment line, "" if it is missing."""
    if isinstance(value, float | np.floating):
        return "" if np.isnan(value) else repr(float(value))
    text = " ".join(str(value).split())
    # Quotation marks within keep words that look like numbers what they are: text.
    return '"' + text.replace("\\", "").replace('"', "'") + '"' if text else ""


def _require_finite(crystal: Crystal) -> None:
    if not len(crystal):
        raise DataError("the crystal has no atoms", where=crystal.name or None)
    if not (np.isfinite(crystal.coordinates).all() and np.isfinite(crystal.lattice).all()):
        raise DataError(
            "a coordinate or a lattice vector is not finite", where=crystal.name or None
        )


def _right_handed(crystal: Crystal) -> tuple[Floats, Floats]:
    """Return coordinates and lattice vectors, both negated if the latter are left-handed."""
    sign = 1.0 if np.linalg.det(crystal.lattice) > 0 else -1.0
    # Adding 0 makes 0 of -0, which is spelled with its sign.
    return crystal.coordinates * sign + 0.0, crystal.lattice * sign + 0.0
