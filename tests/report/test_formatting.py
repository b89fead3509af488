"""Numbers and names are written the same way everywhere."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from variolite.report.formatting import chemical, decimals, plain, significant


@pytest.mark.parametrize(
    ("value", "written"),
    [
        (0.0, "0"),
        (1.7, "1.70"),
        (-0.1234, "−0.123"),
        (12345.6, "12,346"),
        (9.9999, "10.00"),
        (0.00012345, "0.000123"),
        (1.2345e-7, "1.23e−7"),
        (-4.5e9, "−4.50e9"),
        (math.nan, "not defined"),
        (math.inf, "not defined"),
    ],
)
def test_significant(value, written):
    assert significant(value) == written


@given(st.floats(-1e12, 1e12))
def test_significant_is_true_to_three_digits(value):
    read = float(significant(value).replace("−", "-").replace(",", ""))
    assert read == pytest.approx(value, rel=0.0051)


def test_decimals_names_and_formulas():
    assert decimals(-0.0004, 2) == "0.00"
    assert decimals(-1234.5, 1) == "−1,234.5"
    assert plain("bulk_density") == "bulk density"
    assert chemical("Ca10P6H2O26") == "Ca₁₀P₆H₂O₂₆"
