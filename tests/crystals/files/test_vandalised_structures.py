"""Every kind of spoilt input ends in a named reject, beside sound structures that are read."""

from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np
import pytest
from crystal_cases import CIF, read_text, sound
from hypothesis import given, settings
from hypothesis import strategies as st

from variolite.crystals.files.checks import HINTS, REASONS, Limits, RejectedError
from variolite.crystals.files.cif import parse_cif
from variolite.crystals.files.formats import parse_extxyz, parse_json, parse_poscar
from variolite.crystals.files.reading import load_crystals, read_structures
from variolite.errors import DataError


def changed(old: str, new: str) -> str:
    assert old in CIF
    return CIF.replace(old, new)


NO_OPERATIONS = "loop_\n_symmetry_equiv_pos_as_xyz\n'x, y, z'\n"
CLAIMS_FM3M = changed("'P 1'", "'F m -3 m'").replace(
    "_Int_Tables_number 1", "_Int_Tables_number 225"
)
SPOILT: dict[str, tuple[str, str]] = {
    "empty": ("empty", ""),
    "blank": ("empty", " \n\t\n"),
    "binary": ("not_text", "PK\x03\x04\0\0garbage"),
    "garbage": ("unreadable", "this is no CIF"),
    "ragged loop": ("unreadable", changed("0.25 1\n", "0.25\n")),
    "unterminated": ("unreadable", CIF + "\n_x\n;never closed\n"),
    "no block": ("no_structure", "# only a remark\n"),
    "two blocks": ("several_structures", CIF + CIF.replace("data_test", "data_two")),
    "no cell": ("no_cell", "\n".join(line for line in CIF.splitlines() if "_cell_" not in line)),
    "no length": ("no_cell", changed("_cell_length_b 5.0\n", "")),
    "no angle": ("no_cell", changed("_cell_angle_beta 90\n", "_cell_angle_beta ?\n")),
    "length nan": ("bad_cell", changed("length_a 4.0", "length_a nan")),
    "length a word": ("bad_cell", changed("length_a 4.0", "length_a four")),
    "length zero": ("bad_cell", changed("length_a 4.0", "length_a 0")),
    "length negative": ("bad_cell", changed("length_a 4.0", "length_a -4.0")),
    "length tiny": ("bad_cell", changed("length_a 4.0", "length_a 0.01")),
    "length huge": ("bad_cell", changed("length_a 4.0", "length_a 4000")),
    "length infinite": ("bad_cell", changed("length_a 4.0", "length_a 1e999")),
    "length overflows": ("bad_cell", changed("length_a 4.0", "length_a 1e200")),
    "angles enclose nothing": (
        "bad_cell",
        changed("alpha 90", "alpha 30").replace("beta 90", "beta 30"),
    ),
    "flat": ("bad_cell", changed("gamma 90", "gamma 180")),
    "angle zero": ("bad_cell", changed("gamma 90", "gamma 0")),
    "no atoms": ("no_atoms", CIF[: CIF.index("loop_\n_atom")]),
    "dummies only": (
        "no_atoms",
        changed("_atom_site_occupancy", "_atom_site_calc_flag")
        .replace("0.0 1\n", "0.0 dum\n")
        .replace("0.25 1\n", "0.25 dum\n"),
    ),
    "coordinate unknown": ("bad_coordinates", changed("0.5 0.5 0.25", "? 0.5 0.25")),
    "coordinate nan": ("bad_coordinates", changed("0.5 0.5 0.25", "nan 0.5 0.25")),
    "coordinate huge": ("bad_coordinates", changed("0.5 0.5 0.25", "1e300 0.5 0.25")),
    "coordinate infinite": ("bad_coordinates", changed("0.5 0.5 0.25", "inf 0.5 0.25")),
    "no z": ("bad_coordinates", changed("_atom_site_fract_z", "_atom_site_other")),
    "Cartesian only": ("bad_coordinates", CIF.replace("_fract_", "_Cartn_")),
    "unknown element": ("unknown_element", changed("Na Na1", "Xx Xx1")),
    "vacancy": ("unknown_element", changed("Na Na1", "Vac V1")),
    "group of atoms": ("unknown_element", changed("Na Na1", "OH OH1")),
    "neither symbol nor label": (
        "unknown_element",
        CIF.replace("type_symbol", "other").replace("_label", "_another"),
    ),
    "ambiguous label": (
        "unknown_element",
        CIF.replace("type_symbol", "other").replace("Na Na1", "x CO1"),
    ),
    "half occupied": ("partial_occupancy", changed("0.25 1\n", "0.25 0.5\n")),
    "over-occupied": ("partial_occupancy", changed("0.25 1\n", "0.25 1.2\n")),
    "occupancy a word": ("partial_occupancy", changed("0.25 1\n", "0.25 full\n")),
    "mixed site": ("partial_occupancy", CIF + "K K1 0.5 0.5 0.25 0.5\n"),
    "disorder": (
        "disorder",
        changed("_atom_site_occupancy", "_atom_site_disorder_group")
        .replace("0.0 0.0 1\n", "0.0 0.0 A\n")
        .replace("0.25 1\n", "0.25 B\n"),
    ),
    "no symmetry at all": (
        "missing_symmetry",
        CIF.replace(NO_OPERATIONS, "")
        .replace("_symmetry_space_group_name_H-M 'P 1'\n", "")
        .replace("_symmetry_Int_Tables_number 1\n", ""),
    ),
    "identity only": ("missing_symmetry", CLAIMS_FM3M),
    "number only": (
        "missing_symmetry",
        CLAIMS_FM3M.replace(NO_OPERATIONS, "").replace(
            "_symmetry_space_group_name_H-M 'F m -3 m'\n", ""
        ),
    ),
    "unknown group": (
        "missing_symmetry",
        changed("'P 1'", "'Q 9 z'").replace(NO_OPERATIONS, ""),
    ),
    "two origins": (
        "missing_symmetry",
        changed("'P 1'", "'F d -3 m'").replace(NO_OPERATIONS, ""),
    ),
    "rhombohedral group in another cell": (
        "missing_symmetry",
        changed("'P 1'", "'R -3 m'").replace(NO_OPERATIONS, "").replace("gamma 90", "gamma 80"),
    ),
    "operations missing": (
        "missing_symmetry",
        changed("'x, y, z'\n", "'x, y, z'\n'x+1/2, y+1/2, z'\n'-x, -y, -z'\n"),
    ),
    "operation unreadable": ("missing_symmetry", changed("'x, y, z'\n", "'x, y, q'\n")),
    "duplicate atoms": ("duplicate_atoms", CIF + "Cl Cl2 0.5 0.5 0.25 1\n"),
    "duplicate across the border": ("duplicate_atoms", CIF + "Na Na2 1.0 0.9999 -0.0001 1\n"),
    "overlap": ("overlapping_atoms", CIF + "K K1 0.55 0.5 0.25 1\n"),
    "overlap with own image": (
        "overlapping_atoms",
        CIF.replace("length_a 4.0", "length_a 0.51")
        .replace("gamma 90", "gamma 11")
        .replace("length_b 5.0", "length_b 0.52")
        .replace("length_c 6.0", "length_c 150"),
    ),
    "too dense": (
        "volume_per_atom",
        changed("length_a 4.0", "length_a 1.0").replace("length_b 5.0", "length_b 0.9"),
    ),
    "too empty": ("volume_per_atom", changed("length_c 6.0", "length_c 190")),
}


