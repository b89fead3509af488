"""Turning a pydantic refusal into one clear message that names the nearest key."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from pydantic import BaseModel, ValidationError

from variolite.errors import VarioliteError, nearest

__all__ = ["explain_validation"]


def explain_validation(
    error: ValidationError, known: Mapping[str, object] | Iterable[str] | type[BaseModel]
) -> tuple[str, str, str | None]:
    """Return (what, where, mend) for the first problem in ``error``.

    Parameters
    ----------
    error
        What pydantic raised.
    known
        Keys allowed where an unknown one was met, or the model that lists them.
    """
    names = list(known.model_fields) if isinstance(known, type) else list(known)
    problems = error.errors()
    first = problems[0]
    where = ".".join(str(part) for part in first["loc"])
    more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
    if first["type"] == "extra_forbidden":
        key = str(first["loc"][-1])
        close = nearest(key, names)
        mend = f"Did you mean {close!r}?" if close else f"Known keys: {', '.join(names)}"
        return f"unknown key {key!r}{more}", where, mend
    cause = first.get("ctx", {}).get("error")
    if isinstance(cause, VarioliteError):
        place = f"{where}: {cause.where}" if cause.where and where else (where or cause.where or "")
        return f"{cause.what}{more}", place, cause.mend
    message = first["msg"].removeprefix("Value error, ")
    given = "" if first["type"] == "missing" else f", not {first['input']!r:.80}"
    if first["type"] == "value_error":
        given = ""
    return f"{message}{given}{more}", where, None
