"""What is added to a table of frameworks: cells that cannot fail, families, canonical linkers."""

import warnings

import numpy as np
import polars as pl
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from variolite.errors import DataError, DataWarning
from variolite.frameworks.columns import CELL
from variolite.frameworks.framework_table import (
    SHAPE,
    cell_of,
    cell_shape,
    family_of,
    read_frameworks,
    with_cells,
    with_derived,
)

LENGTH = st.floats(1.0, 200.0)
ANGLE = st.floats(20.0, 160.0)


def determinant(alpha, beta, gamma):
    """Square of the volume of a cell with edges of one, as textbooks give it."""
    a, b, c = np.cos(np.radians([alpha, beta, gamma]))
    return 1.0 - a**2 - b**2 - c**2 + 2.0 * a * b * c


@given(st.tuples(LENGTH, LENGTH, LENGTH, ANGLE, ANGLE, ANGLE))
def test_cells_come_back_with_the_volume_of_an_independent_program(cell):
    assume(determinant(*cell[3:]) > 1e-3)
    gemmi = pytest.importorskip("gemmi", reason="volumes are compared with those of gemmi")
    shape = cell_shape([cell])
    assert shape.shape == (1, 6)
    back = cell_of(shape)[0]
    np.testing.assert_allclose(back[:6], cell, rtol=1e-7)
    assert back[6] == pytest.approx(gemmi.UnitCell(*cell).volume, rel=1e-7)


@given(st.lists(st.floats(-8.0, 8.0), min_size=6, max_size=6))
def test_any_six_numbers_make_a_cell(numbers):
    with warnings.catch_warnings(action="error"):
        *lengths, alpha, beta, gamma, volume = cell_of([numbers])[0]
    assert min(lengths) > 0.0
    assert volume == pytest.approx(np.exp(sum(numbers[:3])))
    assert all(0.0 <= angle <= 180.0 for angle in (alpha, beta, gamma))


@pytest.mark.parametrize(
    "cell",
    [
        (10, 10, 10, 30, 30, 90),  # angles that close no corner
        (10, 10, 10, 90, 90, 180),
        (0, 10, 10, 90, 90, 90),
        (-10, 10, 10, 90, 90, 90),
        (10, -10, 10, 90, 90, 90),
        (10, 10, -10, 90, 90, 90),
        (10, 10, 10, 90, 90, 270),
        (10, 10, 10, -90, 90, 90),
        (np.nan, 10, 10, 90, 90, 90),
        (10, 10, np.inf, 90, 90, 90),
    ],
)
def test_what_is_no_cell_is_missing_and_spoils_no_other(cell):
    good = (10.0, 11.0, 12.0, 80.0, 90.0, 100.0)
    shapes = cell_shape([good, cell])
    assert np.isnan(shapes[1]).all()
    np.testing.assert_array_equal(shapes[:1], cell_shape([good]))


def test_shapes_give_way_to_cells_and_volume():
    cell = np.array([[10.0, 11.0, 12.0, 80.0, 90.0, 100.0]])
    made = {"density": np.array([1.0])}
    made |= dict(zip(SHAPE, cell_shape(cell).T, strict=True))
    found = with_cells(made)
    assert list(found) == ["density", *CELL, "volume"]
    np.testing.assert_allclose([found[name][0] for name in CELL], cell[0])
    part = {name: values for name, values in made.items() if name != SHAPE[2]}
    assert list(with_cells(part)) == ["density"]


@pytest.mark.parametrize(
    ("name", "family"),
    [
        ("LAJDUV02", "LAJDUV"),
        ("LAJDUV", "LAJDUV"),
        ("LAJDUV_clean", "LAJDUV"),
        ("LAJDUV01_FSR", "LAJDUV"),
        ("S2052520616002663_ja5023", "S2052520616002663"),
        ("IRMOF-1", "IRMOF-1"),
        ("CuBTCa_1", "CuBTCa"),
        ("", ""),
        (None, None),
    ],
)
def test_families(name, family):
    assert family_of(name) == family


