"""fit, encode, reconstruct, score and crystals prior on structures, as a shell calls them."""

import json
import signal
from dataclasses import replace
from functools import partial

import numpy as np
import polars as pl
import pytest
from calling import files_of, run_program
from crystal_example import DNG, CrystalExample, options

from variolite.cli import runs
from variolite.crystals import commands
from variolite.crystals.elements import reduced_formulas
from variolite.crystals.files.checks import NO_LIMITS
from variolite.crystals.files.reading import load_crystals
from variolite.crystals.files.store import write_store
from variolite.crystals.files.textbook import textbook_crystals
from variolite.crystals.files.writing import file_names, write_structures
from variolite.training import RunFolder
from watched import Watched

PRIOR = ("prior.kind=flow", "prior.epochs=4", "prior.width=16", "prior.layers=1", "prior.heads=2")
ENERGY = "properties=[energy]"

pytestmark = pytest.mark.usefixtures("short_priors")


@pytest.fixture(scope="module")
def made(short_priors, tmp_path_factory):
    folder = tmp_path_factory.mktemp("crystals")
    crystals = textbook_crystals()
    energy = -np.log(crystals.volumes / crystals.counts)
    data = folder / "textbook.crystals"
    write_store(data, replace(crystals, properties={**crystals.properties, "energy": energy}))
    found = CrystalExample(data, folder / "run")
    run_program("fit", DNG, "--data", data, "--out", found.run, *options(ENERGY))
    return found


@pytest.fixture(scope="module")
def cifs(made, tmp_path_factory):
    """Six structures that the run knows, a CIF each."""
    folder = tmp_path_factory.mktemp("given") / "cifs"
    write_structures(made.known.take(slice(3, 9)), folder)
    return folder


# fit


def test_fitting_tells_what_it_does_and_prints_the_run(made, program, tmp_path):
    out = tmp_path / "run"
    fit = partial(program, "fit", DNG, *options(ENERGY), data=made.data, out=out)
    answer = fit("--seed", 3)
    assert (answer.code, answer.out) == (0, f"{out}\n"), answer.err
    for words in (
        *("structures, split by formula", "weights", "epoch 1/2"),
        *("position error median angstrom", "energy: mean error"),
    ):
        assert words in answer.err
    assert RunFolder(out).recipe().training.seed == 3
    assert "a finished run is here already" in program.fails(*fit.args, **fit.keywords)
    assert fit("--restart").code == 0
    assert RunFolder(out).recipe().training.seed == 0


def _stopping_at(words):
    """Progress that is interrupted at the first step that mentions ``words``."""

    def step(text):
        if words in str(text):
            signal.raise_signal(signal.SIGINT)

    return Watched(step, step)


@pytest.mark.parametrize(
    ("words", "settings", "message"),
    [
        ("epoch=1,", ("training.epochs=4",), "stopped in epoch 2 of 4. Give the same"),
        ("epoch 2", (*PRIOR, ENERGY), "in epoch 2 of 4 of the prior. Give the same"),
        ("numbers of atoms", PRIOR, "stopped by SIGINT"),
        ("fitting properties", (ENERGY,), "stopped by SIGINT"),
    ],
)
def test_an_interrupted_fit_goes_on_and_ends_the_same(
    made, program, tmp_path, monkeypatch, words, settings, message
):
    out, whole, samples = (tmp_path / name for name in ("run", "whole", "made.csv"))
    fit = ("fit", DNG, "--data", made.data, *options(*settings), "--out")
    with monkeypatch.context() as patch:
        patch.setattr(runs, "PROGRESS", _stopping_at(words))
        answer = program(*fit, out)
    assert answer.code == 130
    assert message in answer.last
    if words == "epoch=1,":
        assert "not finished" in program.fails("encode", out, data=made.data, out=samples)
    if "prior.kind=flow" in settings:
        line = program.fails("generate", out, "-n", 2, out=samples)
        assert "give the same command again" in line
    assert not samples.exists()
    told = program.works(*fit, out).err
    assert ("the network is trained already" in told) == (words != "epoch=1,")
    program.works(*fit, whole)
    weights = [run / "model" / "weights.safetensors" for run in (out, whole)]
    assert weights[0].read_bytes() == weights[1].read_bytes()
    assert not (out / "checkpoint").exists()
    assert "a finished run is here already" in program.fails(*fit, out)


@pytest.mark.parametrize("name", ["set.csv", "set.extxyz", "set"])
def test_fitting_on_any_format(program, tmp_path, name):
    write_structures(textbook_crystals(), tmp_path / name)
    program.works("fit", DNG, *options(), data=tmp_path / name, out=tmp_path / "run")


# encode


