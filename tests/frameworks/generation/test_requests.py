"""Requests as they are written on the command line."""

from types import SimpleNamespace

import pytest

from variolite.errors import DataError
from variolite.frameworks.generation.sampling import Request
from variolite.records import Schema

SCHEMA = SimpleNamespace(
    schema=Schema(columns={"metals": {"kind": "set"}, "net": {"kind": "category"}}),
    set_names=("metals",),
    category_names=("net",),
    levels={"metals": ("Zn", "Fe"), "net": ("pcu",)},
)
MODEL = SimpleNamespace(schema=SCHEMA, condition_names=("co2_uptake",))


def test_numbers_and_members_are_told_apart():
    request = Request.parse(["co2_uptake = 6", "metals=Zn; Fe", "net=pcu"], MODEL)
    assert request == Request({"co2_uptake": 6.0}, {"metals": ("Zn", "Fe"), "net": ("pcu",)})


@pytest.mark.parametrize(
    ("where", "said"),
    [
        (["co2_uptake=3", "co2_uptake=4"], "co2_uptake is asked for twice"),
        (["metals=Zn", "metals=Fe"], "metals is asked for twice"),
        (["metals=Zz"], "has never met 'Zz' among its metals"),
        (["co2_uptak=3"], "Did you mean 'co2_uptake'"),
        (["co2_uptake=inf"], "'inf' is not a number"),
        (["metals=;"], "this names no member"),
        (["metals="], "not of the form NAME=VALUE"),
    ],
)
def test_what_cannot_be_asked_for_is_refused(where, said):
    with pytest.raises(DataError, match=said):
        Request.parse(where, MODEL)
