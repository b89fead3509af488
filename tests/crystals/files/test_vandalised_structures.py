"""Every kind of spoilt input ends in a named reject, beside sound structures that are read."""

import gzip

import numpy as np
import pytest
from crystal_cases import CIF, OPERATIONS, changed, read_text, sound
from hypothesis import given, settings
from hypothesis import strategies as st

from variolite.crystals.files.checks import HINTS, REASONS, Limits, RejectedError
from variolite.crystals.files.cif import parse_cif
from variolite.crystals.files.formats import parse_extxyz, parse_poscar
from variolite.crystals.files.reading import load_crystals, read_structures
from variolite.crystals.files.structure_json import parse_json
from variolite.errors import DataError

GROUP = "_symmetry_space_group_name_H-M 'P 1'\n"
NUMBER = "_symmetry_Int_Tables_number 1\n"
OCCUPANCY, FIRST, LAST = "_atom_site_occupancy", "0.0 0.0 1\n", "0.25 1\n"
LENGTHS = ("nan", "four", "0", "-4.0", "0.01", "4000", "1e999", "1e200")
DISORDER = (OCCUPANCY, "_atom_site_disorder_group", FIRST, "0.0 0.0 A\n", LAST, "0.25 B\n")
DUMMIES = (OCCUPANCY, "_atom_site_calc_flag", FIRST, "0.0 0.0 dum\n", LAST, "0.25 dum\n")
TINY = ("length_a 4.0", "length_a 0.51", "length_b 5.0", "length_b 0.52", "gamma 90", "gamma 11")
NO_GROUP = "'x, y, z'\n'x+1/2, y+1/2, z'\n'-x, -y, -z'\n"
SPOILT = {
    "empty": ["", " \n\t\n"],
    "not_text": ["PK\x03\x04\0\0garbage"],
    "unreadable": ["this is no CIF", changed(LAST, "0.25\n"), CIF + "\n_x\n;never closed\n"],
    "no_structure": ["# only a remark\n"],
    "no_cell": [
        "\n".join(line for line in CIF.splitlines() if "_cell_" not in line),
        changed("_cell_length_b 5.0\n", ""),
        changed("_cell_angle_beta 90\n", "_cell_angle_beta ?\n"),
    ],
    "bad_cell": [
        *(changed("length_a 4.0", f"length_a {length}") for length in LENGTHS),
        *(changed("gamma 90", f"gamma {angle}") for angle in (0, 180)),
        changed("alpha 90", "alpha 30", "beta 90", "beta 30"),
    ],
    "no_atoms": [CIF[: CIF.index("loop_\n_atom")], changed(*DUMMIES)],
    "bad_coordinates": [
        *(changed("0.5 0.5 0.25", f"{x} 0.5 0.25") for x in ("?", "nan", "1e300", "inf")),
        changed("_atom_site_fract_z", "_atom_site_other"),
        changed("_fract_", "_Cartn_"),
    ],
    "unknown_element": [
        *(changed("Na Na1", atom) for atom in ("Xx Xx1", "OH OH1")),
        changed("type_symbol", "other", "_label", "_another"),
        changed("type_symbol", "other", "Na Na1", "x CO1"),
    ],
    "partial_occupancy": [
        *(changed(LAST, f"0.25 {occupancy}\n") for occupancy in ("0.5", "1.2", "full")),
        CIF + "K K1 0.5 0.5 0.25 0.5\n",
    ],
    "disorder": [changed(*DISORDER)],
    "missing_symmetry": [
        changed(OPERATIONS, "", GROUP, "", NUMBER, ""),
        changed("'P 1'", "'F m -3 m'", "number 1", "number 225"),
        changed(OPERATIONS, "", GROUP, "", "number 1", "number 225"),
        *(changed("'P 1'", group, OPERATIONS, "") for group in ("'Q 9 z'", "'F d -3 m'")),
        changed("'P 1'", "'R -3 m'", OPERATIONS, "", "gamma 90", "gamma 80"),
        *(changed("'x, y, z'\n", operations) for operations in (NO_GROUP, "'x, y, q'\n")),
    ],
    "duplicate_atoms": [
        CIF + "Cl Cl2 0.5 0.5 0.25 1\n",
        CIF + "Na Na2 1.0 0.9999 -0.0001 1\n",  # across the border
    ],
    "overlapping_atoms": [
        CIF + "K K1 0.55 0.5 0.25 1\n",
        changed(*TINY, "length_c 6.0", "length_c 150"),  # with its own image
    ],
    "volume_per_atom": [
        changed("length_a 4.0", "length_a 1.0", "length_b 5.0", "length_b 0.9"),
        changed("length_c 6.0", "length_c 190"),
    ],
}


