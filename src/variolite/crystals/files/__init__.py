"""Structures in and out: flat arrays, the store, readers and writers."""

from variolite.crystals.files.checks import NO_LIMITS, Limits
from variolite.crystals.files.formats import from_ase, from_pymatgen, to_ase, to_pymatgen
from variolite.crystals.files.groups import (
    draw_split,
    groups_by,
    prototypes,
    space_groups,
    split_by_number,
    split_crystals,
    without_ids,
    without_repeated_ids,
)
from variolite.crystals.files.reading import Reading, load_crystals, read_all, read_structures
from variolite.crystals.files.store import fingerprint, open_store, write_store
from variolite.crystals.files.textbook import textbook_crystals
from variolite.crystals.files.writing import (
    file_names,
    require_place,
    to_cif,
    to_extxyz,
    to_poscar,
    write_structures,
)

__all__ = [
    "NO_LIMITS",
    "Limits",
    "Reading",
    "draw_split",
    "file_names",
    "fingerprint",
    "from_ase",
    "from_pymatgen",
    "groups_by",
    "load_crystals",
    "open_store",
    "prototypes",
    "read_all",
    "read_structures",
    "require_place",
    "space_groups",
    "split_by_number",
    "split_crystals",
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
