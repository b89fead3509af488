"""Groups and labels of a table: which columns can be one, and one spelling for every group."""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterable, Mapping

import numpy as np
import polars as pl
from numpy.typing import NDArray

from variolite.errors import DataError, DataWarning, SchemaError
from variolite.records.names import look_alikes, spellings
from variolite.records.records import text_series, text_values
from variolite.records.schema import Column, Schema

_DEPTH = re.compile(r"\s*(depth|dept|md|tvd|tvdss|mbsf)\s*([(\[].*)?$", re.IGNORECASE)
_MOST_SHOWN = 5
_FEW = 20  # Rows and names that a column needs to be examined: facies 1.1 to 3.4 are classes.
_REPEATED = 0.05  # Share of the places of a spelling up to which another may have them too.
_ALL = 0.98  # Share of rows with a name of their own beyond which a column names nothing.


def group_spellings(schema: Schema, mapping: Mapping[str, str] | None = None) -> tuple[str, ...]:
    """Return the names under which a table may hold the group and the id.

    To be read as text: a well 0012 keeps its name.
    """
    names: list[str | None] = []
    for column in (schema.group, schema.id):
        if column is not None:
            mapped = (mapping or {}).get(column.name)
            names += [mapped, column.source, column.name, *column.aliases]
    return tuple(dict.fromkeys(filter(None, names)))


def groups_of(schema: Schema, frame: pl.DataFrame) -> NDArray[np.str_]:
    """Return the group of every row of a bound schema's table, "" where missing."""
    if schema.group is None:
        what = "no column has the role 'group', so rows cannot be split by group"
        hint = "Declare the column that names boreholes, families or campaigns as group"
        raise SchemaError(what, hint=hint)
    return text_values(frame[str(schema.group.source)])


def require_roles(schema: Schema, frame: pl.DataFrame) -> None:
    """Refuse a group or label of a bound schema that is a measurement: see `require_names`.

    A depth, an input and the order of the rows are refused, too.
    """
    taken = {column.source: column for column in (*schema.inputs, *schema.of_role("order"))}
    for column in (schema.group, *schema.labels):
        if column is None:
            continue
        if other := taken.get(column.source):
            also = "an input" if other.role == "input" else "the order of the rows"
            raise _not_names(column, f"is {also} ({other.name}) as well")
        if _DEPTH.match(str(column.source)):
            raise _not_names(column, "is a depth by its name")
        require_names(column, text_series(frame[str(column.source)]))


def require_names(column: Column, values: pl.Series | NDArray[np.str_]) -> None:
    """Refuse entries (n,), "" where missing, that name no groups or classes.

    SchemaError if they are decimal numbers, or differ in almost every row, unless they may.
    """
    names = pl.Series(values)
    names = names.filter(names != "")
    distinct = names.unique()
    if len(names) < _FEW or len(distinct) <= _FEW:
        return
    numbers = distinct.cast(pl.Float64, strict=False)
    if not numbers.has_nulls() and (numbers != numbers.round()).any():
        example = distinct.filter(numbers != numbers.round()).sort()[0]
        raise _not_names(column, f"holds decimal numbers such as {example}")
    if len(distinct) > _ALL * len(names) and not column.singletons:
        raise _not_names(column, f"has {len(distinct):,} different values in {len(names):,} rows")


def _not_names(column: Column, what: str) -> SchemaError:
    kind = "names" if column.role == "group" else "classes"
    out = f", or leave it out with {column.name}=-" if column.optional else ""
    hint = f"Map {column.name} to a column of {kind} with --map {column.name}=COLUMN{out}"
    where = f"column {column.source!r}"
    what = f"{what} and cannot be the {column.role} {column.name!r}"
    return SchemaError(what, where=where, hint=hint)


def one_spelling(
    group: NDArray[np.str_],
    order: NDArray[np.float64] | None = None,
    where: str | None = None,
) -> NDArray[np.str_]:
    """Return the group of every row, (n,), in one spelling each, the most frequent one.

    A DataWarning names the others. DataError where two spellings have rows at the same places in
    the ``order`` (n,), say depths: these may be two groups.
    """
    texts = pl.Series("name", group)
    counted = texts.value_counts(name="rows").sort("rows", "name", descending=[True, False])
    several = [names for names in spellings(counted["name"]).values() if len(names) > 1]
    if not several:
        return group
    rows = pl.DataFrame({"name": texts, "place": order}).fill_nan(None).drop_nulls()
    for names in several:
        found = rows.filter(pl.col("name").is_in(names)).unique()
        twice = found.filter(found["place"].is_duplicated())["place"].unique().sort()
        fewest = min(found["name"].value_counts()["count"], default=0)
        # Tables repeat a depth here and there; two wells share a stretch of them.
        if len(twice) > _REPEATED * fewest:
            what = f"{_listed(names)} are spellings of one name, and each has rows at"
            what = f"{what} {', '.join(map(str, twice[:3]))}{' ...' if len(twice) > 3 else ''}"
            hint = "If they are one group, drop the repeated rows; if not, rename one"
            raise DataError(what, where=where, hint=hint)
    _warn("one group under several spellings:", several, "")
    chosen = {name: names[0] for names in several for name in names[1:]}
    return texts.replace(chosen).to_numpy().astype(np.str_)


def warn_of_look_alikes(names: Iterable[str], known: Iterable[str] | None = None) -> None:
    """Name pairs of groups that look alike in a DataWarning; with ``known``, those of new ones."""
    before = set(known or ())
    pairs = look_alikes([*before, *names])
    if before:
        pairs = [pair for pair in pairs if len(before.intersection(pair)) == 1]
    if pairs:
        _warn("names look alike:", pairs, ". They stay apart; if two are one, spell them alike")


def _listed(names: Iterable[str]) -> str:
    return " and ".join(map(repr, names))


def _warn(lead: str, families: list[list[str]] | list[tuple[str, str]], tail: str) -> None:
    shown = "; ".join(map(_listed, families[:_MOST_SHOWN]))
    more = f" and {len(families) - _MOST_SHOWN} more" if len(families) > _MOST_SHOWN else ""
    warnings.warn(f"{lead} {shown}{more}{tail}", DataWarning, stacklevel=3)
