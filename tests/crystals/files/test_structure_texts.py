"""Crystals out: texts come back as they were, files get safe names and whole contents."""

from __future__ import annotations

import io
import os
import re
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from crystal_cases import assert_same, crystals_of, same_atoms, sound
from hypothesis import given
from hypothesis import strategies as st

from variolite.crystals.crystals import Crystal, Crystals, cell_parameters
from variolite.crystals.files.formats import from_pymatgen, to_pymatgen
from variolite.crystals.files.reading import load_crystals, read_structures
from variolite.crystals.files.store import open_store
from variolite.crystals.files.textbook import textbook_crystals
from variolite.crystals.files.writing import (
    file_names,
    require_place,
    to_cif,
    to_extxyz,
    to_poscar,
    write_structures,
)
from variolite.errors import DataError


@given(st.integers(0, 2**32 - 1))
def test_cif_and_back_twice(seed: int) -> None:
    for crystal in crystals_of(seed, count=2):
        once = sound("cif", to_cif(crystal))[0]
        np.testing.assert_allclose(once.coordinates, crystal.coordinates, 0, 1e-10)
        np.testing.assert_allclose(
            cell_parameters(once.lattice), cell_parameters(crystal.lattice), 0, 1e-8
        )
        np.testing.assert_array_equal(once.species, crystal.species)
        assert sound("cif", to_cif(once))[0].coordinates.tolist() == once.coordinates.tolist()


@given(st.integers(0, 2**32 - 1))
def test_handedness_survives(seed: int) -> None:
    """Of a left-handed cell the crystal is kept, not its mirror image: triple products agree."""
    crystal = next(
        c for k in range(9) for c in crystals_of(seed + k, hostile=True, atoms=9) if len(c) > 3
    )
    positions = crystal.coordinates @ crystal.lattice
    volume = np.linalg.det(positions[1:4] - positions[0])
    for text, kind in ((to_cif(crystal), "cif"), (to_poscar(crystal), "poscar")):
        found = sound(kind, text)[0]
        assert np.linalg.det(found.lattice) > 0
        moved = found.coordinates @ found.lattice
        assert np.linalg.det(moved[1:4] - moved[0]) == pytest.approx(volume, abs=1e-6)


@given(st.integers(0, 2**32 - 1))
def test_extended_xyz_and_back(seed: int) -> None:
    crystal = crystals_of(seed, count=1)[0]
    values = {"gap": 1 / 3, "phase": 'a "b" c', "none": np.nan, "empty": ""}
    text = to_extxyz(crystal, values)
    found = sound("extxyz", text)[0]
    assert found.name == crystal.name
    np.testing.assert_allclose(found.lattice, crystal.lattice, 0, 1e-9)
    np.testing.assert_allclose(found.coordinates, crystal.coordinates, 0, 1e-9)
    properties = sound("extxyz", text).properties
    assert {name: values.tolist() for name, values in properties.items()} == {
        "gap": [1 / 3],
        "phase": ["a 'b' c"],
    }


def test_cifs_are_understood_elsewhere() -> None:
    from ase.io import read as ase_read
    from pymatgen.io.cif import CifParser

    for crystal in textbook_crystals().take(slice(0, None, 7)):
        text = to_cif(crystal)
        structure = CifParser.from_str(text, frac_tolerance=0).parse_structures(primitive=False)[0]
        assert structure.composition == to_pymatgen(crystal).composition
        assert same_atoms(from_pymatgen(structure)[0], crystal, 1e-8)
        atoms = ase_read(io.StringIO(text), format="cif")
        assert sorted(atoms.numbers) == sorted(crystal.species)


def test_poscars_are_understood_elsewhere() -> None:
    from pymatgen.io.vasp import Poscar

    for crystal in textbook_crystals().take(slice(0, None, 7)):
        structure = Poscar.from_str(to_poscar(crystal)).structure
        assert same_atoms(from_pymatgen(structure)[0], crystal, 1e-8)


def test_what_cannot_be_written_is_said() -> None:
    empty = Crystal(np.empty(0, np.uint8), np.empty((0, 3)), np.eye(3), "void")
    broken = Crystal(np.array([6], np.uint8), np.full((1, 3), np.nan), np.eye(3), "holed")
    for write in (to_cif, to_extxyz, to_poscar):
        with pytest.raises(DataError, match="void: the crystal has no atoms"):
            write(empty)
        with pytest.raises(DataError, match="holed: a coordinate"):
            write(broken)


# --- sets