@pytest.mark.parametrize("code", SPOILT)
def test_a_spoilt_cif_is_rejected_by_name_between_sound_ones(code, tmp_path):
    for name, content in zip("abcdefghijklm", [CIF, *SPOILT[code], CIF], strict=False):
        (tmp_path / f"{name}.cif").write_text(content)
    reading = read_structures(tmp_path)
    assert len(reading.crystals) == 2
    assert reading.crystals.names[0] == "a"
    assert len(reading.rejects) == len(SPOILT[code])
    for file, row, name, found, reason in reading.rejects.rows():
        assert (file, row, found) == (str(tmp_path / f"{name}.cif"), None, code)
        assert reason.startswith(REASONS[code])
        # Alone it is an error that says what to do.
        with pytest.raises(DataError) as error:
            read_structures(file)
        expected = (reason, file, HINTS[code])
        assert (error.value.what, error.value.where, error.value.hint) == expected


def test_too_many_atoms_before_and_after_symmetry(tmp_path):
    # Every reason has a hint and a case.
    others = {"unreadable_file", "too_many_atoms", "not_trained_on"}
    assert SPOILT.keys() | others == set(REASONS) == set(HINTS)
    centring = "x,y,z\nx,y+1/2,z+1/2\nx+1/2,y,z+1/2\nx+1/2,y+1/2,z\n"
    fcc = changed("'x, y, z'\n", centring, GROUP, "", "number 1", "number 5")
    (tmp_path / "after.cif").write_text(fcc)
    (tmp_path / "before.cif").write_text(fcc + "K K1 0.25 0.5 0.25 1\n" * 9)
    (tmp_path / "plain.cif").write_text(CIF)
    assert len(read_structures(tmp_path / "after.cif", limits=Limits(max_atoms=8)).crystals) == 1
    reading = read_structures(tmp_path, limits=Limits(max_atoms=7))
    assert set(reading.rejects["reason_code"]) == {"too_many_atoms"}
    assert reading.rejects["name"].to_list() == ["after", "before"]
    assert "8" in reading.rejects["reason"][0]


def test_files_that_cannot_be_read(tmp_path):
    for name, content in (
        ("good.cif", CIF.encode()),
        ("latin.cif", b"\x81 no letter of Windows\n" + CIF.encode()),
        ("random.cif", bytes(range(256)) * 4),
        ("cut.cif.gz", gzip.compress(CIF.encode())[:-20]),
        ("not.cif.gz", b"plain"),
        ("other.csv", b"a,b\n1,2\n"),
        ("ragged.csv", b'a,cif\n1,"open\n2,3,4,5\n'),
        ("fake.parquet", b"PAR1"),
        ("fake.crystals", b"nothing"),
    ):
        (tmp_path / name).write_bytes(content)
    (tmp_path / "dangling.cif").symlink_to(tmp_path / "gone.cif")
    reading = read_structures(tmp_path)
    codes = dict(zip(reading.rejects["name"], reading.rejects["reason_code"], strict=True))
    assert reading.crystals.names.tolist() == ["good"]
    assert codes.pop("latin") == codes.pop("random") == "not_text"
    assert codes.pop("ragged.csv")
    unreadable = ("cut", "not", "other.csv", "fake.parquet", "fake.crystals", "dangling")
    assert codes == dict.fromkeys(sorted(unreadable), "unreadable_file")


def test_a_spoilt_row_of_a_table_costs_no_other(tmp_path):
    path = tmp_path / "set.csv"
    texts = [CIF, "", *SPOILT["disorder"], CIF, changed("data_test", "data_\ufffe")]
    lines = [f'{name},{k},"{texts[k]}"' for k, name in enumerate("xyzxw")]
    content = "\n".join(["material_id,number,cif", *lines]).encode()
    path.write_bytes(content.replace("\ufffe".encode(), b"\xff\xfe"))
    reading = read_structures(path)
    assert reading.crystals.names.tolist() == ["x", "x"]
    np.testing.assert_array_equal(reading.crystals.properties["number"], [0.0, 3.0])
    expected = [(1, "y", "empty"), (2, "z", "disorder"), (4, "w", "not_text")]
    assert reading.rejects.select("row", "name", "reason_code").rows() == expected


