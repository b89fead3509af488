"""Spellings of one name are found; names that differ are kept apart, and slips only reported."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from variolite.records.names import look_alikes, normalised, spellings

SAME = [
    ("15/9-13", "15-9-13", "15_9_13", "15 / 9 - 13", "15/09-13", "15/9\u201313"),
    ("W0", "w0", " W0 ", "W-0", "W 0", "w_00", "W0\u200b", "\uff370"),
    ("0012", "12", "12.0", "00012"),
    ("SHRIMPLIN", "Shrimplin", "shrimplin "),
    ("CROSS H CATTLE", "Cross-H Cattle", "cross_h_cattle", "CROSSHCATTLE"),
    ("U1480-A", "U1480A", "u1480 a", "U01480_A"),
    ("15/9-F-1 B", "15/9-F-1B", "15/9-F1B"),
    ("Smith #1", "SMITH 1", "Smith No.1"[:6] + "1"),
]
DIFFERENT = [
    *("1-11", "11-1", "111", "W-1-1", "W-11", "W-1", "W1'", "W1+", "W-10", "W-100"),
    *("15/9-13", "15/91-3", "15/9-1 3", "-5", "5", "0", "00A0", "U1480A", "U1480B", "\xe91", "e1"),
    *("15/9-F-1", "15/9-F-1 A", "15/9-F-11", "\u0915\u093f1", "\u0915\u093e1", "-", "--"),
]


@pytest.mark.parametrize("names", SAME)
def test_spellings_of_one_name_meet(names):
    assert len(set(map(normalised, names))) == 1
    assert spellings(["", *names, names[0]]) == {normalised(names[0]): list(names)}
    assert look_alikes(names) == []


def test_different_names_stay_apart():
    # "W-1-1" and its like differ in where one number ends and the next begins.
    assert len(set(map(normalised, DIFFERENT))) == len(DIFFERENT)


@given(st.text(st.characters(codec="utf-8"), max_size=12))
def test_a_normalised_name_is_normalised_and_is_never_empty(name):
    once = normalised(name)
    assert normalised(once) == once
    assert bool(once) == bool(name)


def test_slips_are_reported_and_series_are_not():
    slips = [("SHRIMPLIN", "SHRIMPLN"), ("Newby One", "Newbi One"), ("1-11", "11-1"), ("WO", "W0")]
    for pair in slips:
        assert look_alikes(pair) == [pair]
        assert len(spellings(pair)) == 2
    series = [f"Well-{i}" for i in range(12)] + [f"Platform {c}" for c in "ABCDE"]
    assert look_alikes([*series, "15/9-13", "15/9-14", "U1480A", "U1480B", "U1481A"]) == []
