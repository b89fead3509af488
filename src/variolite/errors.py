"""Errors a user can meet: each says what is wrong, where, and how to fix it.

Every class derives from ``ValueError`` too, so that callers who never heard of
Variolite can catch them. The command line turns them into one line and exit
code 2, or 3 where fewer results than asked for were found; anything else is an
internal error and ends with code 1.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from difflib import get_close_matches
from typing import Any, ClassVar


class VarioliteError(ValueError):
    """Root of every error that the user can fix.

    Parameters
    ----------
    what
        What is wrong, without a closing full stop.
    where
        The file, column, row or option that it concerns.
    hint
        How to fix it, as an instruction.
    """

    exit_code: ClassVar[int] = 2

    def __init__(self, what: str, *, where: str | None = None, hint: str | None = None) -> None:
        self.what = what
        self.where = where
        self.hint = hint
        super().__init__(what, where, hint)

    def __reduce__(self) -> tuple[Any, ...]:
        # Errors cross process borders; the default would pass where and hint by position.
        return _rebuild, (type(self), self.what, self.where, self.hint)

    def __str__(self) -> str:
        place = f"{self.where}: " if self.where else ""
        if not self.hint:
            return f"{place}{self.what}"
        closed = self.hint.endswith(("?", "!", "..."))
        hint = self.hint if closed else f"{self.hint.rstrip('.')}."
        return f"{place}{self.what}. {hint[0].upper()}{hint[1:]}"


def _rebuild(
    kind: type[VarioliteError], what: str, where: str | None, hint: str | None
) -> VarioliteError:
    return kind(what, where=where, hint=hint)


class DataError(VarioliteError):
    """A table or file does not hold what is needed of it."""


class ShortfallError(DataError):
    """Fewer results than asked for; ``written`` says whether those found are in the output."""

    exit_code = 3

    def __init__(
        self,
        what: str,
        *,
        where: str | None = None,
        hint: str | None = None,
        written: bool = False,
    ) -> None:
        super().__init__(what, where=where, hint=hint)
        self.written = written


class DataWarning(UserWarning):
    """The command continues, but something was guessed, left out, or looks wrong."""


class SchemaError(VarioliteError):
    """A schema is inconsistent, or does not fit the table it is applied to."""


class RecipeError(VarioliteError):
    """A recipe is unknown, malformed or cannot be carried out."""


class TrainingError(VarioliteError):
    """Training cannot start or cannot go on."""


class ModelFileError(VarioliteError):
    """A model file is foreign, truncated, altered or too new."""


class RunFolderError(VarioliteError):
    """A run folder is missing, incomplete or in the way."""


# C0 and C1 controls but line feed and tab, and what turns the direction of writing.
_CONTROLS = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069]")


def printable(text: str) -> str:
    """Write out control characters as escapes: names from files must not steer a terminal."""
    return _CONTROLS.sub(lambda found: found[0].encode("unicode_escape").decode(), text)


def some_of(names: Iterable[str], most: int = 8) -> str:
    """Join names with commas, the first of many."""
    every = [*names]
    more = f" and {len(every) - most:,} more" if len(every) > most else ""
    return f"{', '.join(every[:most])}{more}"


def counted(count: int, singular: str, plural: str | None = None) -> str:
    """Write a count with its noun in the right number."""
    return f"{count:,} {singular if count == 1 else plural or singular + 's'}"


def nearest(name: str, candidates: Iterable[str]) -> str | None:
    """Return the candidate most like ``name``, or None when none is close."""
    folded = {candidate.casefold(): candidate for candidate in candidates}
    close = get_close_matches(name.casefold(), folded, n=1, cutoff=0.6)
    return folded[close[0]] if close else None
