"""Every format, mixed folders, names, properties, progress and worker processes."""

from __future__ import annotations

import gzip
import io
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from crystal_cases import CIF, assert_same, crystals_of, same_atoms, sound
from hypothesis import given
from hypothesis import strategies as st

from variolite.crystals.crystals import Crystals
from variolite.crystals.files.checks import NO_LIMITS, Limits
from variolite.crystals.files.formats import (
    from_ase,
    from_pymatgen,
    name_of_file,
    to_ase,
    to_pymatgen,
)
from variolite.crystals.files.reading import load_crystals, read_in_order, read_structures
from variolite.crystals.files.sources import read_sources
from variolite.crystals.files.store import write_store
from variolite.crystals.files.textbook import textbook_crystals
from variolite.crystals.files.writing import to_cif, to_extxyz, to_poscar, write_structures
from variolite.errors import DataError

# --- against the programs that define the formats


@given(st.integers(0, 2**32 - 1), st.booleans(), st.booleans())
def test_poscars_of_pymatgen(seed: int, direct: bool, old: bool) -> None:
    from pymatgen.io.vasp import Poscar

    crystal = crystals_of(seed, count=1)[0]
    structure = to_pymatgen(crystal)
    flags = [[True, False, True]] * len(crystal) if seed % 2 else None
    poscar = Poscar(structure, comment="x", selective_dynamics=flags)
    text = poscar.get_str(direct=direct, vasp4_compatible=old, significant_figures=12)
    found = sound("poscar", text)[0]
    assert same_atoms(found, crystal, 1e-8)


def test_poscar_with_scales_volumes_and_potentials() -> None:
    plain = "c\n{}\n1 0 0\n0 1 0\n0 0 2\n{}\n1 1\n{}\n0 0 0\n0.5 0.5 {}\n"
    expected = np.diag([3.0, 3.0, 6.0])
    for scale, kind, z in (
        ("3.0", "Direct", 0.5),
        ("-54.0", "direct", 0.5),
        ("3 3 3", "D", 0.5),
        ("3.0", "Cartesian", 1.0),
        ("-54.0", "k", 1.0),
    ):
        found = sound("poscar", plain.format(scale, "Fe_pv O_s/1a2b", kind, z))[0]
        assert found.species.tolist() == [26, 8]
        np.testing.assert_allclose(found.lattice, expected, 1e-9)
        np.testing.assert_allclose(found.coordinates[1, 2], 0.5)
    four = "Fe O\n3.0\n1 0 0\n0 1 0\n0 0 2\n1 1\nDirect\n0 0 0\n0.5 0.5 0.5\n\nvelocities\n"
    assert sound("poscar", four)[0].species.tolist() == [26, 8]


@given(st.integers(0, 2**32 - 1))
def test_extended_xyz_of_ase(seed: int) -> None:
    from ase.io import write

    crystals = crystals_of(seed, count=3)
    frames = [to_ase(crystal) for crystal in crystals]
    for place, frame in enumerate(frames):
        frame.info |= {"energy_above": 0.5 * place, "phase": "a b", "vector": [1.0, 2.0, 3.0]}
        frame.arrays["charge"] = np.ones(len(frame))
    buffer = io.StringIO()
    write(buffer, frames, format="extxyz", write_results=False)
    found = sound("extxyz", buffer.getvalue())
    assert {name: values.tolist() for name, values in found.properties.items()} == {
        "energy_above": [0.0, 0.5, 1.0],
        "phase": ["a b"] * 3,
    }
    assert all(same_atoms(a, b, 1e-6) for a, b in zip(found, crystals, strict=True))


def test_extended_xyz_that_ase_reads(tmp_path: Path) -> None:
    from ase.io import read as ase_read

    crystals = textbook_crystals().take(slice(0, None, 9))
    write_structures(crystals, tmp_path / "set.extxyz")
    frames = ase_read(tmp_path / "set.extxyz", index=":")
    found = from_ase(frames, [frame.info["material_id"] for frame in frames])
    assert found.names.tolist() == crystals.names.tolist()
    assert frames[3].info["space_group"] == crystals.properties["space_group"][3]
    for one, two in zip(found, crystals, strict=True):
        np.testing.assert_allclose(one.lattice, two.lattice, 0, 1e-9)
        np.testing.assert_allclose(one.coordinates, two.coordinates, 0, 1e-8)