@pytest.mark.parametrize("kind", SPOILT)
def test_a_spoilt_cif_is_rejected_by_name_between_sound_ones(kind: str, tmp_path: Path) -> None:
    code, text = SPOILT[kind]
    for name, content in (("a.cif", CIF), ("b.cif", text), ("c.cif", CIF)):
        (tmp_path / name).write_text(content)
    reading = read_structures(tmp_path)
    assert reading.crystals.names.tolist() == ["a", "c"]
    assert reading.rejects["reason_code"].to_list() == [code]
    assert reading.rejects["name"].to_list() == ["b"]
    assert reading.rejects["file"][0].endswith("b.cif")
    assert reading.rejects["row"][0] is None
    assert reading.rejects["reason"][0].startswith(REASONS[code])


def test_all_reasons_are_shown_somewhere() -> None:
    here = {code for code, _ in SPOILT.values()}
    assert here | {"unreadable_file", "too_many_atoms"} == set(REASONS)


@pytest.mark.parametrize("kind", SPOILT)
def test_a_spoilt_cif_alone_is_told_with_what_to_do(kind: str, tmp_path: Path) -> None:
    code, text = SPOILT[kind]
    (tmp_path / "b.cif").write_text(text)
    with pytest.raises(DataError) as error:
        read_structures(tmp_path)
    assert error.value.what.startswith(REASONS[code])
    assert error.value.where == str(tmp_path / "b.cif")
    assert error.value.hint == HINTS[code]
    assert HINTS.keys() == REASONS.keys()


