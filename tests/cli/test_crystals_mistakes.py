"""Every mistake with crystals gives one line, and nothing is left behind."""

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from calling import TINY, files_of, halve
from crystal_example import DNG, CrystalExample, options

from variolite.crystals.crystals import Crystal, Crystals
from variolite.crystals.files.store import write_store
from variolite.crystals.files.textbook import textbook_crystals
from variolite.crystals.files.writing import write_structures


@pytest.fixture
def copied(made, tmp_path):
    shutil.copytree(made.run, tmp_path / "copy")
    return CrystalExample(made.data, tmp_path / "copy")


# Recipes and options.


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--set", "model.latnt=3"), "did you mean latent?"),
        (("--set", "modle.latent=3"), "did you mean model?"),
        (("--set", "loss.coordinate=3"), "did you mean coordinates?"),
        (("--set", "prior.kinf=none"), "did you mean kind?"),
        (("--set", "split.teste=0.1"), "did you mean test?"),
        (("--set", "training.epoch=3"), "did you mean epochs?"),
        (("--set", "model.kind=transfromer"), "only the transformer: take kind away"),
        (("--set", "model.kind=cnn"), "only the transformer: take kind away"),
        (("--set", "prior.kind=gan"), "prior.kind"),
        (("--set", "prior.kind=mixture"), "the mixture prior was removed: set prior.kind=flow"),
        (("--set", "prior.kind=flow", "--set", "prior.atoms=9"), "unknown key 'prior.atoms'"),
        (("--set", "split.by=color"), "split.by"),
        (("--set", "model.given=[lattice]"), "model.given"),
        (("--set", "model.width=33"), "no multiple of heads"),
        (("--set", "model.latent=0"), "model.latent"),
        (("--set", "training.epochs=many"), "training.epochs"),
        (("--set", "training.epochs"), "--set training.epochs"),
        (("--set", "clustering.k=[3]"), "unknown key 'clustering'"),
        (("--set", "properties=[mass]"), "no numeric property 'mass'"),
        (("--set", "properties=[space_grup]"), "did you mean space_group?"),
        (("--map", "a=b"), "--map: does not go with a run on crystals"),
        (("--members", "3"), "--members: does not go with a run on crystals"),
        (("--device", "abacus"), "no device called 'abacus'"),
        (("--seed", "99999999999999999999"), "training.seed"),
    ],
)
def test_options_that_make_no_sense(made, program, tmp_path, arguments, message):
    command = ("fit", DNG, "--data", made.data, "--out", tmp_path / "run", *options(), *arguments)
    assert message in program.fails(*command)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("extends: crystals/perov_5\nmodel: {latentt: 3}\n", "did you mean latent?"),
        (
            "extends: crystals/perov_5\nmodel: {kind: sourc}\n",
            "no network of kind 'sourc'",
        ),
        ("extends: crystals/perov5\n", "did you mean crystals/perov_5?"),
        ("extends: crystals/source\nmodel: {kind: source}\n", "no network of kind 'source'"),
        ("kind: crystal\n", "kind must be one of tabular, crystals"),
        ("kind: crystals\ncolumns: {a: {}}\n", "unknown key 'columns'"),
    ],
)
def test_recipes_that_cannot_be_read(made, program, tmp_path, content, message):
    recipe = tmp_path / "mine.yaml"
    recipe.write_text(content)
    command = ("fit", recipe, "--data", made.data, "--out", tmp_path / "run")
    assert message in program.fails(*command)
    assert not (tmp_path / "run").exists()
    assert "did you mean crystals/mp_20/vae_dng" in program.fails(
        "fit", "crystals/mp20/vae_dng", "--data", made.data, "--out", tmp_path / "run"
    )


# Structures.


def _nothing(folder):
    (folder / "empty").mkdir()
    return folder / "empty"


def _foreign(folder):
    (folder / "foreign").mkdir()
    (folder / "foreign" / "notes.txt").write_text("hello")
    return folder / "foreign"


def _broken(folder):
    (folder / "broken.cif").write_text("data_x\n_cell_length_a  oops\n")
    return folder / "broken.cif"


def _garbage(folder):
    (folder / "set.crystals").write_bytes(b"\x00\xff garbage")
    return folder / "set.crystals"


