"""Files as public databases and programs write them: what is read, noted and refused."""

import bz2
import gzip
import io
import json
import tarfile
import zipfile
from collections import Counter

import numpy as np
import pytest
from crystal_cases import CIF, OPERATIONS, changed, read_text, sound

from variolite.crystals.elements import SYMBOLS
from variolite.crystals.files import textbook_crystals, write_structures
from variolite.crystals.files.checks import (
    CONTRADICTED,
    GUESSED,
    NOT_UTF8,
    PASSED_OVER,
    REPEATED,
    VACANT,
)
from variolite.crystals.files.reading import read_structures
from variolite.crystals.files.symmetry import operations_of_group
from variolite.errors import DataError
from variolite.records.files import memory

LABELS = ("_atom_site_type_symbol\n", "", "Na Na1", "Na1", "Cl Cl1", "Cl1")
SUM = "_chemical_formula_sum"
FULL = "0.25 1\n"


def notes_of(text, kind="cif"):
    reading = read_text(kind, text)
    assert reading.rejects.rows() == []
    return reading.notes["note"].to_list()


def formula(kind, text):
    """Atoms by symbol of the only structure in a text."""
    counts = Counter(sound(kind, text).species.tolist())
    return {SYMBOLS[z]: number for z, number in sorted(counts.items())}


def reason(text, kind="cif"):
    reading = read_text(kind, text)
    assert not len(reading.crystals)
    return reading.rejects["reason"].item()


# Tags and lines.


@pytest.mark.parametrize(
    "more",
    [
        f"{SUM} 'Na Cl'\n{SUM} ''\n",
        f"{SUM} ''\n{SUM} 'Na Cl'\n",
        "_cell_length_b 5.0\n",
        "_diffrn_ambient_temperature 200\n_diffrn_ambient_temperature 300\n",
        "loop_\n_symmetry_equiv_pos_as_xyz\n'x, y, z'\n",
        "loop_\n_atom_site_label\n_atom_site_U_iso_or_equiv\nNa1 0.5(2)\nCl1 0.5(3)\n",
    ],
)
def test_harmless_repeated_tags_are_passed_over_with_a_note(more):
    text = CIF + more
    assert notes_of(text) == [REPEATED]
    np.testing.assert_array_equal(sound("cif", text).lattices[0], np.diag([4.0, 5.0, 6.0]))


def test_repeated_tags_that_differ_where_it_matters():
    assert "_cell_length_b is 5.0 and 5.5" in reason(CIF + "_cell_length_b 5.5\n")
    two = CIF + "loop_\n_symmetry_equiv_pos_as_xyz\n'x, y, z'\n'-x, -y, -z'\n"
    assert "stands in two loops that differ" in reason(two)


@pytest.mark.parametrize(
    "more",
    [
        "_exptl_crystal_density_diffrn 2.02\n;\nA text that no tag announces.\n;\n",
        "_publ_author_name Müller\n",
        "_chemical_name_common 'never closed\n",
        "_audit_matrix [1 2 3]\n",
        "_publ_comment '''two\nlines'''\n",
        "_publ_comment '''\nin 'three' marks\n'''\n",
        "_loop\n_audit_creation_method x\n",
        '_publ_comment """two\nlines"""\n_publ_other 1\n',
    ],
)
def test_lines_that_are_no_cif_are_passed_over_unless_they_are_needed(more):
    head, tail = CIF.split("_cell_length_a")
    text = f"{head}{more}_cell_length_a{tail}"
    assert notes_of(text) == [PASSED_OVER]
    assert formula("cif", text) == {"Na": 1, "Cl": 1}
    assert reason(changed("_cell_length_c 6.0", "_cell_length_c '6.0")).startswith(
        "cannot be parsed: line 4:"
    )


def test_every_block_with_atoms_is_a_structure(tmp_path):
    two = changed("data_test", "data_one") + "data_remarks\n_audit_creation_date 2020\n"
    spoilt = changed("data_test", "data_bad", FULL, "0.25 0.5\n")
    (tmp_path / "all.cif").write_text(two + spoilt + changed("data_test", "data_last"))
    reading = read_structures(tmp_path)
    assert reading.crystals.names.tolist() == ["one", "last"]
    assert reading.rejects.select("row", "name", "reason_code").rows() == [
        (1, "bad", "partial_occupancy")
    ]