def test_too_many_atoms_before_and_after_symmetry(tmp_path: Path) -> None:
    fcc = (
        CIF.replace("'x, y, z'\n", "x,y,z\nx,y+1/2,z+1/2\nx+1/2,y,z+1/2\nx+1/2,y+1/2,z\n")
        .replace("_symmetry_space_group_name_H-M 'P 1'\n", "")
        .replace("Tables_number 1", "Tables_number 5")
    )
    (tmp_path / "after.cif").write_text(fcc)
    (tmp_path / "before.cif").write_text(fcc + "K K1 0.25 0.5 0.25 1\n" * 9)
    (tmp_path / "plain.cif").write_text(CIF)
    assert len(read_structures(tmp_path / "after.cif", limits=Limits(max_atoms=8)).crystals) == 1
    reading = read_structures(tmp_path, limits=Limits(max_atoms=7))
    assert set(reading.rejects["reason_code"]) == {"too_many_atoms"}
    assert reading.rejects["name"].to_list() == ["after", "before"]
    assert "8" in reading.rejects["reason"][0]


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    (tmp_path / "good.cif").write_text(CIF)
    (tmp_path / "latin.cif").write_bytes(b"# \xc5ngstr\xf6m\n" + CIF.encode())
    (tmp_path / "random.cif").write_bytes(bytes(range(256)) * 4)
    (tmp_path / "cut.cif.gz").write_bytes(gzip.compress(CIF.encode())[:-20])
    (tmp_path / "not.cif.gz").write_bytes(b"plain")
    (tmp_path / "other.csv").write_text("a,b\n1,2\n")
    (tmp_path / "ragged.csv").write_text('a,cif\n1,"open\n2,3,4,5\n')
    (tmp_path / "fake.parquet").write_bytes(b"PAR1")
    (tmp_path / "fake.crystals").write_bytes(b"nothing")
    (tmp_path / "dangling.cif").symlink_to(tmp_path / "gone.cif")
    reading = read_structures(tmp_path)
    codes = dict(zip(reading.rejects["name"], reading.rejects["reason_code"], strict=True))
    assert reading.crystals.names.tolist() == ["good"]
    assert codes["latin"] == codes["random"] == "not_text"
    for name in ("cut", "not", "other.csv", "fake.parquet", "fake.crystals", "dangling"):
        assert codes[name] == "unreadable_file", name
    assert "ragged.csv" in codes


def test_a_spoilt_row_of_a_table_costs_no_other(tmp_path: Path) -> None:
    path = tmp_path / "set.csv"
    rows = [("x", CIF), ("y", ""), ("z", SPOILT["disorder"][1]), ("x", CIF)]
    lines = [f'{name},{k},"{text}"' for k, (name, text) in enumerate(rows)]
    spoilt = 'w,9,"' + CIF.replace("data_test", "data_\ufffe") + '"'
    content = "\n".join(["material_id,number,cif", *lines, spoilt]).encode()
    path.write_bytes(content.replace("\ufffe".encode(), b"\xff\xfe"))
    reading = read_structures(path)
    assert reading.crystals.names.tolist() == ["x", "x"]
    np.testing.assert_array_equal(reading.crystals.properties["number"], [0.0, 3.0])
    assert reading.rejects.select("row", "name", "reason_code").rows() == [
        (1, "y", "empty"),
        (2, "z", "disorder"),
        (4, "w", "not_text"),
    ]


