"""What a structure is called: by a column or key, or by its file."""

from __future__ import annotations

import re
from pathlib import Path

__all__ = ["IDS", "name_of_file"]

IDS = ("material_id", "mp_id", "id", "name", "structure_id", "entry_id", "refcode")
"""Columns and keys that hold ids, in order of preference; in any capitals."""

_VASP = re.compile(r"(?i)^(?:poscar|contcar)[._-]*")


def name_of_file(path: Path) -> str:
    """Return the name of the only structure in a file.

    Endings are left out; of ``POSCAR_mp-1`` the second part is taken, and for a bare
    ``POSCAR`` the folder.
    """
    name = path.name
    for ending in (".gz", ".cif", ".vasp", ".poscar", ".contcar", ".json", ".extxyz", ".xyz"):
        if name.casefold().endswith(ending) and len(name) > len(ending):
            name = name[: -len(ending)]
    return _VASP.sub("", name) or path.resolve().parent.name or name