def test_text_of_windows(tmp_path):
    (tmp_path / "a.cif").write_bytes("# \xc5ngstr\xf6m\n".encode("cp1252") + CIF.encode())
    (tmp_path / "b.cif").write_bytes(CIF.encode("utf-16"))
    reading = read_structures(tmp_path)
    assert reading.crystals.species.tolist() == [11, 17, 11, 17]
    assert reading.notes.select("name", "note").rows() == [("a", NOT_UTF8), ("b", NOT_UTF8)]
    reading.require_sound()


def test_operations_without_quotation_marks():
    text = changed(
        "'x, y, z'\n", "x, y, z\n-x, -y, -z\n", "'P 1'", "'P -1'", "number 1", "number 2"
    )
    assert formula("cif", text.replace("0.5 0.5 0.25", "0.4 0.3 0.2")) == {"Na": 1, "Cl": 2}


def test_remarks_behind_the_elements_of_a_poscar():
    text = "x\n1.0\n4 0 0\n0 5 0\n0 0 6\nNa Cl ! ions\n1 1 ! counts\nDirect\n0 0 0\n0.5 0.5 0.25\n"
    assert formula("poscar", text) == {"Na": 1, "Cl": 1}


def test_cartesian_atoms_are_said_to_be_such():
    text = changed("_fract_", "_Cartn_", "_atom_site_", "_atom_site.", "_cell_", "_cell.")
    assert (
        reason(text)
        == "a coordinate is missing or not a number: they are Cartesian, not fractional"
    )


# Elements.


def test_water_vacancies_and_sites_of_several_elements():
    water = changed(*LABELS, "Cl1", "Wat1")
    assert formula("cif", water) == {"O": 1, "Na": 1}
    assert notes_of(water) == [f"{GUESSED}: Wat1 as O of water"]
    for vacant in (changed(*LABELS, "Cl1", "Vac1"), changed("Cl Cl1", "Vac Vac1")):
        assert formula("cif", vacant) == {"Na": 1}
        assert notes_of(vacant) == [VACANT]
    assert "label 'Cat1' may be one of several" in reason(changed(*LABELS, "Cl1", "Cat1"))


def test_sites_of_occupancy_0_are_no_atoms():
    text = CIF + "H X1 0.1 0.2 0.3 0.0\n"
    assert formula("cif", text) == {"Na": 1, "Cl": 1}
    assert notes_of(text) == [VACANT]


@pytest.mark.parametrize(
    ("declared", "said"),
    [
        ("'Na1 Cl1'", None),
        ("'Na2 Cl2'", None),
        ("'Cl Na'", None),
        ("'no formula'", None),
        ("'H5 Na1 Cl1'", "H 0, not 5"),
        ("'Na1'", "Cl 1, not 0"),
        ("'Na1 Cl3'", "Cl 1, not 3"),
        ("NaCl2", "Cl 1, not 2"),
    ],
)
@pytest.mark.parametrize("occupancy", ["1", "1.0(1)"], ids=["plain", "careful"])
def test_a_formula_sum_that_the_sites_contradict_is_told(declared, said, occupancy):
    text = changed(
        FULL, f"0.25 {occupancy}\n", "_cell_length_a", f"{SUM} {declared}\n_cell_length_a"
    )
    told = notes_of(text)
    assert told == ([] if said is None else [f"{CONTRADICTED}: {said}"])
    if said:
        with pytest.raises(DataError, match=f"{CONTRADICTED}: {said}.*leave --strict out"):
            read_text("cif", text).require_sound()


