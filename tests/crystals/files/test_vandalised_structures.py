"""Every kind of spoilt input ends in a named reject, beside sound structures that are read."""

from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np
import pytest
from crystal_cases import CIF, OPERATIONS, changed, read_text, sound
from hypothesis import given, settings
from hypothesis import strategies as st

from variolite.crystals.files.checks import HINTS, REASONS, Limits, RejectedError
from variolite.crystals.files.cif import parse_cif
from variolite.crystals.files.formats import parse_extxyz, parse_json, parse_poscar
from variolite.crystals.files.reading import load_crystals, read_structures
from variolite.errors import DataError

GROUP = "_symmetry_space_group_name_H-M 'P 1'\n"
NUMBER = "_symmetry_Int_Tables_number 1\n"
FULL = ("0.0 1\n", "0.25 1\n")
OCCUPANCY = "_atom_site_occupancy"
# By reason code and kind.
SPOILT: dict[str, dict[str, str]] = {
    "empty": {"empty": "", "blank": " \n\t\n"},
    "not_text": {"binary": "PK\x03\x04\0\0garbage"},
    "unreadable": {
        "garbage": "this is no CIF",
        "ragged loop": changed("0.25 1\n", "0.25\n"),
        "unterminated": CIF + "\n_x\n;never closed\n",
    },
    "no_structure": {"no block": "# only a remark\n"},
    "several_structures": {"two blocks": CIF + changed("data_test", "data_two")},
    "no_cell": {
        "no cell": "\n".join(line for line in CIF.splitlines() if "_cell_" not in line),
        "no length": changed("_cell_length_b 5.0\n", ""),
        "no angle": changed("_cell_angle_beta 90\n", "_cell_angle_beta ?\n"),
    },
    "bad_cell": {
        **{
            f"length {length}": changed("length_a 4.0", f"length_a {length}")
            for length in ("nan", "four", "0", "-4.0", "0.01", "4000", "1e999", "1e200")
        },
        "angles enclose nothing": changed("alpha 90", "alpha 30", "beta 90", "beta 30"),
        "flat": changed("gamma 90", "gamma 180"),
        "angle zero": changed("gamma 90", "gamma 0"),
    },
    "no_atoms": {
        "no atoms": CIF[: CIF.index("loop_\n_atom")],
        "dummies only": changed(
            OCCUPANCY, "_atom_site_calc_flag", FULL[0], "0.0 dum\n", FULL[1], "0.25 dum\n"
        ),
    },
    "bad_coordinates": {
        **{
            f"coordinate {x}": changed("0.5 0.5 0.25", f"{x} 0.5 0.25")
            for x in ("?", "nan", "1e300", "inf")
        },
        "no z": changed("_atom_site_fract_z", "_atom_site_other"),
        "Cartesian only": changed("_fract_", "_Cartn_"),
    },
    "unknown_element": {
        "unknown element": changed("Na Na1", "Xx Xx1"),
        "vacancy": changed("Na Na1", "Vac V1"),
        "group of atoms": changed("Na Na1", "OH OH1"),
        "neither symbol nor label": changed("type_symbol", "other", "_label", "_another"),
        "ambiguous label": changed("type_symbol", "other", "Na Na1", "x CO1"),
    },
    "partial_occupancy": {
        "half occupied": changed("0.25 1\n", "0.25 0.5\n"),
        "over-occupied": changed("0.25 1\n", "0.25 1.2\n"),
        "occupancy a word": changed("0.25 1\n", "0.25 full\n"),
        "mixed site": CIF + "K K1 0.5 0.5 0.25 0.5\n",
    },
    "disorder": {
        "disorder": changed(
            OCCUPANCY, "_atom_site_disorder_group", FULL[0], "0.0 A\n", FULL[1], "0.25 B\n"
        ),
    },
    "missing_symmetry": {
        "no symmetry at all": changed(OPERATIONS, "", GROUP, "", NUMBER, ""),
        "identity only": changed("'P 1'", "'F m -3 m'", "number 1", "number 225"),
        "number only": changed(OPERATIONS, "", GROUP, "", "number 1", "number 225"),
        "unknown group": changed("'P 1'", "'Q 9 z'", OPERATIONS, ""),
        "two origins": changed("'P 1'", "'F d -3 m'", OPERATIONS, ""),
        "rhombohedral group in another cell": changed(
            "'P 1'", "'R -3 m'", OPERATIONS, "", "gamma 90", "gamma 80"
        ),
        "operations missing": changed(
            "'x, y, z'\n", "'x, y, z'\n'x+1/2, y+1/2, z'\n'-x, -y, -z'\n"
        ),
        "operation unreadable": changed("'x, y, z'\n", "'x, y, q'\n"),
    },
    "duplicate_atoms": {
        "duplicate atoms": CIF + "Cl Cl2 0.5 0.5 0.25 1\n",
        "duplicate across the border": CIF + "Na Na2 1.0 0.9999 -0.0001 1\n",
    },
    "overlapping_atoms": {
        "overlap": CIF + "K K1 0.55 0.5 0.25 1\n",
        "overlap with own image": changed(
            "length_a 4.0", "length_a 0.51", "length_b 5.0", "length_b 0.52"
        )
        .replace("gamma 90", "gamma 11")
        .replace("length_c 6.0", "length_c 150"),
    },
    "volume_per_atom": {
        "too dense": changed("length_a 4.0", "length_a 1.0", "length_b 5.0", "length_b 0.9"),
        "too empty": changed("length_c 6.0", "length_c 190"),
    },
}
KINDS = [(code, kind) for code, texts in SPOILT.items() for kind in texts]


