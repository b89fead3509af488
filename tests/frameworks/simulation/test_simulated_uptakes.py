"""From files to a table of uptakes: charges, faults, interruption."""

import json

import numpy as np
import polars as pl
import pytest

from variolite.cli import main
from variolite.errors import DataError, ShortfallError
from variolite.frameworks.simulation.charges import find_charges, partial_charges
from variolite.frameworks.simulation.force_field import find_gas, lennard_jones
from variolite.frameworks.simulation.gcmc import Settings
from variolite.frameworks.simulation.simulate import parse_pressure, read_structure, simulate_table

HEAD = """data_{name}
_cell_length_a {edge}
_cell_length_b {edge}
_cell_length_c {edge}
_cell_angle_alpha 90
_cell_angle_beta 90
_cell_angle_gamma 90
_symmetry_space_group_name_H-M '{group}'
loop_
_atom_site_label
_atom_site_fract_x
_atom_site_fract_y
_atom_site_fract_z
"""
SALT = HEAD.format(name="salt", edge=5.64, group="F m -3 m")
HELIUM = HEAD.format(name="he", edge=6.6, group="P 1") + "_atom_site_charge\nHe .5 .5 .5 0\n"
SHORT = Settings("N2", 1e6, cycles=100, equilibration=10, tolerance=1.0)


def salt(tmp_path, column, sodium, chlorine):
    path = tmp_path / "salt.cif"
    path.write_text(f"{SALT}{column}Na 0 0 0 {sodium}\nCl .5 .5 .5 {chlorine}\n")
    return path


@pytest.mark.parametrize(
    "column", ["_atom_site_charge\n", "_atom_site_partial_charge\n", "_atom_site_DDEC_charge\n"]
)
def test_charges_of_a_file_go_to_all_atoms_that_symmetry_makes(tmp_path, column):
    path = salt(tmp_path, column, 0.9, -0.9)
    crystal = read_structure(path)
    found = partial_charges(crystal, path, "cif")
    assert found.tolist() == pytest.approx(np.where(crystal.species == 11, 0.9, -0.9).tolist())
    assert len(found) == 8


@pytest.mark.parametrize(
    ("column", "sodium", "chlorine", "words"),
    [
        ("", "", "", "there are no charges in the file"),
        ("_atom_site_charge\n", 1.0, -0.5, "add up to 2.00 e"),
        ("_atom_site_charge\n", "?", -0.5, "4 atoms have no charge"),
        ("_atom_site_charge\n", 6.0, -6.0, "impossible charge of 6.0 e"),
    ],
)
def test_charges_that_cannot_be_right_are_refused(tmp_path, column, sodium, chlorine, words):
    path = salt(tmp_path, column, sodium, chlorine)
    with pytest.raises(DataError, match=words):
        partial_charges(read_structure(path), path, "cif")


def test_charges_by_equilibration_are_neutral_and_go_the_right_way(tmp_path):
    pytest.importorskip("autografs", reason="the package AuToGraFS is not installed")
    path = salt(tmp_path, "", "", "")
    crystal = read_structure(path)
    found = partial_charges(crystal, path, "eqeq")
    assert found.sum() == pytest.approx(0, abs=1e-9)
    assert (found[crystal.species == 11] > 0.3).all()
    assert np.ptp(found[crystal.species == 17]) < 1e-6
    assert not partial_charges(crystal, path, "none").any()


def test_parameters_are_those_of_the_papers():
    # Carbon and zinc of UFF as other programs tabulate them, in K and Angstrom.
    assert lennard_jones("C") == pytest.approx((52.838, 3.43085), abs=1e-3)
    assert lennard_jones("Zn") == pytest.approx((62.399, 2.46155), abs=1e-3)
    with pytest.raises(DataError, match="no parameters for Og"):
        lennard_jones("Og")
    for gas in (find_gas("co2"), find_gas("nitrogen")):
        assert sum(site.charge for site in gas.sites) == pytest.approx(0)
        moment = sum(site.charge * site.place**2 for site in gas.sites)
        assert 4.80320 * moment == pytest.approx(-4.52 if gas.key == "CO2" else -1.4, abs=0.05)


@pytest.mark.parametrize(
    ("text", "pascal"),
    [("1bar", 1e5), ("0.15 bar", 1.5e4), ("15 kPa", 1.5e4), ("1e5Pa", 1e5), ("1atm", 101325.0)],
)
def test_pressures_have_units(text, pascal):
    assert parse_pressure(text) == pytest.approx(pascal)


@pytest.mark.parametrize(
    "text", ["1", "bar", "-1 bar", "0bar", "1.2.3 bar", "1 K", "1 furlong", ""]
)
def test_what_is_no_pressure_is_refused(text):
    with pytest.raises(DataError, match="no pressure with a unit"):
        parse_pressure(text)


@pytest.mark.parametrize("pressure", [1e14, 1e-9])
def test_a_pressure_that_no_gas_has_is_refused(tmp_path, pressure):
    with pytest.raises(DataError, match=r"range of the model\. Give 0\.001 to 1e\+08 Pa"):
        simulate_table([tmp_path], tmp_path / "out.csv", Settings("N2", pressure))


def test_what_is_doubtful_about_a_structure_is_noted(tmp_path):
    path = salt(tmp_path, "_atom_site_charge\n", 0.9, -0.9)
    path.write_text(path.read_text().replace("loop_", "_chemical_formula_sum 'Na4 Cl5'\nloop_"))
    notes = []
    read_structure(path, notes.append)
    assert notes == ["the sites differ from the formula sum: Cl 4, not 5"]


