"""Training runs: what is in the folder, resuming where a run stopped, and what is refused."""

import hashlib
import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from drawn_crystals import drawn_crystals
from tiny_runs import Run, assert_same_weights, energetic, recipe_of, told_of

from variolite.crystals import run as session
from variolite.crystals.elements import reduced_formulas
from variolite.crystals.files.groups import groups_by
from variolite.crystals.files.textbook import textbook_crystals
from variolite.crystals.generation.sampling import Sampling
from variolite.crystals.geometry.frame import canonical
from variolite.crystals.model.batch import log_metric_tensor
from variolite.crystals.recipe import CrystalRecipe, load_crystal_recipe
from variolite.crystals.run import prepare_crystals, refit_prior, train_crystal_run
from variolite.errors import DataError, RecipeError, RunFolderError, TrainingError
from variolite.recipe import load_recipe, recipe_to_yaml
from variolite.training import RunFolder, StoppedByUserError
from watched import Watched

CRYSTALS = textbook_crystals()


def _stops_after(epoch):
    def stop(record):
        if record.epoch == epoch:
            raise KeyboardInterrupt

    return Watched(epoch=stop)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A run of six epochs that nothing interrupts."""
    recipe = recipe_of("training.epochs=6")
    place = tmp_path_factory.mktemp("whole") / "run"
    return Run(*train_crystal_run(recipe, CRYSTALS, place), CRYSTALS, recipe)


def test_what_a_run_leaves_behind(run):
    folder = run.folder
    assert folder.finished
    assert folder.field.kind == "crystals"
    names = {entry.name for entry in folder.path.iterdir()}
    files = {"recipe.yaml", "split.json", "history.jsonl", "environment.json", "manifest.json"}
    assert names == {*files, "model"}
    assert folder.recipe() == run.recipe
    assert folder.recipe_file.read_text() == recipe_to_yaml(run.recipe)
    facts = json.loads(folder.environment_file.read_text())
    assert (facts["data"]["rows"], facts["data"]["name"]) == (78, "textbook")
    assert facts["parameters"] == sum(p.numel() for p in run.model.module.parameters())
    model = folder.model()
    assert_same_weights(model, run.model)
    assert model.prior is not None
    assert model.properties.about.names == ("energy",)
    assert model.provenance["recipe"] == run.recipe.name
    measures = ("position_error_mean_angstrom", "position_error_median_angstrom")
    for record in told_of(folder.path):
        assert sorted(record["measures"]) == [*measures, "volume_error_percent"]


def test_groups_are_whole_and_the_network_knows_those_of_training(run):
    split, formulas = run.folder.split(), reduced_formulas(run.crystals)
    assert set(split.train) | set(split.validation) | set(split.test) == set(formulas)
    assert not set(split.train) & set(split.test)
    training = run.crystals.take(np.isin(formulas, split.train))
    assert run.model.elements == tuple(np.unique(training.species).tolist())
    # Cells are standardised by those that the network sees.
    as_given = log_metric_tensor(training.lattices, training.counts).mean(0)
    frame = canonical(training).crystals
    as_seen = log_metric_tensor(frame.lattices, frame.counts).mean(0)
    assert np.abs(as_seen - as_given).max() > 0.01
    np.testing.assert_allclose(run.model.module.log_metric_mean, as_seen, atol=1e-5)


@pytest.mark.parametrize("by", ["formula", "system", "prototype", "random"])
def test_every_way_of_splitting_works(by):
    parts, split = prepare_crystals(CRYSTALS, recipe_of(f"split.by={by}"))
    assert sum(len(part) for part in parts.values()) == len(CRYSTALS)
    assert all(len(part) for part in parts.values())
    assert {*split.train, *split.validation, *split.test} == set(groups_by(CRYSTALS, by))


def test_nothing_is_held_out_where_nothing_is_to_be():
    parts, _ = prepare_crystals(CRYSTALS, recipe_of("split.test=0.0"))
    assert len(parts["test"]) == 0
    assert len(parts["train"]) + len(parts["validation"]) == 78
    assert 4 <= len(parts["validation"]) <= 12


def test_the_same_seed_gives_the_same_weights_and_zero_is_a_seed(tmp_path):
    models = []
    for number, seed in enumerate((0, 0, 1)):
        torch.manual_seed(number)
        recipe = recipe_of(f"training.seed={seed}")
        models.append(train_crystal_run(recipe, CRYSTALS, tmp_path / str(number))[1])
    assert_same_weights(models[0], models[1])
    assert told_of(tmp_path / "0") == told_of(tmp_path / "1")
    with pytest.raises(AssertionError):
        assert_same_weights(models[0], models[2])


@pytest.mark.parametrize("stops", [(0,), (1, 3)])
def test_an_interrupted_run_ends_in_the_same_weights(folder, whole, stops):
    for epoch in stops:
        with pytest.raises(StoppedByUserError, match="Give the same command again to resume"):
            train_crystal_run(whole.recipe, CRYSTALS, folder, progress=_stops_after(epoch))
        with pytest.raises(RunFolderError, match="not finished"):
            RunFolder(folder).model()
    files = [folder / "recipe.yaml", folder / "split.json", folder / "checkpoint/state.safetensors"]
    before = [file.read_bytes() for file in files]
    other = recipe_of("training.epochs=6", "loss.coordinates=3")
    for recipe, data in ((other, CRYSTALS), (whole.recipe, CRYSTALS.take(slice(0, 70)))):
        with pytest.raises(RunFolderError, match="another recipe, other data or other seeds"):
            train_crystal_run(recipe, data, folder)
    assert [file.read_bytes() for file in files] == before
    _, resumed = train_crystal_run(whole.recipe, CRYSTALS, folder)
    assert_same_weights(resumed, whole.model)
    assert told_of(folder) == told_of(whole.folder.path)
    assert not (folder / "checkpoint").exists()


def test_checkpoints_are_signed_as_the_first_version_signed_them():
    changes = ["loss.divergence=0.5", "model.waves=3", "model.given=[species]"]
    recipe = load_crystal_recipe("crystals/perov_5", changes)
    settings = session._signed_settings(recipe, session.build(recipe, CRYSTALS))
    digest = hashlib.sha256(json.dumps(settings).encode()).hexdigest()
    assert digest == "99233171c5f59671670b492ef7f40e32f6e227682a069182e3aa1bdc084810c4"


def test_a_run_that_was_interrupted_in_its_prior_resumes_there(tmp_path, folder):
    recipe = recipe_of("prior.kind=flow")

    def stops(text):
        if "epoch 3" in text:
            raise KeyboardInterrupt

    _, whole = train_crystal_run(recipe, CRYSTALS, tmp_path / "whole")
    with pytest.raises(StoppedByUserError, match=r"of the prior.*the same command again to resume"):
        train_crystal_run(recipe, CRYSTALS, folder, progress=Watched(step=stops))
    assert list((folder / "checkpoint").glob("prior-*.safetensors"))
    assert RunFolder(folder).model().prior is None
    watched = Watched(epoch=lambda _: pytest.fail("the network is trained"))
    _, resumed = train_crystal_run(recipe, CRYSTALS, folder, progress=watched)
    assert watched.notes == ["the network is trained already; what is missing is done now"]
    assert_same_weights(resumed, whole)
    assert not (folder / "checkpoint").exists()
    asked = Sampling(seed=1, steps=2, max_attempts=500)
    drawn = [model.sample(3, asked).crystals for model in (whole, resumed)]
    np.testing.assert_array_equal(drawn[0].coordinates, drawn[1].coordinates)


# Every formula with an element of its own: validation has some that training lacks.
LONELY = drawn_crystals(3, 30, 5)
LONELY.species[LONELY.offsets[:-1]] = np.arange(40, 70)


@pytest.mark.parametrize(
    ("changes", "crystals", "error", "message"),
    [
        (["properties=[enargy]"], energetic(), DataError, r"'enargy'.*Did you mean energy"),
        (["properties=[energy]"], replace(CRYSTALS, properties={}), DataError, "They have: none"),
        ([], CRYSTALS.take(slice(0, 2)), DataError, "2 groups cannot be split into three parts"),
        ([], CRYSTALS.take(slice(0, 3)), TrainingError, "too few"),
        (["split.validation=0.3", "split.test=0.3"], LONELY, TrainingError, "0 to validate with"),
    ],
)
def test_what_cannot_train_leaves_no_folder(folder, changes, crystals, error, message):
    with pytest.raises(error, match=message):
        train_crystal_run(recipe_of(*changes), crystals, folder)
    assert not folder.exists()


def test_the_settings_of_the_published_system_train_our_network(folder):
    small = ("training.epochs=2", "model.width=16", "model.heads=2", "model.feedforward=16")
    small += ("model.encoder_layers=1", "model.decoder_layers=1", "prior.kind=none")
    run, model = train_crystal_run(load_crystal_recipe("crystals/source", small), CRYSTALS, folder)
    assert (model.latent, model.module.weights.coordinates) == (8, 10.0)
    assert len(told_of(run.path)) == 2


def test_cubic_cells_alone_train(folder):
    # Their angles do not vary, and their scale is bounded from below.
    cubes = replace(CRYSTALS, lattices=CRYSTALS.volumes[:, None, None] ** (1 / 3) * np.eye(3))
    _, model = train_crystal_run(recipe_of(), cubes, folder)
    found = model.reconstruct(cubes.take(cubes.made_of(model.elements)))
    assert np.isfinite(found.lattices).all()


def test_a_prior_is_fitted_again(folder):
    crystals = energetic()
    run, model = train_crystal_run(recipe_of(), crystals, folder)
    assert model.prior is None
    again = refit_prior(run, crystals, ["prior.kind=flow", "properties=[energy]"])
    assert_same_weights(again, model)
    assert again.prior is not None
    assert run.model().properties.about.names == ("energy",)
    recipe = run.recipe()
    assert (recipe.prior.kind, recipe.properties) == ("flow", ("energy",))
    assert recipe.training == recipe_of().training
    gone = refit_prior(run, crystals, ["prior.kind=none", "properties=[]"])
    assert gone.prior is None
    assert run.model().properties is None


def test_a_prior_is_refused_for_other_parts_and_other_data(run):
    files = run.folder.recipe_file, run.folder.model_folder / "model.json"
    before = [file.read_text() for file in files]
    for override in ("model.width=64", "training.epochs=3", "split.test=0.5", "name=x"):
        with pytest.raises(RecipeError, match="can no longer change"):
            refit_prior(run.folder, run.crystals, [override])
    with pytest.raises(DataError, match="not the structures that the run was trained from"):
        refit_prior(run.folder, run.crystals.take(slice(0, 60)))
    with pytest.raises(RecipeError, match="Did you mean kind"):
        refit_prior(run.folder, run.crystals, ["prior.kinf=flow"])
    with pytest.raises(DataError, match="no numeric property 'mass'"):
        refit_prior(run.folder, run.crystals, ["properties=[mass]"])
    with pytest.raises(RunFolderError, match="no run here"):
        refit_prior(RunFolder(run.folder.path / "model"), run.crystals)
    assert [file.read_text() for file in files] == before


def test_recipes_of_earlier_versions_are_read(tmp_path):
    recipe, path = recipe_of("prior.kind=flow"), tmp_path / "recipe.yaml"
    path.write_text(recipe_to_yaml(recipe) + "  crystals: 32\n  atoms: 64\n")
    assert load_crystal_recipe(path) == recipe
    path.write_text(path.read_text().replace("kind: flow", "kind: mixture"))
    assert load_recipe(path, kind=CrystalRecipe, stored=True) == recipe_of("prior.kind=none")
    with pytest.raises(RecipeError, match="variolite crystals prior RUN"):
        load_crystal_recipe(path)
    assert load_crystal_recipe(path, ["prior.kind=flow"]) == recipe
