"""Crystals out: texts come back as they were, files get safe names and whole contents."""

import io
import os
import re
from dataclasses import replace

import gemmi
import numpy as np
import polars as pl
import pytest
from crystal_cases import SEEDS, assert_same, crystals_of, read_text, same_atoms, sound
from gemmi import cif
from hypothesis import given
from hypothesis import strategies as st

from variolite.crystals.crystals import Crystal, Crystals, cell_parameters
from variolite.crystals.files import (
    load_crystals,
    textbook_crystals,
    write_structures,
    writing,
)
from variolite.crystals.files.formats import from_pymatgen, to_pymatgen
from variolite.crystals.files.groups import space_groups
from variolite.crystals.files.writing import (
    file_names,
    require_place,
    to_cif,
    to_extxyz,
    to_poscar,
    to_symmetric_cif,
)
from variolite.errors import DataError


@given(SEEDS)
def test_texts_come_back_as_they_were(seed):
    values = {"gap": 1 / 3, "phase": 'a "b" c', "none": np.nan, "empty": ""}
    for crystal in crystals_of(seed, count=2, hostile=True, atoms=9):
        cell, handed = cell_parameters(crystal.lattice), np.sign(np.linalg.det(crystal.lattice))
        for kind, text_of in (("cif", to_cif), ("poscar", to_poscar)):
            once = sound(kind, text_of(crystal))[0]
            np.testing.assert_array_equal(once.species, crystal.species)
            np.testing.assert_allclose(cell_parameters(once.lattice), cell, 0, 1e-8)
            # Of a left-handed cell the crystal is kept, not its mirror image.
            assert np.linalg.det(once.lattice) > 0
            np.testing.assert_allclose(once.coordinates, handed * crystal.coordinates, 0, 1e-10)
            assert sound(kind, text_of(once))[0].coordinates.tolist() == once.coordinates.tolist()
        found = sound("extxyz", to_extxyz(crystal, values))
        words = {"gap": np.array([1 / 3]), "phase": np.array(["a 'b' c"])}
        assert_same(found, replace(Crystals.of([crystal]), properties=words), 1e-9)


def test_texts_are_understood_elsewhere():
    from ase.io import read as ase_read
    from pymatgen.io.cif import CifParser
    from pymatgen.io.vasp import Poscar

    for crystal in textbook_crystals().take(slice(0, None, 7)):
        text = to_cif(crystal)
        structure = CifParser.from_str(text, frac_tolerance=0).parse_structures(primitive=False)[0]
        assert structure.composition == to_pymatgen(crystal).composition
        for found in (structure, Poscar.from_str(to_poscar(crystal)).structure):
            assert same_atoms(from_pymatgen(found)[0], crystal, 1e-8)
        atoms = ase_read(io.StringIO(text), format="cif")
        assert sorted(atoms.numbers) == sorted(crystal.species)


@pytest.mark.filterwarnings("ignore")
def test_the_space_group_found_is_written_with_its_operations():
    """The same crystal for four readers, with the group that spglib finds in what was written."""
    from ase.io import read as ase_read
    from pymatgen.analysis.structure_matcher import StructureMatcher
    from pymatgen.io.cif import CifParser

    known = textbook_crystals()
    for place in range(0, len(known), 6):
        # Turned, moved and left-handed: none of it is written.
        crystal = known[place]
        moved = replace(
            crystal,
            coordinates=crystal.coordinates + np.array([0.123, 0.217, 0.391]),
            lattice=crystal.lattice * [1, 1, -1],
        )
        text = to_symmetric_cif(moved)
        block = cif.read_string(text).sole_block()
        number = int(known.properties["space_group"][place])
        assert block.find_value("_symmetry_Int_Tables_number") == str(number)
        reading = read_text("cif", text)
        assert len(reading.notes) == 0
        assert space_groups(reading.crystals)[0].tolist() == [number]
        ours = to_pymatgen(reading.crystals[0])
        structure = CifParser.from_str(text).parse_structures(primitive=False)[0]
        assert StructureMatcher(scale=False).fit(ours, to_pymatgen(crystal))
        assert StructureMatcher(primitive_cell=False, scale=False).fit(ours, structure)
        counts = np.bincount(reading.crystals.species, minlength=119)
        np.testing.assert_array_equal(
            np.bincount([s.specie.Z for s in structure], minlength=119), counts
        )
        atoms = ase_read(io.StringIO(text), format="cif")
        np.testing.assert_array_equal(np.bincount(atoms.numbers, minlength=119), counts)
        sites = gemmi.make_small_structure_from_block(block).get_all_unit_cell_sites()
        numbers = [site.element.atomic_number for site in sites]
        np.testing.assert_array_equal(np.bincount(numbers, minlength=119), counts)


def test_without_symmetry_the_symmetric_cif_is_the_plain_one():
    for crystal in crystals_of(7, count=4, atoms=5):
        if len(crystal) > 2:
            assert to_symmetric_cif(crystal) == to_cif(crystal)


