"""The columns of a table, keyed by what they mean, and how they are found by name."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError, field_validator, model_validator

from variolite.errors import SchemaError, VarioliteError, nearest
from variolite.records.transforms import AnyTransform
from variolite.records.values import split_header

# YAML as people write it: repeated keys rejected, lists on one line.


class UniqueKeyLoader(yaml.SafeLoader):
    """Rejects a key given twice: plain YAML keeps the last one silently."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        lines: dict[Any, int] = {}
        for key_node, _ in node.value:
            line = key_node.start_mark.line + 1
            if key_node.tag == "tag:yaml.org,2002:merge":
                continue
            if not isinstance(key_node, yaml.ScalarNode):
                raise SchemaError(f"line {line}: a name must be plain text")
            key = self.construct_object(key_node)
            if isinstance(key, bool):
                raise SchemaError(
                    f"line {line}: the name {key_node.value!r} reads as {key} in YAML",
                    hint=f"Put it in quotation marks: '{key_node.value}'",
                )
            if key in lines:
                raise SchemaError(
                    f"{key_node.value!r} is given twice, in lines {lines[key]} and {line}",
                    hint="Keep one of them",
                )
            lines[key] = line
        return super().construct_mapping(node, deep=deep)


class _Dumper(yaml.SafeDumper):
    """Writes lists on one line."""


_Dumper.add_representer(
    list,
    lambda dumper, data: dumper.represent_sequence("tag:yaml.org,2002:seq", data, flow_style=True),
)


def load_yaml(text: str, *, where: str | None = None) -> Any:
    """Read YAML into plain types; SchemaError names a key given twice or read as a boolean."""
    try:
        return yaml.load(text, Loader=UniqueKeyLoader)
    except SchemaError as error:
        raise SchemaError(error.what, where=where, hint=error.hint) from None
    except (yaml.YAMLError, RecursionError) as error:
        raise SchemaError(f"not valid YAML ({' '.join(str(error).split())})", where=where) from None


def dump_yaml(data: Any) -> str:
    """Write plain types as YAML, keys in the order given."""
    return yaml.dump(data, Dumper=_Dumper, sort_keys=False, allow_unicode=True)


# Turning a pydantic error into one clear message that names the nearest key.


def _explain(error: ValidationError, known: type[BaseModel]) -> tuple[str, str, str | None]:
    """Return (what, where, hint) for the first problem; ``known`` lists the allowed keys."""
    names = list(known.model_fields)
    problems = error.errors()
    first = problems[0]
    where = ".".join(str(part) for part in first["loc"])
    more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
    if first["type"] == "extra_forbidden":
        key = str(first["loc"][-1])
        close = nearest(key, names)
        hint = f"Did you mean {close!r}?" if close else f"Known keys: {', '.join(names)}"
        return f"unknown key {key!r}{more}", where, hint
    cause = first.get("ctx", {}).get("error")
    if isinstance(cause, VarioliteError):
        place = f"{where}: {cause.where}" if cause.where and where else (where or cause.where or "")
        return f"{cause.what}{more}", place, cause.hint
    message = first["msg"].removeprefix("Value error, ")
    given = "" if first["type"] == "missing" else f", not {first['input']!r:.80}"
    if first["type"] == "value_error":
        given = ""
    return f"{message}{given}{more}", where, None


# What one column means: its role, unit, transform and missing-value policy.


Kind = Literal["numeric", "category"]
Role = Literal["input", "condition", "label", "group", "order", "id"]
Likelihood = Literal["gaussian", "student_t", "categorical"]
Missing = Literal["error", "drop", "mask"]

_ROLES: tuple[str, ...] = ("input", "condition", "label", "group", "order", "id")
_TEXT_ROLES = ("label", "group", "id")
_KEPT_WHEN_MISSING = ("label", "order", "id")


def _defaults_of_role(role: str, kind: object = None) -> dict[str, Any]:
    """Defaults that follow from the role, as a schema file would spell them."""
    kind = kind or ("category" if role in _TEXT_ROLES else "numeric")
    scaled = role in ("input", "condition") and kind == "numeric"
    return {
        "kind": kind,
        "missing": "mask" if role in _KEPT_WHEN_MISSING else "drop",
        "transform": ["standardise"] if scaled else [],
    }


