"""Describe: MOF-5 among files that are no frameworks; rows, problems, and runs that resume."""

import json
import shutil
from pathlib import Path

import polars as pl
import pytest
from made_up_frameworks import BAD, MOF_5, write_frameworks

from variolite.errors import DataError, ShortfallError
from variolite.frameworks.assembly.unit_library import read_units
from variolite.frameworks.columns import CELL, split
from variolite.frameworks.description import describe
from variolite.frameworks.description.describe import COLUMNS, describe_files, read_frameworks_in
from variolite.frameworks.journal import Journal
from variolite.progress import Progress

for _module in ("mofstructure", "autografs", "rdkit"):
    pytest.importorskip(_module, reason=f"the package {_module} is not installed")


class Notes(Progress):
    """Progress whose notes are kept."""

    def __init__(self):
        self.lines = []

    def note(self, text):
        self.lines.append(text)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """Folder of a described folder of files, with the journal as it was before it was removed."""
    folder = tmp_path_factory.mktemp("frameworks")
    paths = [write_frameworks(folder / "cifs")]
    removed = Journal.remove

    def keep(journal):
        shutil.copy(journal.path, folder / "journal")
        removed(journal)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Journal, "remove", keep)
        describe_files(
            paths, folder / "out.parquet", units=folder / "units.xyz", workers=1, limit=300.0
        )
    return folder


@pytest.fixture
def rows(run):
    frame = pl.read_parquet(run / "out.parquet")
    assert dict(frame.schema) == dict(COLUMNS)
    return {row["name"]: row for row in frame.to_dicts()}


def test_mof_5_is_read_as_what_it_is(rows):
    row = rows["MOF-5"]

    # The primitive cell of a face-centred one.
    assert [row[name] for name in CELL] == pytest.approx([25.832 / 2**0.5] * 3 + [60] * 3, rel=1e-4)
    assert row["volume"] == pytest.approx(25.832**3 / 4, rel=1e-6)
    assert (row["formula"], row["atoms"], row["metals"]) == ("C48H24O26Zn8", 106, "Zn")
    assert row["linkers"] == "O=C(O)c1ccc(C(=O)O)cc1"
    assert row["linker_keys"] == "KKEYFWRCBNTPAC-UHFFFAOYSA-N"
    assert (row["linkers_by"], row["linkers_autografs"]) == ("both", None)
    assert (row["net"], row["catenation"], row["rods"]) == ("pcu", 1, 0)
    assert json.loads(row["units"]) == {"linker_C6H4_2X": 6, "node_C6O13Zn4_6X": 2}
    assert (row["nodes"], row["linker_units"]) == ("node_C6O13Zn4_6X", "linker_C6H4_2X")
    assert row["problem"] is None
    # Every zinc has four oxygens; the carboxyl carbons of a linker are 7 Angstrom apart or less.
    assert row["metal_coordination"] == 4
    assert 5.5 < row["linker_length"] < 7.5


def test_its_pores_are_as_published(rows):
    """CoRE MOF 2019, EDUSIF: 15.05, 7.92 Angstrom, 3,751 m2/g; density .59 g/cm3."""
    row = rows["MOF-5"]
    assert row["largest_cavity_diameter"] == pytest.approx(15.05, rel=0.01)
    assert row["pore_limiting_diameter"] == pytest.approx(7.92, rel=0.01)
    assert row["surface_area_mass"] == pytest.approx(3751, rel=0.02)
    assert row["void_fraction"] == pytest.approx(0.81, abs=0.01)
    assert row["density"] == pytest.approx(0.593, abs=0.002)


def test_a_molecule_is_no_framework(rows):
    row = rows["water"]
    assert "structure: molecules or loose atoms, no framework" in split(row["problem"])
    assert "metals: none" in split(row["problem"])
    assert row["linkers"] is row["net"] is row["units"] is row["metals"] is None
    assert row["largest_cavity_diameter"] > 5