def test_it_is_an_error_when_nothing_or_too_little_is_left(tmp_path: Path) -> None:
    (tmp_path / "a.cif").write_text(CIF)
    (tmp_path / "b.cif").write_text("rubbish")
    assert len(read_structures(tmp_path).rejects) == 1
    with pytest.raises(DataError, match=r"too many structures were rejected, 1 of 2: unreadable 1"):
        read_structures(tmp_path, limits=Limits(max_rejected=0.4))
    with pytest.raises(DataError, match=r"b\.cif: cannot be parsed"):
        read_structures(tmp_path / "b.cif")
    with pytest.raises(DataError, match=r"no such file.*Did you mean 'a.cif'"):
        load_crystals(tmp_path / "aa.cif")
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="no structures were found"):
        load_crystals(tmp_path / "empty")
    (tmp_path / "notes.doc").write_text("x")
    with pytest.raises(DataError, match="stands for no format"):
        load_crystals(tmp_path / "notes.doc")
    with pytest.raises(DataError, match="no structures were found"):
        load_crystals([])


def test_rejects_and_changes_are_told(tmp_path: Path) -> None:
    (tmp_path / "a.cif").write_text(changed("Na Na1", "D D1"))
    (tmp_path / "b.cif").write_text("rubbish")
    told: list[str] = []
    crystals = load_crystals(tmp_path, log=told.append)
    assert crystals.species.tolist() == [1, 17]
    assert "deuterium or tritium was read as hydrogen, in 1 structures" in told
    assert "1 of 2 were rejected: unreadable 1" in told


POSCAR = "salt\n1.0\n4 0 0\n0 5 0\n0 0 6\nNa Cl\n1 1\nDirect\n0 0 0\n0.5 0.5 0.25\n"
XYZ = (
    '2\nLattice="4 0 0 0 5 0 0 0 6" Properties=species:S:1:pos:R:3 pbc="T T T"\n'
    "Na 0 0 0\nCl 2 2.5 1.5\n"
)
JSON = (
    '{"lattice": {"matrix": [[4, 0, 0], [0, 5, 0], [0, 0, 6]]}, "sites": ['
    '{"species": [{"element": "Na", "occu": 1}], "abc": [0, 0, 0]}, '
    '{"species": [{"element": "Cl", "occu": 1}], "abc": [0.5, 0.5, 0.25]}]}'
)
OTHERS: dict[str, tuple[str, str, str]] = {
    "POSCAR: empty": ("poscar", "", "empty"),
    "POSCAR: short": ("poscar", "a\nb\n", "unreadable"),
    "POSCAR: words for numbers": ("poscar", POSCAR.replace("4 0 0", "a b c"), "unreadable"),
    "POSCAR: no scale": ("poscar", POSCAR.replace("1.0", "one"), "unreadable"),
    "POSCAR: counts differ": ("poscar", POSCAR.replace("1 1", "1"), "unreadable"),
    "POSCAR: atoms missing": ("poscar", POSCAR.replace("1 1", "1 4"), "unreadable"),
    "POSCAR: no atoms": ("poscar", POSCAR.replace("1 1", "0 0"), "no_atoms"),
    "POSCAR: unnamed": ("poscar", POSCAR.replace("Na Cl\n", ""), "unknown_element"),
    "POSCAR: no element": ("poscar", POSCAR.replace("Na Cl\n", "Na Qq\n"), "unknown_element"),
    "POSCAR: infinite coordinate": (
        "poscar",
        POSCAR.replace("0.5 0.5", "inf 0.5"),
        "bad_coordinates",
    ),
    "POSCAR: infinite scale": ("poscar", POSCAR.replace("1.0", "1e400"), "bad_cell"),
    "POSCAR: flat and Cartesian": (
        "poscar",
        POSCAR.replace("0 5 0", "8 0 0").replace("Direct", "Cartesian"),
        "bad_cell",
    ),
    "XYZ: empty": ("extxyz", "\n\n", "empty"),
    "XYZ: no lattice": ("extxyz", "1\nplain\nNa 0 0 0\n", "no_cell"),
    "XYZ: a slab": ("extxyz", XYZ.replace("T T T", "T T F"), "no_cell"),
    "XYZ: lattice too short": ("extxyz", XYZ.replace("0 0 6", "0 0"), "bad_cell"),
    "XYZ: flat": ("extxyz", XYZ.replace("0 0 6", "0 0 0"), "bad_cell"),
    "XYZ: no number": ("extxyz", XYZ.replace("2\n", "two\n", 1), "unreadable"),
    "XYZ: atoms missing": ("extxyz", XYZ.replace("2\n", "3\n", 1), "unreadable"),
    "XYZ: a column missing": ("extxyz", XYZ.replace("0 0 0\nCl", "0 0\nCl"), "unreadable"),
    "XYZ: odd columns": ("extxyz", XYZ.replace("R:3", "R:x"), "unreadable"),
    "XYZ: no positions": ("extxyz", XYZ.replace("pos:R", "other:R"), "bad_coordinates"),
    "XYZ: a word": ("extxyz", XYZ.replace("2.5", "far"), "bad_coordinates"),
    "XYZ: no species": ("extxyz", XYZ.replace("species:", "tags:"), "unknown_element"),
    "XYZ: Z too large": (
        "extxyz",
        XYZ.replace("species:S", "Z:I").replace("Na", "11").replace("Cl", "300"),
        "unknown_element",
    ),
    "JSON: empty": ("json", "", "empty"),
    "JSON: garbage": ("json", "{", "unreadable"),
    "JSON: too deep": ("json", "[" * 100_000, "unreadable"),
    "JSON: a number": ("json", "3", "no_structure"),
    "JSON: other entries": ("json", "[1]", "no_structure"),
    "JSON: no matrix": ("json", JSON.replace("matrix", "other"), "no_cell"),
    "JSON: no sites": ("json", '{"lattice": {"matrix": []}, "sites": []}', "no_cell"),
    "JSON: empty sites": ("json", JSON[: JSON.index("[{") + 1] + "]}", "no_atoms"),
    "JSON: partial": ("json", JSON.replace('"occu": 1', '"occu": 0.5', 1), "partial_occupancy"),
    "JSON: odd species": ("json", JSON.replace('"element"', '"other"'), "unreadable"),
    "JSON: odd position": ("json", JSON.replace('"abc"', '"where"'), "bad_coordinates"),
    "JSON: no element": ("json", JSON.replace('"Na"', '"Qq"'), "unknown_element"),
}


