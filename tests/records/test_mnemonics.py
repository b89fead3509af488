"""Mnemonics of logging companies find the meanings of the recipes, and every guess is said."""

import warnings

import pytest

from variolite.errors import DataWarning
from variolite.recipe import load_recipe
from variolite.records import Schema
from variolite.records.mnemonics import find_mnemonics

SCHEMA = Schema.from_yaml(
    """
columns:
  gamma_ray: {aliases: [GR], optional: true}
  bulk_density: {aliases: [RHOB]}
  deep_resistivity: {aliases: [ILD], optional: true}
  well: {role: group}
"""
)


def sources(available, mapping=None):
    bound = SCHEMA.bind(available, mapping)
    return [bound.columns[name].source for name in bound.columns]


def test_a_known_mnemonic_is_taken_and_said():
    with pytest.warns(DataWarning) as caught:
        found = sources(["well", "grc (gAPI)", "ZDEN", "AT90", "X"])
    # In the order of the schema, as the model sees the columns.
    assert found == ["grc (gAPI)", "ZDEN", "AT90", "well"]
    said = sorted(str(warning.message) for warning in caught)
    assert said[1] == (
        "'ZDEN' is taken as 'bulk_density' by its mnemonic (bulk density of the compensated "
        "Z-density log, Baker Hughes). Say otherwise with bulk_density=COLUMN"
    )
    assert len(said) == 3


def test_of_several_the_first_in_the_list_is_taken_and_the_others_named():
    with pytest.warns(DataWarning, match=r"'ZDNC' is taken .*; 'ZDEN', 'RHO8' could be it too"):
        assert sources(["RHO8", "ZDEN", "ZDNC", "well"]) == ["ZDNC", "well"]


def test_names_aliases_and_mappings_come_first():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        table = ["GR", "RHOB", "SGR", "RHOZ", "well"]
        assert sources(table) == ["GR", "RHOB", "well"]
        mapping = {"gamma_ray": "SGR", "bulk_density": "RHOZ"}
        assert sources(table, mapping) == ["SGR", "RHOZ", "well"]
        # Left out by the user; taken for something else.
        assert sources(["RHOB", "SGR", "well"], {"gamma_ray": "-"}) == ["RHOB", "well"]
        mapping = {"bulk_density": "SGR"}
        assert sources(["SGR", "well"], mapping) == ["SGR", "well"]


@pytest.mark.parametrize(
    ("mnemonic", "meaning"),
    [
        *(("GRGC", "gamma_ray"), ("DGRC", "gamma_ray"), ("ECGR", "gamma_ray")),
        *(("RHOZ", "bulk_density"), ("ZDEN", "bulk_density"), ("DEN", "bulk_density")),
        *(("TNPH", "neutron_porosity"), ("CNCF", "neutron_porosity"), ("NPRL", "neutron_porosity")),
        *(("DTCO", "sonic_slowness"), ("DT24", "sonic_slowness"), ("DT35", "sonic_slowness")),
        *(
            ("AHT90", "deep_resistivity"),
            ("M2R9", "deep_resistivity"),
            ("RTAO", "deep_resistivity"),
        ),
        *(("PEFZ", "photoelectric_factor"), ("PDPE", "photoelectric_factor")),
        *(("HCAL", "caliper"), ("HDRA", "density_correction"), ("TDEP", "depth")),
    ],
)
def test_curves_of_the_large_companies(mnemonic, meaning):
    assert find_mnemonics(meaning, [mnemonic.lower()])[mnemonic.lower()].mnemonic == mnemonic
    assert not find_mnemonics("lithology", [mnemonic])


def test_list_and_recipe_do_not_contradict_one_another():
    columns = load_recipe("corelogs/default").columns
    for name, column in columns.items():
        others = [other for other in columns if other != name]
        for alias in (name, *column.aliases):
            assert not any(find_mnemonics(other, [alias]) for other in others)
