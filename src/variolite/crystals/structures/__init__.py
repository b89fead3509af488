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
from variolite.crystals.structures.reading import Reading, load_crystals, read_structures
from variolite.crystals.structures.rejection import Limits
from variolite.crystals.structures.store import fingerprint, open_store, write_store
from variolite.crystals.structures.textbook import textbook_crystals

__all__ = [
    "ATOMIC_NUMBERS",
    "ELECTRONEGATIVITIES",
    "HEAVIEST",
    "MASSES",
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
    "fingerprint",
    "from_ase",
    "from_pymatgen",
    "lattices_from_parameters",
    "load_crystals",
    "open_store",
    "read_structures",
    "reduced_formulas",
    "symbols_of",
    "textbook_crystals",
    "to_ase",
    "to_pymatgen",
    "write_store",
]