def _table(folder):
    (folder / "table.csv").write_text("a,b\n1,2\n3,4\n")
    return folder / "table.csv"


def _missing(folder):
    return folder / "missing.cif"


def _unknown(folder):
    (folder / "structure.docx").write_text("x")
    return folder / "structure.docx"


DATA: list[tuple[Callable[[Path], Path], str]] = [
    (_nothing, "no structures were found"),
    (_foreign, "no structures were found"),
    (_broken, "broken"),
    (_garbage, "not a store of crystals"),
    (_table, "cif"),
    (_missing, "no such file"),
    (_unknown, "ending of this file stands for no format"),
]


@pytest.mark.parametrize("command", ["fit", "encode", "reconstruct", "score", "prior"])
@pytest.mark.parametrize(("place", "message"), DATA)
def test_data_that_hold_no_structure(made, program, tmp_path, command, place, message):
    data = place(tmp_path)
    before, run = files_of(tmp_path), files_of(made.run)
    arguments: dict[str, tuple[object, ...]] = {
        "fit": ("fit", DNG, "--data", data, "--out", tmp_path / "out", *options()),
        "encode": ("encode", made.run, "--data", data, "--out", tmp_path / "out.csv"),
        "reconstruct": ("reconstruct", made.run, "--data", data, "--out", tmp_path / "out"),
        "score": ("score", made.run, "--data", data, "--workers", 0),
        "prior": ("crystals", "prior", made.run, "--data", data),
    }
    line = program.fails(*arguments[command])
    assert message in line
    assert str(tmp_path) in line
    assert files_of(tmp_path) == before
    assert files_of(made.run) == run


def test_structures_of_which_some_are_broken_are_used_and_told(made, program, tmp_path):
    write_structures(made.known.take(slice(0, 3)), tmp_path / "cifs")
    (tmp_path / "cifs" / "zzz.cif").write_text("garbage")
    answer = program("encode", made.run, "--data", tmp_path / "cifs", "--out", tmp_path / "z.csv")
    assert answer.code == 0
    assert "1 of 4 were rejected" in answer.err
    assert len((tmp_path / "z.csv").read_text().splitlines()) == 4


def test_too_few_structures(program, tmp_path):
    write_store(tmp_path / "two.crystals", textbook_crystals().take(slice(0, 2)))
    line = program.fails(
        *("fit", DNG, "--data", tmp_path / "two.crystals", "--out", tmp_path / "run", *options())
    )
    assert "2 groups cannot be split" in line
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("command", ["encode", "reconstruct"])
def test_an_element_that_the_run_never_saw(made, program, tmp_path, command):
    uranium = Crystal(np.array([92], np.uint8), np.zeros((1, 3)), 2.8 * np.eye(3), "alpha-U")
    write_structures(Crystals.of([uranium]), tmp_path / "u.csv")
    out = tmp_path / ("z.csv" if command == "encode" else "made")
    line = program.fails(command, made.run, "--data", tmp_path / "u.csv", "--out", out)
    assert "alpha-U: the model was not trained on U" in line
    assert not out.exists()


# Runs of the other kind, and options of the other kind.


def test_options_of_tables_with_a_run_on_crystals(made, program, tmp_path):
    out = tmp_path / "z.csv"
    for command, place in (("encode", out), ("reconstruct", tmp_path / "made")):
        use = (command, made.run, "--data", made.data, "--out", place)
        assert "--map: does not go with a run on crystals" in program.fails(*use, "--map", "a=b")
        assert "--member: does not go with a run on crystals" in program.fails(*use, "--member", 1)
    score = ("score", made.run, "--data", made.data)
    for more, message in (
        (("--map", "a=b"), "--map"),
        (("--levels", "coarse"), "--levels"),
        (("--transductive",), "--transductive: does not go with a run on crystals"),
        (("--test", made.data), "--test"),
        (("--reference", made.data), "--reference"),
        (("--hull", made.data), "--hull"),
        (("--relax-steps", 3), "--relax-steps"),
        (("--out", out), "--out"),
    ):
        assert message in program.fails(*score, *more)
    assert "Give --data PATH" in program.fails("score", made.run)
    assert list(tmp_path.iterdir()) == []


