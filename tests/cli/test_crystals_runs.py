"""fit, encode, reconstruct, score and crystals prior on structures, as a shell calls them."""

import json
import shutil
from dataclasses import replace

import numpy as np
import polars as pl
import pytest
from calling import run_program
from crystal_example import DNG, CrystalExample, options

from variolite.cli import runs
from variolite.crystals.elements import reduced_formulas
from variolite.crystals.files.reading import load_crystals
from variolite.crystals.files.store import write_store
from variolite.crystals.files.textbook import textbook_crystals
from variolite.crystals.files.writing import file_names, write_structures
from variolite.training import RunFolder
from watched import Watched


@pytest.fixture(scope="module")
def made(short_priors, tmp_path_factory):
    folder = tmp_path_factory.mktemp("crystals")
    crystals = textbook_crystals()
    energy = -np.log(crystals.volumes / crystals.counts)
    data = folder / "textbook.crystals"
    write_store(data, replace(crystals, properties={**crystals.properties, "energy": energy}))
    found = CrystalExample(data, folder / "run")
    fit = ("fit", DNG, "--data", data, "--out", found.run, *options("properties=[energy]"))
    run_program(*fit)
    return found


pytestmark = pytest.mark.usefixtures("short_priors")


@pytest.fixture
def spoilt(made, tmp_path):
    """The example with a copy of its run that a test may change."""
    shutil.copytree(made.run, tmp_path / "run")
    return CrystalExample(made.data, tmp_path / "run")


@pytest.fixture(scope="module")
def cifs(made, tmp_path_factory):
    """Six structures that the run knows, a CIF each."""
    folder = tmp_path_factory.mktemp("given") / "cifs"
    write_structures(made.known.take(slice(3, 9)), folder)
    return folder


# fit


def test_fitting_tells_what_it_does_and_prints_the_run(made, program, tmp_path):
    out = tmp_path / "run"
    answer = program("fit", DNG, "--data", made.data, "--out", out, *options(), "--seed", 3)
    assert answer.code == 0, answer.err
    assert answer.out == f"{out}\n"
    for words in (
        "structures, split by formula",
        "weights",
        "epoch 1/2",
        "position error median angstrom",
    ):
        assert words in answer.err
    assert RunFolder(out).recipe().training.seed == 3
    assert (out / "recipe.yaml").is_file()
    again = program.fails("fit", DNG, "--data", made.data, "--out", out, *options())
    assert "a finished run is here already" in again
    command = ("fit", DNG, "--data", made.data, "--out", out, *options(), "--restart")
    assert program(*command).code == 0
    assert RunFolder(out).recipe().training.seed == 0


def test_property_scores_are_told(made, program, tmp_path):
    command = ("fit", DNG, "--data", made.data, "--out", tmp_path / "run")
    answer = program(*command, *options("properties=[energy]"))
    assert "energy: mean error" in answer.err


def test_an_interrupted_fit_goes_on(made, program, tmp_path, monkeypatch):
    def stop(record):
        if record.epoch == 1:
            raise KeyboardInterrupt

    out = tmp_path / "run"
    command = ("fit", DNG, "--data", made.data, "--out", out, *options("training.epochs=4"))
    with monkeypatch.context() as patch:
        patch.setattr(runs, "PROGRESS", Watched(epoch=stop))
        line = program.fails(*command)
    assert "stopped by the user in epoch 2 of 4" in line
    assert "the same command again to resume" in line
    unfinished = program.fails("encode", out, "--data", made.data, "--out", tmp_path / "z.csv")
    assert "not finished" in unfinished
    assert program(*command).code == 0
    whole = tmp_path / "whole"
    command = ("fit", DNG, "--data", made.data, "--out", whole, *options("training.epochs=4"))
    assert program(*command).code == 0
    one, two = (RunFolder(place).model().encode(made.known).mean for place in (out, whole))
    np.testing.assert_array_equal(one, two)


@pytest.mark.parametrize("name", ["set.csv", "set.extxyz", "set"])
def test_fitting_on_any_format(program, tmp_path, name):
    write_structures(textbook_crystals(), tmp_path / name)
    answer = program("fit", DNG, "--data", tmp_path / name, "--out", tmp_path / "run", *options())
    assert answer.code == 0, answer.err


# encode


def test_latents_of_structures_and_of_atoms(made, program, tmp_path):
    known = made.known
    write_store(tmp_path / "known.crystals", known)
    encode = ("encode", made.run, "--data", tmp_path / "known.crystals", "--out")
    assert program(*encode, tmp_path / "z.csv").code == 0
    assert program(*encode, tmp_path / "atoms.parquet", "--atoms").code == 0
    latents = RunFolder(made.run).model().encode(known)
    table = pl.read_csv(tmp_path / "z.csv")
    assert table.columns == [
        *("name", "formula", "atoms", "z0", "z1", "z2", "z3"),
        *("energy_predicted", "energy_low", "energy_high"),
    ]
    assert table["name"].to_list() == known.names.tolist()
    assert table["formula"].to_list() == reduced_formulas(known).tolist()
    np.testing.assert_allclose(table.select("^z.*$").to_numpy(), latents.pooled, rtol=1e-4)
    assert (table["energy_low"] <= table["energy_predicted"]).all()
    assert (table["energy_predicted"] <= table["energy_high"]).all()
    atoms = pl.read_parquet(tmp_path / "atoms.parquet")
    assert atoms.columns == [
        *("name", "atom", "element", "z0", "z1", "z2", "z3", "sd0", "sd1", "sd2", "sd3")
    ]
    np.testing.assert_array_equal(atoms.select("^z.$").to_numpy(), latents.mean)
    assert latents.log_variance is not None
    np.testing.assert_allclose(
        atoms.select("^sd.$").to_numpy(), np.exp(0.5 * latents.log_variance), rtol=1e-5
    )
    assert atoms["name"].to_list() == known.names[known.owner].tolist()
    assert atoms.group_by("name", maintain_order=True).agg(pl.col("atom"))["atom"].to_list() == [
        list(range(n)) for n in known.counts
    ]


