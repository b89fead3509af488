"""Crystals: fast reading, a flat store, the crystal VAE, matching and generation.

The model is `variolite.CrystalVAE`; here are the structures that go in and come out, which
need neither torch nor pymatgen.
"""

from variolite.crystals.latents import Latents
from variolite.crystals.structures import (
    Crystal,
    Crystals,
    load_crystals,
    open_store,
    read_structures,
    textbook_crystals,
    write_store,
    write_structures,
)

__all__ = [
    "Crystal",
    "Crystals",
    "Latents",
    "load_crystals",
    "open_store",
    "read_structures",
    "textbook_crystals",
    "write_store",
    "write_structures",
]