def test_latents_of_structures_and_of_atoms(made, program, tmp_path):
    known = made.known
    write_store(tmp_path / "known.crystals", known)
    encode = partial(program.works, "encode", made.run, data=tmp_path / "known.crystals")
    encode(out=tmp_path / "z.csv")
    encode("--atoms", out=tmp_path / "atoms.parquet")
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
    axes = ("z0", "z1", "z2", "z3", "sd0", "sd1", "sd2", "sd3")
    assert atoms.columns == ["name", "atom", "element", *axes]
    np.testing.assert_array_equal(atoms.select("^z.$").to_numpy(), latents.mean)
    spreads = np.exp(0.5 * latents.log_variance)
    np.testing.assert_allclose(atoms.select("^sd.$").to_numpy(), spreads, rtol=1e-5)
    assert atoms["name"].to_list() == known.names[known.owner].tolist()
    assert atoms["atom"].to_list() == [i for n in known.counts for i in range(n)]


# reconstruct


def test_a_folder_of_cifs_comes_back_under_the_same_names(made, program, cifs, tmp_path):
    out = tmp_path / "made"
    answer = program.works("reconstruct", made.run, data=cifs, out=out)
    assert answer.out == f"{out}\n"
    assert sorted(p.name for p in out.iterdir()) == sorted(p.name for p in cifs.iterdir())
    expected = RunFolder(made.run).model().reconstruct(load_crystals(cifs))
    # What a generator got wrong is read without the limits of real structures.
    found = load_crystals(out, limits=NO_LIMITS)
    assert found.names.tolist() == expected.names.tolist()
    np.testing.assert_allclose(found.volumes, expected.volumes, rtol=1e-4)
    np.testing.assert_array_equal(found.species, expected.species)
    assert file_names(expected.names) == sorted(p.stem for p in out.iterdir())


@pytest.mark.parametrize("name", ["made.extxyz", "made.csv", "made.crystals"])
def test_one_file_instead_of_a_folder(made, program, cifs, tmp_path, name):
    out = tmp_path / name
    program.works("reconstruct", made.run, data=cifs, out=out)
    assert out.is_file()
    assert [p.name for p in tmp_path.iterdir()] == [name]


# score


def test_scoring_prints_a_table_and_writes_the_page(copied_crystals, program, cifs):
    run = copied_crystals.run
    score = partial(program.works, "score", run, workers=0)
    answer = score(data=copied_crystals.data)
    assert answer.out.startswith("reconstruction of held-out structures")
    assert "random_coordinates" in answer.out
    for name in ("scorecard.json", "held_out.parquet", "originals.crystals", "report.html"):
        assert (run / name).is_file()
    held = pl.read_parquet(run / "held_out.parquet")
    assert set(held["formula"]) == set(RunFolder(run).split().test)
    card = json.loads(score("--json", "--no-baselines", data=copied_crystals.data).out)
    assert {row["method"] for row in card["rows"]} == {"vae"}
    # On other structures it says what they share with those of training.
    said = "of 6 structures have a formula that a structure of training or validation has"
    assert said in score("--no-baselines", data=cifs).out
    assert "nearest_template" in score(data=cifs, train=copied_crystals.data).out


# crystals prior


def test_fitting_the_prior_anew(copied_crystals, program, tmp_path):
    run, settings = copied_crystals.run, ("prior.kind=flow", "prior.width=16", "prior.epochs=2")
    assert "no prior" in program.fails("generate", run, "-n", 2, out=tmp_path / "made.crystals")
    more = (part for change in settings for part in ("--set", change))
    answer = program.works("crystals", "prior", run, *more, data=copied_crystals.data)
    assert answer.out == f"{run}\n"
    assert "prior: numbers of atoms and compositions" in answer.err
    model = RunFolder(run).model()
    assert model.prior is not None
    assert model.properties is not None
    assert RunFolder(run).recipe().prior.kind == "flow"


def test_a_prior_that_was_broken_off_is_in_the_way_of_no_other(
    copied_crystals, program, monkeypatch
):
    run = copied_crystals.run
    prior = ["crystals", "prior", run, "--data", copied_crystals.data]
    prior += [part for change in PRIOR for part in ("--set", change)]
    with monkeypatch.context() as patch:
        patch.setattr(commands, "PROGRESS", _stopping_at("epoch 2"))
        assert "Give the same command again to resume" in program(*prior).last
    assert list((run / "checkpoint").iterdir())
    program.works(*prior, "--set", "prior.learning_rate=0.01")
    assert not (run / "checkpoint").exists()


def test_what_the_prior_command_refuses(made, program, cifs, tmp_path):
    before, fewer = files_of(made.run), tmp_path / "fewer.crystals"
    fails = partial(program.fails, "crystals", "prior", made.run)
    assert "can no longer change" in fails("--set", "model.width=9", data=made.data)
    assert "Did you mean kind" in fails("--set", "prior.kin=flow", data=made.data)
    write_store(fewer, made.crystals.take(slice(0, 60)))
    for data in (fewer, cifs):
        assert "not the structures that the run was trained from" in fails(data=data)
    assert "no run here" in program.fails("crystals", "prior", tmp_path, data=made.data)
    assert files_of(made.run) == before