def test_what_is_left_of_hydrates_is_told_by_cell():
    """Four formula units of a hydrate without its hydrogen, after the symmetry."""
    operations = "'x,y,z'\n'-x,-y,z'\n'x+1/2,y+1/2,z'\n'1/2-x,1/2-y,z'\n"
    text = changed("'x, y, z'\n", operations, "'P 1'", "'C 1 1 2'", "number 1\n", "number 5\n")
    text = text.replace("0.0 0.0 0.0", "0.1 0.2 0.3") + "O Wat 0.3 0.1 0.7 1\n"
    text = text.replace("_cell_length_a", f"{SUM} 'Na2 Cl O2 H4'\n_cell_length_a")
    assert notes_of(text) == [f"{CONTRADICTED}: H 0, not 8"]


# Symmetry.

NONE = (OPERATIONS, "", "_symmetry_space_group_name_H-M 'P 1'\n_symmetry_Int_Tables_number 1\n")
CUBE = ("_cell_length_b 5.0", "_cell_length_b 4.0", "_cell_length_c 6.0", "_cell_length_c 4.0")
DIAMOND = CIF[: CIF.index("Na Na1")].replace(OPERATIONS, "").replace("number 1", "number 227")
DIAMOND = DIAMOND.replace("5.0", "4.0").replace("6.0", "4.0").replace("4.0", "5.431")


def test_hall_symbols():
    hall = changed(*NONE, "_symmetry_space_group_name_Hall '-P 2yn'\n", "beta 90", "beta 103")
    assert formula("cif", hall.replace("0.0 0.0 0.0", "0.1 0.2 0.3")) == {"Na": 4, "Cl": 4}
    assert "does not fit the cell" in reason(hall.replace("gamma 90", "gamma 80"))
    assert "Hall symbol -Q 9 is not known" in reason(hall.replace("-P 2yn", "-Q 9"))


@pytest.mark.parametrize(
    ("symbol", "site", "atoms"),
    [
        ("F d -3 m S", 0.0, 8),
        ("F d -3 m Z", 0.125, 8),
        ("F d -3 m :1", 0.0, 8),
        ("Fd-3m:2", 0.125, 8),
        ("F d -3 m O2", 0.125, 8),
        ("F d -3 m (origin choice 2)", 0.125, 8),
        ("F d -3 m S", 0.125, 16),
    ],
)
def test_settings_of_two_origins(symbol, site, atoms):
    text = DIAMOND.replace("P 1", symbol) + f"Si Si1 {site} {site} {site} 1\n"
    assert formula("cif", text) == {"Si": atoms}


def test_the_code_of_a_setting_says_the_origin():
    text = DIAMOND.replace("P 1", "F d -3 m") + "Si Si1 0.125 0.125 0.125 1\n"
    assert "has two origins" in reason(text)
    for tag in ("_space_group_IT_coordinate_system_code", "_space_group.IT_coordinate_system_code"):
        assert formula("cif", text.replace("loop_\n_atom", f"{tag} 2\nloop_\n_atom")) == {"Si": 8}


@pytest.mark.parametrize("symbol", ["R -3 c RS", "R -3 c R", "R -3 c:R", "R -3 c HR", "R -3 c"])
def test_settings_of_rhombohedral_cells(symbol):
    """Calcite: two formula units."""
    text = DIAMOND.replace("P 1", symbol).replace("5.431", "6.36").replace(" 90\n", " 46.1\n")
    text += "Ca Ca1 0 0 0 1\nC C1 0.25 0.25 0.25 1\nO O1 0.507 -0.007 0.25 1\n"
    assert formula("cif", text) == {"C": 2, "O": 6, "Ca": 2}
    hexagonal = (
        text.replace("46.1", "90").replace("gamma 90", "gamma 120").replace(symbol, "R -3 c HS")
    )
    hexagonal = hexagonal.replace("_length_c 6.36", "_length_c 17.06")
    sites = hexagonal.replace("0.25 0.25 0.25", "0 0 0.25").replace("0.507 -0.007", "0.257 0")
    assert formula("cif", sites) == {"C": 6, "O": 18, "Ca": 6}


def test_a_number_alone_is_enough_where_there_is_one_setting():
    text = changed("number 1", "number 225", *CUBE, OPERATIONS, "", "0.5 0.5 0.25", "0.5 0.5 0.5")
    text = text.replace("_symmetry_space_group_name_H-M 'P 1'\n", "")
    assert formula("cif", text) == {"Na": 4, "Cl": 4}
    assert "14 has several settings" in reason(text.replace("225", "14"))
    rotations, _ = operations_of_group("F m -3 m")
    assert len(rotations) == 192


