"""Units: spellings that logs and tables use, and conversion between those of one quantity."""

import numpy as np
import pytest

from variolite.records.units import (
    can_convert,
    canonical_unit,
    convert,
    kindred,
    split_header,
    units_agree,
)


def test_spellings_are_known():
    same = "g/cm3 g/cc G/C3 g/cm^3 g/cm³ G/CC, gAPI API GAPI, us/ft US/F µs/ft μs/ft, kPa kN/m^2"
    same += ", m3/m3 V/V v/v m³/m³ frac, ohm.m OHMM Ω·m Ohm-m, W/(m*K) W/(m·K), m mbsf meters"
    same += ", % PU pct, in inch IN, .1IN 0.1in, kg/m3 K/M3 kg/m³, SI si, 10-5SI 10^-5SI 10⁻⁵SI"
    for spellings in same.split(", "):
        (canonical,) = {canonical_unit(unit) for unit in spellings.split()}
        assert canonical is not None
    assert canonical_unit("ohm m") == canonical_unit("ohm.m")
    assert canonical_unit("furlong") is canonical_unit(None) is canonical_unit("") is None


# One value in both units, from tables of the units' definitions.
@pytest.mark.parametrize(
    ("value", "unit", "expected", "wanted"),
    [
        (2435.6, "kg/m3", 2.4356, "g/cm3"),
        (267.329, "us/m", 81.4818792, "us/ft"),
        (1000.0, "ft", 304.8, "m"),
        (120000.0, ".1IN", 304.8, "m"),
        (8.5, "in", 215.9, "mm"),
        (21.5, "%", 0.215, "v/v"),
        (5.0, "km/s", 16404.199475, "ft/s"),
        (212.0, "degF", 100.0, "degC"),
        (0.0, "degC", 273.15, "K"),
        (0.0, "degC", 32.0, "degF"),
        (180.0, "deg", np.pi, "rad"),
        (25.0, "10-5 SI", 0.00025, "SI"),
        (1.0, "psi", 6.894757293168, "kPa"),
        (1500.0, "mV", 1.5, "V"),
    ],
)
def test_values_are_converted_both_ways(value, unit, expected, wanted):
    assert can_convert(unit, wanted)
    assert not units_agree(unit, wanted)
    values = np.array([value, np.nan])
    found = convert(values, unit, wanted)
    np.testing.assert_allclose(found, [expected, np.nan], rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(convert(found, wanted, unit), values, rtol=1e-12, atol=1e-12)


def test_only_units_of_one_quantity_are_converted():
    for first, second in (("g/cm3", "us/ft"), ("m", "m/s"), ("%", "wt%"), ("gAPI", "cps")):
        assert not can_convert(first, second)
        assert not units_agree(first, second)
    # An unknown unit is no evidence of a mistake.
    for declared, found in (("g/cm3", None), ("g/cm3", "GRA"), (None, "m"), ("furlong", "m")):
        assert units_agree(declared, found)
        assert not can_convert(declared, found)
    assert kindred("US/F") == ["us/m"]
    assert kindred("GAPI") == kindred("furlong") == []


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        ("Depth CSF-A (m)", ("Depth CSF-A", "m")),
        ("Thermal conductivity mean (W/(m*K))", ("Thermal conductivity mean", "W/(m*K)")),
        ("GR [gAPI]", ("GR", "gAPI")),
        ("GR", ("GR", None)),
        ("ratio (-)", ("ratio", None)),
        ("(m)", ("(m)", None)),
        ("a (b) c", ("a (b) c", None)),
    ],
)
def test_headers(header, expected):
    assert split_header(header) == expected
