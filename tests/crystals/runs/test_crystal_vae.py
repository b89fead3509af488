"""`CrystalVAE`: structures of any library in, one object to train, use, save and load."""

from __future__ import annotations

import doctest
from pathlib import Path

import numpy as np
import pytest
from tiny_runs import TINY, Run, assert_same_weights, recipe_of

import variolite
from variolite import CrystalVAE, shipped
from variolite.crystals import estimator
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
def vae(run: Run) -> CrystalVAE:
    return CrystalVAE.load(run.folder.path)


@pytest.fixture(scope="module")
def known(run: Run) -> Crystals:
    crystals = textbook_crystals()
    strange = crystals.owner[~np.isin(crystals.species, run.model.elements)]
    return crystals.take(~np.isin(np.arange(len(crystals)), strange)).take(slice(0, 8))


def _same(first: Crystals, second: Crystals) -> None:
    np.testing.assert_array_equal(first.species, second.species)
    np.testing.assert_allclose(first.coordinates, second.coordinates, atol=1e-9)
    np.testing.assert_allclose(first.lattices, second.lattices, atol=1e-9)
    np.testing.assert_array_equal(first.offsets, second.offsets)


# What goes in.


def test_structures_of_every_kind_are_understood(tmp_path: Path) -> None:
    write_structures(SOME, tmp_path / "set.crystals")
    write_structures(SOME, tmp_path / "set.extxyz")
    for given in (
        SOME,
        list(SOME),
        tuple(SOME),
        [to_pymatgen(crystal) for crystal in SOME],
        [to_ase(crystal) for crystal in SOME],
        tmp_path / "set.crystals",
        str(tmp_path / "set.extxyz"),
        [tmp_path / "set.crystals"],
    ):
        _same(as_crystals(given), SOME)
    for one in (SOME[0], to_pymatgen(SOME[0]), to_ase(SOME[0])):
        _same(as_crystals(one), SOME.take([0]))
    two = as_crystals([tmp_path / "set.crystals", tmp_path / "set.extxyz"])
    assert len(two) == 12


@pytest.mark.parametrize("wrong", [3, None, [], [1, 2], {"a": 1}, np.zeros((3, 3)), object()])
def test_what_is_no_structure_is_refused(wrong: object) -> None:
    with pytest.raises(DataError, match=r"not understood.*pymatgen Structures"):
        as_crystals(wrong)


def test_mixtures_of_kinds_are_refused() -> None:
    structure, atoms = to_pymatgen(SOME[0]), to_ase(SOME[0])
    for mixed in (
        [SOME[0], "a.cif"],
        [structure, atoms],
        [atoms, structure],
        [SOME[0], None],
        structure.lattice,
        [structure[0]],
        atoms[0],
    ):
        with pytest.raises(DataError, match="not understood"):
            as_crystals(mixed)


