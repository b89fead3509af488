"""Isotherms to labels: at their pressures, between them, never beyond."""

import numpy as np
import polars as pl
import pytest

from variolite.errors import DataError
from variolite.frameworks.description.isotherms import label_table, labels_at, read_isotherms


@pytest.fixture
def isotherms(tmp_path):
    """Two frameworks by two force fields at 298 K, one at 273 K as well."""
    rows = [
        (name, gas, pressure, slope * np.log10(pressure) * factor, temperature, source)
        for name, slope in (("ACOLIP", 1.0), ("1E10", 2.0))
        for gas, factor in (("CO2", 1.0), ("N2", 0.1))
        for temperature in ((273, 298) if name == "ACOLIP" else (298,))
        for source in (1, 2)
        for pressure in (100.0, 1000.0, 1e5)
    ]
    columns = ["name", "gas", "Pressure(Pa)", "Loading(mmol/g)", "Temp(K)", "ID"]
    frame = pl.DataFrame(rows, schema=columns, orient="row").with_columns(
        pl.col("Loading(mmol/g)") + pl.col("ID") - 1
    )
    path = tmp_path / "isotherms.parquet"
    frame.write_parquet(path)
    return path


def test_labels_are_means_over_sources_with_their_spread(isotherms):
    found, notes = labels_at(read_isotherms(isotherms), "co2", 1e5, 298.15)

    assert found.columns == ["name", "co2_uptake", "co2_uptake_sd", "co2_uptake_n"]
    assert found.rows() == [("ACOLIP", 5.5, 0.5, 2), ("1E10", 10.5, 0.5, 2)]
    assert notes == []


def test_between_pressures_uptake_is_linear_in_their_logarithm(isotherms):
    found, notes = labels_at(read_isotherms(isotherms), "N2", 10_000.0, 298)

    assert found["n2_uptake"].to_list() == pytest.approx([0.9, 1.3])
    assert notes == [
        "4 uptakes at 10,000 Pa are interpolated between the pressures of the table, along their "
        "logarithm"
    ]


def test_an_isotherm_that_ends_before_is_left_out(isotherms):
    frame = pl.read_parquet(isotherms)
    last = (pl.col("name") == "1E10") & (pl.col("ID") == 2) & (pl.col("Pressure(Pa)") > 1000)
    frame.filter(~last).write_parquet(isotherms)

    found, notes = labels_at(read_isotherms(isotherms), "CO2", 1e5, 298)

    # One source has no spread.
    assert found.rows() == [("ACOLIP", 5.5, 0.5, 2), ("1E10", 10.0, None, 1)]
    assert notes == ["1 isotherms do not reach 100,000 Pa: left out"]


def test_units_in_headers_are_converted(tmp_path):
    path = tmp_path / "own.csv"
    path.write_text("MOFname,pressure [bar],uptake [mol/g]\nA,0.1,0.001\nA,1,0.002\n")

    found, _ = labels_at(read_isotherms(path), "CO2", 1e5, 298)

    assert found.rows() == [("A", 2.0, None, 1)]


@pytest.mark.parametrize(
    ("gas", "pressure", "temperature", "message"),
    [
        ("CO3", 1e5, 298, "no isotherms of 'CO3'. Did you mean CO2"),
        ("CO2", 1e6, 298, r"1e\+06 Pa is outside .* from 100 to 100,000 Pa. .* extrapolated"),
        ("CO2", 1e5, 313, "no isotherms at 313 K. There are 273, 298 K"),
    ],
)
def test_what_the_table_lacks_is_said(isotherms, gas, pressure, temperature, message):
    with pytest.raises(DataError, match=message):
        labels_at(read_isotherms(isotherms), gas, pressure, temperature)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("name,pressure\nA,1\n", "no column for loading. It has name, pressure"),
        ("name,p,loading [g/g]\nA,1,1\n", "the unit g/g is not known here. Give it in mol/kg"),
        ("name,p [m],loading\nA,1,1\n", "the unit m is not known here. Give it in Pa"),
        ("name,p,loading\nA,0,1\n", "no row has a name, a pressure above 0 and a loading"),
        ("name,p,loading\nA,high,1\n", "'high' is not a number"),
    ],
)
def test_tables_that_are_no_isotherms(tmp_path, text, message):
    path = tmp_path / "odd.csv"
    path.write_text(text)
    with pytest.raises(DataError, match=message):
        read_isotherms(path)


def test_rows_that_are_left_out_are_said_and_names_stay_text(tmp_path):
    path = tmp_path / "own.csv"
    rows = ["1E10,CO2,1e5,1", "0012,co2,1e5,-2", "7,,1e5,3", "8,CO2,,4", "9,CO2,10,5"]
    path.write_text("\n".join(["name,gas,pressure,loading", *rows]))

    found, notes = labels_at(read_isotherms(path), "CO2", 1e5, 298)

    assert found.rows() == [("1E10", 1.0, None, 1), ("0012", -2.0, None, 1)]
    assert notes == [
        "1 rows without name, pressure above 0 or loading are left out",
        "no temperatures are given: all rows are taken to be at 298 K",
        "1 uptakes are below 0",
        "1 isotherms do not reach 100,000 Pa: left out",
    ]


def test_a_pressure_that_no_isotherm_reaches_is_refused(tmp_path):
    path = tmp_path / "own.csv"
    path.write_text("name,pressure [bar],loading\nA,0.5,1\nB,2,1\n")
    with pytest.raises(DataError, match="no isotherm reaches 100,000 Pa"):
        labels_at(read_isotherms(path), "CO2", 1e5, 298)


def test_labels_go_beside_described_frameworks(isotherms, tmp_path):
    table, out = tmp_path / "described.csv", tmp_path / "labelled.csv"
    table.write_text("name,density,co2_uptake\n1E10,1.5,0\nZIFFED,2.0,0\nACOLIP,1.0,0\n")
    where = {"gas": "CO2", "pressure": 1e5, "temperature": 298.0, "table": table}

    found = label_table(isotherms, out, **where)

    assert found.columns == ["name", "density", "co2_uptake", "co2_uptake_sd", "co2_uptake_n"]
    assert found["co2_uptake"].to_list() == [10.5, None, 5.5]
    table.write_text("name,density\nother,1.5\n")
    with pytest.raises(DataError, match=r"no framework has an isotherm\. Its names are like other"):
        label_table(isotherms, out, **where)