@pytest.mark.parametrize(
    ("name", "problem"),
    [
        ("broken", "file: has no cell"),
        ("empty", "file: the text is empty"),
        ("disordered", "file: a site is not fully occupied"),
        ("without_symmetry", "file: the symmetry operations are missing"),
        ("overlapping", "file: atoms are too close"),
    ],
)
def test_what_cannot_be_read_is_a_row_with_the_reason(rows, name, problem):
    row = rows.pop(name)
    assert row["problem"].startswith(problem)
    assert row["file"].endswith(f"{name}.cif")
    others = set(COLUMNS) - {"name", "file", "family", "problem"}
    assert all(row[column] is None for column in others)
    assert len(rows) == len(BAD) + 1


def test_structures_have_their_own_file_and_what_is_doubtful_about_them(tmp_path):
    declared = "_chemical_formula_sum 'C48 H28 O26 Zn8'\nloop_"
    (tmp_path / "a.cif").write_text(MOF_5)
    (tmp_path / "b.cif").write_text(MOF_5.replace("loop_", declared, 1))
    (tmp_path / "c.cif").write_text(MOF_5 + MOF_5.replace("data_MOF-5", "data_a"))

    found = {(one.name, Path(one.file).name): one.problem for one in read_frameworks_in([tmp_path])}

    doubt = "file: the sites differ from the formula sum: H 96, not 112"
    assert found == {
        ("a", "a.cif"): "",
        ("b", "b.cif"): doubt,
        ("MOF-5", "c.cif"): "",
        ("a", "c.cif"): "",
    }


def test_units_are_written_for_the_assembler(run):
    library = read_units(run / "units.xyz")
    assert {name: unit.arms for name, unit in library.items()} == {
        "node_C6O13Zn4_6X": 6,
        "linker_C6H4_2X": 2,
    }


def test_the_journal_is_removed_with_the_end(run):
    assert not list(run.glob("*.unfinished"))


def continued(run, tmp_path, journal):
    out = tmp_path / "again.parquet"
    (tmp_path / "again.parquet.unfinished").write_text(journal)
    notes = Notes()
    frame = describe_files([run / "cifs"], out, workers=1, limit=300.0, progress=notes)
    return frame, notes.lines


def test_a_run_that_was_interrupted_resumes(run, tmp_path):
    lines = (run / "journal").read_text().splitlines(keepends=True)
    pores = [line for line in lines[1:] if json.loads(line)[0].endswith(" pores")]
    left = [line for line in lines if line != pores[0]]

    # One task is missing, and the last line was not finished.
    frame, notes = continued(run, tmp_path, "".join([*left, pores[0][:20]]))

    assert notes[0] == f"resumed: {len(lines) - 2} of {len(lines) - 1} are done"
    assert frame.equals(pl.read_parquet(run / "out.parquet"))


def test_every_task_that_failed_says_why(run):
    (framework,) = (f for f in read_frameworks_in([run / "cifs"]) if f.name == "MOF-5")
    found = {
        "pores": {"problem": "its process ended with exit code 1"},
        "linkers": {"problem": "time limit 60 s"},
        "units": {"problem": "ValueError: one; two"},
    }

    (row,) = describe.table_of([framework], [found]).to_dicts()

    assert split(row["problem"]) == (
        "pores: its process ended with exit code 1",
        "linkers: time limit 60 s",
        "units: ValueError: one, two",
    )
    assert row["name"] == "MOF-5"
    assert row["density"] is row["linkers"] is row["net"] is None


BIPYRIDINE, IMIDAZOLE, BROKEN = "c1cc(ccn1)c1ccncc1", "c1c[nH]cn1", "c1ccncc1.c1ccncc1C"


@pytest.mark.parametrize(
    ("one", "other", "by", "linkers", "autografs"),
    [
        ([BIPYRIDINE], [BIPYRIDINE], "both", "c1cc(-c2ccncc2)ccn1", None),
        ([BIPYRIDINE, "O=CO"], [BIPYRIDINE], "both", "O=CO;c1cc(-c2ccncc2)ccn1", None),
        ([BIPYRIDINE], [IMIDAZOLE], "differ", "c1cc(-c2ccncc2)ccn1", IMIDAZOLE),
        ([], [IMIDAZOLE], "autografs", IMIDAZOLE, None),
        ([BROKEN], [IMIDAZOLE], "autografs", IMIDAZOLE, None),
        ([IMIDAZOLE], None, "mofstructure", IMIDAZOLE, None),
        ([], [], None, None, None),
    ],
)
def test_who_read_the_linkers(run, one, other, by, linkers, autografs):
    (framework,) = (f for f in read_frameworks_in([run / "cifs"]) if f.name == "MOF-5")
    units = {"problem": "it did"}
    if other is not None:
        units = {"units": {}, "fragments": {}, "linkers": other, "nets": [], "tier": ""}
        units |= {"catenation": 1, "rods": 0}
    found = {"pores": {}, "linkers": {"linkers": one, "lengths": [], "nodes": []}, "units": units}

    (row,) = describe.table_of([framework], [found]).to_dicts()

    assert (row["linkers_by"], row["linkers"], row["linkers_autografs"]) == (by, linkers, autografs)


