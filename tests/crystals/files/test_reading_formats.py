"""Every format, mixed folders, names, properties, progress and worker processes."""

import gzip
import io
import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from crystal_cases import CIF, SEEDS, assert_same, crystals_of, same_atoms, sound
from hypothesis import given
from hypothesis import strategies as st

from variolite.crystals.files import NO_LIMITS, Limits, load_crystals, read_structures
from variolite.crystals.files import reading as module
from variolite.crystals.files.formats import from_ase, from_pymatgen, to_ase, to_pymatgen
from variolite.crystals.files.sources import name_of_file, read_sources
from variolite.crystals.files.store import write_store
from variolite.crystals.files.textbook import textbook_crystals
from variolite.crystals.files.writing import to_cif, to_extxyz, to_poscar, write_structures
from variolite.errors import DataError


def test_nothing_optional_is_loaded():
    heavy = {"pymatgen", "ase", "spglib", "chgnet", "torch", "lightning"}
    code = f"import sys, variolite.crystals.files; print([*{heavy} & sys.modules.keys()])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@given(SEEDS, st.booleans(), st.booleans())
def test_poscars_of_pymatgen(seed, direct, old):
    from pymatgen.io.vasp import Poscar

    crystal = crystals_of(seed, count=1)[0]
    flags = [[True, False, True]] * len(crystal) if seed % 2 else None
    poscar = Poscar(to_pymatgen(crystal), comment="x", selective_dynamics=flags)
    text = poscar.get_str(direct=direct, vasp4_compatible=old, significant_figures=12)
    assert same_atoms(sound("poscar", text)[0], crystal, 1e-8)


def test_poscar_with_scales_volumes_and_potentials():
    plain = "c\n{}\n1 0 0\n0 1 0\n0 0 2\n{}\n1 1\n{}\n0 0 0\n0.5 0.5 {}\n"
    kinds = "3.0 Direct; -54.0 direct; 3 3 3 D; 3.0 Cartesian; -54.0 k"
    for scale, kind in (each.rsplit(" ", 1) for each in kinds.split("; ")):
        z = 0.5 if kind[0] in "Dd" else 1.0
        found = sound("poscar", plain.format(scale, "Fe_pv O_s/1a2b", kind, z))[0]
        assert found.species.tolist() == [26, 8]
        np.testing.assert_allclose(found.lattice, np.diag([3.0, 3.0, 6.0]), 1e-9)
        np.testing.assert_allclose(found.coordinates[1, 2], 0.5)
    four = "Fe O\n3.0\n1 0 0\n0 1 0\n0 0 2\n1 1\nDirect\n0 0 0\n0.5 0.5 0.5\n\nvelocities\n"
    assert sound("poscar", four)[0].species.tolist() == [26, 8]


@given(SEEDS)
def test_extended_xyz_of_ase(seed):
    from ase.io import read, write

    crystals = crystals_of(seed, count=3)
    frames = [to_ase(crystal) for crystal in crystals]
    for place, frame in enumerate(frames):
        frame.info |= {"energy_above": 0.5 * place, "phase": "a b", "vector": [1.0, 2.0, 3.0]}
        frame.arrays["charge"] = np.ones(len(frame))
    buffer = io.StringIO()
    write(buffer, frames, format="extxyz", write_results=False)
    found = sound("extxyz", buffer.getvalue())
    properties = {name: values.tolist() for name, values in found.properties.items()}
    assert properties == {"energy_above": [0.0, 0.5, 1.0], "phase": ["a b"] * 3}
    assert all(same_atoms(a, b, 1e-6) for a, b in zip(found, crystals, strict=True))
    # And the other way round.
    texts = [to_extxyz(crystal, {"place": 1.5}) for crystal in crystals]
    frames = read(io.StringIO("".join(texts)), index=":", format="extxyz")
    assert [frame.info["place"] for frame in frames] == [1.5] * 3
    assert_same(from_ase(frames, [frame.info["material_id"] for frame in frames]), crystals, 1e-8)


