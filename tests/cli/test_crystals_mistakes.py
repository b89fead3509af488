"""Every mistake with crystals gives one line, and nothing is left behind."""

from pathlib import Path

import numpy as np
import pytest
from calling import TINY, files_of, halve
from crystal_example import DNG, options

from variolite.crystals.crystals import Crystal, Crystals
from variolite.crystals.files.store import write_store
from variolite.crystals.files.textbook import textbook_crystals
from variolite.crystals.files.writing import write_structures


def calls(run, data, folder):
    """The commands that read structures with a run, by name; what they write is in a folder."""
    return {
        "encode": ("encode", run, "--data", data, "--out", folder / "out.csv"),
        "reconstruct": ("reconstruct", run, "--data", data, "--out", folder / "out"),
        "score": ("score", run, "--data", data, "--workers", 0),
        "prior": ("crystals", "prior", run, "--data", data),
        "fit": ("fit", DNG, "--data", data, "--out", folder / "out", *options()),
    }


# Recipes and options.


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--set", "model.latnt=3"), "Did you mean latent?"),
        (("--set", "loss.coordinate=3"), "Did you mean coordinates?"),
        (("--set", "prior.kinf=none"), "Did you mean kind?"),
        (("--set", "model.kind=transfromer"), "only the transformer: take kind away"),
        (("--set", "prior.kind=gan"), "prior.kind"),
        (("--set", "prior.kind=mixture"), "the mixture prior was removed: set prior.kind=flow"),
        (("--set", "prior.kind=flow", "--set", "prior.atoms=9"), "unknown key 'prior.atoms'"),
        (("--set", "split.by=color"), "split.by"),
        (("--set", "model.given=[lattice]"), "model.given"),
        (("--set", "model.width=33"), "not a multiple of heads"),
        (("--set", "model.latent=0"), "model.latent"),
        (("--set", "clustering.k=[3]"), "unknown key 'clustering'"),
        (("--set", "properties=[mass]"), "no numeric property 'mass'"),
        (("--set", "properties=[space_grup]"), "Did you mean space_group?"),
        (("--map", "a=b"), "--map: does not go with a run on crystals"),
        (("--members", "3"), "--members: does not go with a run on crystals"),
        (("--device", "abacus"), "no device called 'abacus'"),
        (("--seed", "99999999999999999999"), "training.seed"),
    ],
)
def test_options_that_make_no_sense(made, program, tmp_path, arguments, message):
    assert message in program.fails(*calls(made.run, made.data, tmp_path)["fit"], *arguments)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("extends: crystals/perov_5\nmodel: {kind: sourc}\n", "no network of kind 'sourc'"),
        ("kind: crystal\n", "kind must be one of tabular, crystals"),
        ("kind: crystals\ncolumns: {a: {}}\n", "unknown key 'columns'"),
        (None, "Did you mean crystals/mp_20/vae_dng"),
    ],
)
def test_recipes_that_cannot_be_read(made, program, tmp_path, content, message):
    recipe = "crystals/mp20/vae_dng"
    if content:
        recipe = tmp_path / "mine.yaml"
        recipe.write_text(content)
    assert message in program.fails("fit", recipe, data=made.data, out=tmp_path / "run")
    assert not (tmp_path / "run").exists()


# Structures.


@pytest.mark.parametrize("command", ["fit", "encode", "reconstruct", "score", "prior"])
@pytest.mark.parametrize(
    ("place", "content", "message"),
    [
        ("empty", None, "no structures were found"),
        ("foreign/notes.txt", b"hello", "no structures were found"),
        ("broken.cif", b"data_x\n_cell_length_a  oops\n", "broken"),
        ("set.crystals", b"\x00\xff garbage", "not a store of crystals"),
        ("table.csv", b"a,b\n1,2\n3,4\n", "cif"),
        ("missing.cif", None, "no such file"),
        ("structure.docx", b"x", "ending of this file stands for no format"),
    ],
)
def test_data_that_hold_no_structure(made, program, tmp_path, command, place, content, message):
    data = tmp_path / Path(place).parts[0]
    if not data.suffix:
        data.mkdir()
    if content:
        (tmp_path / place).write_bytes(content)
    before, run = files_of(tmp_path), files_of(made.run)
    line = program.fails(*calls(made.run, data, tmp_path)[command])
    assert message in line
    assert str(tmp_path) in line
    assert files_of(tmp_path) == before
    assert files_of(made.run) == run


def test_structures_of_which_some_are_broken_are_used_and_told(made, program, tmp_path):
    write_structures(made.known.take(slice(0, 3)), tmp_path / "cifs")
    (tmp_path / "cifs" / "zzz.cif").write_text("garbage")
    answer = program.works("encode", made.run, data=tmp_path / "cifs", out=tmp_path / "z.csv")
    assert "1 of 4 were rejected" in answer.err
    assert len((tmp_path / "z.csv").read_text().splitlines()) == 4


def test_too_few_structures(program, tmp_path):
    write_store(tmp_path / "two.crystals", textbook_crystals().take(slice(0, 2)))
    line = program.fails(*calls("", tmp_path / "two.crystals", tmp_path)["fit"])
    assert "2 groups cannot be split" in line
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("command", ["encode", "reconstruct"])
def test_an_element_that_the_run_never_saw(made, program, tmp_path, command):
    uranium = Crystal(np.array([92], np.uint8), np.zeros((1, 3)), 2.8 * np.eye(3), "alpha-U")
    write_structures(Crystals.of([uranium]), tmp_path / "u.csv")
    line = program.fails(*calls(made.run, tmp_path / "u.csv", tmp_path)[command])
    assert "u.csv: the model was not trained on an element: U" in line
    assert [p.name for p in tmp_path.iterdir()] == ["u.csv"]


