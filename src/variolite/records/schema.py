"""The columns of a table, keyed by what they mean, and how they are found by name."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Literal

import yaml
from pydantic import PositiveFloat, field_validator, model_validator

from variolite.errors import DataWarning, SchemaError, nearest
from variolite.records.mnemonics import find_mnemonics
from variolite.records.transforms import AnyTransform, Settings
from variolite.records.units import canonical_unit, split_header
from variolite.strict_yaml import load_yaml


class _Dumper(yaml.SafeDumper):
    """Writes lists on one line."""


_Dumper.add_representer(
    list,
    lambda dumper, data: dumper.represent_sequence("tag:yaml.org,2002:seq", data, flow_style=True),
)


# What one column means: its role, unit, transform and missing-value policy.


Kind = Literal["numeric", "category", "set"]
Role = Literal["input", "condition", "label", "group", "order", "id"]
Likelihood = Literal["gaussian", "student_t", "categorical"]
Missing = Literal["error", "drop", "mask"]


def _defaults_of_role(role: str, kind: object = None) -> dict[str, Any]:
    """Defaults that follow from the role, as a schema file would spell them."""
    kind = kind or ("category" if role in ("label", "group", "id") else "numeric")
    scaled = role in ("input", "condition") and kind == "numeric"
    return {
        "kind": kind,
        "missing": "mask" if role in ("label", "order", "id") else "drop",
        "transform": ["standardise"] if scaled else [],
    }


class Column(Settings):
    """One column, by meaning.

    Attributes
    ----------
    name
        The meaning, such as ``bulk_density``.
    kind
        ``numeric``, ``category``, or ``set`` for several categories at once, such as ``Cu;Zn``;
        by default ``category`` for labels, groups and ids. Only an input can be a set.
    separator
        What stands between the members of a set.
    role
        ``input`` is modelled, ``condition`` is given to the model, ``label`` is only scored
        against, ``group`` keeps rows together in a split, ``order`` sorts the rows of a
        group, ``id`` is carried along.
    unit
        Unit of the values; compared with the table's where that one is known.
    transform
        Steps applied in turn; by default ``[standardise]`` for numeric inputs and conditions.
    likelihood
        None leaves the choice to the model.
    missing
        ``error`` refuses, ``drop`` leaves the row out and counts it, ``mask`` keeps the row.
        By default ``drop``, and ``mask`` for labels, order and ids.
    aliases, source, optional
        Names under which tables hold this meaning; the column of the table in hand, found by
        name and aliases when None; and whether a table may lack it.
    singletons
        Groups may have one row each; else a group that differs in every row is refused.
    valid, sentinels
        Lowest and highest plausible value in ``unit``, beyond which values count as missing,
        and values that stand for a missing one, such as -999.25.
    clip
        Two quantiles of the training rows to clip to before transforming.
    learn_bounds, learn_rounding
        Keep values returned to original units within the training range, and round them to
        the decimals of the training rows.
    """

    noun: ClassVar[str] = "column"
    name: str
    kind: Kind = "numeric"
    separator: str = ";"
    role: Role = "input"
    unit: str | None = None
    transform: tuple[AnyTransform, ...] = ()
    likelihood: Likelihood | None = None
    missing: Missing = "drop"
    aliases: tuple[str, ...] = ()
    source: str | None = None
    optional: bool = False
    singletons: bool = False
    valid: tuple[float | None, float | None] | None = None
    sentinels: tuple[float, ...] = ()
    clip: tuple[float, float] | None = None
    learn_bounds: bool = False
    learn_rounding: bool = False

    @model_validator(mode="before")
    @classmethod
    def _fill_from_role(cls, data: Any) -> Any:
        if not isinstance(data, Mapping):
            return data
        given = {key: value for key, value in data.items() if value is not None}
        return _defaults_of_role(given.get("role", "input"), given.get("kind")) | given

    @field_validator("transform", "aliases", "sentinels", mode="before")
    @classmethod
    def _one_or_many(cls, value: Any) -> Any:
        return [value] if isinstance(value, str | Mapping | int | float) else value

    @model_validator(mode="after")
    def _consistent(self) -> Column:
        problem = self._problem()
        if problem is not None:
            raise SchemaError(problem[0], hint=problem[1])
        return self

    def _problem(self) -> tuple[str, str | None] | None:
        """Return what is inconsistent and a hint."""
        numeric, role = self.kind == "numeric", self.role
        of_numbers = ("transform", "valid", "sentinels", "clip", "learn_bounds", "learn_rounding")
        used = [key for key in of_numbers if getattr(self, key)]
        low, high = self.valid or (None, None)
        if not self.name.strip():
            return "a column needs a name", None
        if numeric and role in ("label", "group", "id"):
            return f"a {role} is a category, not numeric", "Leave out 'kind'"
        if role == "order" and not numeric:
            return "an order column is numeric", "Leave out 'kind'"
        if used and not numeric:
            return f"{used[0]!r} is for numeric columns, and this is a {self.kind}", None
        if self.kind == "set" and role != "input":
            return f"a {role} is not a set", "Make it an input, or a category"
        if not self.separator.strip() or (self.separator != ";" and self.kind != "set"):
            return "'separator' is the text between the members of a set", 'For example ";"'
        if self.transform and role not in ("input", "condition"):
            return f"a column with role {role!r} takes no transform", None
        suited = {"numeric": ("gaussian", "student_t"), "category": ("categorical",)}
        if self.likelihood is not None and self.likelihood not in suited.get(self.kind, ()):
            return f"likelihood {self.likelihood!r} does not suit kind {self.kind!r}", None
        if role == "condition" and self.missing == "mask":
            hint = "Use 'drop' or 'error', or make the column an input"
            return "a condition must be known, so 'missing: mask' is not possible", hint
        if role == "group" and self.missing == "mask":
            return "a row without a group cannot be split", "Use 'drop' or 'error'"
        if low is not None and high is not None and low >= high:
            return f"'valid' runs from {low:g} to {high:g}", "Lowest first"
        if self.clip is not None and not 0 <= self.clip[0] < self.clip[1] <= 1:
            hint = "For example [0.001, 0.999]"
            return f"'clip' takes two quantiles between 0 and 1, not {self.clip}", hint
        return None

    def to_spec(self) -> dict[str, Any]:
        """Return what a schema file would say: only what differs from the defaults."""
        plain = Column(name=self.name, role=self.role, kind=self.kind).model_dump(mode="json")
        # The kind follows from the role, and the other defaults from both.
        plain |= {"role": "input", "kind": _defaults_of_role(self.role)["kind"]}
        return {k: v for k, v in self.model_dump(mode="json").items() if v != plain[k]}


# Finding the table column that holds a meaning, by name and never by position.


def _find_source(column: Column, available: Sequence[str], mapped: str | None = None) -> str | None:
    """Return the table column that holds ``column``, or None.

    Tried in turn: the mapping, ``source``, then name and aliases unchanged, without regard to
    case, and against headers stripped of a unit in brackets.
    """
    if mapped in ("", "-"):
        if column.optional:
            return None
        what = f"{column.name!r} is not optional and cannot be left out"
        raise SchemaError(what, where="column mapping")
    stated = mapped or column.source
    if stated in available:
        return stated
    if stated is not None:
        if mapped is None and column.optional:
            return None
        verb = "held by" if mapped is None else "mapped to"
        what = f"{column.name!r} is {verb} {stated!r}, which the table does not have"
        hint = _suggest(stated, available, "The table has")
        raise SchemaError(what, where=None if mapped is None else "column mapping", hint=hint)
    wanted = (column.name, *column.aliases)
    if exact := next((name for name in wanted if name in available), None):
        return exact
    for fold in (str.casefold, lambda text: split_header(text)[0].casefold()):
        folded = {header: fold(header) for header in available}
        for name in wanted:
            match = [h for h, text in folded.items() if text == name.strip().casefold()]
            if len(match) > 1:
                what = f"{column.name!r} could be any of the columns {', '.join(map(repr, match))}"
                raise SchemaError(what, hint=f"Say which with {column.name}=COLUMN")
            if match:
                return match[0]
    return None


def _locate(
    columns: Mapping[str, Column], available: Sequence[str], mapping: Mapping[str, str]
) -> dict[str, str | None]:
    """Return the table column of every meaning, by name, then by mnemonic; None without one."""
    sources = {n: _find_source(c, available, mapping.get(n)) for n, c in columns.items()}
    for name, column in columns.items():
        if not (sources[name] or name in mapping or column.source):
            others = [header for header in available if header not in sources.values()]
            sources[name] = _guess_source(name, others)
    return sources


def _guess_source(meaning: str, available: Sequence[str]) -> str | None:
    """Return the column whose mnemonic is known to mean this, with a warning; None without one."""
    known = find_mnemonics(meaning, available)
    if not known:
        return None
    (header, entry), *others = known.items()
    also = ", ".join(repr(other) for other, _ in others)
    what = f"{header!r} is taken as {meaning!r} by its mnemonic ({entry.curve}, {entry.company})"
    hint = f"; {also} could be it too" if also else ""
    # From here, so that it is shown once however often a table is bound.
    warnings.warn(f"{what}{hint}. Say otherwise with {meaning}=COLUMN", DataWarning, stacklevel=1)
    return header


def _suggest(name: str, candidates: Sequence[str] | Mapping[str, object], lead: str) -> str:
    names = list(candidates)
    close = nearest(name, names)
    hint = f"Did you mean {close!r}? " if close else ""
    return f"{hint}{lead}: {', '.join(names[:12])}{', ...' if len(names) > 12 else ''}"


class BadHole(Settings):
    """Rows not to be used, by what logs say of the hole.

    Attributes
    ----------
    oversize
        Inches by which the caliper may exceed the bit size.
    density_correction
        Largest absolute correction of the bulk density, in g/cm3.
    """

    noun: ClassVar[str] = "rule"
    name: ClassVar[str] = "bad_hole"
    oversize: PositiveFloat | None = None
    density_correction: PositiveFloat | None = None


class Schema(Settings):
    """The columns of a table, keyed by meaning.

    `bind` finds which column of a given table holds each meaning, by name, never by position.

    Attributes
    ----------
    columns
        Columns by meaning, in the order the model sees them.
    minimum_inputs
        Rows with fewer observed inputs are dropped.
    left_out
        Optional columns that `bind` did not find.
    rows
        Condition in SQL that the rows used fulfil, such as ``BADHOLE == 0``.
    bad_hole
        Rule that leaves out rows of a bad hole.
    nulls
        Spellings of a missing value, beside the usual ones.

    Examples
    --------
    >>> schema = Schema.from_yaml("columns: {density: {aliases: [RHOB]}, well: {role: group}}")
    >>> bound = schema.bind(["WELL", "RHOB (g/cc)"])
    >>> [column.source for column in bound.columns.values()]
    ['RHOB (g/cc)', 'WELL']
    """

    columns: dict[str, Column]
    minimum_inputs: int = 1
    left_out: tuple[str, ...] = ()
    rows: str | None = None
    bad_hole: BadHole | None = None
    nulls: tuple[str, ...] = ()

    @field_validator("columns", mode="before")
    @classmethod
    def _names_from_keys(cls, value: Any) -> Any:
        if not isinstance(value, Mapping):
            raise SchemaError("'columns' maps each meaning to its settings")
        filled: dict[str, Any] = {}
        for key, column in value.items():
            if not isinstance(column, Column | Mapping | None):
                raise SchemaError(f"column {key!r} needs settings, not {column!r:.80}")
            if not isinstance(column, Column):
                column = {"name": str(key), **(column or {})}
            elif column.name != key:
                raise SchemaError(f"column {key!r} is named {column.name!r}")
            filled[str(key)] = column
        return filled

    @model_validator(mode="after")
    def _consistent(self) -> Schema:
        count = len(self.inputs)
        if not count:
            hint = "A model needs at least one input"
            raise SchemaError("no column has the role 'input'", hint=hint)
        for role in ("group", "order", "id"):
            names = [column.name for column in self.of_role(role)]
            if len(names) > 1:
                raise SchemaError(f"only one column can have the role {role!r}, not {names}")
        if not 1 <= self.minimum_inputs <= count:
            what = f"minimum_inputs is {self.minimum_inputs}, but there are {count} input columns"
            raise SchemaError(what, hint=f"Give a number from 1 to {count}")
        taken: dict[tuple[str | None, str], str] = {}
        for column in self.columns.values():
            other = taken.setdefault((column.source, column.role), column.name)
            if column.source is not None and other != column.name:
                what = f"{other!r} and {column.name!r} both take the table column {column.source!r}"
                raise SchemaError(what, hint="Map each to a column of its own")
        return self

    def of_role(self, role: Role, kind: Kind | None = None) -> tuple[Column, ...]:
        """Return the columns with this role, and kind where given, in order."""
        of_kind = (kind,) if kind else ("numeric", "category", "set")
        return tuple(c for c in self.columns.values() if c.role == role and c.kind in of_kind)

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
        """Find the column of every meaning among those ``available`` in a table.

        ``mapping`` gives table columns by meaning, ahead of ``source``, name and aliases; an
        empty text or ``-`` leaves an optional column out. What comes back has every ``source``
        set, and lacks the optional columns of which the table has none. SchemaError if a column
        cannot be found, is ambiguous, or is mapped wrongly.
        """
        mapping = mapping or {}
        for meaning in mapping:
            if meaning not in self.columns:
                what = f"{meaning!r} is not a column of the schema"
                hint = _suggest(meaning, self.columns, "The schema has")
                raise SchemaError(what, where="column mapping", hint=hint)
        sources = _locate(self.columns, available, mapping)
        found: dict[str, Column] = {}
        left_out, absent = list(self.left_out), list[str]()
        for name, column in self.columns.items():
            source = sources[name]
            if source is not None:
                found[name] = column.model_copy(update={"source": source})
            else:
                (left_out if column.optional else absent).append(name)
        if absent:
            tried = ", ".join(repr(alias) for alias in self.columns[absent[0]].aliases[:4])
            also = f" (also known as {tried})" if tried else ""
            what = f"the table has no column for {', '.join(map(repr, absent))}{also}"
            hint = _suggest(absent[0], available, "The table has")
            raise SchemaError(what, hint=f"Map it with {absent[0]}=COLUMN. {hint}")
        wanted = max(min(self.minimum_inputs, len(self.inputs)), 1)
        present = sum(column.role == "input" for column in found.values())
        if present < wanted:
            what = f"the table has {present} of the input columns, and needs at least {wanted}"
            lacking = [column.name for column in self.inputs if column.name not in found]
            hint = _suggest(lacking[0], available, "It has")
            raise SchemaError(what, hint=f"It lacks {', '.join(lacking)}. {hint}")
        return Schema(**dict(self) | {"columns": found, "left_out": tuple(dict.fromkeys(left_out))})

    def sources(self, available: Sequence[str], mapping: Mapping[str, str]) -> dict[str, str]:
        """Return the meanings found among the columns of a table, which may lack any of them."""
        mapped = {name: header for name, header in mapping.items() if header in available}
        columns = {
            name: c if c.source in available else c.model_copy(update={"source": None})
            for name, c in self.columns.items()
            if name in mapped or name not in mapping
        }
        sources = _locate(columns, available, mapped)
        return {source: name for name, source in sources.items() if source}

    def with_units(self, units: Mapping[str, str | None]) -> Schema:
        """Return the schema with the known ones of ``units`` for numbers that declare none."""
        columns = dict(self.columns)
        for name, column in self.columns.items():
            unit = units.get(name)
            if column.kind == "numeric" and not column.unit and canonical_unit(unit):
                columns[name] = column.model_copy(update={"unit": unit})
        return self.model_copy(update={"columns": columns})

    def rebind(self, available: Sequence[str], mapping: Mapping[str, str] | None = None) -> Schema:
        """Bind again, to a table that came after the model was trained.

        Labels, group, order, id and columns with the policy ``mask`` may be absent. The columns
        bound before come ahead of name and aliases where the table has them.
        """
        known = {n: str(c.source) for n, c in self.columns.items() if c.source in available}
        update = {"source": None, "optional": True}
        columns = {name: c.model_copy(update=update) for name, c in self.columns.items()}
        schema = self.model_copy(update={"columns": columns, "minimum_inputs": 1})
        bound = schema.bind(available, known | dict(mapping or {}))
        needed = (*self.of_role("input"), *self.of_role("condition"))
        absent = [c.name for c in needed if c.missing != "mask" and c.name not in bound.columns]
        if absent:
            what = f"the table has no column for {absent[0]!r}, which every row needs"
            hint = f"Map it with {absent[0]}=COLUMN, or train with 'missing: mask' for it. "
            raise SchemaError(what, hint=hint + _suggest(absent[0], available, "The table has"))
        return bound

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON types, with only what differs from the defaults."""
        columns = {name: column.to_spec() for name, column in self.columns.items()}
        others = self.model_dump(mode="json", exclude={"columns"}, exclude_defaults=True)
        return {"columns": columns, **others}

    @classmethod
    def from_dict(cls, data: Any, *, where: str | None = None) -> Schema:
        """Read what `to_dict` or a YAML file says; SchemaError when it cannot be read."""
        if not isinstance(data, Mapping):
            raise SchemaError("a schema maps 'columns' to settings", where=where)
        try:
            return cls(**{str(key): value for key, value in data.items()})
        except SchemaError as error:
            place = ", ".join(part for part in (where, error.where) if part)
            raise SchemaError(error.what, where=place or None, hint=error.hint) from None

    def to_yaml(self) -> str:
        """Return the schema as YAML text, keys in order, that `from_yaml` reads back."""
        return yaml.dump(self.to_dict(), Dumper=_Dumper, sort_keys=False, allow_unicode=True)

    @classmethod
    def from_yaml(cls, text: str, *, where: str | None = None) -> Schema:
        """Read a schema from YAML text; ``where`` names its origin in errors."""
        return cls.from_dict(load_yaml(text, where=where), where=where)
