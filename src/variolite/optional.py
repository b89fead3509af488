"""Packages of the extra ``frameworks``: there, or one line that says how to get them."""

from __future__ import annotations

from importlib import import_module
from importlib.util import find_spec
from typing import Any

from variolite.errors import DataError

PACKAGES = {
    "rdkit": ("rdkit", "canonical linkers"),
    "mofstructure": ("mofstructure", "reading linkers"),
    "autografs": ("AuToGraFS", "nets, building units and charges by EQeq"),
    "CoRE_MOF": ("core-mof", "the structures of the demo"),
    "raspalib": ("raspalib", "simulations"),
}
"""Modules, the packages that they come with, and what they are needed for."""

DESCRIBING = ("mofstructure", "autografs", "rdkit")
"""Modules that describe needs."""


def is_there(module: str) -> bool:
    """Whether a module can be imported; it is not."""
    return find_spec(module) is not None


def load(module: str) -> Any:
    """Import a module of the extra; raises a DataError where its package is broken."""
    try:
        return import_module(module)
    except ImportError as error:
        package, purpose = PACKAGES[module.partition(".")[0]]
        raise DataError(
            f"{package} is needed for {purpose}, and cannot be imported ({error})",
            hint=f"run pip install --force-reinstall {package}",
        ) from None


def require(*modules: str) -> None:
    """Raise a DataError where one of these modules is missing."""
    for module in modules:
        if not is_there(module):
            package, purpose = PACKAGES[module]
            raise DataError(
                f"{package} is needed for {purpose}, and is not installed",
                hint="run pip install 'variolite[frameworks]'",
            )