def test_names_that_are_not_known_are_answered_with_those_that_are():
    with pytest.raises(DataError, match="Known are CO2, N2"):
        find_gas("xenon")
    with pytest.raises(DataError, match="Kinds are cif, eqeq, none"):
        find_charges("ddec")
    assert find_charges(" EQeq ") == "eqeq"


def test_nothing_is_lost_when_one_fails_or_the_command_is_interrupted(tmp_path):
    pytest.importorskip("raspalib", reason="the package raspalib is not installed")
    folder = tmp_path / "cifs"
    folder.mkdir()
    (folder / "box.cif").write_text(HELIUM)
    (folder / "empty.cif").write_text("")
    (folder / "old.cif").write_text(HELIUM)
    out = tmp_path / "uptakes.csv"
    # What an interrupted command leaves: settings, a row, and half a line.
    row = {"uptake": 12.5, "error": 0.5, "problem": ""}
    entry = [str(folder / "old.cif"), row]
    journal = tmp_path / "uptakes.csv.unfinished"
    journal.write_text(f'{json.dumps(SHORT.record())}\n{json.dumps(entry)}\n["key')

    with pytest.raises(DataError, match="other settings"):
        simulate_table([folder], out, Settings("CO2"))
    with pytest.raises(ShortfallError, match="1 of 3 structures have no uptake") as caught:
        simulate_table([folder], out, SHORT)
    assert caught.value.written
    table = pl.read_csv(out)
    assert table["name"].to_list() == ["box", "empty", "old"]
    uptakes = table["n2_uptake_simulated"].to_list()
    assert uptakes[1:] == [None, 12.5]
    # An ideal gas at ten bar would have 0.07 molecules in 6.6^3 cubic Angstrom.
    assert 0.3 < uptakes[0] * 4.0026 / 1000 / 0.07 < 1.5
    assert table["n2_uptake_simulated_error"][0] > 0
    assert table["problem"][1] == "the text is empty"
    assert table["pressure"].to_list() == [10.0] * 3
    assert json.loads((tmp_path / "uptakes.settings.json").read_text()) == SHORT.record()
    assert not journal.exists()


def test_a_batch_says_which_structures_are_simulated(tmp_path):
    pytest.importorskip("raspalib", reason="the package raspalib is not installed")
    for name in ("a", "b"):
        (tmp_path / f"{name}.cif").write_text(HELIUM)
    entry = [str(tmp_path / "b.cif"), {"uptake": 12.5, "error": 0.5, "problem": ""}]
    journal = tmp_path / "out.csv.unfinished"
    journal.write_text(f"{json.dumps(SHORT.record())}\n{json.dumps(entry)}\n")
    batch = tmp_path / "batch.csv"
    pl.DataFrame({"name": ["b"], "why": ["control"]}).write_csv(batch)
    table = simulate_table([tmp_path], tmp_path / "out.csv", SHORT, only=batch)
    assert table["name"].to_list() == ["b"]
    pl.DataFrame({"name": ["b", "c"]}).write_csv(batch)
    with pytest.raises(DataError, match=r"no CIF files of 1, such as c"):
        simulate_table([tmp_path], tmp_path / "out.csv", SHORT, only=batch)


def test_files_have_to_be_cifs(tmp_path):
    pytest.importorskip("raspalib", reason="the package raspalib is not installed")
    (tmp_path / "note.txt").write_text("no structure")
    with pytest.raises(DataError, match="there are no CIF files"):
        simulate_table([tmp_path], tmp_path / "out.csv", SHORT)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--gas", "CO"], "--gas: there is no model of the gas 'CO'. Did you mean CO2?"),
        (["--pressure", "1"], "--pressure: '1' is no pressure with a unit. Write 1bar"),
        (["--charges", "qeq"], "--charges: there are no charges of the kind 'qeq'. Kinds are cif"),
        (["--out", "he.cif"], "--out he.cif: this is what is read"),
        (["--out", "he.txt"], "he.txt"),
    ],
)
def test_mistakes_on_the_command_line_are_one_line(tmp_path, monkeypatch, capsys, options, words):
    pytest.importorskip("raspalib", reason="the package raspalib is not installed")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "he.cif").write_text(HELIUM)
    command = ["variolite", "frameworks", "simulate", "he.cif", "--out", "out.csv", *options]
    monkeypatch.setattr("sys.argv", command)
    with pytest.raises(SystemExit) as end:
        main()
    assert end.value.code == 2
    message = capsys.readouterr().err
    assert message.startswith(f"variolite: {words}")
    assert message.count("\n") == 1
    assert [path.name for path in tmp_path.iterdir()] == ["he.cif"]


def test_charges_by_equilibration_need_autografs_before_anything_begins(tmp_path, monkeypatch):
    (tmp_path / "box.cif").write_text(HELIUM)
    monkeypatch.setattr("variolite.optional.is_there", lambda name: name != "autografs")
    with pytest.raises(DataError, match=r"AuToGraFS is needed for .*EQeq.* pip install"):
        simulate_table([tmp_path], tmp_path / "out.csv", Settings(charges="eqeq"))
    assert [path.name for path in tmp_path.iterdir()] == ["box.cif"]


def test_a_missing_package_is_named(tmp_path, monkeypatch):
    monkeypatch.setattr("variolite.optional.find_spec", lambda name: None)
    with pytest.raises(DataError, match=r"raspalib is needed .* 'variolite\[frameworks\]"):
        simulate_table([tmp_path], tmp_path / "out.csv", SHORT)
