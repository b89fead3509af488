"""The columns of a table, keyed by what they mean.

A schema is keyed by *meaning* (``bulk_density``); :meth:`Schema.bind` finds which
column of a given table holds each meaning, by name, never by position.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError, field_validator, model_validator

from variolite.errors import SchemaError
from variolite.records.binding import check_mapping, find_source, suggest
from variolite.records.column import Column, Kind, Role
from variolite.records.validation import explain_validation
from variolite.records.yaml_text import dump_yaml, load_yaml

__all__ = ["Column", "Schema"]


class Schema(BaseModel):
    """The columns of a table, keyed by meaning.

    Attributes
    ----------
    columns
        Columns by meaning, in the order the model sees them.
    minimum_inputs
        Rows with fewer observed inputs are dropped.
    left_out
        Optional columns that :meth:`bind` did not find.

    Examples
    --------
    >>> schema = Schema.from_yaml('''
    ... columns:
    ...   gamma_ray: {aliases: [GR], unit: gAPI, transform: [signed_log, standardise]}
    ...   bulk_density: {aliases: [RHOB], unit: g/cm3, missing: mask}
    ...   well: {role: group}
    ... ''')
    >>> bound = schema.bind(["WELL", "GR", "RHOB (g/cc)"])
    >>> [column.source for column in bound.columns.values()]
    ['GR', 'RHOB (g/cc)', 'WELL']
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    columns: dict[str, Column]
    minimum_inputs: int = 1
    left_out: tuple[str, ...] = ()

    def __init__(self, **data: Any) -> None:
        try:
            super().__init__(**data)
        except ValidationError as error:
            loc = error.errors()[0]["loc"]
            known: type[BaseModel] = Schema if len(loc) < 2 else Column
            what, where, mend = explain_validation(error, known)
            raise SchemaError(what, where=where or None, mend=mend) from None

    @field_validator("columns", mode="before")
    @classmethod
    def _names_from_keys(cls, value: Any) -> Any:
        if not isinstance(value, Mapping):
            raise SchemaError("'columns' maps each meaning to its settings")
        filled: dict[str, Any] = {}
        for key, column in value.items():
            if isinstance(column, Column):
                if column.name != key:
                    raise SchemaError(f"column {key!r} is named {column.name!r}")
                filled[str(key)] = column
            elif column is None or isinstance(column, Mapping):
                filled[str(key)] = {"name": str(key), **(column or {})}
            else:
                raise SchemaError(f"column {key!r} needs settings, not {column!r:.80}")
        return filled

    @model_validator(mode="after")
    def _consistent(self) -> Schema:
        if not self.inputs:
            raise SchemaError(
                "no column has the role 'input'", mend="A model needs at least one input"
            )
        for role in ("group", "order", "id"):
            names = [column.name for column in self.columns.values() if column.role == role]
            if len(names) > 1:
                raise SchemaError(f"only one column can have the role {role!r}, not {names}")
        if not 1 <= self.minimum_inputs <= len(self.inputs):
            raise SchemaError(
                f"minimum_inputs is {self.minimum_inputs}, but there are "
                f"{len(self.inputs)} input columns",
                mend=f"Give a number from 1 to {len(self.inputs)}",
            )
        taken: dict[tuple[str, str], str] = {}
        for column in self.columns.values():
            if column.source is None:
                continue
            other = taken.setdefault((column.source, column.role), column.name)
            if other != column.name:
                raise SchemaError(
                    f"{other!r} and {column.name!r} both take the table column {column.source!r}",
                    mend="Map each to a column of its own",
                )
        return self

    def of_role(self, role: Role, kind: Kind | None = None) -> tuple[Column, ...]:
        """Return the columns with this role, and kind where given, in order."""
        return tuple(
            column
            for column in self.columns.values()
            if column.role == role and (kind is None or column.kind == kind)
        )

    @property
    def inputs(self) -> tuple[Column, ...]:
        return self.of_role("input")

    @property
    def conditions(self) -> tuple[Column, ...]:
        return self.of_role("condition")

    @property
    def labels(self) -> tuple[Column, ...]:
        return self.of_role("label")

    @property
    def group(self) -> Column | None:
        return next(iter(self.of_role("group")), None)

    @property
    def order(self) -> Column | None:
        return next(iter(self.of_role("order")), None)

    @property
    def id(self) -> Column | None:
        return next(iter(self.of_role("id")), None)

    @property
    def bound(self) -> bool:
        """Whether every column knows its column of a table."""
        return all(column.source is not None for column in self.columns.values())

    def bind(self, available: Sequence[str], mapping: Mapping[str, str] | None = None) -> Schema:
        """Find the table column of every meaning.

        Parameters
        ----------
        available
            Column names of the table.
        mapping
            Table column by meaning, ahead of ``source``, name and aliases. An empty
            text or ``-`` leaves an optional column out.

        Returns
        -------
        Schema
            With every ``source`` set. Optional columns that the table lacks are gone
            from ``columns`` and named in ``left_out``.

        Raises
        ------
        SchemaError
            If a column cannot be found, is ambiguous, or is mapped wrongly.
        """
        mapping = dict(mapping or {})
        check_mapping(mapping, self.columns)
        found: dict[str, Column] = {}
        left_out, absent = list(self.left_out), []
        for name, column in self.columns.items():
            source = find_source(column, available, mapping.get(name))
            if source is not None:
                found[name] = column.model_copy(update={"source": source})
            elif column.optional:
                left_out.append(name)
            else:
                absent.append(name)
        if absent:
            tried = ", ".join(repr(alias) for alias in self.columns[absent[0]].aliases[:4])
            also = f" (also known as {tried})" if tried else ""
            listed = ", ".join(repr(name) for name in absent)
            raise SchemaError(
                f"the table has no column for {listed}{also}",
                mend=f"Map it with {absent[0]}=COLUMN. "
                + suggest(absent[0], available, "The table has"),
            )
        wanted = min(self.minimum_inputs, sum(c.role == "input" for c in self.columns.values()))
        present = sum(column.role == "input" for column in found.values())
        if present < wanted or not present:
            raise SchemaError(
                f"the table has {present} of the input columns, and at least "
                f"{max(wanted, 1)} are needed",
                mend=f"It lacks {', '.join(left_out)}. "
                + suggest(left_out[0], available, "It has"),
            )
        return Schema(
            columns=found,
            minimum_inputs=self.minimum_inputs,
            left_out=tuple(dict.fromkeys(left_out)),
        )

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON types, with only what differs from the defaults."""
        data: dict[str, Any] = {
            "columns": {name: column.to_spec() for name, column in self.columns.items()}
        }
        if self.minimum_inputs != 1:
            data["minimum_inputs"] = self.minimum_inputs
        if self.left_out:
            data["left_out"] = list(self.left_out)
        return data

    @classmethod
    def from_dict(cls, data: Any, *, where: str | None = None) -> Schema:
        """Read what :meth:`to_dict` or a YAML file says; SchemaError when it cannot be read."""
        if not isinstance(data, Mapping):
            raise SchemaError("a schema maps 'columns' to settings", where=where)
        try:
            return cls(**{str(key): value for key, value in data.items()})
        except SchemaError as error:
            place = ", ".join(part for part in (where, error.where) if part)
            raise SchemaError(error.what, where=place or None, mend=error.mend) from None

    def to_yaml(self) -> str:
        """Return the schema as YAML text that :meth:`from_yaml` reads back."""
        return dump_yaml(self.to_dict())

    @classmethod
    def from_yaml(cls, text: str, *, where: str | None = None) -> Schema:
        """Read a schema from YAML text."""
        return cls.from_dict(load_yaml(text, where=where), where=where)
