"""HTML and SVG elements, with escaping that cannot be forgotten.

Ordinary strings are data and are escaped wherever they meet an element; only
:class:`Markup`, which the functions here return, passes through as it is.
"""

from __future__ import annotations

import html
import math
import re
from collections.abc import Iterable

__all__ = ["Markup", "Value", "compact", "element", "escape", "join"]

Value = str | float | bool | None

_VOID = frozenset({"br", "col", "hr", "input", "meta"})
_SHAPES = frozenset({"circle", "line", "path", "polygon", "polyline", "rect", "use"})
_NOT_IN_XML = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\ud800-\udfff\ufffe\uffff]")


class Markup(str):
    """Text that is HTML or SVG already and must not be escaped again."""

    __slots__ = ()


def escape(text: str) -> Markup:
    """Return ``text`` fit for element content and attribute values alike.

    Characters that XML forbids, control characters among them, become the
    replacement character so that a saved SVG stays readable.
    """
    if isinstance(text, Markup):
        return text
    return Markup(html.escape(_NOT_IN_XML.sub("\ufffd", text), quote=True))


def compact(value: float) -> str:
    """Write a coordinate with at most two decimals and no trailing zeros."""
    if not math.isfinite(value):
        raise ValueError(f"a coordinate must be finite, not {value}")
    written = f"{value:.2f}".rstrip("0").rstrip(".")
    return "0" if written in {"-0", ""} else written


def element(name: str, /, *children: str, **attributes: Value) -> Markup:
    """Return one element; a trailing underscore and inner ones in attribute names are for Python.

    Parameters
    ----------
    name
        Element name, such as ``"td"`` or ``"rect"``.
    *children
        Content in order: :class:`Markup` as it is, any other string escaped.
    **attributes
        ``class_`` is written ``class`` and ``stroke_width`` is written
        ``stroke-width``. None and False leave the attribute out, True writes
        it without a value, numbers go through :func:`compact`.
    """
    written = "".join(_attribute(key, value) for key, value in attributes.items())
    if name in _VOID:
        return Markup(f"<{name}{written}>")
    if not children and name in _SHAPES:
        return Markup(f"<{name}{written}/>")
    return Markup(f"<{name}{written}>{join(children)}</{name}>")


def join(pieces: Iterable[str], separator: str = "") -> Markup:
    """Return the pieces one after another, escaping those that are not markup."""
    return Markup(escape(separator).join(escape(piece) for piece in pieces))


def _attribute(key: str, value: Value) -> str:
    name = key.rstrip("_").replace("_", "-")
    if value is None or value is False:
        return ""
    if value is True:
        return f" {name}"
    return f' {name}="{escape(value) if isinstance(value, str) else compact(value)}"'