def test_files_that_are_not_there(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no such file"):
        as_crystals(tmp_path / "nothing.cif")


# Fitting and using.


def test_fitting_and_every_use(tmp_path: Path, known: Crystals) -> None:
    crystals = textbook_crystals()
    vae = CrystalVAE(overrides=[*TINY, "prior.kind=flow"], seed=0)
    epochs: list[int] = []
    watched = Watched(epoch=lambda r: epochs.append(r.epoch))
    fitted = vae.fit(crystals, progress=watched)
    assert fitted is vae
    assert epochs == [0, 1]
    assert len(vae.history_) == 2
    assert any("structures, split by formula" in line for line in watched.notes)
    latents = vae.encode(known)
    assert latents.mean.shape == (len(known.species), 4)
    np.testing.assert_allclose(vae.transform(known), latents.pooled)
    np.testing.assert_allclose(
        vae.encode([to_pymatgen(crystal) for crystal in known]).mean, latents.mean, atol=1e-5
    )
    found = vae.reconstruct([to_ase(crystal) for crystal in known])
    np.testing.assert_array_equal(found.counts, known.counts)
    decoded = vae.decode(latents)
    np.testing.assert_allclose(decoded.volumes, found.volumes, rtol=1e-4)
    assert vae.prior is not None
    asked = {"max_attempts": 500, "seed": 4}
    made = vae.sample(3, **asked)
    assert isinstance(made, Crystals)
    assert len(made) == 3
    pair = known.take(np.flatnonzero(known.counts == known.counts[0])[:2])
    if len(pair) == 2:
        assert len(vae.interpolate(pair[0], pair[1], steps=5)) == 5
    vae.save(tmp_path / "model")
    again = CrystalVAE.load(tmp_path / "model")
    assert_same_weights(again.model, vae.model)
    np.testing.assert_array_equal(again.sample(3, **asked).coordinates, made.coordinates)


def test_two_fits_of_one_seed_are_alike_and_leave_nothing_behind(
    tmp_path: Path, monkeypatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    recipe = recipe_of()
    one, two = (CrystalVAE(recipe).fit(textbook_crystals()) for _ in range(2))
    assert_same_weights(one.model, two.model)
    assert list(tmp_path.iterdir()) == []


def test_nothing_works_before_fitting() -> None:
    vae = CrystalVAE()
    for use in (
        lambda: vae.encode(SOME),
        lambda: vae.transform(SOME),
        lambda: vae.reconstruct(SOME),
        lambda: vae.sample(1),
        lambda: vae.model,
        lambda: vae.prior,
        lambda: vae.save("nowhere"),
    ):
        with pytest.raises(DataError, match=r"not fitted yet.*call fit first"):
            use()
    assert not Path("nowhere").exists()


def test_recipes_by_name_by_file_and_as_they_are(tmp_path: Path) -> None:
    assert CrystalVAE("crystals/perov_5").recipe.training.epochs == 200
    (tmp_path / "mine.yaml").write_text("extends: crystals/perov_5\ntraining: {epochs: 7}\n")
    assert CrystalVAE(tmp_path / "mine.yaml", seed=5).recipe.training.seed == 5
    assert CrystalVAE(recipe_of()).recipe == recipe_of()
    with pytest.raises(DataError, match="overrides go with the name of a recipe"):
        CrystalVAE(recipe_of(), seed=3)
    with pytest.raises(RecipeError, match="where one of kind crystals is needed"):
        CrystalVAE("corelogs/default")
    with pytest.raises(RecipeError, match="did you mean latent"):
        CrystalVAE(overrides=["model.latnt=3"])
    with pytest.raises(RecipeError, match="did you mean crystals/perov_5"):
        CrystalVAE("crystals/perov5")


def test_a_model_without_a_prior(run: Run, tmp_path: Path) -> None:
    from dataclasses import replace

    from variolite.crystals.crystal_model import save_crystal_model

    save_crystal_model(tmp_path / "bare", replace(run.model, prior=None))
    vae = CrystalVAE.load(tmp_path / "bare")
    assert vae.prior is None
    with pytest.raises(RunFolderError, match="no prior to draw from"):
        vae.sample(2)


def test_a_path_ends_in_one_structure(vae: CrystalVAE, run: Run) -> None:
    one, none = run.crystals[0], run.crystals.take(slice(0, 0))
    for many, number in ((run.crystals, len(run.crystals)), (none, 0)):
        for ends in ((many, one), (one, many)):
            with pytest.raises(DataError, match=f"{number} are given"):
                vae.interpolate(*ends)


@pytest.mark.parametrize(
    "broken",
    [
        Crystal(np.zeros(0, np.uint8), np.zeros((0, 3)), 4.0 * np.eye(3), "odd"),
        Crystal(np.array([11], np.uint8), np.full((1, 3), np.nan), 4.0 * np.eye(3), "odd"),
        Crystal(np.array([11], np.uint8), np.zeros((1, 3)), np.nan * np.eye(3), "odd"),
        Crystal(np.array([11], np.uint8), np.zeros((1, 3)), np.zeros((3, 3)), "odd"),
    ],
    ids=["no atoms", "no coordinates", "no cell", "no volume"],
)
def test_what_cannot_be_encoded_is_named(vae: CrystalVAE, run: Run, broken: Crystal) -> None:
    for use in (vae.encode, vae.reconstruct, vae.transform):
        with pytest.raises(DataError, match=r"^odd: the structure has no atoms, no cell"):
            use([run.crystals[0], broken])


def test_latents_are_latents(vae: CrystalVAE, run: Run) -> None:
    latents = vae.encode(run.crystals[0])
    with pytest.raises(DataError, match="latents of type ndarray"):
        vae.decode(latents.mean)  # type: ignore[arg-type]


# Loading.


def test_a_run_folder_brings_its_recipe_and_history(run: Run, vae: CrystalVAE) -> None:
    assert vae.recipe == run.recipe
    assert len(vae.history_) == 2
    assert_same_weights(vae.model, run.model)
    bare = CrystalVAE.load(run.folder.model_folder)
    assert_same_weights(bare.model, run.model)
    assert bare.history_ == []


def test_names_that_nothing_has() -> None:
    with pytest.raises(
        ModelFileError, match=r"nonsense: there is no such folder.*there are: "
    ) as e:
        CrystalVAE.load("nonsense")
    assert "\n" not in str(e.value)


def test_names_that_are_nearly_right(monkeypatch: pytest.MonkeyPatch, run: Run) -> None:
    monkeypatch.setattr(estimator, "shipped_models", lambda: ("mp_20", "perov_5"))
    with pytest.raises(ModelFileError, match=r"did you mean perov_5\?"):
        CrystalVAE.load("perov5")


def test_folders_that_hold_no_model(tmp_path: Path) -> None:
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
def test_models_of_the_package(name: str) -> None:
    vae = CrystalVAE.load(name)
    crystals = textbook_crystals()
    strange = crystals.owner[~np.isin(crystals.species, vae.model.elements)]
    fits = ~np.isin(np.arange(len(crystals)), strange)
    five = crystals.take(fits).take(slice(0, 5))
    assert len(vae.reconstruct(five)) == len(five)
    assert vae.prior is not None
    assert shipped.model_card(name).strip()


def test_the_top_of_the_package_hands_it_on() -> None:
    assert variolite.CrystalVAE is CrystalVAE
    assert doctest.testmod(estimator).failed == 0


def test_one_crystal_of_one_atom_goes_all_the_way(vae: CrystalVAE, run: Run) -> None:
    atom = Crystal(
        np.array([run.model.elements[0]], np.uint8), np.zeros((1, 3)), 3.0 * np.eye(3), "one"
    )
    assert vae.encode(atom).mean.shape == (1, 4)
    assert vae.reconstruct(atom).counts.tolist() == [1]
