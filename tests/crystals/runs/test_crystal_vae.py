"""`CrystalVAE`: structures of any library in, one object to train, use, save and load."""

import doctest
import subprocess
import sys
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from tiny_runs import TINY, assert_same_weights, recipe_of

import variolite
from variolite import CrystalVAE, shipped
from variolite.crystals import estimator
from variolite.crystals.crystal_model import save_crystal_model
from variolite.crystals.crystals import Crystal, Crystals
from variolite.crystals.estimator import as_crystals
from variolite.crystals.files.formats import to_ase, to_pymatgen
from variolite.crystals.files.textbook import textbook_crystals
from variolite.crystals.files.writing import write_structures
from variolite.errors import DataError, ModelFileError, RecipeError, RunFolderError
from variolite.shipped import shipped_models
from watched import Watched

SOME = textbook_crystals().take(slice(0, 6))


@pytest.fixture(scope="module")
def vae(run):
    return CrystalVAE.load(run.folder.path)


def _same(first, second):
    np.testing.assert_array_equal(first.species, second.species)
    np.testing.assert_allclose(first.coordinates, second.coordinates, atol=1e-9)
    np.testing.assert_allclose(first.lattices, second.lattices, atol=1e-9)
    np.testing.assert_array_equal(first.offsets, second.offsets)


def test_structures_of_every_kind_are_understood(tmp_path):
    write_structures(SOME, tmp_path / "set.crystals")
    write_structures(SOME, tmp_path / "set.extxyz")
    written = (tmp_path / "set.crystals", str(tmp_path / "set.extxyz"), [tmp_path / "set.crystals"])
    foreign = [[make(crystal) for crystal in SOME] for make in (to_pymatgen, to_ase)]
    for given in (SOME, list(SOME), tuple(SOME), *foreign, *written):
        _same(as_crystals(given), SOME)
    for one in (SOME[0], to_pymatgen(SOME[0]), to_ase(SOME[0])):
        _same(as_crystals(one), SOME.take([0]))
    two = as_crystals([tmp_path / "set.crystals", tmp_path / "set.extxyz"])
    assert len(two) == 12


def test_what_is_no_structure_is_refused(tmp_path):
    structure, atoms = to_pymatgen(SOME[0]), to_ase(SOME[0])
    nothing = [3, None, [], [1, 2], {"a": 1}, np.zeros((3, 3)), object()]
    mixed = [[SOME[0], "a.cif"], [structure, atoms], [atoms, structure], [SOME[0], None]]
    for wrong in (*nothing, *mixed, structure.lattice, [structure[0]], atoms[0]):
        with pytest.raises(DataError, match=r"not understood.*pymatgen Structures"):
            as_crystals(wrong)
    with pytest.raises(DataError, match="no such file"):
        as_crystals(tmp_path / "nothing.cif")


def test_fitting_and_every_use(tmp_path, monkeypatch):
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    monkeypatch.setenv("TMPDIR", str(tmp_path / "here"))
    crystals = textbook_crystals()
    vae = CrystalVAE(overrides=[*TINY, "prior.kind=flow"], seed=0)
    epochs: list[int] = []
    watched = Watched(epoch=lambda r: epochs.append(r.epoch))
    assert vae.fit(crystals, progress=watched) is vae
    assert epochs == [0, 1]
    assert len(vae.history_) == 2
    assert any("structures, split by formula" in line for line in watched.notes)
    # Another fit of the same seed is the same, and neither leaves anything behind.
    assert_same_weights(CrystalVAE(recipe_of()).fit(crystals).model, vae.model)
    assert list((tmp_path / "here").iterdir()) == []
    known = crystals.take(crystals.made_of(vae.model.elements)).take(slice(0, 8))
    latents = vae.encode(known)
    assert latents.mean.shape == (len(known.species), 4)
    np.testing.assert_allclose(vae.transform(known), latents.pooled)
    again = vae.encode([to_pymatgen(crystal) for crystal in known])
    np.testing.assert_allclose(again.mean, latents.mean, atol=1e-5)
    found = vae.reconstruct([to_ase(crystal) for crystal in known])
    np.testing.assert_array_equal(found.counts, known.counts)
    np.testing.assert_allclose(vae.decode(latents).volumes, found.volumes, rtol=1e-4)
    assert vae.prior is not None
    asked = {"max_attempts": 500, "seed": 4}
    made = vae.sample(3, **asked)
    assert isinstance(made, Crystals)
    assert len(made) == 3
    alike = np.flatnonzero(known.counts == known.counts[0])
    assert len(vae.interpolate(known[alike[0]], known[alike[1]], steps=5)) == 5
    vae.save(tmp_path / "model")
    stored = CrystalVAE.load(tmp_path / "model")
    assert_same_weights(stored.model, vae.model)
    np.testing.assert_array_equal(stored.sample(3, **asked).coordinates, made.coordinates)


def test_nothing_works_before_fitting():
    vae = CrystalVAE()
    uses = [partial(use, SOME) for use in (vae.encode, vae.transform, vae.reconstruct)]
    uses += [partial(vae.sample, 1), partial(vae.save, "nowhere")]
    for use in (*uses, lambda: vae.model, lambda: vae.prior):
        with pytest.raises(DataError, match=r"not fitted yet.*Call fit first"):
            use()
    assert not Path("nowhere").exists()