# reconstruct


def test_a_folder_of_cifs_comes_back_under_the_same_names(made, program, cifs, tmp_path):
    out = tmp_path / "made"
    answer = program("reconstruct", made.run, "--data", cifs, "--out", out)
    assert answer.code == 0, answer.err
    assert answer.out == f"{out}\n"
    assert sorted(p.name for p in out.iterdir()) == sorted(p.name for p in cifs.iterdir())
    expected = RunFolder(made.run).model().reconstruct(load_crystals(cifs))
    # What a generator got wrong is read without the limits of real structures.
    from variolite.crystals.files.checks import Limits
    from variolite.crystals.files.reading import read_structures

    anything = Limits(min_distance=0.0, volume_per_atom=(0.0, np.inf), lengths=(0.0, np.inf))
    found = read_structures([out], limits=anything).crystals
    assert found.names.tolist() == expected.names.tolist()
    np.testing.assert_allclose(found.volumes, expected.volumes, rtol=1e-4)
    np.testing.assert_array_equal(found.species, expected.species)
    assert file_names(expected.names) == sorted(p.stem for p in out.iterdir())


@pytest.mark.parametrize("name", ["made.extxyz", "made.csv", "made.crystals"])
def test_one_file_instead_of_a_folder(made, program, cifs, tmp_path, name):
    out = tmp_path / name
    assert program("reconstruct", made.run, "--data", cifs, "--out", out).code == 0
    assert out.is_file()
    assert [p.name for p in tmp_path.iterdir()] == [name]


# score


def test_scoring_prints_a_table_and_writes_the_page(spoilt, program):
    score = ("score", spoilt.run, "--data", spoilt.data, "--workers", 0)
    answer = program(*score)
    assert answer.code == 0, answer.err
    assert answer.out.startswith("reconstruction of held-out structures")
    assert "random_coordinates" in answer.out
    for name in ("scorecard.json", "held_out.parquet", "originals.crystals", "report.html"):
        assert (spoilt.run / name).is_file()
    split = RunFolder(spoilt.run).split()
    held = pl.read_parquet(spoilt.run / "held_out.parquet")
    assert set(held["formula"]) == set(split.test)
    answer = program(*score, "--json", "--no-baselines")
    card = json.loads(answer.out)
    assert {row["method"] for row in card["rows"]} == {"vae"}


def test_scoring_on_other_structures_says_what_they_share(spoilt, program, cifs):
    answer = program("score", spoilt.run, "--data", cifs, "--no-baselines", "--workers", 0)
    assert answer.code == 0, answer.err
    assert "of 6 structures have a formula that a structure of training or validation has" in (
        answer.out
    )
    other = program(*("score", spoilt.run, "--data", cifs, "--train", spoilt.data, "--workers", 0))
    assert "nearest_template" in other.out


# crystals prior


def test_fitting_the_prior_anew(spoilt, program, tmp_path):
    assert "no prior" in program.fails(
        "generate", spoilt.run, "-n", 2, "--out", tmp_path / "made.crystals"
    )
    command = ("crystals", "prior", spoilt.run, "--data", spoilt.data)
    answer = program(
        *command,
        *("--set", "prior.kind=flow", "--set", "prior.width=16", "--set", "prior.epochs=2"),
    )
    assert answer.code == 0, answer.err
    assert answer.out == f"{spoilt.run}\n"
    assert "prior: numbers of atoms and compositions" in answer.err
    model = RunFolder(spoilt.run).model()
    assert model.prior is not None
    assert model.properties is not None
    assert RunFolder(spoilt.run).recipe().prior.kind == "flow"


def test_what_the_prior_command_refuses(made, program, cifs, tmp_path):
    before = {p: p.read_bytes() for p in made.run.rglob("*") if p.is_file()}
    command = ("crystals", "prior", made.run, "--data")
    assert "can no longer change" in program.fails(*command, made.data, "--set", "model.width=9")
    assert "did you mean kind" in program.fails(*command, made.data, "--set", "prior.kin=flow")
    write_store(tmp_path / "fewer.crystals", made.crystals.take(slice(0, 60)))
    fewer = program.fails(*command, tmp_path / "fewer.crystals")
    assert "not the structures that the run was trained from" in fewer
    other = program.fails(*command, cifs)
    assert "not the structures that the run was trained from" in other
    assert "no run here" in program.fails("crystals", "prior", tmp_path, "--data", made.data)
    assert {p: p.read_bytes() for p in made.run.rglob("*") if p.is_file()} == before
