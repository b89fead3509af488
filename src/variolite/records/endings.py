"""Which file ending stands for which format."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from variolite.errors import DataError

__all__ = ["ending_of"]


def ending_of(path: Path, known: Iterable[str], verb: str) -> str:
    """Return the longest known ending of ``path``, without regard to case.

    Raises
    ------
    DataError
        If none fits; ``verb`` says what could not be done (read, written).
    """
    endings = sorted(known, key=len, reverse=True)
    name = path.name.casefold()
    for ending in endings:
        if name.endswith(ending):
            return ending
    listed = ", ".join(sorted(endings))
    what = f"{path.suffix!r} files" if path.suffix else "a file without an ending"
    raise DataError(f"{what} cannot be {verb}", where=str(path), mend=f"Use one of {listed}")
