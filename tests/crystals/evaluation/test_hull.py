import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from variolite.crystals.elements import ATOMIC_NUMBERS, SYMBOLS
from variolite.crystals.evaluation.hull import Hull, fractions_of_formula, read_hull
from variolite.errors import DataError


def by_pymatgen(fractions, energies, tested, energy):
    from pymatgen.analysis.phase_diagram import PDEntry, PhaseDiagram
    from pymatgen.core import Composition

    def spelled(row):
        return Composition({SYMBOLS[z]: float(row[z]) for z in np.flatnonzero(row)})

    entries = [PDEntry(spelled(row), e) for row, e in zip(fractions, energies, strict=True)]
    entries += [PDEntry(Composition(SYMBOLS[z]), 0.0) for z in np.flatnonzero(tested)]
    inside = [e for e in entries if set(e.composition) <= set(spelled(tested))]
    asked = PDEntry(spelled(tested), energy)
    return PhaseDiagram(inside).get_e_above_hull(asked, allow_negative=True)


@given(st.integers(0, 10_000))
@settings(max_examples=20)
def test_distances_are_those_of_pymatgen(seed):
    rng = np.random.default_rng(seed)
    numbers = [ATOMIC_NUMBERS[symbol] for symbol in ("Li", "Fe", "P", "O")]
    counts = np.zeros((14, 119))
    counts[:, numbers] = rng.integers(0, 4, size=(14, 4)) * (rng.random((14, 4)) < 0.7)
    counts[counts.sum(axis=1) == 0, numbers[0]] = 1
    fractions = counts / counts.sum(axis=1, keepdims=True)
    energies = rng.normal(-0.5, 0.7, size=14)
    hull = Hull(np.array([f"e{i}" for i in range(12)]), fractions[:12], energies[:12])
    tested = fractions[12:][(fractions[12:] > 0).sum(axis=1) > 1]
    # The hull must know the elements, in whatever compound.
    unseen = ~fractions[:12].any(axis=0)
    found = hull.above(tested, energies[12 : 12 + len(tested)]).above
    for place, row in enumerate(tested):
        expected = np.nan
        if not (row[unseen] > 0).any():
            expected = by_pymatgen(fractions[:12], energies[:12], row, energies[12 + place])
        assert found[place] == pytest.approx(expected, abs=1e-9, nan_ok=True)


def of(*formulas):
    return np.stack([fractions_of_formula(formula) for formula in formulas])


FORMULAS = ("NaCl", "Na", "Cl", "Na3Cl", "KCl", "K")
NAMES = np.array([f"id-{formula}" for formula in FORMULAS])
SALTS = Hull(NAMES, of(*FORMULAS), np.array([-2.0, 0.0, 0.0, -0.5, -2.1, 0.0]))


def test_what_is_asked_about_is_first_taken_out():
    # Without NaCl itself the best mixture is two thirds Na3Cl and one third Cl. A different
    # energy is a different crystal, unless it has the name.
    for energy, names, above, removed in (
        (-2.0, ["id-NaCl"], -2.0 + 1 / 3, 1),
        (-2.0, [], -2.0 + 1 / 3, 1),
        (-1.9, [], 0.1, 0),
        (-1.9, ["id-NaCl"], -1.9 + 1 / 3, 1),
        (-1.9, ["mine"], 0.1, 0),
    ):
        found = SALTS.above(of("NaCl"), np.array([energy]), names)
        assert found.above == pytest.approx(above)
        assert found.removed.tolist() == [removed]


def test_elements_mixtures_and_what_is_not_evaluated():
    wanted = of("Na", "NaK2Cl3", "Na2Cl", "NaBr", "KCl")
    found = SALTS.above(wanted, np.array([0.02, -2.0, -0.9, -3.0, np.nan]))
    assert found.above[:2] == pytest.approx([0.02, -2.0 + (2 * 2.0 + 4 * 2.1) / 6])
    # Between NaCl and Na3Cl.
    assert found.above[2] == pytest.approx(-0.9 + 2 / 3 * (0.5 * 2.0) + 4 / 3 * 0.5 * 0.5 + 1 / 3)
    assert np.isnan(found.above[3:]).all()
    assert found.missing == ("Br",)


