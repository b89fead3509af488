"""Binding: columns are found by name, alias or mapping, and never guessed."""

from __future__ import annotations

import pytest

from variolite.errors import SchemaError
from variolite.records import Schema

SCHEMA = Schema.from_yaml(
    """
columns:
  bulk_density: {aliases: [RHOB, Bulk density]}
  gamma_ray: {aliases: [GR], optional: true}
  sonic: {aliases: [DTC], optional: true}
  well: {role: group}
"""
)


def sources(schema: Schema) -> dict[str, str | None]:
    return {name: column.source for name, column in schema.columns.items()}


@pytest.mark.parametrize(
    ("header", "found"),
    [
        ("bulk_density", "bulk_density"),
        ("RHOB", "RHOB"),
        ("rhob", "rhob"),
        ("Bulk Density (g/cm^3)", "Bulk Density (g/cm^3)"),
        ("Rhob [g/cc]", "Rhob [g/cc]"),
    ],
)
def test_names_aliases_case_and_units(header: str, found: str) -> None:
    bound = SCHEMA.bind([header, "well"])
    assert sources(bound) == {"bulk_density": found, "well": "well"}
    assert bound.left_out == ("gamma_ray", "sonic")
    assert bound.bound
    assert not SCHEMA.bound


def test_the_name_comes_before_its_aliases_and_the_mapping_before_both() -> None:
    available = ["RHOB", "bulk_density", "D2", "well"]
    assert sources(SCHEMA.bind(available))["bulk_density"] == "bulk_density"
    assert sources(SCHEMA.bind(available, {"bulk_density": "D2"}))["bulk_density"] == "D2"


@pytest.mark.parametrize("nothing", ["", "-"])
def test_optional_columns_can_be_left_out(nothing: str) -> None:
    bound = SCHEMA.bind(["RHOB", "GR", "well"], {"gamma_ray": nothing})
    assert list(bound.columns) == ["bulk_density", "well"]
    with pytest.raises(SchemaError, match="'bulk_density' is not optional"):
        SCHEMA.bind(["RHOB", "well"], {"bulk_density": nothing})


def test_a_bound_schema_survives_yaml_and_binds_again() -> None:
    bound = SCHEMA.bind(["RHOB", "GR", "well"])
    assert Schema.from_yaml(bound.to_yaml()) == bound
    assert bound.bind(["well", "GR", "RHOB"]) == bound


@pytest.mark.parametrize(
    ("available", "mapping", "says"),
    [
        (["GR", "well"], {}, "no column for 'bulk_density' .also known as 'RHOB', 'Bulk density'"),
        (["RHOB"], {}, "no column for 'well'.*well=COLUMN"),
        (["bulk_densty", "well"], {}, "Did you mean 'bulk_densty'"),
        (["Rhob", "rhob", "well"], {}, "could be any of the columns 'Rhob', 'rhob'"),
        (["RHOB", "well"], {"gama_ray": "GR"}, "'gama_ray' is not.*Did you mean 'gamma_ray'"),
        (["RHOB", "GR", "well"], {"sonic": "DTX"}, "mapped to 'DTX', which the table does not"),
        (["RHOB", "GR", "well"], {"sonic": "GR"}, "both take the table column 'GR'"),
    ],
)
def test_refusals(available: list[str], mapping: dict[str, str], says: str) -> None:
    with pytest.raises(SchemaError, match=says):
        SCHEMA.bind(available, mapping)


def test_two_roles_may_share_a_column() -> None:
    schema = Schema.from_dict(
        {"columns": {"a": {}, "z": {"role": "order"}, "depth": {"role": "condition"}}}
    )
    bound = schema.bind(["a", "DEPTH"], {"z": "DEPTH", "depth": "DEPTH"})
    assert sources(bound) == {"a": "a", "z": "DEPTH", "depth": "DEPTH"}


def test_enough_inputs_must_be_found() -> None:
    schema = Schema.from_dict(
        {
            "columns": {name: {"optional": True} for name in "abc"},
            "minimum_inputs": 2,
        }
    )
    assert schema.bind(["a", "c"]).left_out == ("b",)
    with pytest.raises(SchemaError, match="has 1 of the input columns, and at least 2"):
        schema.bind(["a"])
    with pytest.raises(SchemaError, match="has 0 of the input columns"):
        schema.bind(["x"])


def test_a_stated_source_must_exist_unless_optional() -> None:
    schema = Schema.from_yaml("columns: {a: {source: A1}, b: {source: B1, optional: true}}")
    assert sources(schema.bind(["A1", "b"])) == {"a": "A1"}
    with pytest.raises(SchemaError, match="held by 'A1'"):
        schema.bind(["a", "b"])