@given(st.integers(0, 2**32 - 1), st.sampled_from(["one", "list", "mapping", "entries"]))
def test_json_of_pymatgen(seed: int, layout: str) -> None:
    crystals = crystals_of(seed, count=2)
    dicts = [to_pymatgen(crystal).as_dict() for crystal in crystals]
    names = ["x-0", "x-1"]
    content: object = dicts
    if layout == "one":
        content, names = dicts[0], ["x"]
    elif layout == "mapping":
        content, names = {"mp-1": dicts[0], "mp-2": dicts[1]}, ["mp-1", "mp-2"]
    elif layout == "entries":
        names = ["mp-7", "mp-8"]
        content = [
            {"material_id": name, "band_gap": 1.5, "tags": [1], "structure": structure}
            for name, structure in zip(names, dicts, strict=True)
        ]
    text = json.dumps(content)
    found = sound("json", text)
    assert found.names.tolist() == names
    for one, two in zip(found, crystals, strict=False):
        np.testing.assert_allclose(one.coordinates, two.coordinates, 0, 1e-12)
        np.testing.assert_allclose(one.lattice, two.lattice, 0, 1e-12)
        assert one.species.tolist() == two.species.tolist()
    if layout == "entries":
        assert found.properties.keys() == {"band_gap"}
        assert found.properties["band_gap"].tolist() == [1.5, 1.5]


def test_exchange_refuses_what_no_crystal_holds() -> None:
    from ase import Atoms
    from pymatgen.core.lattice import Lattice
    from pymatgen.core.structure import Structure

    mixed = Structure(Lattice.cubic(4.0), [{"Fe": 0.5, "Ni": 0.5}], [[0, 0, 0]])
    with pytest.raises(DataError, match="partially occupied"):
        from_pymatgen(mixed)
    vacancy = Structure(Lattice.cubic(4.0), ["X"], [[0, 0, 0]])
    with pytest.raises(DataError, match="no element"):
        from_pymatgen([vacancy], ["v"])
    with pytest.raises(DataError, match="three-dimensional"):
        from_ase(Atoms("Fe", pbc=False))
    with pytest.raises(DataError, match="2 names for 1"):
        from_ase(to_ase(textbook_crystals()[0]), ["a", "b"])
    charged = Structure(Lattice.cubic(4.0), ["Fe2+", "O2-"], [[0, 0, 0], [0.5, 0.5, 0.5]])
    assert from_pymatgen(charged).species.tolist() == [26, 8]


# --- folders, names and properties


def test_a_folder_of_everything(tmp_path: Path) -> None:
    """Nine ways to store the same perovskite; other and hidden files are passed over."""
    crystal = textbook_crystals()[40]
    single = textbook_crystals().take(np.array([40]))
    text = to_cif(crystal)
    (tmp_path / "1.cif").write_text(text)
    (tmp_path / "2.cif.gz").write_bytes(gzip.compress(text.encode()))
    (tmp_path / "3.vasp").write_text(to_poscar(crystal))
    (tmp_path / "4").mkdir()
    (tmp_path / "4" / "POSCAR").write_text(to_poscar(crystal))
    (tmp_path / "5.xyz").write_text(to_extxyz(crystal))
    (tmp_path / "6.json").write_text(json.dumps(to_pymatgen(crystal).as_dict()))
    pl.DataFrame({"cif": [text]}).write_csv(tmp_path / "7.csv")
    pl.DataFrame({"CIF": [text], "mp_id": [12]}).write_parquet(tmp_path / "8.parquet")
    write_store(tmp_path / "9.crystals", single)
    (tmp_path / "notes.txt").write_text("not a structure")
    (tmp_path / ".hidden.cif").write_text("not a structure")
    (tmp_path / ".git").mkdir()
    (tmp_path / ".git" / "a.cif").write_text("not a structure")
    reading = read_structures(tmp_path)
    assert reading.rejects.rows() == []
    own = crystal.name
    # Files of the folder come before those of the folders in it.
    expected = ["1", "2", "3", own, "6", "0", "12", own, "4"]
    assert reading.crystals.names.tolist() == expected
    assert all(same_atoms(found, crystal, 1e-8) for found in reading.crystals)


def test_names_of_files() -> None:
    for name, expected in {
        "mp-1.cif": "mp-1",
        "mp-1.2.cif.gz": "mp-1.2",
        "POSCAR_mp-1": "mp-1",
        "CONTCAR-2.vasp": "2",
        "a/POSCAR": "a",
        "a/CONTCAR.gz": "a",
        "x.extxyz": "x",
    }.items():
        assert name_of_file(Path("/data") / name) == expected, name


