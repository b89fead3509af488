"""Variational autoencoders for scientific data, measured so that the result holds.

Names are loaded when first used, so that ``import variolite`` costs next to nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from variolite import errors
    from variolite.crystals.estimator import CrystalVAE
    from variolite.errors import VarioliteError
    from variolite.estimator import TabularVAE
    from variolite.recipe import Recipe, load_recipe
    from variolite.records import Column, Records, Schema, read_table
    from variolite.training import RunFolder

__all__ = [
    "Column",
    "CrystalVAE",
    "Recipe",
    "Records",
    "RunFolder",
    "Schema",
    "TabularVAE",
    "VarioliteError",
    "__version__",
    "errors",
    "load_recipe",
    "read_table",
]

__version__ = "0.1.0"

_HOME = {
    "Column": "variolite.records",
    "CrystalVAE": "variolite.crystals.estimator",
    "Recipe": "variolite.recipe",
    "Records": "variolite.records",
    "RunFolder": "variolite.training",
    "Schema": "variolite.records",
    "TabularVAE": "variolite.estimator",
    "VarioliteError": "variolite.errors",
    "load_recipe": "variolite.recipe",
    "read_table": "variolite.records",
}


def __getattr__(name: str) -> Any:
    if name == "errors":
        return import_module("variolite.errors")
    if name not in _HOME:
        raise AttributeError(f"module 'variolite' has no attribute {name!r}")
    return getattr(import_module(_HOME[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
