"""Candidates as a table and as structures: what is there is shown, what is not has no place."""

import numpy as np
import polars as pl
import pytest
from typer.testing import CliRunner

from page_layout import HOSTILE as HOSTILE_BYTES
from page_layout import layout_faults, read_page
from variolite.crystals.crystals import Crystal
from variolite.crystals.files.textbook import textbook_crystals
from variolite.crystals.files.writing import to_cif
from variolite.errors import DataError
from variolite.frameworks.assembly.structure_checks import CHECKS
from variolite.frameworks.assembly.unit_library import Unit
from variolite.frameworks.commands import app
from variolite.frameworks.report import candidate_table as module
from variolite.frameworks.report.candidate_table import candidate_table, drawn_linker, molecule_of
from variolite.frameworks.report.candidates_page import _centred, candidates_page
from variolite.optional import is_there

needs_rdkit = pytest.mark.skipif(not is_there("rdkit"), reason="molecules are drawn by RDKit")
HOSTILE = HOSTILE_BYTES.replace("\x00", "").replace("\x07", "")  # which no CSV file may hold
ACID = "O=C(O)c1ccc(C(=O)O)cc1"
SECTIONS = {"outcome", "candidates", "structures", "requested", "provenance"}


def candidates(**columns):
    given = {
        "name": ["good", "bad", "odd"],
        "net": ["pcu", "dia", None],
        "nodes": ["node_C6O13Zn4_6X", "node_a;node_b", ""],
        "linkers": [ACID, f"{ACID};OC=O", HOSTILE],
        "co2_uptake_requested": [6.0, 2.0, 6.0],
        "co2_uptake_predicted": [4.256, 1.0, None],
        "co2_uptake_low": [3.1, 0.5, None],
        "co2_uptake_high": [5.4, 1.5, None],
        "built": [True, False, False],
        "failure": ["", "has_atomic_overlaps: C1-C2 0.70 A", HOSTILE],
        "failed_checks": ["", "has_atomic_overlaps", ""],
        "first_attempt": [True, False, False],
        "seconds": [0.5, 1.5, 0.1],
        "file": ["good.cif", None, None],
        "density": [0.59, None, None],
        "void_fraction": [0.8, None, None],
        "atoms": [1054, None, None],
    } | {name: [8.0, None, None] for name in ("a", "b", "c")}
    given |= {name: [90.0, None, None] for name in ("alpha", "beta", "gamma")}
    return pl.DataFrame(given | columns)


@pytest.fixture
def folder(tmp_path):
    candidates().write_csv(tmp_path / "candidates.csv")
    (tmp_path / "good.cif").write_text(to_cif(textbook_crystals()[0]))
    return tmp_path


def test_names_of_units_may_look_like_numbers(tmp_path):
    candidates(nodes=[1, 2, 3], net=["1", "2", "3"]).write_csv(tmp_path / "candidates.csv")
    assert "What came of the candidates" in candidates_page(tmp_path)


def table_of(frame, **settings):
    table = candidate_table(frame, **settings)
    return [dict(zip(table.head, row, strict=True)) for row in table.rows], table


def test_a_row_has_its_prediction_with_interval_and_what_came_of_it():
    (good, bad, odd), table = table_of(candidates(), linked=True)
    assert table.sortable
    assert good["name"] == '<a href="good.cif">good</a>'
    assert bad["name"] == "bad"
    came = "what came of it"
    assert (good[came], bad[came]) == ("built", "has_atomic_overlaps")
    predicted = "CO₂ uptake, predicted (mol/kg)"
    assert (good[predicted], odd[predicted]) == ("4.26 (3.1 to 5.4)", "")
    assert good["CO₂ uptake, requested (mol/kg)"] == "6.00"
    assert (good["atoms"], bad["atoms"]) == ("1,054", "")
    assert bad["nodes"] == "node_a; node_b"
    # Columns without any value have no place.
    _, bare = table_of(candidates().with_columns(density=pl.lit(None, pl.Float64)))
    assert "density (g/cm³)" not in bare.head


def test_the_page_shows_all_candidates_and_is_not_misled_by_names(folder):
    html = candidates_page(folder, {})
    page = read_page(html)
    assert len(page.find("script")) == 1
    assert page.find("img") == []
    assert "1 of 3 candidates are built and pass all checks: 33 % (6 to 79)" in page.text()
    # Molecules have letters as paths, and turned structures their own layout.
    (drawing,) = [one for one in page.find("svg") if "font-family" in one.attributes][1:]
    assert layout_faults(drawing) == []
    assert {section.attributes["id"] for section in page.find("section")} == SECTIONS
    checks = page.find("table")[1]
    rows = {row.find("td")[0].text(): row.text() for row in checks.find("tr")[1:]}
    # Of two that were built one overlaps; real structures beside them.
    assert rows["has_atomic_overlaps"] == "has_atomic_overlaps50.0 % (9 to 91)99.0 %85.8 %"
    assert rows["has_short_bonds"].startswith("has_short_bonds100.0 %")
    assert list(rows) == [*CHECKS, "all checks"]
    (turned,) = [node for node in page.find("div") if node.attributes.get("class") == "turn"]
    assert turned.find("svg")[0].attributes["aria-label"] == "good"


