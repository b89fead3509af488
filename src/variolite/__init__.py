"""Variational autoencoders for scientific data, measured so that the result holds."""

from lazy_loader import attach_stub

__version__ = "0.1.0"

# The names of ``__init__.pyi`` are loaded when first used: the import costs next to nothing.
__getattr__, __dir__, __all__ = attach_stub(__name__, __file__)