def test_recipes_by_name_by_file_and_as_they_are(tmp_path):
    assert CrystalVAE("crystals/perov_5").recipe.training.epochs == 200
    (tmp_path / "mine.yaml").write_text("extends: crystals/perov_5\ntraining: {epochs: 7}\n")
    assert CrystalVAE(tmp_path / "mine.yaml", seed=5).recipe.training.seed == 5
    assert CrystalVAE(recipe_of()).recipe == recipe_of()
    with pytest.raises(DataError, match="overrides go with the name of a recipe"):
        CrystalVAE(recipe_of(), seed=3)
    with pytest.raises(RecipeError, match="where one of kind crystals is needed"):
        CrystalVAE("corelogs/default")
    with pytest.raises(RecipeError, match="Did you mean latent"):
        CrystalVAE(overrides=["model.latnt=3"])
    with pytest.raises(RecipeError, match="Did you mean crystals/perov_5"):
        CrystalVAE("crystals/perov5")


def test_a_path_ends_in_one_structure(vae, run):
    one, none = run.crystals[0], run.crystals.take(slice(0, 0))
    for many, number in ((run.crystals, len(run.crystals)), (none, 0)):
        for ends in ((many, one), (one, many)):
            with pytest.raises(DataError, match=f"{number} are given"):
                vae.interpolate(*ends)


@pytest.mark.parametrize(
    ("atoms", "coordinate", "edge"),
    [(0, 0.0, 4.0), (1, np.nan, 4.0), (1, 0.0, np.nan), (1, 0.0, 0.0)],
)
def test_what_cannot_be_encoded_is_named(vae, run, atoms, coordinate, edge):
    """No atoms, no coordinates, no cell, no volume."""
    species, coordinates = np.full(atoms, 11, np.uint8), np.full((atoms, 3), coordinate)
    broken = Crystal(species, coordinates, edge * np.eye(3), "odd")
    for use in (vae.encode, vae.reconstruct, vae.transform):
        with pytest.raises(DataError, match=r"^odd: the structure has no atoms, no cell"):
            use([run.crystals[0], broken])


def test_one_atom_goes_all_the_way_and_latents_are_latents(vae, run):
    species = np.array([run.model.elements[0]], np.uint8)
    atom = Crystal(species, np.zeros((1, 3)), 3.0 * np.eye(3), "one")
    latents = vae.encode(atom)
    assert latents.mean.shape == (1, 4)
    assert vae.reconstruct(atom).counts.tolist() == [1]
    with pytest.raises(DataError, match="latents of type ndarray"):
        vae.decode(latents.mean)  # type: ignore[arg-type]


def test_a_run_folder_brings_its_recipe_and_history_and_a_model_may_lack_a_prior(
    run, vae, tmp_path
):
    assert vae.recipe == run.recipe
    assert len(vae.history_) == 2
    assert_same_weights(vae.model, run.model)
    bare = CrystalVAE.load(run.folder.model_folder)
    assert_same_weights(bare.model, run.model)
    assert bare.history_ == []
    save_crystal_model(tmp_path / "bare", replace(run.model, prior=None))
    bare = CrystalVAE.load(tmp_path / "bare")
    assert bare.prior is None
    with pytest.raises(RunFolderError, match="no prior to draw from"):
        bare.sample(2)


def test_what_is_no_model(tmp_path, monkeypatch):
    with pytest.raises(ModelFileError) as caught:
        CrystalVAE.load("nonsense")
    message = str(caught.value)
    assert message.startswith("nonsense: there is no such folder")
    assert "There are: " in message
    assert "\n" not in message
    monkeypatch.setattr(estimator, "shipped_models", lambda: ("mp_20", "perov_5"))
    with pytest.raises(ModelFileError, match=r"Did you mean perov_5\?"):
        CrystalVAE.load("perov5")
    with pytest.raises(ModelFileError, match="there is no model here"):
        CrystalVAE.load(tmp_path)
    (tmp_path / "model.json").write_text("{}")
    with pytest.raises(ModelFileError, match="not the description of a Variolite model"):
        CrystalVAE.load(tmp_path)


@pytest.mark.parametrize(
    "name",
    shipped_models()
    or [pytest.param("", marks=pytest.mark.skip(reason="no model comes with the package yet"))],
)
def test_models_of_the_package(name):
    vae = CrystalVAE.load(name)
    crystals = textbook_crystals()
    five = crystals.take(crystals.made_of(vae.model.elements)).take(slice(0, 5))
    assert len(vae.reconstruct(five)) == len(five)
    assert vae.prior is not None
    # Two heads that no one else fitted: one chooses what is asked for, one judges.
    heads = vae.model.selection
    assert set(vae.prior.vocabulary.properties) == set(heads.chooser.about.names)
    assert heads.chooser.about.names == heads.independent.about.names
    assert heads.chooser.about.scores != heads.independent.about.scores
    assert shipped.model_card(name).strip()


def test_the_package_hands_it_on_and_imports_neither_lightning_nor_the_extras():
    heavy = ("lightning", "pytorch_lightning", "pymatgen", "chgnet", "ase", "spglib", "smact")
    code = "import sys, variolite.crystals.estimator, variolite.crystals.potential\n"
    code += f"print([name for name in {heavy!r} if name in sys.modules])"
    assert variolite.CrystalVAE is CrystalVAE
    assert doctest.testmod(estimator).failed == 0
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"
