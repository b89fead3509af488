"""Planning: which candidate to measure next, for the money that is left."""

from lazy_loader import attach_stub

# The names of ``__init__.pyi`` are loaded when first used: commands stay fast.
__getattr__, __dir__, __all__ = attach_stub(__name__, __file__)