@given(SEEDS)
def test_json_of_pymatgen(seed):
    crystals = crystals_of(seed, count=2)
    one, two = dicts = [to_pymatgen(crystal).as_dict() for crystal in crystals]
    shared = {"band_gap": 1.5, "tags": [1]}
    entries = [{"material_id": f"mp-{k}", "structure": d, **shared} for k, d in enumerate(dicts)]
    for content, names, properties in (
        (one, ["x"], {}),
        (dicts, ["x-0", "x-1"], {}),
        ({"mp-1": one, "mp-2": two}, ["mp-1", "mp-2"], {}),
        (entries, ["mp-0", "mp-1"], {"band_gap": np.full(2, 1.5)}),
    ):
        some = crystals.take(slice(0, len(names)))
        expected = replace(some, names=np.array(names), properties=properties)
        assert_same(sound("json", json.dumps(content)), expected, 1e-12)


def test_exchange_refuses_what_no_crystal_holds():
    from ase import Atoms
    from pymatgen.core import Structure

    cube = 4.0 * np.eye(3)
    with pytest.raises(DataError, match="partially occupied"):
        from_pymatgen(Structure(cube, [{"Fe": 0.5, "Ni": 0.5}], [[0, 0, 0]]))
    with pytest.raises(DataError, match="no element"):
        from_pymatgen([Structure(cube, ["X"], [[0, 0, 0]])], ["v"])
    with pytest.raises(DataError, match="three-dimensional"):
        from_ase(Atoms("Fe", pbc=False))
    with pytest.raises(DataError, match="2 names for 1"):
        from_ase(to_ase(textbook_crystals()[0]), ["a", "b"])
    charged = Structure(cube, ["Fe2+", "O2-"], [[0, 0, 0], [0.5, 0.5, 0.5]])
    assert from_pymatgen(charged).species.tolist() == [26, 8]


def test_a_folder_of_everything(tmp_path):
    """Nine ways to store the same perovskite; other and hidden files are passed over."""
    crystal = textbook_crystals()[40]
    text = to_cif(crystal)
    poscar, other = to_poscar(crystal), "not a structure"
    (tmp_path / "4").mkdir()
    (tmp_path / ".git").mkdir()
    for name, content in {
        "1.cif": text, "3.vasp": poscar, "4/POSCAR": poscar, "5.xyz": to_extxyz(crystal),
        "6.json": json.dumps(to_pymatgen(crystal).as_dict()), "notes.txt": other,
        ".hidden.cif": other, ".git/a.cif": other,
    }.items():  # fmt: skip
        (tmp_path / name).write_text(content)
    (tmp_path / "2.cif.gz").write_bytes(gzip.compress(text.encode()))
    pl.DataFrame({"cif": [text]}).write_csv(tmp_path / "7.csv")
    pl.DataFrame({"CIF": [text], "mp_id": [12]}).write_parquet(tmp_path / "8.parquet")
    write_store(tmp_path / "9.crystals", textbook_crystals().take(np.array([40])))
    told: list[str] = []
    reading = read_structures(tmp_path, log=told.append)
    assert reading.rejects.rows() == []
    # Files of the folder come before those of the folders in it.
    expected = ["1", "2", "3", crystal.name, "6", "0", "12", crystal.name, "4"]
    assert reading.crystals.names.tolist() == expected
    assert all(same_atoms(found, crystal, 1e-8) for found in reading.crystals)
    assert told[-1] == "9 structures, 100%, 0 s left"