@pytest.mark.parametrize("kind", OTHERS)
def test_other_formats_are_rejected_by_name(kind: str) -> None:
    form, text, code = OTHERS[kind]
    reading = read_text(form, text)
    assert reading.rejects["reason_code"].to_list() == [code], reading.rejects
    assert not len(reading.crystals)


def test_the_texts_that_were_spoilt_are_sound() -> None:
    for form, text in (("poscar", POSCAR), ("extxyz", XYZ), ("json", JSON)):
        crystals = sound(form, text)
        assert crystals.species.tolist() == [11, 17]
        np.testing.assert_allclose(crystals.coordinates[1], [0.5, 0.5, 0.25])
        np.testing.assert_allclose(crystals.lattices[0], np.diag([4.0, 5.0, 6.0]))


SOUND = {"cif": (parse_cif, CIF), "poscar": (parse_poscar, POSCAR), "xyz": (parse_extxyz, XYZ)}
SOUND["json"] = (parse_json, JSON)


@settings(max_examples=300)
@given(st.data())
def test_no_mutation_makes_a_parser_fall_over(data: st.DataObject) -> None:
    parse, text = SOUND[data.draw(st.sampled_from(sorted(SOUND)))]
    words = ["", "0", "-1", "1e400", "nan", "'", "loop_", "data_", "{", "[", "null", "\n", "Uuo"]
    for _ in range(data.draw(st.integers(1, 4))):
        start = data.draw(st.integers(0, len(text)))
        end = min(len(text), start + data.draw(st.integers(0, 12)))
        text = text[:start] + data.draw(st.sampled_from(words)) + text[end:]
    # The parsers themselves, not read_chunk, which would catch what they let through.
    try:
        with np.errstate(all="ignore"):
            found = list(parse(text))
    except RejectedError:
        return
    assert found
