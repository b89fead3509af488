"""Groups and labels: a column that cannot be one is refused, and every group has one spelling."""

import numpy as np
import polars as pl
import pytest

from variolite.errors import DataError, DataWarning, SchemaError
from variolite.records import Schema, one_spelling, require_roles, warn_of_look_alikes

ROWS = 60
SCHEMA = Schema.from_yaml(
    "columns: {gr: {}, rho: {}, depth: {role: order}, well: {role: group}, "
    "facies: {role: label, optional: true}}"
)


def table(**changed):
    depth = np.tile(np.arange(ROWS / 3) * 0.5 + 1000.0, 3)
    columns = {"gr": depth**2, "rho": 1 / depth, "depth": depth, "well": [*"abc"] * (ROWS // 3)}
    columns |= {"facies": [1.5, 2.5, 3.0] * (ROWS // 3)}
    return pl.DataFrame(columns | changed)


def refuse(message, mapping=None, **changed):
    frame = table(**changed)
    with pytest.raises(SchemaError, match=message) as caught:
        require_roles(SCHEMA.bind(frame.columns, mapping), frame)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_a_measurement_is_no_group_and_no_label():
    require_roles(SCHEMA.bind(table().columns), table())
    distances = np.arange(ROWS) % 30 + 0.25
    as_group = refuse("decimal numbers such as 0.25 and cannot be the group 'well'", well=distances)
    assert as_group.endswith("Map well to a column of names with --map well=COLUMN.")
    # The same read as text, as the group of a file is.
    refuse("decimal numbers", well=pl.Series(distances).cast(pl.String))
    as_label = refuse("cannot be the label 'facies'", facies=distances)
    assert as_label.endswith("--map facies=COLUMN, or leave it out with facies=-.")
    frame = table(DEPT=["1000.0", "1001.0"] * (ROWS // 2))
    with pytest.raises(SchemaError, match="column 'DEPT': is a depth by its name"):
        require_roles(SCHEMA.bind(frame.columns, {"well": "DEPT"}), frame)
    refuse("60 different values in 60 rows", well=[f"sample {i}" for i in range(ROWS)])
    refuse("60 different values in 60 rows", facies=np.arange(ROWS))


def test_groups_of_one_row_are_allowed_where_the_schema_says_so():
    schema = Schema.from_yaml("columns: {gr: {}, well: {role: group, singletons: true}}")
    frame = table(well=[f"sample {i}" for i in range(ROWS)])
    require_roles(schema.bind(frame.columns), frame)
    decimals = table(well=np.arange(ROWS) + 0.25)
    with pytest.raises(SchemaError, match="decimal numbers"):
        require_roles(schema.bind(decimals.columns), decimals)


def test_a_column_has_one_role():
    refuse(r"is an input \(gr\) as well .* label", {"facies": "gr"})
    refuse("column 'rho': is an input", {"well": "rho"})
    refuse(r"is the order of the rows \(depth\) as well", {"well": "depth"})


def test_whole_numbers_few_classes_and_gaps_are_names():
    several = np.repeat(np.arange(30), 2)
    for well in (several, several * 1.0, [None, *several[1:]], ["a"] + ["b"] * (ROWS - 1)):
        frame = table(well=pl.Series(well, strict=False), facies=["1.1", "", "3.4"] * (ROWS // 3))
        require_roles(SCHEMA.bind(frame.columns), frame)


def test_spellings_become_one_group_under_the_commonest():
    names = np.array(["w0", "W0", "W0", "", "12", "0012", "b-1", "b-11"])
    with pytest.warns(DataWarning, match="'W0' and 'w0'; '0012' and '12'"):
        found = one_spelling(names)
    assert found.tolist() == ["W0", "W0", "W0", "", "0012", "0012", "b-1", "b-11"]
    assert one_spelling(found) is found
    with pytest.warns(DataWarning, match="several spellings"):
        same = one_spelling(names, np.arange(8.0))
    assert same.tolist() == found.tolist()


def test_spellings_with_rows_at_one_depth_may_be_two_groups_and_are_refused():
    names, depth = np.array(["w0", "W0", "w0"]), np.array([1.0, 1.5, 1.5])
    with pytest.raises(
        DataError, match=r"'w0' and 'W0' are spellings.* has rows at 1[.]5[.]"
    ) as caught:
        one_spelling(names, depth, "column 'WELL'")
    assert caught.value.where == "column 'WELL'"
    # One depth that stands twice among many is a slip of the table.
    many = np.array(["w0", "W0"] * 30)
    with pytest.warns(DataWarning, match="'W0' and 'w0'"):
        one_spelling(many, np.append(np.arange(59.0), 0.0))
    # Rows without a depth, or twice under one spelling, decide nothing.
    with pytest.warns(DataWarning, match="'w0' and 'W0'"):
        one_spelling(names, np.array([1.0, np.nan, np.nan]))
    one_spelling(np.array(["w0", "w0"]), np.ones(2))


def test_names_that_look_alike_are_reported():
    with pytest.warns(DataWarning, match="look alike: 'Sangiran' and 'Sangirann'"):
        warn_of_look_alikes(["Sangiran", "Sangirann"])
    with pytest.warns(DataWarning, match="look alike: '1-11' and '11-1'[.]"):
        warn_of_look_alikes(["11-1", "Sangiran", "Sangirann"], ["1-11", "1-1", "x"])
    warn_of_look_alikes(["a", "b"])
    warn_of_look_alikes(["Sangiran", "Sangirann"], ["a"])
