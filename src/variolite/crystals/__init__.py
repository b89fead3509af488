"""Crystals: fast reading, a flat store, the crystal VAE, matching and generation.

The model is `variolite.CrystalVAE`; here are the structures that go in and come out, which
need neither torch nor pymatgen.
"""

from variolite.crystals.crystals import Crystal, Crystals
from variolite.crystals.files.reading import load_crystals, read_structures
from variolite.crystals.files.store import open_store, write_store
from variolite.crystals.files.textbook import textbook_crystals
from variolite.crystals.files.writing import write_structures
from variolite.crystals.latents import Latents

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