def test_it_is_an_error_when_nothing_or_too_little_is_left(tmp_path):
    (tmp_path / "a.cif").write_text(changed("Na Na1", "D D1"))
    (tmp_path / "b.cif").write_text("rubbish")
    lines: list[str] = []
    assert load_crystals(tmp_path, log=lines.append).species.tolist() == [1, 17]
    assert "deuterium or tritium was read as hydrogen, in 1 of 2 structures" in lines
    assert "1 of 2 were rejected: unreadable 1" in lines
    with pytest.raises(DataError, match=r"too many structures were rejected, 1 of 2: unreadable 1"):
        read_structures(tmp_path, limits=Limits(max_rejected=0.4))
    (tmp_path / "empty").mkdir()
    (tmp_path / "notes.doc").write_text("x")
    for paths, message in (
        (tmp_path / "b.cif", r"b\.cif: cannot be parsed"),
        (tmp_path / "aa.cif", r"no such file.*Did you mean 'a.cif'"),
        (tmp_path / "empty", "no structures were found"),
        (tmp_path / "notes.doc", "stands for no format"),
        ([], "no structures were found"),
    ):
        with pytest.raises(DataError, match=message):
            load_crystals(paths)


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
SITELESS = JSON[: JSON.index("[{") + 1] + "]}"
NUMBERED = ("species:S", "Z:I", "Na", "11")
POSCARS = (("4 0 0", "a b c"), ("1.0", "one"), ("1 1", "1"), ("1 1", "1 4"))
XYZS = (("2\nL", "two\nL"), ("2\nL", "3\nL"), ("0 0 0\nCl", "0 0\nCl"), ("R:3", "R:x"))
# By format and reason: whole texts, or what is replaced by what in a sound one.
OTHERS = {
    ("poscar", "empty"): ("",),
    ("poscar", "unreadable"): ("a\nb\n", *POSCARS),
    ("poscar", "no_atoms"): (("1 1", "0 0"),),
    ("poscar", "unknown_element"): (("Na Cl\n", ""), ("Na Cl\n", "Na Qq\n")),
    ("poscar", "bad_coordinates"): (("0.5 0.5", "inf 0.5"),),
    ("poscar", "bad_cell"): (("1.0", "1e400"), ("0 5 0", "8 0 0", "Direct", "Cartesian")),
    ("extxyz", "empty"): ("\n\n",),
    ("extxyz", "no_cell"): ("1\nplain\nNa 0 0 0\n", ("T T T", "T T F")),
    ("extxyz", "bad_cell"): (("0 0 6", "0 0"), ("0 0 6", "0 0 0")),
    ("extxyz", "unreadable"): XYZS,
    ("extxyz", "bad_coordinates"): (("pos:R", "other:R"), ("2.5", "far")),
    ("extxyz", "unknown_element"): (("species:", "tags:"), (*NUMBERED, "Cl", "300")),
    ("json", "empty"): ("",),
    ("json", "unreadable"): ("{", "[" * 100_000, ('"element"', '"other"')),
    ("json", "no_structure"): ("3", "[1]"),
    ("json", "no_cell"): (("matrix", "other"), '{"lattice": {"matrix": []}, "sites": []}'),
    ("json", "no_atoms"): (SITELESS,),
    ("json", "partial_occupancy"): (('"occu": 1', '"occu": 0.5'),),
    ("json", "bad_coordinates"): (('"abc"', '"where"'),),
    ("json", "unknown_element"): (('"Na"', '"Qq"'),),
}
TEXTS = {"poscar": POSCAR, "extxyz": XYZ, "json": JSON}


@pytest.mark.parametrize(("form", "code"), OTHERS)
def test_other_formats_are_rejected_by_name(form, code):
    for case in OTHERS[form, code]:
        text = case if isinstance(case, str) else changed(*case, text=TEXTS[form])
        reading = read_text(form, text)
        assert reading.rejects["reason_code"].to_list() == [code], case
        assert not len(reading.crystals)


def test_the_texts_that_were_spoilt_are_sound():
    numbered = changed(*NUMBERED, "Cl", "17", text=XYZ)
    for form, text in (*TEXTS.items(), ("extxyz", numbered)):
        crystals = sound(form, text)
        assert crystals.species.tolist() == [11, 17]
        np.testing.assert_allclose(crystals.coordinates[1], [0.5, 0.5, 0.25])
        np.testing.assert_allclose(crystals.lattices[0], np.diag([4.0, 5.0, 6.0]))


SOUND = [(parse_cif, CIF), (parse_poscar, POSCAR), (parse_extxyz, XYZ), (parse_json, JSON)]
WORDS = ["", "0", "-1", "1e400", "nan", "'", "loop_", "data_", "{", "[", "null", "\n", "Uuo"]


@settings(max_examples=300)
@given(st.data())
def test_no_mutation_makes_a_parser_fall_over(data):
    parse, text = data.draw(st.sampled_from(SOUND))
    for _ in range(data.draw(st.integers(1, 4))):
        start = data.draw(st.integers(0, len(text)))
        end = min(len(text), start + data.draw(st.integers(0, 12)))
        text = text[:start] + data.draw(st.sampled_from(WORDS)) + text[end:]
    # The parsers themselves, not read_chunk, which would catch what they let through.
    try:
        with np.errstate(all="ignore"):
            found = list(parse(text))
    except RejectedError:
        return
    assert found
