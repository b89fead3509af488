"""Structures in and out: flat arrays, the store, readers and writers."""

from variolite.crystals.structures.cells import (
    cell_heights,
    cell_parameters,
    lattices_from_parameters,
)
from variolite.crystals.structures.crystals import Crystal, Crystals
from variolite.crystals.structures.elements import (
    ATOMIC_NUMBERS,
    ELECTRONEGATIVITIES,
    HEAVIEST,
    MASSES,
    SYMBOLS,
    atomic_numbers,
    symbols_of,
)
from variolite.crystals.structures.exchange import from_ase, from_pymatgen, to_ase, to_pymatgen
from variolite.crystals.structures.formula import (
    anonymous_formulas,
    chemical_systems,
    compositions,
    reduced_formulas,
)
from variolite.crystals.structures.prototypes import prototypes, space_groups
from variolite.crystals.structures.reading import Reading, load_crystals, read_all, read_structures
from variolite.crystals.structures.reduction import niggli_basis, reduce_cells
from variolite.crystals.structures.rejection import NO_LIMITS, Limits
from variolite.crystals.structures.splitting import (
    draw_split,
    groups_by,
    split_by_number,
    split_crystals,
    without_ids,
    without_repeated_ids,
)
from variolite.crystals.structures.store import fingerprint, open_store, write_store
from variolite.crystals.structures.textbook import textbook_crystals
from variolite.crystals.structures.texts import to_cif, to_extxyz, to_poscar
from variolite.crystals.structures.writing import file_names, require_place, write_structures

__all__ = [
    "ATOMIC_NUMBERS",
    "ELECTRONEGATIVITIES",
    "HEAVIEST",
    "MASSES",
    "NO_LIMITS",
    "SYMBOLS",
    "Crystal",
    "Crystals",
    "Limits",
    "Reading",
    "anonymous_formulas",
    "atomic_numbers",
    "cell_heights",
    "cell_parameters",
    "chemical_systems",
    "compositions",
    "draw_split",
    "file_names",
    "fingerprint",
    "from_ase",
    "from_pymatgen",
    "groups_by",
    "lattices_from_parameters",
    "load_crystals",
    "niggli_basis",
    "open_store",
    "prototypes",
    "read_all",
    "read_structures",
    "reduce_cells",
    "reduced_formulas",
    "require_place",
    "space_groups",
    "split_by_number",
    "split_crystals",
    "symbols_of",
    "textbook_crystals",
    "to_ase",
    "to_cif",
    "to_extxyz",
    "to_poscar",
    "to_pymatgen",
    "without_ids",
    "without_repeated_ids",
    "write_store",
    "write_structures",
]