@pytest.mark.parametrize("species", [[30, 8, 6], [6, 8, 7]])
def test_structures_are_turned_about_their_metals(species):
    near = np.array([[0.98, 0.02, 0.5], [0.1, 0.1, 0.6], [0.9, 0.95, 0.4]])
    crystal = Crystal(np.array(species, dtype=np.uint8), near, 10 * np.eye(3))
    moved = _centred(crystal).coordinates
    assert moved[0] == pytest.approx(0.5, abs=1e-9 if species[0] == 30 else 0.05)
    shift = (moved - near)[0]
    assert np.abs(np.sin(np.pi * (moved - near - shift))).max() == pytest.approx(0, abs=1e-9)


def test_simulated_values_stand_beside_requests(folder):
    pl.DataFrame(
        {"name": ["good"], "co2_uptake_simulated": [3.5], "co2_uptake_simulated_error": [0.25]}
    ).write_csv(folder / "simulated_1.csv")
    result = CliRunner().invoke(app, ["page", str(folder)])
    assert result.exit_code == 0, result.output
    page = read_page((folder / "report.html").read_text())
    assert "3.50 ± 0.25" in page.text()
    (drawing,) = [
        svg
        for svg in page.find("svg")
        if svg.attributes.get("aria-label", "").startswith("Requested")
    ]
    assert "simulated" in [text.text() for text in drawing.find("text")]
    pl.DataFrame({"name": ["good"], "uptake": [3.5]}).write_csv(folder / "simulated_1.csv")
    with pytest.raises(DataError, match="no table of simulated values"):
        candidates_page(folder, {})


def test_what_was_built_stands_beside_requests_too(folder):
    asked = candidates(void_fraction_requested=[0.7, 0.7, None])
    asked = asked.drop("^co2_uptake.*$")
    asked.write_csv(folder / "candidates.csv")
    page = read_page(candidates_page(folder, {}))
    (figure,) = page.find("section")[3].find("svg")
    assert "as built" in [text.text() for text in figure.find("text")]
    assert "void fraction, requested" in page.text()


def test_a_folder_without_candidates_or_structures_says_so(folder, tmp_path):
    (folder / "good.cif").unlink()
    assert "its CIF file is not there" in candidates_page(folder, {})
    with pytest.raises(DataError, match="no candidates here"):
        candidates_page(tmp_path / "elsewhere")
    (folder / "provenance.json").write_text("{")
    with pytest.raises(DataError, match="cannot be read"):
        candidates_page(folder, {})
    candidates().drop("failure").write_csv(folder / "candidates.csv")
    with pytest.raises(DataError, match="has no column 'failure'"):
        candidates_page(folder, {})


@needs_rdkit
def test_linkers_are_drawings_of_some_size():
    (drawing,) = read_page(str(drawn_linker(ACID))).find("svg")
    assert drawing.find("title")[0].text() == ACID
    assert float(drawing.attributes["width"]) <= module.WIDE
    assert len(drawing.find("path")) > 10
    assert drawn_linker("not a molecule").startswith('<span class="smiles" title="not a molecule">')


def test_without_rdkit_linkers_are_text(monkeypatch):
    monkeypatch.setattr(module, "is_there", lambda name: name != "rdkit")
    assert "<script" not in drawn_linker.__wrapped__(HOSTILE)
    (span,) = read_page(str(drawn_linker.__wrapped__("C" * 200))).find("span")
    assert span.text() == "C" * 59 + "…"


@needs_rdkit
def test_units_become_molecules_by_their_distances():
    from rdkit import Chem

    angles = np.arange(6) * np.pi / 3
    ring = np.stack([np.cos(angles), np.sin(angles), np.zeros(6)], axis=1)
    carbons = [("C", *(1.39 * p)) for p in ring]
    ends = [("X", *(2.1 * p)) for p in ring[[0, 3]]]
    hydrogens = [("H", *(2.48 * p)) for p in ring[[1, 2, 4, 5]]]
    phenylene = Unit.of("linker_C6H4_2X", [*carbons, *hydrogens, *ends])
    assert Chem.MolToSmiles(molecule_of(phenylene)) == "*c1ccc(*)cc1"
    # Nitrogen gives its pair to a metal: pyrazine, not a dihydropyrazine.
    mixed = [("N" if i in (0, 3) else "C", *site[1:]) for i, site in enumerate(carbons)]
    pyrazine = Unit.of("linker_C4H4N2_2X", [*mixed, *hydrogens, *ends])
    assert Chem.MolToSmiles(molecule_of(pyrazine)) == "c1cnccn1"
    assert "<svg" in drawn_linker("linker_C6H4_2X", phenylene)