def test_properties_of_different_files_are_joined(tmp_path):
    one = {
        "material_id": ["007", "8"], "gap": [1.5, None], "stable": [True, False],
        "label": ["x", None], "mixed": [1, 2], "cif": [CIF] * 2, "long": ["y" * 300, ""],
    }  # fmt: skip
    two = {"id": ["a"], "label": ["z"], "mixed": ["w"], "cif": [CIF], "year": [1999]}
    pl.DataFrame(one).write_csv(tmp_path / "1.csv")
    pl.DataFrame(two).write_csv(tmp_path / "2.tsv", separator="\t")
    crystals = load_crystals([tmp_path / "1.csv", tmp_path / "2.tsv"])
    assert crystals.names.tolist() == ["007", "8", "a"]
    expected = {
        "gap": [1.5, np.nan, np.nan],
        "stable": [1.0, 0.0, np.nan],
        "label": ["x", "", "z"],
        "mixed": ["1.0", "2.0", "w"],
        "year": [np.nan, np.nan, 1999.0],
    }
    assert list(crystals.properties) == list(expected)
    for name, values in expected.items():
        np.testing.assert_array_equal(crystals.properties[name], values)
    assert load_crystals(tmp_path, properties=False).properties == {}


def test_names_of_files_and_numbers_of_frames(tmp_path):
    files = "mp-1.cif mp-1.2.cif.gz POSCAR_mp-1 CONTCAR-2.vasp a/POSCAR a/CONTCAR.gz x.extxyz"
    names = [name_of_file(Path("/data") / file) for file in files.split()]
    assert names == ["mp-1", "mp-1.2", "mp-1", "2", "a", "a", "x"]
    write_structures(replace(crystals_of(5), names=np.full(3, "")), tmp_path / "run.extxyz")
    text = (tmp_path / "run.extxyz").read_text()
    (tmp_path / "bad.extxyz").write_text(text.replace("Lattice", "Latice", 1))
    assert load_crystals(tmp_path / "run.extxyz").names.tolist() == ["run-0", "run-1", "run-2"]
    reading = read_structures(tmp_path / "bad.extxyz")
    assert reading.crystals.names.tolist() == ["bad-1", "bad-2"]
    assert reading.rejects.select("row", "name", "reason_code").rows() == [(0, "bad-0", "no_cell")]


def test_stores_are_checked_again_only_if_asked(tmp_path):
    crystals = textbook_crystals()
    heap = replace(crystals, coordinates=crystals.coordinates * 0.0)
    write_store(tmp_path / "a.crystals", heap)
    assert len(load_crystals(tmp_path / "a.crystals")) == 78
    reading = read_structures(tmp_path / "a.crystals", limits=Limits(max_atoms=4))
    codes = dict(zip(reading.rejects["row"], reading.rejects["reason_code"], strict=True))
    assert list(codes) == np.flatnonzero(crystals.counts > 1).tolist()
    for row, code in codes.items():
        assert (code == "too_many_atoms") == (crystals.counts[row] > 4)
    assert set(codes.values()) == {"too_many_atoms", "duplicate_atoms", "overlapping_atoms"}
    assert (reading.crystals.counts == 1).all()
    # Without limits everything passes.
    write_structures(replace(heap, lattices=crystals.lattices / 9), tmp_path / "a.csv")
    assert len(load_crystals(tmp_path / "a.csv", limits=NO_LIMITS)) == 78
    with pytest.raises(DataError, match="all structures were rejected, 78 of 78"):
        load_crystals(tmp_path / "a.csv")


def test_worker_processes_give_the_same_in_the_same_order(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "PATIENCE", 0.0)
    texts = [to_cif(crystal) for crystal in textbook_crystals()] * 60
    texts[17] = "rubbish"
    path = tmp_path / "set.parquet"
    pl.DataFrame({"cif": texts}).write_parquet(path)
    files = [(path, "parquet"), (path, "store"), (path, "parquet")]
    alone, shared = (
        list(module.read_in_order(read_sources(files), Limits(), workers)) for workers in (1, 2)
    )
    assert len(alone) == 5
    for (one, ours), (two, theirs) in zip(alone, shared, strict=True):
        assert (one.kind, one.rows) == (two.kind, two.rows)
        assert_same(ours.crystals, theirs.crystals)
        assert ours.rejects.rows() == theirs.rejects.rows()