def test_runs_on_tables_given_to_what_is_for_crystals(example, made, program, tmp_path):
    out = tmp_path / "z.csv"
    assert "--atoms: does not go with a run on tables" in program.fails(
        "encode", example.run, "--data", example.data, "--out", out, "--atoms"
    )
    for more in (("--samples", 3), ("--workers", 0)):
        assert "does not go with a run on tables" in program.fails(
            "score", example.run, "--data", example.data, *more
        )
    assert "crystals prior needs a run on crystals, and this is one on tables" in program.fails(
        "crystals", "prior", example.run, "--data", made.data
    )
    assert "does not go with a run on tables" in program.fails(
        "generate", example.run, "-n", 1, "--out", out
    )
    assert not out.exists()


def test_runs_on_crystals_given_to_what_is_for_tables(example, made, program, tmp_path):
    out = tmp_path / "c.csv"
    line = program.fails("cluster", made.run, "--data", example.data, "--out", out)
    assert "`variolite cluster` does not go with a run on crystals" in line
    assert program("compare", made.run, example.run).code == 2
    assert program("compare", example.run, made.run).code == 2
    assert not out.exists()
    # Structures where a table is needed, and a table where structures are.
    assert program.fails("encode", example.run, "--data", made.data, "--out", out)
    assert program.fails("encode", made.run, "--data", example.data, "--out", out)
    assert program.fails(
        "fit", "corelogs/default", "--data", made.data, "--out", tmp_path / "run", *TINY
    )
    assert program.fails("fit", DNG, "--data", example.data, "--out", tmp_path / "run", *options())
    assert list(tmp_path.iterdir()) == []


def test_a_run_on_a_table_is_not_continued_as_one_on_crystals(example, made, program):
    before = files_of(example.run)
    line = program.fails("fit", DNG, "--data", made.data, "--out", example.run, *options())
    assert "a finished run is here already" in line
    assert files_of(example.run) == before


# Places.


def test_places_that_are_taken(made, program, tmp_path):
    (tmp_path / "file").write_text("kept")
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "chapter").write_text("one")
    fit = ("fit", DNG, "--data", made.data, *options(), "--out")
    assert "this is a file" in program.fails(*fit, tmp_path / "file")
    assert "is no run" in program.fails(*fit, tmp_path / "thesis")
    assert "is no run" in program.fails(*fit, tmp_path / "thesis", "--restart")
    assert "cannot write here" in program.fails(*fit, tmp_path / "file" / "run")
    use = ("reconstruct", made.run, "--data", made.data, "--out")
    assert "not an empty folder" in program.fails(*use, tmp_path / "thesis")
    assert "does not exist" in program.fails(*use, tmp_path / "no" / "made")
    assert "cannot be written as .docx" in program.fails(*use, tmp_path / "made.docx")
    encode = ("encode", made.run, "--data", made.data, "--out")
    assert "cannot be written" in program.fails(*encode, tmp_path / "z.docx")
    assert program.fails(*encode, tmp_path / "no" / "z.csv")
    assert "no run here" in program.fails(
        "encode", tmp_path / "thesis", "--data", made.data, "--out", tmp_path / "z.csv"
    )
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
def test_damaged_parts_of_a_run_are_named(copied, program, tmp_path, file, command, spoil):
    spoil(copied.run / file)
    before = files_of(tmp_path)
    arguments: dict[str, tuple[object, ...]] = {
        "encode": ("encode", copied.run, "--data", copied.data, "--out", tmp_path / "z.csv"),
        "reconstruct": ("reconstruct", copied.run, "--data", copied.data, "--out", tmp_path / "m"),
        "score": ("score", copied.run, "--data", copied.data, "--workers", 0),
        "prior": ("crystals", "prior", copied.run, "--data", copied.data),
    }
    line = program.fails(*arguments[command])
    assert str(copied.run) in line
    assert files_of(tmp_path) == before


def test_names_that_are_no_run_and_no_model(made, program, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    line = program.fails("encode", "nonsense", "--data", made.data, "--out", "z.csv")
    assert "nonsense: there is no run here" in line
    assert list(tmp_path.iterdir()) == []
