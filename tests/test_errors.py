"""Errors say what, where and how to mend it, and survive a trip to another process."""

import pickle

import pytest

from variolite import errors


@pytest.mark.parametrize("name", [n for n in vars(errors) if n.endswith("Error")])
def test_errors_cross_process_borders(name):
    error = getattr(errors, name)("the column is empty", where="logs.csv", hint="fill it")
    again = pickle.loads(pickle.dumps(error))
    assert type(again) is type(error)
    assert str(again) == str(error) == "logs.csv: the column is empty. Fill it."
    assert isinstance(again, ValueError)


def test_parts_that_are_not_given_leave_no_trace_and_a_list_keeps_its_dots():
    assert str(errors.DataError("the table is empty")) == "the table is empty"
    assert str(errors.VarioliteError("x", hint="It has: a, b, ...")).endswith("a, b, ...")


def test_nearest():
    for name, expected in (("RHOP", "RHOB"), ("rhob", "RHOB"), ("something else", None)):
        assert errors.nearest(name, ["GR", "RHOB", "NPHI"]) == expected


def test_control_characters_are_written_out():
    assert (
        errors.printable("W\x1b[2J\x07 \u202egpj\x9b \tÅ\n")
        == "W\\x1b[2J\\x07 \\u202egpj\\x9b \tÅ\n"
    )