def test_nothing_to_read_is_an_error(tmp_path):
    with pytest.raises(DataError, match="no such file"):
        describe_files([tmp_path / "nowhere"], tmp_path / "out.csv")
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="no structures were found"):
        describe_files([tmp_path / "empty"], tmp_path / "out.csv")
    with pytest.raises(DataError, match="the table goes there"):
        describe_files([tmp_path / "empty"], tmp_path / "a.csv", units=tmp_path / "a.csv")
    bad = tmp_path / "broken.cif"
    bad.write_text(BAD["broken.cif"])
    with pytest.raises(ShortfallError, match="none of 1 structures could be read"):
        describe_files([bad], tmp_path / "out.csv", workers=1)
    assert (tmp_path / "out.csv").exists()
    assert not list((tmp_path / "empty").iterdir())


@pytest.mark.parametrize(
    ("name", "text", "reason"),
    [
        ("model/model.json", '{"kind": "assembly"}', "model.json: holds no structure"),
        ("table.csv", "name,net\nA,pcu\n", "table.csv: the file cannot be read"),
        ("units.xyz", "1\nnode_Zn_6X\nZn 0 0 0\n", "units.xyz: has no cell"),
    ],
)
def test_a_folder_of_other_things_is_refused(run, tmp_path, name, text, reason):
    folder, out = tmp_path / "run", tmp_path / "out.csv"
    (folder / name).parent.mkdir(parents=True)
    (folder / name).write_text(text)
    with pytest.raises(DataError, match=f"no structures were found. .*{reason}") as caught:
        describe_files([run / "cifs", folder], out, workers=1)
    assert caught.value.where == str(folder)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["run"]
    # Beside a file that ought to be a structure it is a row, with its reason.
    (folder / "broken.cif").write_text(BAD["broken.cif"])
    with pytest.raises(ShortfallError, match="none of 2 structures could be read"):
        describe_files([folder], out, workers=1)


def test_structures_of_one_file_that_are_called_alike_are_all_rows(tmp_path):
    path = tmp_path / "two.cif"
    path.write_text(BAD["without_symmetry.cif"] * 2)
    found = list(read_frameworks_in([path]))
    assert [one.name for one in found] == ["MOF-5", "MOF-5"]
    assert [one.file for one in found] == [str(path)] * 2


def test_why_files_were_not_read_is_said_with_what_to_do(run, tmp_path):
    folder = tmp_path / "cifs"
    folder.mkdir()
    for number in range(2):
        (folder / f"{number}.cif").write_text(
            BAD["without_symmetry.cif"].replace("25.832", f"25.8{number}")
        )
    (folder / "two.cif").write_text(BAD["overlapping.cif"])
    (folder / "near.cif").write_text(BAD["overlapping.cif"].replace(".01", ".02"))
    (folder / "empty.cif").write_text("")
    notes = Notes()
    with pytest.raises(ShortfallError):
        describe_files([folder], tmp_path / "out.csv", workers=1, progress=notes)
    assert notes.lines[1:] == [
        "2 x file: the symmetry operations are missing or incomplete. "
        "Add the symmetry operations, or export the structure in P 1",
        "2 x file: atoms are too close. "
        "Correct the coordinates; check that they fit the unit and the cell",
        "1 x file: the text is empty. Export the structure again",
    ]


def test_a_missing_package_is_named(tmp_path, monkeypatch):
    monkeypatch.setattr("variolite.optional.is_there", lambda module: False)
    with pytest.raises(DataError, match=r"mofstructure is needed .*'variolite\[frameworks\]'"):
        describe_files([tmp_path], tmp_path / "out.csv")
