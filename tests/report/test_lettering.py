"""Numbers are written the same way everywhere, and text is cut where it would not fit."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from variolite.report.lettering import (
    chemical,
    decimals,
    plain,
    shorten,
    significant,
    text_width,
    wrap,
)


@given(st.text(max_size=60), st.floats(0, 300), st.floats(6, 20))
def test_shortened_text_fits_and_is_a_beginning(text: str, width: float, size: float) -> None:
    short = shorten(text, width, size)
    if short == text:
        return
    assert short.endswith("…")
    assert text.startswith(short[:-1])
    assert text_width(short, size) <= max(width, text_width("…", size))


@given(st.text(max_size=80), st.floats(30, 200), st.integers(1, 3))
def test_wrapped_lines_fit_and_hold_the_words(text: str, width: float, lines: int) -> None:
    rows = wrap(text, width, 11, lines=lines)
    assert len(rows) <= lines
    assert all(text_width(row, 11) <= width for row in rows)
    if not any(row.endswith("…") for row in rows):
        assert " ".join(rows).split() == text.split()


def test_widths_follow_the_font() -> None:
    assert text_width("Wmi", 10) == pytest.approx((944 + 833 + 222) / 100)
    assert text_width("0123", 11.5) == pytest.approx(4 * 0.556 * 11.5)
    assert text_width("ab", 10, bold=True) > text_width("ab", 10)


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
def test_significant(value: float, written: str) -> None:
    assert significant(value) == written


@given(st.floats(-1e12, 1e12))
def test_significant_is_true_to_three_digits(value: float) -> None:
    read = float(significant(value).replace("−", "-").replace(",", ""))
    assert read == pytest.approx(value, rel=0.0051)


def test_decimals_know_no_negative_zero() -> None:
    assert decimals(-0.0004, 2) == "0.00"
    assert decimals(-1234.5, 1) == "−1,234.5"


def test_names_become_words() -> None:
    assert plain("bulk_density") == "bulk density"


def test_formulas_have_their_numbers_below_the_line() -> None:
    assert chemical("Ca10P6H2O26") == "Ca₁₀P₆H₂O₂₆"
    assert text_width("Fe₂", 10) < text_width("Fe2", 10)
