import numpy as np
import polars as pl
import pytest

from variolite.errors import DataError, DataWarning
from variolite.planning.costs import (
    Synthesis,
    moles_per_gram,
    read_prices,
    synthesis_costs,
    validation_costs,
)

pytest.importorskip("rdkit", reason="linkers need rdkit, of the extra frameworks")

TEREPHTHALIC = "O=C(O)c1ccc(C(=O)O)cc1"
IMIDAZOLE = "c1c[nH]cn1"
MOF_5 = "Zn4 O13 C24 H12"
PRICES = {
    "supplies": ["Zn", "C1=CC(=CC=C1C(=O)O)C(=O)O"],
    "price": [0.5, 0.2],
    "price_low": [0.4, None],
    "price_high": [1.0, None],
    "molar_mass": [297.49, 166.13],  # zinc nitrate hexahydrate
    "source": ["a catalogue", "a catalogue"],
    "date": ["2026-01-01", "2026-01-01"],
}


def test_moles_of_mof_5():
    mass = 4 * 65.38 + 13 * 15.999 + 24 * 12.011 + 12 * 1.008
    moles = moles_per_gram(MOF_5, ["Zn"], [TEREPHTHALIC])
    assert moles["metals", "Zn"] == pytest.approx(4 / mass, rel=1e-3)
    assert moles["linkers", TEREPHTHALIC] == pytest.approx(3 / mass, rel=1e-3)
    # A gram needs 1.55 g of the nitrate and .65 g of the acid.
    assert moles["metals", "Zn"] * 297.49 == pytest.approx(1.55, abs=0.01)
    assert moles["linkers", TEREPHTHALIC] * 166.13 == pytest.approx(0.65, abs=0.01)


def test_moles_of_mixed_linkers():
    # Zn2(bdc)2(dabco)
    dabco = "C1CN2CCN1CC2"
    moles = moles_per_gram("Zn2 O8 C22 H20 N2", ["Zn"], [TEREPHTHALIC, dabco])
    linkers = moles["linkers", TEREPHTHALIC], moles["linkers", dabco]
    assert linkers[0] / linkers[1] == pytest.approx(2.0)
    assert linkers[1] / moles["metals", "Zn"] == pytest.approx(0.5)


@pytest.mark.parametrize(
    ("formula", "reading", "molecule"),
    [
        (MOF_5, "[O]C(=O)c1ccc(C(=O)[O])cc1", TEREPHTHALIC),
        ("Zn C8 H10 N4", "C1=NC(=N[CH]1)C", "Cc1ncc[nH]1"),  # as OpenBabel writes it
    ],
)
def test_linkers_cut_out_of_a_framework_count_as_their_acid(formula, reading, molecule):
    assert moles_per_gram(formula, ["Zn"], [reading]) == moles_per_gram(formula, ["Zn"], [molecule])


def test_costs_of_mof_5_by_hand():
    frame = pl.DataFrame({"formula": [MOF_5], "metals": ["Zn"], "linkers": [TEREPHTHALIC]})
    how = Synthesis(amount=2.0, yielded=0.5, solvent_volume=15.0, solvent_price=0.05)
    found = synthesis_costs(frame, read_prices(pl.DataFrame(PRICES)), how).row(0, named=True)
    solvent = 2 * 15 * 0.05
    nitrate, acid = 4 * 1.5456, 4 * 0.6474  # grams of reagents for two grams at half the yield
    assert found["synthesis_cost"] == pytest.approx(0.5 * nitrate + 0.2 * acid + solvent, rel=1e-3)
    low = 0.4 * nitrate + 0.16 * acid + solvent
    assert found["synthesis_cost_low"] == pytest.approx(low, rel=1e-3)
    high = 1.0 * nitrate + 0.24 * acid + solvent
    assert found["synthesis_cost_high"] == pytest.approx(high, rel=1e-3)
    assert found["synthesis_notes"] == ""


def test_unknown_prices_widen_the_interval():
    prices = {key: [*value, value[1]] for key, value in PRICES.items()}
    prices["supplies"][2], prices["price"][2] = IMIDAZOLE, 20.0
    frame = pl.DataFrame(
        {"formula": ["Zn C8 H10 N4"], "metals": ["Zn"], "linkers": ["Cc1ncc[nH]1"]}
    )
    found = synthesis_costs(frame, read_prices(pl.DataFrame(prices)), Synthesis()).row(
        0, named=True
    )
    assert found["synthesis_notes"] == "no price of Cc1ncc[nH]1"
    assert found["synthesis_cost_high"] > 20 * found["synthesis_cost_low"]


