"""Crystals: fast reading, a flat store, the crystal VAE, matching and generation.

The model is `variolite.CrystalVAE`; here are the structures that go in and come out, which
need neither torch nor pymatgen.
"""

from lazy_loader import attach_stub

# The names of ``__init__.pyi`` are loaded when first used: commands stay fast.
__getattr__, __dir__, __all__ = attach_stub(__name__, __file__)