def test_what_cannot_be_written_is_said(tmp_path):
    empty = Crystal(np.empty(0, np.uint8), np.empty((0, 3)), np.eye(3), "void")
    holed = Crystal(np.array([6], np.uint8), np.full((1, 3), np.nan), np.eye(3), "holed")
    for write in (to_cif, to_extxyz, to_poscar):
        with pytest.raises(DataError, match="void: the crystal has no atoms"):
            write(empty)
        with pytest.raises(DataError, match="holed: a coordinate"):
            write(holed)
    # A folder is whole or absent.
    crystals = textbook_crystals().take(slice(0, 2))
    with pytest.raises(DataError, match="not finite"):
        write_structures(Crystals.of([*crystals, holed]), tmp_path / "out")
    with pytest.raises(DataError, match="'pdb' is not a kind of file"):
        write_structures(crystals, tmp_path / "out", kind="pdb")
    with pytest.raises(DataError, match="a property is called 'cif'"):
        write_structures(replace(crystals, properties={"cif": np.zeros(2)}), tmp_path / "a.csv")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "name", ["a.crystals", "a.xyz", "a.extxyz.gz", "a.csv", "a.csv.gz", "a.tsv", "a.parquet"]
)
def test_every_format_is_read_back(tmp_path, name):
    crystals = textbook_crystals().take(slice(0, None, 3))
    place = np.arange(len(crystals))
    more = {"gap": np.where(place % 2, np.nan, 1.5), "note": np.where(place % 3, "x", "")}
    crystals = replace(crystals, properties=crystals.properties | more)
    write_structures(crystals, tmp_path / name)
    assert [path.name for path in tmp_path.iterdir()] == [name]
    found = load_crystals(tmp_path / name)
    assert_same(replace(found, lattices=crystals.lattices), crystals, 1e-8)
    cells = (cell_parameters(c.lattices) for c in (found, crystals))
    np.testing.assert_allclose(*cells, 0, 1e-7)
    # Reading again what was written changes nothing.
    write_structures(found, tmp_path / name)
    assert_same(load_crystals(tmp_path / name), found, 1e-8)
    if name == "a.csv":
        columns = pl.read_csv(tmp_path / name).columns
        assert columns == ["material_id", "space_group", "gap", "note", "cif"]


@pytest.mark.parametrize(("kind", "ending"), [("cif", "cif"), ("poscar", "vasp")])
def test_a_folder_of_files(tmp_path, kind, ending):
    crystals = textbook_crystals()
    write_structures(crystals, tmp_path, kind=kind)
    assert len(list(tmp_path.glob(f"*.{ending}"))) == 78
    found = load_crystals(tmp_path)
    # Files say nothing of names with blanks, nor of properties.
    names = file_names(crystals.names.tolist())
    assert found.names.tolist() == sorted(names)
    for one, two in zip(found, crystals.take(np.argsort(names)), strict=True):
        assert same_atoms(one, two, 1e-8)


@given(st.lists(st.text(max_size=120), max_size=12))
def test_file_names_are_safe_and_distinct(names):
    found = file_names([*names, *names[:2], "a/b", "A/B", "..", "con", "con.x", ""])
    assert len({name.casefold() for name in found}) == len(found)
    for name in found:
        assert re.fullmatch(r"[A-Za-z0-9._+()-]+", name)
        assert not name.startswith(".")
        assert len(name) < 120
        assert not re.fullmatch(r"(?i)con|con\..*", name)
    names = ["mp-1", "NaCl (rock salt)", "a/b", "mp-1", "MP-1"]
    assert file_names(names) == ["mp-1", "NaCl_(rock_salt)", "a_b", "mp-1-2", "MP-1-3"]


def test_places_that_cannot_be_written(tmp_path):
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "x").write_text("")
    (tmp_path / "dir.csv").mkdir()
    for name, message in (
        ("a.docx", "cannot be written as .docx"),
        ("a.crystals.gz", "cannot be written as .gz"),
        ("full/x/a.csv", "is no folder"),
        ("dir.csv", "is a folder"),
        ("full", "not an empty folder"),
        ("full/x", "not an empty folder"),
    ):
        with pytest.raises(DataError, match=message):
            write_structures(textbook_crystals(), tmp_path / name)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["dir.csv", "full"]


def test_a_folder_that_another_process_wrote_meanwhile_stays(tmp_path, monkeypatch):
    def meanwhile(names):
        (tmp_path / "out").mkdir()
        (tmp_path / "out" / "theirs.cif").write_text("")
        return file_names(names)

    monkeypatch.setattr(writing, "file_names", meanwhile)
    with pytest.raises(DataError, match="is there already, and not an empty folder"):
        write_structures(textbook_crystals(), tmp_path / "out")
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["out", "theirs.cif"]


@pytest.mark.skipif(os.name == "nt" or os.geteuid() == 0, reason="root may write anywhere")
def test_a_protected_folder(tmp_path):
    (tmp_path / "p").mkdir(mode=0o555)
    with pytest.raises(DataError, match="write-protected"):
        require_place(tmp_path / "p" / "a.csv")
