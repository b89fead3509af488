"""``crystals interpolate``: a path between two structures, and mistakes told in one line."""

from dataclasses import replace

import numpy as np
import pytest
from crystal_example import untrained

from variolite.crystals.commands import find_crystal
from variolite.crystals.crystal_model import CrystalModel, load_crystal_model, save_crystal_model
from variolite.crystals.files.checks import NO_LIMITS
from variolite.crystals.files.reading import load_crystals
from variolite.crystals.files.textbook import textbook_crystals
from variolite.crystals.files.writing import write_structures as write
from variolite.crystals.generation.interpolation import interpolate

NAMES = ["NaCl (rock salt)", "MgO (rock salt)", "CaF2 (fluorite)", "Cu (fcc)"]


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """Two runs whose networks are not trained, one given the elements, and structures."""
    folder = tmp_path_factory.mktemp("paths")
    crystals = textbook_crystals()
    some = crystals.take(np.array([crystals.names.tolist().index(name) for name in NAMES]))
    for run, told in (("run", ()), ("told", ("species",))):
        module = untrained((8, 9, 11, 12, 17, 20), given=told)
        save_crystal_model(folder / run / "model", CrystalModel(module))
    write(some, folder / "some.extxyz")
    write(some, folder / "cifs")
    names = np.array(["twice", "twice", "CaF2: fluorite", "Cu"])
    write(replace(some, names=names), folder / "named.crystals")
    return folder


def ends(place):
    return [f"{place / 'some.extxyz'}:{name}" for name in NAMES[:2]]


@pytest.mark.parametrize("name", ["path.crystals", "path.extxyz", "path.csv", "path"])
def test_a_path_is_written_and_told(place, program, tmp_path, name):
    out = tmp_path / name
    path = ("crystals", "interpolate", place / "run", *ends(place))
    answer = program.works(*path, steps=5, out=out)
    assert answer.out == f"{out}\n"
    model = load_crystal_model(place / "run" / "model")
    some = load_crystals(place / "some.extxyz")
    expected = interpolate(model, some[0], some[1], 5)
    # Atoms of an untrained decoder may meet.
    found = load_crystals(out, limits=NO_LIMITS)
    np.testing.assert_allclose(found.volumes, expected.volumes, rtol=1e-4)
    lines = answer.err.splitlines()[-7:]
    assert lines[0].split("  ")[-1] == "change of latents"
    assert "Angstrom^3" in lines[1]
    table = [line.split() for line in lines[2:]]
    assert [row[0] for row in table] == ["0", "1", "2", "3", "4"]
    assert [float(row[2]) for row in table] == pytest.approx(expected.volumes / 2, abs=0.006)
    assert [len(row) for row in table] == [4, 5, 5, 5, 5]


def test_the_elements_are_told_and_a_path_may_be_straight(place, program, tmp_path):
    salt, out = place / "cifs" / "NaCl_(rock_salt).cif", tmp_path / "path.crystals"
    path = ("crystals", "interpolate", place / "told", salt, salt, "--path", "linear")
    answer = program.works(*path, steps=3, out=out)
    assert load_crystals(out).species.tolist() == [11, 17] * 3
    # Both ends are one crystal: nothing changes between them.
    assert {line.split()[-1] for line in answer.err.splitlines()[-2:]} == {"0.000"}


def test_structures_are_found_by_name(place):
    assert find_crystal(f"{place / 'named.crystals'}:CaF2: fluorite").species.tolist() == [20, 9, 9]
    assert len(find_crystal(str(place / "cifs" / "Cu_(fcc).cif"))) == 1


@pytest.mark.parametrize(
    ("first", "message"),
    [
        ("some.extxyz", "holds 4 structures. Say which with"),
        ("some.extxyz:NaCl rock salt", "Did you mean NaCl (rock salt)?"),
        ("some.extxyz:zirconia", "There are NaCl (rock salt), MgO"),
        ("named.crystals:twice", "2 structures are called 'twice'"),
        ("none.cif", "no such file"),
        ("none.cif:NaCl", "no such file"),
        ("cifs/CaF2_(fluorite).cif", "one crystal has 3 atoms and the other 2"),
        ("cifs/Cu_(fcc).cif", "one crystal has 1 atoms and the other 2"),
    ],
)
def test_mistakes_of_structures(place, program, tmp_path, first, message):
    out = tmp_path / "path.crystals"
    path = ("crystals", "interpolate", place / "run", place / first, ends(place)[1])
    assert message in program.fails(*path, out=out)
    assert not out.exists()


def test_other_mistakes(place, program, tmp_path, example):
    both, out, run = ends(place), tmp_path / "path.crystals", place / "run"
    copper = place / "cifs" / "Cu_(fcc).cif"
    for given, options, message in (
        ((place / "told", *both), {}, "differ in composition"),
        ((example.run, *both), {}, "one on tables"),
        ((tmp_path, *both), {}, "no run here"),
        ((run, *both), {"path": "round"}, "no path 'round'"),
        ((run, *both), {"device": "gpu"}, "no device called"),
        ((run, *both), {"out": tmp_path / "path.docx"}, "cannot be written as .docx"),
        ((run, copper, copper), {}, "not trained on Cu"),
    ):
        line = program.fails("crystals", "interpolate", *given, **{"out": out, **options})
        assert message in line
    assert program("crystals", "interpolate", run, *both, out=out, steps=1).code == 2
    assert not out.exists()
