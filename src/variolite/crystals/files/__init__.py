"""Structures in and out: readers, writers, the flat store, groups and splits."""

from variolite.crystals.files.checks import NO_LIMITS, Limits
from variolite.crystals.files.formats import from_ase, from_pymatgen, to_ase, to_pymatgen
from variolite.crystals.files.groups import split_by_number, split_crystals
from variolite.crystals.files.reading import load_crystals, read_structures
from variolite.crystals.files.store import open_store, write_store
from variolite.crystals.files.textbook import textbook_crystals
from variolite.crystals.files.writing import write_structures

__all__ = [
    "NO_LIMITS",
    "Limits",
    "from_ase",
    "from_pymatgen",
    "load_crystals",
    "open_store",
    "read_structures",
    "split_by_number",
    "split_crystals",
    "textbook_crystals",
    "to_ase",
    "to_pymatgen",
    "write_store",
    "write_structures",
]
