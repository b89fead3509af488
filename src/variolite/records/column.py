"""What one column means: its role, unit, transform and missing-value policy."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, ValidationError, field_validator, model_validator

from variolite.errors import SchemaError
from variolite.records.transforms import AnyTransform, dump_transform
from variolite.records.validation import explain_validation

__all__ = ["Column", "Kind", "Likelihood", "Missing", "Role"]

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
            what, where, mend = explain_validation(error, Column)
            place = f"column {data.get('name', '?')!r}" + (f", {where}" if where else "")
            raise SchemaError(what, where=place, mend=mend) from None

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

    @field_validator("transform", mode="before")
    @classmethod
    def _one_or_many(cls, value: Any) -> Any:
        return [value] if isinstance(value, str | Mapping) else value

    @field_validator("aliases", mode="before")
    @classmethod
    def _one_alias(cls, value: Any) -> Any:
        return [value] if isinstance(value, str) else value

    @field_validator("sentinels", mode="before")
    @classmethod
    def _one_sentinel(cls, value: Any) -> Any:
        return [value] if isinstance(value, int | float) else value

    @model_validator(mode="after")
    def _consistent(self) -> Column:
        numeric = self.kind == "numeric"
        if not self.name.strip():
            raise SchemaError("a column needs a name")
        if numeric and self.role in _TEXT_ROLES:
            raise SchemaError(f"a {self.role} is a category, not numeric", mend="Leave out 'kind'")
        if not numeric:
            if self.role == "order":
                raise SchemaError("an order column is numeric", mend="Leave out 'kind'")
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
                mend="Use 'drop' or 'error', or make the column an input",
            )
        if self.role == "group" and self.missing == "mask":
            raise SchemaError("a row without a group cannot be split", mend="Use 'drop' or 'error'")
        if self.valid is not None:
            low, high = self.valid
            if low is not None and high is not None and low >= high:
                raise SchemaError(f"'valid' runs from {low:g} to {high:g}", mend="Lowest first")
        if self.clip is not None and not 0 <= self.clip[0] < self.clip[1] <= 1:
            raise SchemaError(
                f"'clip' takes two quantiles between 0 and 1, not {self.clip}",
                mend="For example [0.001, 0.999]",
            )
        return self

    def to_spec(self) -> dict[str, Any]:
        """Return what a schema file would say: only what differs from the defaults."""
        role_defaults = _defaults_of_role(self.role, None)
        # The other defaults follow from the kind too, once that is known.
        role_defaults |= {
            key: value
            for key, value in _defaults_of_role(self.role, self.kind).items()
            if key != "kind"
        }
        spec: dict[str, Any] = {}
        for key, info in type(self).model_fields.items():
            if key == "name":
                continue
            value = getattr(self, key)
            if key == "transform":
                value = [dump_transform(step) for step in value]
            elif isinstance(value, tuple):
                value = list(value)
            default = role_defaults.get(key, info.default)
            default = list(default) if isinstance(default, tuple) else default
            if value != default:
                spec[key] = value
        return spec