@pytest.mark.parametrize(
    "name", ["a.crystals", "a.xyz", "a.extxyz.gz", "a.csv", "a.csv.gz", "a.tsv", "a.parquet", "a"]
)
def test_every_format_is_read_back(tmp_path: Path, name: str) -> None:
    crystals = textbook_crystals()
    write_structures(crystals, tmp_path / name)
    found = load_crystals(tmp_path / name)
    assert len(list(tmp_path.iterdir())) == 1
    if name == "a":
        order = np.argsort(np.array(file_names(crystals.names.tolist())))
        # Files say nothing of names with blanks, nor of properties.
        assert found.names.tolist() == sorted(file_names(crystals.names.tolist()))
        for one, two in zip(found, crystals.take(order), strict=True):
            assert same_atoms(one, two, 1e-8)
        return
    assert found.names.tolist() == crystals.names.tolist()
    np.testing.assert_array_equal(
        found.properties["space_group"], crystals.properties["space_group"]
    )
    np.testing.assert_allclose(found.coordinates, crystals.coordinates, 0, 1e-8)
    if name == "a.crystals":
        assert_same(open_store(tmp_path / name), crystals)


def test_a_folder_of_poscars(tmp_path: Path) -> None:
    crystals = textbook_crystals().take(slice(0, 5))
    (tmp_path / "out").mkdir()
    write_structures(crystals, tmp_path / "out", kind="poscar")
    assert len(list((tmp_path / "out").glob("*.vasp"))) == 5
    assert len(load_crystals(tmp_path / "out")) == 5
    with pytest.raises(DataError, match="'pdb' is no kind of file"):
        write_structures(crystals, tmp_path / "new", kind="pdb")
    assert not (tmp_path / "new").exists()


@given(st.lists(st.text(max_size=120), max_size=12))
def test_file_names_are_safe_and_distinct(names: list[str]) -> None:
    found = file_names([*names, *names[:2], "a/b", "A/B", "..", "con", "con.x", ""])
    assert len({name.casefold() for name in found}) == len(found)
    for name in found:
        assert re.fullmatch(r"[A-Za-z0-9._+()-]+", name)
        assert not name.startswith(".")
        assert len(name) < 120
        assert not re.fullmatch(r"(?i)con|con\..*", name)


def test_safe_names_stay_as_they_are() -> None:
    names = ["mp-1", "NaCl (rock salt)", "a/b", "mp-1", "MP-1"]
    assert file_names(names) == ["mp-1", "NaCl_(rock_salt)", "a_b", "mp-1-2", "MP-1-3"]


def test_places_that_cannot_be_written(tmp_path: Path) -> None:
    crystals = textbook_crystals()
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "x").write_text("")
    (tmp_path / "dir.csv").mkdir()
    for name, message in (
        ("a.docx", "cannot be written as .docx"),
        ("a.crystals.gz", "cannot be written as .gz"),
        ("none/a.csv", "the folder does not exist"),
        ("dir.csv", "is a folder"),
        ("full", "not an empty folder"),
        ("full/x", "not an empty folder"),
    ):
        with pytest.raises(DataError, match=message):
            write_structures(crystals, tmp_path / name)
    clash = Crystals.of(crystals.take(slice(0, 2)))
    odd = Crystals(
        clash.species,
        clash.coordinates,
        clash.lattices,
        clash.offsets,
        clash.names,
        {"cif": np.zeros(2)},
    )
    with pytest.raises(DataError, match="a property is called 'cif'"):
        write_structures(odd, tmp_path / "a.csv")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["dir.csv", "full"]


def test_a_folder_is_whole_or_absent(tmp_path: Path) -> None:
    good = textbook_crystals().take(slice(0, 2))
    broken = Crystals.of(
        [*good, Crystal(np.array([6], np.uint8), np.full((1, 3), np.nan), np.eye(3), "x")]
    )
    with pytest.raises(DataError, match="not finite"):
        write_structures(broken, tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(os.name == "nt" or os.geteuid() == 0, reason="root may write anywhere")
def test_a_protected_folder(tmp_path: Path) -> None:
    (tmp_path / "p").mkdir(mode=0o555)
    with pytest.raises(DataError, match="write-protected"):
        require_place(tmp_path / "p" / "a.csv")


def test_missing_numbers_survive_a_table(tmp_path: Path) -> None:
    crystals = textbook_crystals().take(slice(0, 3))
    with_gaps = Crystals(
        crystals.species,
        crystals.coordinates,
        crystals.lattices,
        crystals.offsets,
        crystals.names,
        {"gap": np.array([1.0, np.nan, 2.0]), "note": np.array(["x", "", "z"])},
    )
    for name in ("a.csv", "a.parquet"):
        write_structures(with_gaps, tmp_path / name)
        found = read_structures(tmp_path / name).crystals.properties
        np.testing.assert_array_equal(found["gap"], [1.0, np.nan, 2.0])
        assert found["note"].tolist() == ["x", "", "z"]
    assert pl.read_csv(tmp_path / "a.csv").columns == ["material_id", "gap", "note", "cif"]