def test_what_cannot_be_worked_out_says_why():
    frame = pl.DataFrame(
        {
            "formula": ["Zn O", "not a formula", MOF_5, MOF_5],
            "metals": ["Zn"] * 4,
            "linkers": [TEREPHTHALIC, TEREPHTHALIC, "", IMIDAZOLE],
        }
    )
    found = synthesis_costs(frame, read_prices(pl.DataFrame(PRICES)), Synthesis())
    assert found["synthesis_cost"].null_count() == 4
    assert found["synthesis_notes"].to_list() == [
        "the formula holds none of its linkers",
        "'not a formula' is not a chemical formula",
        "no linkers are known",
        "its linkers do not explain its formula",
    ]


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"price": -1.0}, "no price and molar mass above 0"),
        ({"price": "5 EUR"}, "no price and molar mass above 0"),
        ({"price": float("inf")}, "no price and molar mass above 0"),
        ({"price": None}, "no price and molar mass above 0"),
        ({"price_high": "?!"}, "no price and molar mass above 0"),
        ({"molar_mass": 0.0}, "no price and molar mass above 0"),
        ({"moles": 0.0}, "no price and molar mass above 0"),
        ({"source": ""}, "no source or no date"),
        ({"supplies": "zinc nitrate"}, "neither the symbol of a metal nor a SMILES"),
    ],
)
def test_a_price_that_cannot_be_used_costs_no_others(change, reason):
    prices = {"moles": [1.0, 1.0]} | {key: list(value) for key, value in PRICES.items()}
    for key, cell in change.items():
        prices[key] = pl.Series([cell, prices[key][1]], strict=False)
    found = read_prices(pl.DataFrame(prices))
    assert not found.metals
    assert list(found.linkers) == [TEREPHTHALIC]
    (note,) = found.notes
    assert "row 1 (" in note
    assert reason in note


def test_price_tables_without_prices_are_refused():
    with pytest.raises(DataError, match="no price can be used: row 1"):
        read_prices(pl.DataFrame(PRICES).with_columns(price=-1.0))
    with pytest.raises(DataError, match="no column 'date'"):
        read_prices(pl.DataFrame(PRICES).drop("date"))


def test_ends_of_prices_in_the_wrong_order_enclose_them():
    swapped = PRICES | {"price_low": [1.0, None], "price_high": [0.4, None]}
    ends = read_prices(pl.DataFrame(swapped)).metals["Zn"] / 297.49
    np.testing.assert_allclose(ends, [0.5, 0.4, 1.0])


@pytest.mark.parametrize(("metals", "there"), [("Qq", "Zn"), ("", "Zn"), ("Zn;Cu", "Zn")])
def test_other_metals_than_those_of_the_formula_are_said(metals, there):
    frame = pl.DataFrame({"formula": [MOF_5], "metals": [metals], "linkers": [TEREPHTHALIC]})
    found = synthesis_costs(frame, read_prices(pl.DataFrame(PRICES)), Synthesis())
    assert found["synthesis_cost"].to_list() == [None]
    assert found["synthesis_notes"].to_list() == [f"the metals of its formula are {there}"]


def test_run_times_are_learnt_where_they_are_missing():
    random = np.random.default_rng(0)
    atoms = random.uniform(50, 500, 200)
    minutes = 0.02 * atoms**1.5 * np.exp(random.normal(0, 0.2, 200))
    known = np.arange(200) < 120
    frame = pl.DataFrame({"atoms": atoms, "minutes": np.where(known, minutes, np.nan)})
    found = validation_costs(frame, "minutes", ["atoms"], rate=2.0)
    np.testing.assert_allclose(found["validation_cost"].to_numpy()[known], 2 * minutes[known])
    low, high = (found[f"validation_cost_{e}"].to_numpy()[~known] for e in ("low", "high"))
    inside = (2 * minutes[~known] >= low) & (2 * minutes[~known] <= high)
    assert 0.8 <= inside.mean() <= 0.98


def test_times_and_sizes_that_cannot_be_used_cost_their_rows():
    minutes, atoms = np.arange(1.0, 31.0), np.arange(10.0, 310.0, 10.0)
    cells = pl.Series(minutes).cast(pl.String).to_list()
    cells[20:] = ["long", "-3", "0", "inf", None, None, None, None, None, None]
    sizes = pl.Series(atoms).cast(pl.String).to_list()
    sizes[3], sizes[28], sizes[29] = None, "big", "-5"
    frame = pl.DataFrame({"minutes": cells, "atoms": sizes})
    with pytest.warns(DataWarning) as said:
        found = validation_costs(frame, "minutes", ["atoms"], rate=1.0)["validation_cost"]
    np.testing.assert_allclose(found[:20], minutes[:20])
    np.testing.assert_allclose(found[20:28], minutes[20:28], rtol=1e-6)
    assert np.isnan(found.to_numpy()[28:]).all()
    texts = " ".join(str(warning.message) for warning in said)
    assert "row 21 ('long'), row 22 ('-3'), row 23 ('0'), row 24 ('inf')" in texts
    assert "2 candidates without a validation cost: their size is unknown too" in texts


def test_times_that_cannot_be_learnt_are_said():
    frame = pl.DataFrame({"minutes": [1.0, None, 3.0], "atoms": [1, 2, 3]})
    with pytest.warns(DataWarning, match="1 candidate without a validation cost: --size learns"):
        found = validation_costs(frame, "minutes", [], rate=1.0)
    np.testing.assert_array_equal(found["validation_cost"], [1, np.nan, 3])
    with pytest.raises(DataError, match="2 candidates have minutes and atoms"):
        validation_costs(frame, "minutes", ["atoms"], rate=1.0)
    with pytest.raises(DataError, match="no column 'volume'"):
        validation_costs(frame, "minutes", ["volume"], rate=1.0)