@pytest.mark.parametrize(("code", "kind"), KINDS)
def test_a_spoilt_cif_is_rejected_by_name_between_sound_ones(
    code: str, kind: str, tmp_path: Path
) -> None:
    path = tmp_path / "b.cif"
    for name, content in (("a.cif", CIF), ("b.cif", SPOILT[code][kind]), ("c.cif", CIF)):
        (tmp_path / name).write_text(content)
    reading = read_structures(tmp_path)
    assert reading.crystals.names.tolist() == ["a", "c"]
    (file, row, name, found, reason) = reading.rejects.row(0)
    assert (file, row, name, found, len(reading.rejects)) == (str(path), None, "b", code, 1)
    assert reason.startswith(REASONS[code])
    # Alone it is an error that says what to do.
    with pytest.raises(DataError) as error:
        read_structures(path)
    assert error.value.what == reason
    assert (error.value.where, error.value.hint) == (str(path), HINTS[code])


def test_every_reason_has_a_hint_and_a_case() -> None:
    assert SPOILT.keys() | {"unreadable_file", "too_many_atoms"} == set(REASONS) == set(HINTS)


def test_too_many_atoms_before_and_after_symmetry(tmp_path: Path) -> None:
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


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    for name, content in (
        ("good.cif", CIF.encode()),
        ("latin.cif", b"# \xc5ngstr\xf6m\n" + CIF.encode()),
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


def test_a_spoilt_row_of_a_table_costs_no_other(tmp_path: Path) -> None:
    path = tmp_path / "set.csv"
    texts = [CIF, "", SPOILT["disorder"]["disorder"], CIF, changed("data_test", "data_\ufffe")]
    lines = [f'{name},{k},"{texts[k]}"' for k, name in enumerate("xyzxw")]
    content = "\n".join(["material_id,number,cif", *lines]).encode()
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
    (tmp_path / "a.cif").write_text(changed("Na Na1", "D D1"))
    (tmp_path / "b.cif").write_text("rubbish")
    told: list[str] = []
    assert load_crystals(tmp_path, log=told.append).species.tolist() == [1, 17]
    assert "deuterium or tritium was read as hydrogen, in 1 structures" in told
    assert "1 of 2 were rejected: unreadable 1" in told
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
FLAT = POSCAR.replace("0 5 0", "8 0 0")
NUMBERED = XYZ.replace("species:S", "Z:I").replace("Na", "11")
OTHERS: dict[str, tuple[str, str]] = {
    "poscar: empty": ("", "empty"),
    "poscar: short": ("a\nb\n", "unreadable"),
    "poscar: words for numbers": (POSCAR.replace("4 0 0", "a b c"), "unreadable"),
    "poscar: no scale": (POSCAR.replace("1.0", "one"), "unreadable"),
    "poscar: counts differ": (POSCAR.replace("1 1", "1"), "unreadable"),
    "poscar: atoms missing": (POSCAR.replace("1 1", "1 4"), "unreadable"),
    "poscar: no atoms": (POSCAR.replace("1 1", "0 0"), "no_atoms"),
    "poscar: unnamed": (POSCAR.replace("Na Cl\n", ""), "unknown_element"),
    "poscar: no element": (POSCAR.replace("Na Cl\n", "Na Qq\n"), "unknown_element"),
    "poscar: infinite coordinate": (POSCAR.replace("0.5 0.5", "inf 0.5"), "bad_coordinates"),
    "poscar: infinite scale": (POSCAR.replace("1.0", "1e400"), "bad_cell"),
    "poscar: flat and Cartesian": (FLAT.replace("Direct", "Cartesian"), "bad_cell"),
    "extxyz: empty": ("\n\n", "empty"),
    "extxyz: no lattice": ("1\nplain\nNa 0 0 0\n", "no_cell"),
    "extxyz: a slab": (XYZ.replace("T T T", "T T F"), "no_cell"),
    "extxyz: lattice too short": (XYZ.replace("0 0 6", "0 0"), "bad_cell"),
    "extxyz: flat": (XYZ.replace("0 0 6", "0 0 0"), "bad_cell"),
    "extxyz: no number": (XYZ.replace("2\n", "two\n", 1), "unreadable"),
    "extxyz: atoms missing": (XYZ.replace("2\n", "3\n", 1), "unreadable"),
    "extxyz: a column missing": (XYZ.replace("0 0 0\nCl", "0 0\nCl"), "unreadable"),
    "extxyz: odd columns": (XYZ.replace("R:3", "R:x"), "unreadable"),
    "extxyz: no positions": (XYZ.replace("pos:R", "other:R"), "bad_coordinates"),
    "extxyz: a word": (XYZ.replace("2.5", "far"), "bad_coordinates"),
    "extxyz: no species": (XYZ.replace("species:", "tags:"), "unknown_element"),
    "extxyz: Z too large": (NUMBERED.replace("Cl", "300"), "unknown_element"),
    "json: empty": ("", "empty"),
    "json: garbage": ("{", "unreadable"),
    "json: too deep": ("[" * 100_000, "unreadable"),
    "json: a number": ("3", "no_structure"),
    "json: other entries": ("[1]", "no_structure"),
    "json: no matrix": (JSON.replace("matrix", "other"), "no_cell"),
    "json: no sites": ('{"lattice": {"matrix": []}, "sites": []}', "no_cell"),
    "json: empty sites": (JSON[: JSON.index("[{") + 1] + "]}", "no_atoms"),
    "json: partial": (JSON.replace('"occu": 1', '"occu": 0.5', 1), "partial_occupancy"),
    "json: odd species": (JSON.replace('"element"', '"other"'), "unreadable"),
    "json: odd position": (JSON.replace('"abc"', '"where"'), "bad_coordinates"),
    "json: no element": (JSON.replace('"Na"', '"Qq"'), "unknown_element"),
}


@pytest.mark.parametrize("kind", OTHERS)
def test_other_formats_are_rejected_by_name(kind: str) -> None:
    text, code = OTHERS[kind]
    reading = read_text(kind.partition(":")[0], text)
    assert reading.rejects["reason_code"].to_list() == [code], reading.rejects
    assert not len(reading.crystals)


def test_the_texts_that_were_spoilt_are_sound() -> None:
    numbered = NUMBERED.replace("Cl", "17")
    for form, text in (("poscar", POSCAR), ("extxyz", XYZ), ("extxyz", numbered), ("json", JSON)):
        crystals = sound(form, text)
        assert crystals.species.tolist() == [11, 17]
        np.testing.assert_allclose(crystals.coordinates[1], [0.5, 0.5, 0.25])
        np.testing.assert_allclose(crystals.lattices[0], np.diag([4.0, 5.0, 6.0]))


SOUND = [(parse_cif, CIF), (parse_poscar, POSCAR), (parse_extxyz, XYZ), (parse_json, JSON)]
WORDS = ["", "0", "-1", "1e400", "nan", "'", "loop_", "data_", "{", "[", "null", "\n", "Uuo"]


@settings(max_examples=300)
@given(st.data())
def test_no_mutation_makes_a_parser_fall_over(data: st.DataObject) -> None:
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
