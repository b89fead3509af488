"""Packages that only some commands need: there, or one line that says how to get them."""

from __future__ import annotations

from importlib.util import find_spec

from variolite.errors import DataError

PACKAGES = {
    "rdkit": "rdkit",
    "mofstructure": "mofstructure",
    "autografs": "AuToGraFS",
    "CoRE_MOF": "core-mof",
    "raspalib": "raspalib",
}
"""Modules of the extra `frameworks`, and the packages that they come with."""

DESCRIBING = {
    "mofstructure": "reading linkers",
    "autografs": "reading nets and building units",
    "rdkit": "canonical linkers",
}
"""Modules that describe needs, and what for."""


def is_there(module: str) -> bool:
    """Whether a module can be imported; it is not."""
    return find_spec(module) is not None


def require(module: str, purpose: str) -> None:
    """Raise a DataError where a module of the extra is missing."""
    if not is_there(module):
        raise DataError(
            f"{PACKAGES[module]} is needed for {purpose}, and is not installed",
            hint="run pip install 'variolite[frameworks]'",
        )