class Column(BaseModel):
    """One column, by meaning.

    Attributes
    ----------
    name
        The meaning, such as ``bulk_density``.
    kind
        ``numeric`` or ``category``; by default ``category`` for labels, groups and ids.
    role
        ``input`` is modelled, ``condition`` is given to the model, ``label`` is only
        scored against, ``group`` keeps rows together in a split, ``order`` sorts the
        rows of a group, ``id`` is carried along.
    unit
        Unit of the values; compared with the table's where that one is known.
    transform
        Steps applied in turn; by default ``[standardise]`` for numeric inputs and
        conditions. ``[]`` leaves the values as they are.
    likelihood
        None leaves the choice to the model.
    missing
        ``error`` refuses, ``drop`` leaves the row out and counts it, ``mask`` keeps
        the row. By default ``drop``, and ``mask`` for labels, order and ids.
    aliases
        Names under which tables hold this meaning.
    source
        Column of the table in hand; found by name and aliases when None.
    optional
        Whether a table may lack the column.
    valid
        Lowest and highest plausible value in ``unit``; values beyond count as missing.
    sentinels
        Values that stand for a missing one, such as -999.25.
    clip
        Two quantiles of the training rows to clip to before transforming.
    learn_bounds
        Keep values returned to original units within the training range.
    learn_rounding
        Round values returned to original units to the decimals of the training rows.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    name: str
    kind: Kind = "numeric"
    role: Role = "input"
    unit: str | None = None
    transform: tuple[AnyTransform, ...] = ()
    likelihood: Likelihood | None = None
    missing: Missing = "drop"
    aliases: tuple[str, ...] = ()
    source: str | None = None
    optional: bool = False
    valid: tuple[float | None, float | None] | None = None
    sentinels: tuple[float, ...] = ()
    clip: tuple[float, float] | None = None
    learn_bounds: bool = False
    learn_rounding: bool = False

    def __init__(self, **data: Any) -> None:
        try:
            super().__init__(**data)
        except ValidationError as error:
            what, where, hint = _explain(error, Column)
            place = f"column {data.get('name', '?')!r}" + (f", {where}" if where else "")
            raise SchemaError(what, where=place, hint=hint) from None

    @model_validator(mode="before")
    @classmethod
    def _fill_from_role(cls, data: Any) -> Any:
        if not isinstance(data, Mapping):
            return data
        role = data.get("role", "input")
        if role not in _ROLES:
            return data
        given = {key: value for key, value in data.items() if value is not None}
        return {**_defaults_of_role(role, given.get("kind")), **given}

    @field_validator("transform", "aliases", "sentinels", mode="before")
    @classmethod
    def _one_or_many(cls, value: Any) -> Any:
        return [value] if isinstance(value, str | Mapping | int | float) else value

    @model_validator(mode="after")
    def _consistent(self) -> Column:
        numeric = self.kind == "numeric"
        if not self.name.strip():
            raise SchemaError("a column needs a name")
        if numeric and self.role in _TEXT_ROLES:
            raise SchemaError(f"a {self.role} is a category, not numeric", hint="Leave out 'kind'")
        if not numeric:
            if self.role == "order":
                raise SchemaError("an order column is numeric", hint="Leave out 'kind'")
            only_numeric = ("transform", "valid", "sentinels", "clip")
            used = [key for key in only_numeric if getattr(self, key)]
            used += [key for key in ("learn_bounds", "learn_rounding") if getattr(self, key)]
            if used:
                raise SchemaError(f"{used[0]!r} is for numeric columns, and this is a category")
        if self.transform and self.role not in ("input", "condition"):
            raise SchemaError(f"a column with role {self.role!r} takes no transform")
        if self.likelihood is not None and (self.likelihood == "categorical") == numeric:
            raise SchemaError(f"likelihood {self.likelihood!r} does not suit kind {self.kind!r}")
        if self.role == "condition" and self.missing == "mask":
            raise SchemaError(
                "a condition must be known, so 'missing: mask' is not possible",
                hint="Use 'drop' or 'error', or make the column an input",
            )
        if self.role == "group" and self.missing == "mask":
            raise SchemaError("a row without a group cannot be split", hint="Use 'drop' or 'error'")
        if self.valid is not None:
            low, high = self.valid
            if low is not None and high is not None and low >= high:
                raise SchemaError(f"'valid' runs from {low:g} to {high:g}", hint="Lowest first")
        if self.clip is not None and not 0 <= self.clip[0] < self.clip[1] <= 1:
            raise SchemaError(
                f"'clip' takes two quantiles between 0 and 1, not {self.clip}",
                hint="For example [0.001, 0.999]",
            )
        return self

    def to_spec(self) -> dict[str, Any]:
        """Return what a schema file would say: only what differs from the defaults."""
        defaults = {key: info.default for key, info in type(self).model_fields.items()}
        # The kind follows from the role, and the other defaults from both.
        defaults |= _defaults_of_role(self.role, self.kind)
        defaults |= {"kind": _defaults_of_role(self.role)["kind"]}
        return {
            key: value
            for key, value in self.model_dump(mode="json", exclude={"name"}).items()
            if value != (list(d) if isinstance(d := defaults[key], tuple) else d)
        }


# Finding the table column that holds a meaning, by name and never by position.


def check_mapping(mapping: Mapping[str, str], columns: Mapping[str, Column]) -> None:
    """Reject a mapping of a meaning that the schema does not have."""
    for meaning in mapping:
        if meaning not in columns:
            raise SchemaError(
                f"{meaning!r} is not a column of the schema",
                where="column mapping",
                hint=_suggest(meaning, columns, "The schema has"),
            )


def find_source(column: Column, available: Sequence[str], mapped: str | None = None) -> str | None:
    """Return the table column that holds ``column``, or None.

    Tried in turn: the mapping, ``source``, then name and aliases unchanged,
    without regard to case, and against headers stripped of a unit in brackets.
    """
    if mapped is not None:
        if mapped in ("", "-"):
            if not column.optional:
                raise SchemaError(
                    f"{column.name!r} is not optional and cannot be left out",
                    where="column mapping",
                )
            return None
        if mapped not in available:
            raise SchemaError(
                f"{column.name!r} is mapped to {mapped!r}, which the table does not have",
                where="column mapping",
                hint=_suggest(mapped, available, "The table has"),
            )
        return mapped
    if column.source is not None:
        if column.source in available:
            return column.source
        if column.optional:
            return None
        raise SchemaError(
            f"{column.name!r} is held by {column.source!r}, which the table does not have",
            hint=_suggest(column.source, available, "The table has"),
        )
    wanted = (column.name, *column.aliases)
    for name in wanted:
        if name in available:
            return name
    for fold in (str.casefold, lambda text: split_header(text)[0].casefold()):
        headers: dict[str, list[str]] = {}
        for header in available:
            headers.setdefault(fold(header), []).append(header)
        for name in wanted:
            match = headers.get(name.strip().casefold(), [])
            if len(match) > 1:
                raise SchemaError(
                    f"{column.name!r} could be any of the columns {', '.join(map(repr, match))}",
                    hint=f"Say which with {column.name}=COLUMN",
                )
            if match:
                return match[0]
    return None


def _suggest(name: str, candidates: Sequence[str] | Mapping[str, object], lead: str) -> str:
    names = list(candidates)
    close = nearest(name, names)
    hint = f"Did you mean {close!r}? " if close else ""
    shown = ", ".join(names[:12]) + (", ..." if len(names) > 12 else "")
    return f"{hint}{lead}: {shown}"


class Schema(BaseModel):
    """The columns of a table, keyed by meaning.

    :meth:`bind` finds which column of a given table holds each meaning, by name, never
    by position.

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
            what, where, hint = _explain(error, known)
            raise SchemaError(what, where=where or None, hint=hint) from None

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
                "no column has the role 'input'", hint="A model needs at least one input"
            )
        for role in ("group", "order", "id"):
            names = [column.name for column in self.columns.values() if column.role == role]
            if len(names) > 1:
                raise SchemaError(f"only one column can have the role {role!r}, not {names}")
        if not 1 <= self.minimum_inputs <= len(self.inputs):
            raise SchemaError(
                f"minimum_inputs is {self.minimum_inputs}, but there are "
                f"{len(self.inputs)} input columns",
                hint=f"Give a number from 1 to {len(self.inputs)}",
            )
        taken: dict[tuple[str, str], str] = {}
        for column in self.columns.values():
            if column.source is None:
                continue
            other = taken.setdefault((column.source, column.role), column.name)
            if other != column.name:
                raise SchemaError(
                    f"{other!r} and {column.name!r} both take the table column {column.source!r}",
                    hint="Map each to a column of its own",
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
                hint=f"Map it with {absent[0]}=COLUMN. "
                + _suggest(absent[0], available, "The table has"),
            )
        wanted = min(self.minimum_inputs, sum(c.role == "input" for c in self.columns.values()))
        present = sum(column.role == "input" for column in found.values())
        if present < wanted or not present:
            raise SchemaError(
                f"the table has {present} of the input columns, and at least "
                f"{max(wanted, 1)} are needed",
                hint=f"It lacks {', '.join(left_out)}. "
                + _suggest(left_out[0], available, "It has"),
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
            raise SchemaError(error.what, where=place or None, hint=error.hint) from None

    def to_yaml(self) -> str:
        """Return the schema as YAML text that :meth:`from_yaml` reads back."""
        return dump_yaml(self.to_dict())

    @classmethod
    def from_yaml(cls, text: str, *, where: str | None = None) -> Schema:
        """Read a schema from YAML text."""
        return cls.from_dict(load_yaml(text, where=where), where=where)
