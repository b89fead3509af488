"""Units: spellings of one unit agree, different units do not, unknown ones prove nothing."""

from __future__ import annotations

import pytest

from variolite.records.values import canonical_unit, split_header, units_agree


@pytest.mark.parametrize(
    "spellings",
    [
        ("g/cm3", "g/cc", "G/C3", "g/cm^3", "g/cm³", "G/CC"),
        ("gAPI", "API", "GAPI"),
        ("us/ft", "US/F", "µs/ft", "μs/ft"),
        ("m3/m3", "V/V", "v/v", "m³/m³", "frac"),
        ("ohm.m", "OHMM", "ohm m", "Ω·m", "Ohm-m"),
        ("W/(m*K)", "W/(m·K)"),
        ("kPa", "kN/m^2"),
        ("m", "mbsf", "meters"),
    ],
)
def test_spellings_agree(spellings: tuple[str, ...]) -> None:
    assert len({canonical_unit(unit) for unit in spellings}) == 1
    assert canonical_unit(spellings[0]) is not None


@pytest.mark.parametrize(
    ("first", "second"),
    [("g/cm3", "kg/m3"), ("m", "ft"), ("us/ft", "us/m"), ("m3/m3", "%"), ("m/s", "km/s")],
)
def test_different_units_disagree(first: str, second: str) -> None:
    assert not units_agree(first, second)
    assert not units_agree(second, first)


def test_unknown_units_are_no_evidence() -> None:
    assert units_agree("g/cm3", None)
    assert units_agree("g/cm3", "GRA")
    assert units_agree(None, "m")
    assert units_agree("furlong", "m")


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
def test_headers(header: str, expected: tuple[str, str | None]) -> None:
    assert split_header(header) == expected
