"""Schemas: defaults by role, YAML there and back, columns found by name and never guessed."""

import pytest

from variolite.errors import SchemaError
from variolite.records import Column, Schema

YAML = """
columns:
  bulk_density:
    unit: g/cm3
    aliases: [RHOB, DEN]
    missing: mask
    valid: [1.0, 3.5]
    sentinels: -999.25
  gamma_ray: {unit: gAPI, transform: [signed_log, {quantile: {knots: 50}}], clip: [0.001, 0.999]}
  facies: {role: label, aliases: Facies}
  well: {role: group}
  depth: {role: order, unit: m}
  sample: {role: id, optional: true}
  rock: {kind: category, likelihood: categorical}
  water: {role: condition}
minimum_inputs: 2
"""


def test_yaml_round_trip():
    schema = Schema.from_yaml(YAML)
    assert Schema.from_yaml(schema.to_yaml()) == schema
    assert Schema.from_dict(schema.to_dict()) == schema
    assert "transform: [signed_log, {quantile: {knots: 50}}]" in schema.to_yaml()
    short = {"columns": {"a": {}, "b": {"role": "label"}}}
    assert Schema.from_yaml("columns: {a: , b: {role: label}}").to_dict() == short


def test_roles_and_defaults():
    schema = Schema.from_yaml(YAML)
    assert [column.name for column in schema.inputs] == ["bulk_density", "gamma_ray", "rock"]
    assert [column.name for column in schema.of_role("input", "category")] == ["rock"]
    assert [column.name for column in schema.conditions] == ["water"]
    assert [column.name for column in schema.labels] == ["facies"]
    by_role = schema.columns
    found = (schema.group, schema.order, schema.id)
    assert found == (by_role["well"], by_role["depth"], by_role["sample"])
    for name in ("bulk_density", "water"):
        assert [step.name for step in by_role[name].transform] == ["standardise"]
    assert by_role["depth"].transform == ()
    masked = {name for name, column in by_role.items() if column.missing == "mask"}
    assert masked == {"bulk_density", "facies", "depth", "sample"}
    assert {by_role[n].missing for n in ("gamma_ray", "well", "rock", "water")} == {"drop"}
    assert by_role["facies"].kind == by_role["well"].kind == "category"
    assert Column(name="a", transform=[]).transform == ()
    assert Column(name="a", transform="identity").transform[0].name == "identity"


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"tranform": ["log"]}, "unknown key 'tranform'.*Did you mean 'transform'"),
        ({"kind": "numerical"}, "'numeric', 'category' or 'set'.*not 'numerical'"),
        ({"role": "target"}, "'input', 'condition'.*not 'target'"),
        ({"transform": ["standardize"]}, "unknown transform 'standardize'.*Did you mean"),
        ({"kind": "category", "transform": ["log"]}, "'transform' is for numeric"),
        ({"kind": "category", "learn_bounds": True}, "'learn_bounds' is for numeric"),
        ({"role": "label", "kind": "numeric"}, "a label is a category"),
        ({"role": "order", "kind": "category"}, "an order column is numeric"),
        ({"role": "order", "transform": ["log"]}, "takes no transform"),
        ({"likelihood": "categorical"}, "does not suit kind 'numeric'"),
        ({"kind": "category", "likelihood": "gaussian"}, "does not suit kind 'category'"),
        ({"role": "condition", "missing": "mask"}, "a condition must be known"),
        ({"role": "group", "missing": "mask"}, "cannot be split"),
        ({"valid": [2, 1]}, "'valid' runs from 2 to 1"),
        ({"clip": [0.9, 0.1]}, "two quantiles between 0 and 1"),
        ({"clip": [-1, 0.9]}, "two quantiles between 0 and 1"),
        ({"sentinels": ["x"]}, "valid number"),
        ({"missing": "ignore"}, "'error', 'drop' or 'mask'"),
    ],
)
def test_impossible_columns(settings, says):
    with pytest.raises(SchemaError, match=says) as direct:
        Column(name="gamma", **settings)
    assert "'gamma'" in str(direct.value)
    with pytest.raises(SchemaError, match=says) as nested:
        Schema.from_dict({"columns": {"a": {}, "gamma": settings}}, where="recipe.yaml")
    assert "recipe.yaml" in str(nested.value)
    assert "gamma" in str(nested.value)
    assert "\n" not in str(nested.value)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("columns: {}", "no column has the role 'input'"),
        ("columns: {a: {role: label}}", "no column has the role 'input'"),
        ("columns: {a: {}, g: {role: group}, h: {role: group}}", r"'group', not \['g', 'h'\]"),
        ("columns: {a: {}}\nminimum_inputs: 2", "minimum_inputs is 2, but there are 1 input"),
        ("columns: {a: {source: X}, b: {source: X}}", "both take the table column 'X'"),
        ("columns: {a: {}}\nminimum_input: 1", "unknown key 'minimum_input'.*'minimum_inputs'"),
        ("columns: [a, b]", "maps each meaning"),
        ("columns: {a: 3}", "'a' needs settings"),
        ("- a", "maps 'columns'"),
        ("a: [", "not valid YAML"),
        ("columns: {a: {unit: 2020-13-45}}", "not valid YAML .a value does not suit its type"),
        ("{}", "Field required"),
        (
            "columns:\n  GR: {}\n  RHOB: {}\n  GR: {}",
            "s.yaml: 'GR' is given twice, in lines 2 and 4",
        ),
        ("columns:\n  GR: {unit: m, unit: ft}", "'unit' is given twice, in lines 2 and 2"),
        ("columns:\n  no: {}", "line 2: the name 'no' reads as False.*quotation marks"),
        ("columns:\n  ? [a]\n  : {}", "line 2: a name must be plain text"),
        ("columns: {a: !!python/object/apply:os.system ['true']}", "not valid YAML"),
        ("a: &a [*a]", "unknown key 'a'|not valid YAML|Field required"),
    ],
)
def test_impossible_schemas(text, says):
    with pytest.raises(SchemaError, match=says):
        Schema.from_yaml(text, where="s.yaml")
    assert list(Schema.from_yaml("columns: {'no': {}, 1: {}}").columns) == ["no", "1"]
    with pytest.raises(SchemaError, match="'a' is named 'b'"):
        Schema(columns={"a": Column(name="b")})