# Runs of the other kind, and options of the other kind.


@pytest.mark.parametrize(
    ("command", "arguments"),
    [
        *((c, more) for c in ("encode", "reconstruct") for more in ("--map a=b", "--member 1")),
        *(("score", more) for more in ("--map a=b", "--levels coarse", "--transductive")),
        *(("score", more) for more in ("--test x", "--reference x", "--out x")),
    ],
)
def test_options_of_tables_with_a_run_on_crystals(made, program, tmp_path, command, arguments):
    line = program.fails(*calls(made.run, made.data, tmp_path)[command], *arguments.split())
    option = arguments.split()[0]
    assert f"{option}: does not go with " in line
    assert list(tmp_path.iterdir()) == []


def test_energies_of_a_run_are_those_of_samples(made, program):
    score = ("score", made.run, "--data", made.data)
    for more, message in (
        (("--hull", "x"), "--hull: is for samples. Give --samples N too"),
        (("--samples", 2, "--relax-steps", 3), "--relax-steps: needs a potential"),
        (("--samples", 2, "--hull", "absent.csv"), "absent.csv"),
    ):
        assert message in program.fails(*score, *more)


def test_runs_on_tables_given_to_what_is_for_crystals(example, made, program, tmp_path):
    out = tmp_path / "z.csv"
    use, wrong = {"data": example.data}, "does not go with a run on tables"
    line = program.fails("encode", example.run, "--atoms", **use, out=out)
    assert f"--atoms: {wrong}" in line
    assert wrong in program.fails("score", example.run, **use, samples=3)
    assert wrong in program.fails("score", example.run, **use, workers=0)
    line = program.fails("crystals", "prior", example.run, data=made.data)
    assert "crystals prior needs a run on crystals, and this is one on tables" in line
    assert not out.exists()


def test_runs_on_crystals_given_to_what_is_for_tables(example, made, program, tmp_path):
    out = tmp_path / "c.csv"
    line = program.fails("cluster", made.run, data=example.data, out=out)
    assert "`variolite cluster` does not go with a run on crystals" in line
    assert program("compare", made.run, example.run).code == 2
    assert program("compare", example.run, made.run).code == 2
    # Structures where a table is needed, and a table where structures are.
    assert program.fails("encode", example.run, data=made.data, out=out)
    assert program.fails("encode", made.run, data=example.data, out=out)
    assert program.fails("fit", "corelogs/default", *TINY, data=made.data, out=tmp_path / "run")
    assert program.fails("fit", DNG, *options(), data=example.data, out=tmp_path / "run")
    assert list(tmp_path.iterdir()) == []


def test_a_run_on_a_table_is_not_continued_as_one_on_crystals(example, made, program):
    before = files_of(example.run)
    line = program.fails("fit", DNG, *options(), data=made.data, out=example.run)
    assert "a finished run is here already" in line
    assert files_of(example.run) == before


# Places.


@pytest.mark.parametrize(
    ("command", "out", "message"),
    [
        ("fit", "file", "this is a file"),
        ("fit", "thesis", "is not a run"),
        ("fit --restart", "thesis", "is not a run"),
        ("fit", "file/run", "cannot write here"),
        ("reconstruct", "thesis", "not an empty folder"),
        ("reconstruct", "made.docx", "cannot be written as .docx"),
        ("encode", "z.docx", "cannot be written"),
    ],
)
def test_places_that_are_taken(made, program, tmp_path, command, out, message):
    (tmp_path / "file").write_text("kept")
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "chapter").write_text("one")
    name, *more = command.split()
    settings = options() if name == "fit" else ()
    what = DNG if name == "fit" else made.run
    line = program.fails(name, what, *more, *settings, data=made.data, out=tmp_path / out)
    assert message in line
    assert {p.name for p in tmp_path.rglob("*")} == {"file", "thesis", "chapter"}


@pytest.mark.parametrize(
    ("file", "command"),
    [
        *(("model/model.json", c) for c in ("encode", "reconstruct", "score", "prior")),
        *(("model/weights.safetensors", c) for c in ("encode", "reconstruct", "score", "prior")),
        ("split.json", "score"),
        ("recipe.yaml", "score"),
        ("recipe.yaml", "prior"),
    ],
)
@pytest.mark.parametrize("spoil", [halve, lambda p: p.write_bytes(b"\x00\xffno")])
def test_damaged_parts_of_a_run_are_named(copied_crystals, program, tmp_path, file, command, spoil):
    run = copied_crystals.run
    spoil(run / file)
    before = files_of(tmp_path)
    assert str(run) in program.fails(*calls(run, copied_crystals.data, tmp_path)[command])
    assert files_of(tmp_path) == before


def test_names_that_are_no_run_and_no_model(made, program, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    line = program.fails("encode", "nonsense", data=made.data, out="z.csv")
    assert "nonsense: there is no run here" in line
    Path("thesis").mkdir()
    assert "no run here" in program.fails("encode", "thesis", data=made.data, out="z.csv")
    assert [p.name for p in tmp_path.iterdir()] == ["thesis"]