def test_properties_of_different_files_are_joined(tmp_path: Path) -> None:
    text = CIF
    one = pl.DataFrame(
        {
            "material_id": ["007", "8"],
            "gap": [1.5, None],
            "stable": [True, False],
            "label": ["x", None],
            "mixed": [1, 2],
            "cif": [text] * 2,
            "long": ["y" * 300, ""],
        }
    )
    two = pl.DataFrame({"id": ["a"], "label": ["z"], "mixed": ["w"], "cif": [text], "year": [1999]})
    one.write_csv(tmp_path / "1.csv")
    two.write_csv(tmp_path / "2.tsv", separator="\t")
    crystals = load_crystals([tmp_path / "1.csv", tmp_path / "2.tsv"])
    assert crystals.names.tolist() == ["007", "8", "a"]
    properties = crystals.properties
    assert list(properties) == ["gap", "stable", "label", "mixed", "year"]
    np.testing.assert_array_equal(properties["gap"], [1.5, np.nan, np.nan])
    np.testing.assert_array_equal(properties["stable"], [1.0, 0.0, np.nan])
    np.testing.assert_array_equal(properties["year"], [np.nan, np.nan, 1999.0])
    assert properties["label"].tolist() == ["x", "", "z"]
    assert properties["mixed"].tolist() == ["1.0", "2.0", "w"]
    bare = load_crystals(tmp_path, properties=False)
    assert bare.properties == {}
    assert len(bare) == 3


def test_frames_of_one_file_are_numbered(tmp_path: Path) -> None:
    crystals = crystals_of(5, count=3)
    unnamed = Crystals(
        crystals.species,
        crystals.coordinates,
        crystals.lattices,
        crystals.offsets,
        np.full(3, ""),
    )
    write_structures(unnamed, tmp_path / "run.extxyz")
    text = (tmp_path / "run.extxyz").read_text().replace("Lattice", "Latice", 1)
    (tmp_path / "bad.extxyz").write_text(text)
    assert load_crystals(tmp_path / "run.extxyz").names.tolist() == ["run-0", "run-1", "run-2"]
    reading = read_structures(tmp_path / "bad.extxyz")
    assert reading.crystals.names.tolist() == ["bad-1", "bad-2"]
    assert reading.rejects.select("row", "name", "reason_code").rows() == [(0, "bad-0", "no_cell")]


def test_stores_are_checked_again_only_if_asked(tmp_path: Path) -> None:
    crystals = textbook_crystals()
    heap = replace(crystals, coordinates=crystals.coordinates * 0.0)
    write_store(tmp_path / "a.crystals", heap)
    assert len(load_crystals(tmp_path / "a.crystals")) == 78
    reading = read_structures(tmp_path / "a.crystals", limits=Limits(max_atoms=4))
    codes = dict(zip(reading.rejects["row"], reading.rejects["reason_code"], strict=True))
    for row, count in enumerate(crystals.counts.tolist()):
        expected = "too_many_atoms" if count > 4 else None if count == 1 else codes.get(row)
        assert codes.get(row) == expected
    assert set(codes.values()) == {"too_many_atoms", "duplicate_atoms", "overlapping_atoms"}
    assert (reading.crystals.counts == 1).all()


def test_no_limits_let_everything_pass(tmp_path: Path) -> None:
    crystals = textbook_crystals()
    dense = replace(
        crystals, coordinates=crystals.coordinates * 0.0, lattices=crystals.lattices / 9
    )
    write_structures(dense, tmp_path / "a.csv")
    assert len(load_crystals(tmp_path / "a.csv", limits=NO_LIMITS)) == 78
    with pytest.raises(DataError, match="all structures were rejected, 78 of 78"):
        load_crystals(tmp_path / "a.csv")


def test_progress_reaches_the_end(tmp_path: Path) -> None:
    write_structures(textbook_crystals(), tmp_path / "cifs")
    told: list[str] = []
    crystals = load_crystals(tmp_path / "cifs", log=told.append)
    assert told[-1] == "78 structures, 100%, 0 s left"
    assert sorted(crystals.names.tolist())[0].startswith("Ag_(fcc)")


def test_worker_processes_give_the_same_in_the_same_order(tmp_path: Path) -> None:
    texts = [to_cif(crystal) for crystal in textbook_crystals()] * 60
    texts[17] = "rubbish"
    path = tmp_path / "set.parquet"
    pl.DataFrame({"cif": texts}).write_parquet(path)
    files = [(path, "parquet"), (path, "store"), (path, "parquet")]
    answers = [
        list(read_in_order(read_sources(files), Limits(), workers, patience=0.0))
        for workers in (1, 2)
    ]
    assert len(answers[0]) == len(answers[1]) == 5
    for (one, ours), (two, theirs) in zip(*answers, strict=True):
        assert (one.kind, one.rows) == (two.kind, two.rows)
        assert_same(ours.crystals, theirs.crystals)
        assert ours.rejects.rows() == theirs.rejects.rows()


def test_reading_again_what_was_written_changes_nothing(tmp_path: Path) -> None:
    crystals = textbook_crystals()
    write_structures(crystals, tmp_path / "set.csv.gz")
    found = load_crystals(tmp_path / "set.csv.gz")
    np.testing.assert_allclose(found.coordinates, crystals.coordinates, 0, 1e-9)
    assert found.names.tolist() == crystals.names.tolist()
    write_structures(found, tmp_path / "again.csv.gz")
    assert_same(load_crystals(tmp_path / "again.csv.gz"), found, 1e-8)