SCHEMA = Schema.from_yaml(
    """
columns:
  bulk_density: {aliases: [RHOB, Bulk density]}
  gamma_ray: {aliases: [GR], optional: true}
  sonic: {aliases: [DTC], optional: true}
  well: {role: group}
"""
)


def sources(schema):
    return {name: column.source for name, column in schema.columns.items()}


@pytest.mark.parametrize(
    "header", ["bulk_density", "RHOB", "rhob", "Bulk Density (g/cm^3)", "Rhob [g/cc]"]
)
def test_names_aliases_case_and_units(header):
    bound = SCHEMA.bind([header, "well"])
    assert sources(bound) == {"bulk_density": header, "well": "well"}
    assert bound.left_out == ("gamma_ray", "sonic")
    assert not any(sources(SCHEMA).values())
    assert Schema.from_yaml(bound.to_yaml()) == bound
    assert bound.bind(["well", header]) == bound


def test_the_mapping_comes_before_the_name_and_the_name_before_its_aliases():
    available = ["RHOB", "bulk_density", "D2", "well"]
    assert sources(SCHEMA.bind(available))["bulk_density"] == "bulk_density"
    assert sources(SCHEMA.bind(available, {"bulk_density": "D2"}))["bulk_density"] == "D2"
    for nothing in ("", "-"):
        bound = SCHEMA.bind(["RHOB", "GR", "well"], {"gamma_ray": nothing})
        assert list(bound.columns) == ["bulk_density", "well"]
        with pytest.raises(SchemaError, match="'bulk_density' is not optional"):
            SCHEMA.bind(["RHOB", "well"], {"bulk_density": nothing})


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
def test_columns_that_cannot_be_bound(available, mapping, says):
    with pytest.raises(SchemaError, match=says):
        SCHEMA.bind(available, mapping)


def test_enough_inputs_and_stated_sources_must_be_found():
    # Two roles may share a column.
    schema = Schema.from_yaml("columns: {a: {}, z: {role: order}, depth: {role: condition}}")
    bound = schema.bind(["a", "DEPTH"], {"z": "DEPTH", "depth": "DEPTH"})
    assert sources(bound) == {"a": "a", "z": "DEPTH", "depth": "DEPTH"}
    optional = {name: {"optional": True} for name in "abc"}
    schema = Schema.from_dict({"columns": optional, "minimum_inputs": 2})
    assert schema.bind(["a", "c"]).left_out == ("b",)
    with pytest.raises(SchemaError, match="has 1 of the input columns, and needs at least 2"):
        schema.bind(["a"])
    label = {"role": "label", "optional": True}
    schema = Schema.from_dict({"columns": {"rock": label} | optional, "minimum_inputs": 2})
    with pytest.raises(SchemaError, match=r"has 0 of the input columns.* It lacks a, b, c\."):
        schema.bind(["x"])
    schema = Schema.from_yaml("columns: {a: {source: A1}, b: {source: B1, optional: true}}")
    assert sources(schema.bind(["A1", "b"])) == {"a": "A1"}
    with pytest.raises(SchemaError, match="held by 'A1'"):
        schema.bind(["a", "b"])