def test_magnetic_operations_with_centrings():
    """A doubled cell whose magnetic centring, with reversal of time, halves it again."""
    head = "loop_\n_space_group_symop_magn_"
    magnetic = (
        f"{head}operation.id\n_space_group_symop_magn_operation.xyz\n1 x,y,z,+1\n2 -x,-y,-z,+1\n"
    )
    magnetic += f"{head}centering.id\n_space_group_symop_magn_centering.xyz\n"
    magnetic += "1 x,y,z,+1\n2 x,y,z+1/2,-1\n"
    text = changed(*NONE, magnetic, "0.5 0.5 0.25", "0.2 0.3 0.1")
    found = sound("cif", text)
    assert formula("cif", text) == {"Na": 2, "Cl": 4}
    sodium = found.coordinates[found.species == 11]
    np.testing.assert_allclose(np.sort(sodium[:, 2]), [0.0, 0.5])


# JSON of databases.

SALT = {
    "lattice_vectors": [[4, 0, 0], [0, 5, 0], [0, 0, 6]],
    "cartesian_site_positions": [[0, 0, 0], [2, 2.5, 1.5]],
    "species_at_sites": ["Na", "Cl"],
}
JARVIS = {
    "lattice_mat": SALT["lattice_vectors"],
    "coords": [[0, 0, 0], [0.5, 0.5, 0.25]],
    "elements": ["Na", "Cl "],
    "cartesian": False,
}
PYMATGEN = {
    "lattice": {"matrix": SALT["lattice_vectors"]},
    "sites": [
        {"species": [{"element": "Na", "occu": 1}], "abc": [0, 0, 0]},
        {"species": [{"element": "Cl", "occu": 1}], "xyz": [2, 2.5, 1.5]},
    ],
}
CONTENTS = {
    "optimade": {"data": [{"id": "a", "type": "structures", "attributes": {**SALT, "gap": 1.5}}]},
    "one of optimade": {"data": {"id": "a", "attributes": {**SALT, "gap": 1.5}}, "meta": {}},
    "jarvis": [{"jid": "a", "atoms": JARVIS, "gap": 1.5, "other": "na"}],
    "jarvis in angstrom": [
        {
            "jid": "a",
            "gap": 1.5,
            "atoms": {**JARVIS, "coords": SALT["cartesian_site_positions"], "cartesian": True},
        }
    ],
    "entries": {"entries": [{"entry_id": "a", "gap": 1.5, "structure": PYMATGEN}]},
    "matbench": {"index": ["a"], "columns": ["structure", "gap"], "data": [[PYMATGEN, 1.5]]},
    "ids": {"a": {"structure": PYMATGEN, "gap": 1.5}},
}


@pytest.mark.parametrize("form", CONTENTS)
def test_json_of_databases(form):
    found = sound("json", json.dumps(CONTENTS[form]))
    assert found.species.tolist() == [11, 17]
    np.testing.assert_allclose(found.coordinates[1], [0.5, 0.5, 0.25])
    np.testing.assert_allclose(found.lattices[0], np.diag([4.0, 5.0, 6.0]))
    assert found.names.tolist() == ["a"]
    assert found.properties["gap"].tolist() == [1.5]


def test_json_lines():
    lines = "\n".join(json.dumps(entry) for entry in CONTENTS["jarvis"] * 2)
    assert sound("json", f"{lines}\n").names.tolist() == ["a", "a"]