def test_reading_a_table(tmp_path):
    table = {
        "material_id": ["a", "b"],
        "species_at_sites": [["Na", "Cl", "Na", "Cl"], ["Na"]],
        "formation_energy_per_atom": [-2.0, 0.0],
    }
    pl.DataFrame(table).write_parquet(tmp_path / "hull.parquet")
    hull = read_hull(tmp_path / "hull.parquet")
    assert hull.names.tolist() == ["a", "b"]
    assert hull.fractions[0, [11, 17]].tolist() == [0.5, 0.5]
    table = {"formula": ["ClNa", "Na"], "formation_energy_per_atom": [-2, 0]}
    pl.DataFrame(table).write_csv(tmp_path / "hull.csv")
    again = read_hull(tmp_path / "hull.csv")
    assert np.array_equal(again.fractions, hull.fractions)
    assert again.energies.tolist() == [-2.0, 0.0]


@pytest.mark.parametrize(
    ("formulas", "energies", "message"),
    [
        (["NaCl"], None, "has no column formation_energy_per_atom"),
        (None, [1.0], "has no column species_at_sites or"),
        (
            ["NaCl", "K"],
            [None, None],
            "2 of 2 rows of known phases cannot be used, the first in row",
        ),
        (["NaXx"], [1.0], "row 1: 'NaXx' is not a chemical"),
        (["NaCl"], ["low"], "row 1: formation_energy_per_atom is missing or not a number"),
    ],
)
def test_bad_tables_are_one_sentence(formulas, energies, message, tmp_path):
    columns = {"formula": formulas, "formation_energy_per_atom": energies}
    table = pl.DataFrame({name: values for name, values in columns.items() if values})
    table.write_csv(tmp_path / "hull.csv")
    with pytest.raises(DataError, match=message):
        read_hull(tmp_path / "hull.csv")


def test_bad_rows_are_left_out_and_logged(tmp_path):
    table = {
        "material_id": ["a", "b", "c", "d", "e"],
        "formula": ["NaCl", "NaXx", None, "K", "Na"],
        "formation_energy_per_atom": ["-2.0", "-1.0", "-1.0", "n/a", "0"],
    }
    pl.DataFrame(table).write_csv(tmp_path / "hull.csv")
    lines = []
    hull = read_hull(tmp_path / "hull.csv", log=lines.append)
    assert hull.names.tolist() == ["a", "e"]
    assert hull.energies.tolist() == [-2.0, 0.0]
    assert hull.fractions[0, [11, 17]].tolist() == [0.5, 0.5]
    (line,) = lines
    assert "3 of 5 rows" in line
    assert "row 2: 'NaXx' is not a chemical formula; they are left out" in line


def test_formulas_and_what_is_none():
    for formula, shares in (
        ("Nd(Al2Cu)4", {"Nd": 1 / 13, "Al": 8 / 13, "Cu": 4 / 13}),
        ("Li0.5CoO2", {"Li": 1 / 7, "Co": 2 / 7, "O": 4 / 7}),
        ("K4[Fe(CN)6]", {"K": 4 / 17, "Fe": 1 / 17, "C": 6 / 17, "N": 6 / 17}),
        ("Na Cl", {"Na": 0.5, "Cl": 0.5}),
    ):
        found = fractions_of_formula(formula)
        assert {SYMBOLS[z]: found[z] for z in np.flatnonzero(found)} == pytest.approx(shares)
    for formula in ("", "NaCl)", "(NaCl", "2NaCl", "Na-Cl", "Na0", "na", "Na.Cl"):
        with pytest.raises(DataError, match="is not a chemical formula"):
            fractions_of_formula(formula)
