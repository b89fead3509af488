"""What the user has stays: data are not written over, models of the package not changed.

And what cannot end well is said before a network is trained.
"""

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from calling import files_of
from crystal_example import DNG, options

from variolite import shipped
from variolite.crystals.field import DEMO_MODEL
from variolite.crystals.files.store import write_store
from variolite.crystals.files.textbook import textbook_crystals
from variolite.crystals.files.writing import write_structures


@pytest.fixture
def package(made, tmp_path, monkeypatch):
    """A package that comes with the run of the example, as the model ``tiny``."""
    shutil.copytree(made.run, tmp_path / "package" / "models" / "tiny")
    monkeypatch.setattr(shipped, "_root", lambda: tmp_path / "package" / "models")
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    return tmp_path / "package"


# Data.


@pytest.mark.parametrize("name", ["set.csv", "set.crystals"])
@pytest.mark.parametrize("linked", [False, True])
def test_data_are_not_written_over(made, program, tmp_path, name, linked):
    data = tmp_path / name
    write_structures(made.known.take(slice(0, 3)), data)
    out = tmp_path / f"link{data.suffix}" if linked else data
    if linked:
        out.symlink_to(data)
    before = files_of(tmp_path)
    for command in (
        ("reconstruct", made.run, "--data", data, "--out", out),
        ("encode", made.run, "--data", data, "--out", out),
        ("score", "--structures", data, "--reference", made.data, "--out", out),
        ("score", "--structures", made.data, "--reference", data, "--out", out),
        ("crystals", "pack", data, "--out", tmp_path / "new.crystals", "--rejects", out),
        ("crystals", "interpolate", made.run, f"{data}:a", f"{made.data}:b", "--out", out),
        ("crystals", "interpolate", made.run, made.data, data, "--out", out),
    ):
        line = program.fails(*command)
        assert "this is what is read" in line
        assert str(out) in line
    assert files_of(tmp_path) == before


def test_texts_that_are_read_are_not_written_over(program, tmp_path):
    recipe, table = tmp_path / "source.yaml", tmp_path / "table.csv"
    recipe.write_text("latent_dim: 8\n")
    table.write_text("a,b\n1,2\n3,4\n")
    before = files_of(tmp_path)
    assert "is what is read" in program.fails("recipes", "import", recipe, out=recipe)
    assert "is what is read" in program.fails("schema", table, out=table)
    assert "is what is read" in program.fails("corelogs", "bin", table, out=table)
    assert files_of(tmp_path) == before


# Models of the package.


def test_scores_of_a_model_of_the_package_go_to_a_copy(made, program, package):
    before, mine = files_of(package), Path("runs/tiny")
    score = ("score", "tiny", "--data", made.data, "--workers", 0)
    mine.mkdir(parents=True)
    (mine / "thesis").write_text("one")
    line = program.fails(*score)
    assert "runs/tiny: is there already, and not an empty folder" in line
    assert [p.name for p in mine.iterdir()] == ["thesis"]
    (mine / "thesis").unlink()
    for _ in range(2):
        answer = program.works(*score, "--no-baselines", "--json")
        assert "tiny comes with the package and is not changed" in answer.err
    assert (mine / "scorecard.json").is_file()
    (mine / "report.html").unlink()
    assert program("report", "tiny").out == "runs/tiny/report.html\n"
    assert program.works("crystals", "prior", "tiny", data=made.data).out == "runs/tiny\n"
    assert files_of(package) == before
    assert program.fails("report", "tinny").startswith("variolite: tinny")


def test_an_installation_without_models_says_so(program, tmp_path, monkeypatch):
    monkeypatch.setattr(shipped, "_root", lambda: tmp_path / "nothing")
    line = program.fails("demo", "crystals", out=tmp_path / "out")
    assert "did not come with this installation" in line
    assert not (tmp_path / "out").exists()


@pytest.mark.skipif(
    DEMO_MODEL not in shipped.shipped_models(), reason="no model comes with the package yet"
)
def test_the_demo_leaves_a_page_and_structures(program, tmp_path):
    out = tmp_path / "demo"
    answer = program.works("demo", "crystals", out=out)
    assert Path(answer.out.strip()).is_file()
    names = {entry.name for entry in (out / "crystals").iterdir()}
    assert {"originals.extxyz", "reconstructed.extxyz", "samples.extxyz", "scorecard.json"} <= names
    assert "none was relaxed" in answer.err


# Before training.


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (["cubic"] * 78, "'mass' is text, not numbers"),
        ([np.nan] * 78, "training crystals have a value of 'mass', at least 50 are needed"),
        ([1.0] * 40 + [np.nan] * 38, "training crystals have a value of 'mass'"),
    ],
)
def test_properties_that_cannot_be_learned_are_told_before_training(
    program, tmp_path, values, message
):
    data, out = tmp_path / "set.crystals", tmp_path / "run"
    write_store(data, replace(textbook_crystals(), properties={"mass": np.array(values)}))
    assert message in program.fails("fit", DNG, *options("properties=[mass]"), data=data, out=out)
    assert not out.exists()


def test_the_health_of_a_few_structures_is_not_examined(made, program, tmp_path):
    write_structures(made.known.take(slice(0, 2)), tmp_path / "two.extxyz")
    line = program.fails("doctor", made.run, data=tmp_path / "two.extxyz")
    assert "2 structures are too few to examine latents. Give 20 or more." in line
    assert "Give --data PATH" in program.fails("doctor", made.run)
