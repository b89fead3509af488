"""One name for a hole, whatever a table calls it.

Tables write (expedition, site, hole letter) as ``318-U1355A``, ``318-U1355-A`` or
``318_U1355_A``, or in columns of their own; joined as text, these match nothing. This package
uses the canonical ``318-U1355A``, the form printed on core labels.
"""

from __future__ import annotations

from collections.abc import Sequence

import polars as pl

from variolite.errors import DataError, counted, nearest

_PARTS = {
    "expedition": r"\d{1,4}[A-Z]{0,2}",
    "site": r"[A-Z]{0,2}\d{1,5}",
    "hole_letter": "[A-Z]{1,2}",
}
_TEXT = "^({expedition})[-_ /]+({site})[-_ /]*({hole_letter})$".format(**_PARTS)

_PART_NAMES = {"Exp": ("exp", "expedition", "leg"), "Site": ("site",), "Hole": ("hole",)}
_WHOLE_NAMES = ("borehole_id", "borehole", "hole_id", "holeid", "well", "hole")


def holes_from_text(names: pl.Series) -> pl.DataFrame:
    """Read a column of hole names in any mixture of the known spellings.

    Returns
    -------
    pl.DataFrame
        Per name ``hole`` (canonical text), ``expedition``, ``site`` and ``hole_letter``.

    Raises
    ------
    DataError
        If a name is missing or cannot be read; the first few are shown.
    """
    text = _clean(pl.col("text"))
    parts = pl.DataFrame({"text": names.cast(pl.String)}).select(
        "text", *(text.str.extract(_TEXT, i).alias(part) for i, part in enumerate(_PARTS, 1))
    )
    _refuse(parts.filter(pl.col("expedition").is_null())["text"], names.name or "hole")
    return _with_text(parts)


def holes_from_columns(expedition: pl.Series, site: pl.Series, hole: pl.Series) -> pl.DataFrame:
    """Read holes whose three parts stand in columns of their own, as :func:`holes_from_text`.

    Numbers are accepted for expedition and site, since a table without text expeditions is
    often read as numeric.
    """
    given = dict(zip(_PARTS, (expedition, site, hole), strict=True))
    parts = pl.DataFrame(given).select(_clean(pl.all().cast(pl.String)))
    if len(parts) and parts["hole_letter"].str.contains(_TEXT).fill_null(False).all():
        return holes_from_text(parts["hole_letter"].alias(hole.name))
    good = pl.all_horizontal(
        pl.col(part).str.contains(f"^{pattern}$").fill_null(False)
        for part, pattern in _PARTS.items()
    )
    text = pl.concat_str(pl.all().fill_null("(missing)"), separator=" | ")
    _refuse(parts.filter(~good).select(text).to_series(), "Exp | Site | Hole")
    return _with_text(parts)


def find_hole_columns(available: Sequence[str]) -> tuple[str, ...]:
    """Find the columns that name the hole: three (expedition, site, hole) or one (a whole name).

    Raises DataError if neither is present; the nearest column is named.
    """
    folded = {name.strip().casefold(): name for name in available}
    found = {
        part: next((folded[alias] for alias in aliases if alias in folded), None)
        for part, aliases in _PART_NAMES.items()
    }
    missing = [part for part, column in found.items() if column is None]
    if not missing:
        return tuple(name for name in found.values() if name is not None)
    for alias in _WHOLE_NAMES:
        # Beside a site, a column Hole holds the letter only.
        if alias in folded and (alias != "hole" or found["Site"] is None):
            return (folded[alias],)
    close = nearest(missing[0], available)
    near = f"; the nearest column is '{close}'" if close else ""
    hint = "a table needs Exp, Site and Hole, or one column Borehole_ID"
    raise DataError(f"no column {', '.join(missing)}{near}", hint=hint)


def canonical_holes(frame: pl.DataFrame) -> pl.DataFrame:
    """Read the holes of a table, whichever columns name them, as :func:`holes_from_text`.

    Raises
    ------
    DataError
        If no column names the hole, or a name cannot be read.
    """
    columns = find_hole_columns(frame.columns)
    if len(columns) == 1:
        return holes_from_text(frame[columns[0]])
    return holes_from_columns(*(frame[name] for name in columns))


def _clean(text: pl.Expr) -> pl.Expr:
    # A column of expeditions with gaps is read as floating point: 318.0.
    return text.str.strip_chars().str.to_uppercase().str.replace(r"^(\d+)\.0+$", "$1")


def _with_text(parts: pl.DataFrame) -> pl.DataFrame:
    # 0318 is 318: zeros come and go as tables are read as numbers or text. C0002 is a name.
    parts = parts.with_columns(pl.col("expedition", "site").str.replace(r"^0+(\d)", "$1"))
    hole = pl.concat_str("expedition", pl.lit("-"), "site", "hole_letter").alias("hole")
    return parts.select(hole, *_PARTS)


def _refuse(bad: pl.Series, where: str) -> None:
    if bad.is_empty():
        return
    first = bad.unique(maintain_order=True).head(3)
    shown = ", ".join("(missing)" if text is None else repr(text) for text in first)
    spellings = "318-U1355A, 318-U1355-A or 318_U1355_A"
    hint = f"write it as {spellings}, or give columns Exp, Site and Hole"
    raise DataError(
        f"{counted(len(bad), 'hole name')} cannot be read, such as {shown}", where=where, hint=hint
    )