def test_a_family_that_the_table_has_stays():
    frame = pl.DataFrame({"name": ["ABCDEF01", None, "x_1"]})
    assert with_derived(frame)["family"].to_list() == ["ABCDEF", None, "x"]
    for other in ("Name", "MOFname"):
        renamed = frame.rename({"name": other})
        assert with_derived(renamed)["family"].to_list() == ["ABCDEF", None, "x"]
    stated = frame.with_columns(family=pl.Series(["p", "q", "r"]))
    assert with_derived(stated)["family"].to_list() == ["p", "q", "r"]


def test_tables_without_cells_or_names_stay_as_they_are(tmp_path):
    frame = pl.DataFrame({"metals": ["Zn", "Cu"], "a": [1.0, 2.0]})
    assert with_derived(frame).equals(frame)
    path = tmp_path / "cells.csv"
    path.write_text("name,a,b,c,alpha,beta,gamma\n1E10,10,11,12,80,90,100\nx,10,11,,80,90,100\n")
    read = read_frameworks(path).frame
    assert read["name"].to_list() == ["1E10", "x"]
    np.testing.assert_array_equal(
        read.select(SHAPE).row(0), cell_shape([[10, 11, 12, 80, 90, 100]])[0]
    )
    assert np.isnan(read.select(SHAPE).row(1)).all()


def test_spellings_of_linkers_become_one():
    pytest.importorskip("rdkit", reason="the package rdkit is not installed")
    acid, other = "O=C(O)c1ccc(C(=O)O)cc1", "c1c[nH]cn1"
    spellings = [
        f"{other};{acid}",
        f"{acid} . {other}",
        "[O-]C(=O)c1ccc(cc1)C([O-])=O ; c1c[nH]cn1;",
        f"{acid};{acid}",
        "no molecule",
        "",
        None,
    ]
    both = ";".join(sorted([acid, other]))
    with pytest.warns(DataWarning, match="'no molecule'"):
        found = with_derived(pl.DataFrame({"linkers": spellings}))["linkers"].to_list()
    assert found == [both, both, both, acid, None, None, None]


CUBE = dict(zip(CELL, ([10.0], [10.0], [10.0], [90.0], [90.0], [90.0]), strict=True))


@pytest.mark.parametrize("wrong", [{"a": ["wide"]}, {"c": [-10.0]}, {"gamma": [180.5]}])
def test_cells_that_are_none_are_named_as_the_table_has_them(wrong):
    assert with_derived(pl.DataFrame(CUBE))["cell_ab"].to_list() == pytest.approx([0.0])
    with pytest.raises(DataError, match="a, b, c, alpha, beta, gamma make no cell in any row"):
        with_derived(pl.DataFrame(CUBE | wrong))


@pytest.mark.parametrize(("length", "angle"), [(1.0, 90.0), (1000.0, 90.0), (10.0, 1.571)])
def test_cells_in_other_units_are_refused(length, angle):
    cells = dict(zip(CELL, [[length]] * 3 + [[angle]] * 3, strict=True))
    medians = f"a {length:.3g}, .* gamma {angle:.3g}".replace("+", ".")
    with pytest.raises(DataError, match=f"in other units: their medians are {medians}"):
        with_derived(pl.DataFrame(cells))


def test_cells_that_are_left_out_are_said():
    two = {name: [*value, *value] for name, value in CUBE.items()}
    with pytest.warns(DataWarning, match="1 of 2 cells are impossible and count as missing"):
        found = with_derived(pl.DataFrame(two | {"a": ["10", "12,5"]}))
    assert found["cell_ab"].is_nan().to_list() == [False, True]
    with pytest.warns(DataWarning, match="cells are left out: there is no column a$"):
        assert "cell_ab" not in with_derived(pl.DataFrame(CUBE).drop("a")).columns


def test_linkers_that_are_no_molecules_are_said():
    pytest.importorskip("rdkit", reason="reads linkers")
    cells = ["[O-]C(=O)c1ccccc1;BDC", "C1,C2", None]
    with pytest.warns(DataWarning, match="2 are no SMILES of molecules .*: 'BDC', 'C1,C2'"):
        found = with_derived(pl.DataFrame({"linkers": cells}))
    assert found["linkers"].to_list() == ["O=C(O)c1ccccc1", None, None]