def test_optimade_with_species_that_are_mixed_or_no_crystal():
    mixed = {"name": "Na", "chemical_symbols": ["Na", "K"], "concentration": [0.5, 0.5]}
    named = {"name": "Na", "chemical_symbols": ["K"], "concentration": [1.0]}
    layer = {**SALT, "lattice_vectors": [[4, 0, 0], [0, 5, 0], [None] * 3]}
    rows = [{**SALT, "species": [mixed]}, {**SALT, "species": [named]}, layer, SALT, 3]
    text = json.dumps({"data": [{"id": str(i), "attributes": row} for i, row in enumerate(rows)]})
    reading = read_text("json", text)
    assert reading.crystals.names.tolist() == ["1", "3"]
    assert reading.crystals.species.tolist() == [19, 17, 11, 17]
    assert reading.rejects.select("name", "reason_code").rows() == [
        ("0", "partial_occupancy"),
        ("2", "bad_cell"),
        ("x-4", "no_structure"),
    ]


# Archives.


def test_archives(tmp_path):
    members = {"b/one.cif": CIF, "b/two.cif": "garbage", "notes.txt": "hello", "b/._x.cif": "x"}
    write_structures(textbook_crystals().take(slice(0, 3)), tmp_path / "three.csv")
    members["three.csv"] = (tmp_path / "three.csv").read_text()
    with zipfile.ZipFile(tmp_path / "a.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        for name, text in members.items():
            archive.writestr(name, text)
        archive.writestr("more.tar", "nested")
    with tarfile.open(tmp_path / "b.tar.gz", "w:gz") as archive:
        for name, text in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(text.encode())
            archive.addfile(info, io.BytesIO(text.encode()))
    (tmp_path / "c.cif.bz2").write_bytes(bz2.compress(CIF.encode()))
    (tmp_path / "three.csv").unlink()
    reading = read_structures(tmp_path)
    names = reading.crystals.names.tolist()
    assert names == 2 * ["one", *textbook_crystals().names[:3].tolist()] + ["c"]
    assert reading.rejects.select("file", "reason_code").rows() == [
        (str(tmp_path / "a.zip" / "b" / "two.cif"), "unreadable"),
        (str(tmp_path / "a.zip" / "more.tar"), "unreadable_file"),
        (str(tmp_path / "b.tar.gz" / "b" / "two.cif"), "unreadable"),
    ]


def test_damaged_members_and_archives_cost_no_others(tmp_path, monkeypatch):
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        for name in ("one", "two", "three"):
            archive.writestr(f"{name}.cif", CIF.replace("test", name))
    data = bytearray((tmp_path / "a.zip").read_bytes())
    data[data.index(b"data_two") + 6] ^= 1
    (tmp_path / "a.zip").write_bytes(data)
    with tarfile.open(tmp_path / "whole.tar", "w") as archive:
        archive.add(tmp_path / "a.zip", "large.bin")
    (tmp_path / "cut.tar.gz").write_bytes(gzip.compress((tmp_path / "whole.tar").read_bytes())[:99])
    (tmp_path / "whole.tar").unlink()
    (tmp_path / "no.zip").write_bytes(b"PK no archive")
    (tmp_path / "corrupt.cif.gz").write_bytes(b"\x1f\x8b\x08\0\0\0\0\0\0\xff" + b"\xff" * 40)
    (tmp_path / "corrupt.csv.gz").write_bytes(b"\x1f\x8b\x08\0\0\0\0\0\0\xff" + b"\xff" * 40)
    reading = read_structures(tmp_path)
    assert reading.crystals.names.tolist() == ["one", "three"]
    assert set(reading.rejects["reason_code"]) == {"unreadable_file"}
    names = ["two", "corrupt", "corrupt.csv", "cut.tar", "no.zip"]
    assert reading.rejects["name"].to_list() == names
    # Bombs: a member, and all members together.
    monkeypatch.setattr(memory, "_SMALL", 2_000)
    monkeypatch.setattr(memory, "_RATIO", 1)
    with zipfile.ZipFile(tmp_path / "a.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("bomb.cif", "#" * 100_000)
        for number in range(9):
            archive.writestr(f"{number}.cif", CIF)
    reading = read_structures(tmp_path / "a.zip")
    limit = max(2_000, (tmp_path / "a.zip").stat().st_size)
    assert len(reading.crystals) == limit // len(CIF)
    assert reading.rejects["reason"].str.contains("decompress to more than").all()
    assert reading.rejects["name"].to_list() == ["bomb", "a.zip"]
