"""``variolite generate``: as many structures as wanted, or those that were found and why."""

from dataclasses import replace

import numpy as np
import polars as pl
import pytest
from crystal_example import untrained

from variolite.arguments import parse_conditions
from variolite.crystals.crystal_model import (
    CrystalModel,
    load_crystal_model,
    save_crystal_model,
)
from variolite.crystals.crystals import Crystal, Crystals
from variolite.crystals.elements import reduced_formulas
from variolite.crystals.files.reading import load_crystals
from variolite.crystals.generation import sampling
from variolite.crystals.generation.prior import fit_prior
from variolite.crystals.generation.properties import fit_property_head
from variolite.crystals.generation.selection import Selection
from variolite.crystals.generation.symmetrise import symmetrised
from variolite.crystals.potential import energy_function
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


@pytest.fixture(autouse=True)
def loose(monkeypatch):
    """Let atoms come close: the network is not trained."""
    monkeypatch.setattr(sampling, "CONTACT_MARGIN", 0.1)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run whose network is not trained: its cells are sound all the same."""
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
        (("--where", "enargy=1"), "Did you mean energy"),
        (("--where", "energy"), "is not a condition"),
        (("--where", "atoms=2", "--where", "atoms=2"), "atoms is given twice"),
        (("--device", "gpu"), "no device called"),
        (("--symmetrise", "-1"), "tolerance of symmetry is -1.0, it must be at least"),
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


def test_fewer_are_written_with_exit_code_3(run, program, tmp_path, monkeypatch):
    def lithium_only(crystals, prior, where):
        good = np.array([3 in crystal.species for crystal in crystals])
        return np.where(good, valid(crystals, prior, where), "contact")

    valid = sampling.reject_reasons

    monkeypatch.setattr(sampling, "reject_reasons", lithium_only)
    monkeypatch.setattr(sampling, "SPARE_ATTEMPTS", 0)
    out, other = tmp_path / "made.csv", tmp_path / "other.csv"
    answer = program("generate", run, "-n", 20, out=out, tries=1)
    assert answer.code == 3
    assert answer.out == f"{out}\n"
    made = load_crystals(out)
    assert 0 < len(made) < 20
    assert all(3 in crystal.species for crystal in made)
    assert len(set(made.names)) == len(made)
    told = f"variolite: {out}: only {len(made)} of 20 crystals were found in 20 attempts"
    assert answer.last.startswith(told)
    assert "; these are written. " in answer.last
    # All or nothing, or nothing at all: no file.
    for more, kept in ((("--all-or-nothing",), 3), ((), 99)):
        monkeypatch.setattr(
            sampling,
            "reject_reasons",
            lambda crystals, prior, where, kept=kept: np.where(
                [kept in crystal.species for crystal in crystals], "", "contact"
            ),
        )
        answer = program("generate", run, "-n", 20, *more, out=other, tries=1)
        assert (answer.code, answer.out) == (3, "")
        assert "written" not in answer.last
        assert not other.exists()


def test_what_was_asked_for_is_evaluated(run, program, tmp_path):
    out = tmp_path / "made.csv"
    asked = ("generate", run, "-n", 5, "--where", "energy=60", "--out", out)
    answer = program.works(*asked, tries=50)
    assert "nothing independent checks what was asked for" in answer.err
    heads = Selection(
        fit_property_head(None, salts(80), ENERGY), load_crystal_model(run / "model").properties
    )
    model = load_crystal_model(run / "model")
    chosen = tmp_path / "chosen"
    save_crystal_model(chosen / "model", replace(model, selection=heads))
    again = load_crystal_model(chosen / "model").selection
    for mine, theirs in zip(vars(again).values(), vars(heads).values(), strict=True):
        assert mine.about == theirs.about
        np.testing.assert_array_equal(mine.arrays.ridges, theirs.arrays.ridges)
    out.unlink()
    answer = program.works("generate", chosen, *asked[2:], tries=50)
    assert "energy: 60 eV/atom was asked for; an independent regression" in " ".join(
        answer.err.split()
    )
    table = pl.read_csv(out)
    assert table["energy_independent"].is_finite().all()
    assert "the formula is given" not in answer.err
    both = ("--where", "energy=60", "--where", "composition=NaCl")
    answer = program.works("generate", chosen, "-n", 2, *both, out=tmp_path / "o.csv", tries=50)
    assert "no composition was chosen by a property: the formula is given" in answer.err
    line = program.fails("generate", chosen, "-n", 2, "--where", "energy=500", out=out)
    assert "energy: 500 is outside the training crystals" in line


def test_the_lowest_of_several_draws(run, program, tmp_path):
    found = []
    for name, more in (("plain", ()), ("best", ("--best-of", 6))):
        out = tmp_path / f"{name}.csv"
        answer = program.works("generate", run, "-n", 4, *more, out=out, tries=50)
        found.append(load_crystals(out))
    told = " ".join(answer.err.split())
    assert "keeping the lowest energy of 6 draws by CHGNet 0.3.0" in told
    assert "chgnet_energy_per_atom is in eV/atom by CHGNet 0.3.0" in told
    plain, best = found
    np.testing.assert_array_equal(reduced_formulas(best), reduced_formulas(plain))
    energies = best.properties["chgnet_energy_per_atom"]
    np.testing.assert_allclose(energies, energy_function()(best), atol=1e-3)
    # Symmetry is made exact before energies are compared.
    assert (energies <= energy_function()(symmetrised(plain, 0.3)[0]) + 1e-3).all()


def test_pairs_are_read_with_their_spaces():
    found = parse_conditions([" atoms = 4 ", "composition=Li-O-*"])
    assert found == {"atoms": "4", "composition": "Li-O-*"}
    assert parse_conditions(None) == {}
    with pytest.raises(DataError, match="is not a condition"):
        parse_conditions(["atoms="])
