"""Read the YAML files that are shipped with this room."""

from __future__ import annotations

from importlib.resources import files
from typing import Any

import yaml

__all__ = ["read_packaged"]

# The same safe subset, parsed in C where PyYAML was built with it: ten times faster.
_Loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


def read_packaged(name: str) -> Any:
    """Return the content of a packaged YAML file."""
    text = files("variolite.corelogs").joinpath(name).read_text("utf-8")
    return yaml.load(text, Loader=_Loader)
