"""``variolite generate``: exactly as many structures as wanted, and mistakes told in one line."""

from dataclasses import replace

import numpy as np
import polars as pl
import pytest
from crystal_example import untrained

from variolite.crystals.crystal_model import CrystalModel, save_crystal_model
from variolite.crystals.crystals import Crystal, Crystals
from variolite.crystals.elements import reduced_formulas
from variolite.crystals.field import parse_conditions
from variolite.crystals.files.reading import load_crystals
from variolite.crystals.generation.prior import fit_prior
from variolite.crystals.generation.properties import fit_property_head
from variolite.crystals.recipe import PriorSpec
from variolite.errors import DataError

SALT = np.array([[0.0, 0.0, 0.0], [0.5, 0.5, 0.5]])
ENERGY = ("energy",)


def salts(number):
    """Cells like that of caesium chloride, of four compositions, with an energy."""
    random = np.random.default_rng(0)
    pairs = np.array([(3, 9), (3, 17), (11, 9), (11, 17)], np.uint8)
    crystals = Crystals.of(
        Crystal(random.choice(pairs), SALT, random.uniform(3.5, 4.5) * np.eye(3))
        for _ in range(number)
    )
    energy = crystals.volumes + random.normal(size=number)
    return replace(crystals, properties={"energy": energy})


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run whose network is not trained: its cells and distances are sound all the same."""
    folder = tmp_path_factory.mktemp("crystals") / "run"
    crystals = salts(80)
    module = untrained((3, 9, 11, 17), given=("species",))
    bare = CrystalModel(module)
    latents = bare.encode(crystals)
    prior = fit_prior(latents, crystals, PriorSpec(width=16, layers=1, heads=2, epochs=2), ENERGY)
    head = fit_property_head(latents, crystals, ENERGY, units={"energy": "eV/atom"})
    save_crystal_model(folder / "model", CrystalModel(module, prior, head))
    save_crystal_model(folder.with_name("bare") / "model", bare)
    return folder


@pytest.mark.parametrize("name", ["made.crystals", "made.csv", "made"])
def test_exactly_n_are_written(run, program, tmp_path, name):
    out = tmp_path / name
    answer = program.works("generate", run, "-n", 7, out=out, steps=2, tries=50)
    assert answer.out == f"{out}\n"
    assert "attempts were valid" in answer.err
    assert "predicted: energy in eV/atom\n" in answer.err
    assert len(load_crystals(out)) == 7
    if name.endswith(".csv"):
        assert pl.read_csv(out)["energy_predicted"].is_finite().all()


def test_conditions_reach_the_prior(run, program, tmp_path):
    out = tmp_path / "made.crystals"
    asked = ("--where", "composition=NaCl", "--where", "atoms=2", "--where", "energy=60")
    program.works("generate", run, "-n", 3, *asked, out=out, guidance=2, tries=50)
    assert set(reduced_formulas(load_crystals(out))) == {"NaCl"}


def test_the_seed_decides(run, program, tmp_path):
    found = []
    for place, seed in enumerate((0, 0, 1)):
        out = tmp_path / f"{place}.crystals"
        program("generate", run, "-n", 3, out=out, seed=seed, tries=50)
        found.append(load_crystals(out).lattices)
    np.testing.assert_array_equal(found[0], found[1])
    assert (found[0] != found[2]).any()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--where", "composition=NaXy"), "is not the symbol of an element"),
        (("--where", "atoms=3"), "more than the 2"),
        (("--where", "enargy=1"), "did you mean energy"),
        (("--where", "energy"), "is not a condition"),
        (("--where", "atoms=2", "--where", "atoms=2"), "atoms is given twice"),
        (("--device", "gpu"), "no device called"),
        (("--symmetrise", "0"), "is not positive"),
    ],
)
def test_mistakes_of_conditions(run, program, tmp_path, arguments, message):
    out = tmp_path / "made.crystals"
    assert message in program.fails("generate", run, "-n", 2, *arguments, out=out)
    assert not out.exists()


def test_mistakes_of_places(run, program, tmp_path, example):
    for given, name, message in (
        (example.run, "made.crystals", "does not go with a run on tables"),
        (run.with_name("bare"), "made.crystals", "no prior"),
        (tmp_path, "made.crystals", "no run here"),
        (run, "made.docx", "cannot be written as .docx"),
    ):
        assert message in program.fails("generate", given, "-n", 2, out=tmp_path / name)
    assert program("generate", run, "-n", 0, out=tmp_path / "made.crystals").code == 2
    assert list(tmp_path.iterdir()) == []


def test_pairs_are_read_with_their_spaces():
    found = parse_conditions([" atoms = 4 ", "composition=Li-O-*"])
    assert found == {"atoms": "4", "composition": "Li-O-*"}
    assert parse_conditions(None) == {}
    with pytest.raises(DataError, match="is not a condition"):
        parse_conditions(["atoms="])
