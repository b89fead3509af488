"""Tabular data: schema, reading, reversible transforms, masked records, grouped splits."""

from lazy_loader import attach_stub

# The names of ``__init__.pyi`` are loaded when first used: writing a table needs no schema.
__getattr__, __dir__, __all__ = attach_stub(__name__, __file__)
