"""Training runs: what is in the folder, going on where a run stopped, and what is refused."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from drawn_crystals import drawn_crystals
from tiny_runs import Run, assert_same_weights, energetic, recipe_of, told_of

from variolite.crystals import run as session
from variolite.crystals.crystals import Crystals
from variolite.crystals.elements import reduced_formulas
from variolite.crystals.files.groups import groups_by
from variolite.crystals.files.textbook import textbook_crystals
from variolite.crystals.frame import canonical
from variolite.crystals.generation.sampling import Sampling
from variolite.crystals.model.batch import log_metric_tensor
from variolite.crystals.recipe import CrystalRecipe, load_crystal_recipe
from variolite.crystals.run import prepare_crystals, refit_prior, train_crystal_run
from variolite.errors import DataError, RecipeError, RunFolderError, TrainingError
from variolite.recipe import load_recipe, recipe_to_yaml
from variolite.training import EpochRecord, RunFolder, StoppedByUserError
from watched import Watched

CRYSTALS = textbook_crystals()


def _stops_after(epoch: int) -> Watched:
    def stop(record: EpochRecord) -> None:
        if record.epoch == epoch:
            raise KeyboardInterrupt

    return Watched(epoch=stop)


# The folder.


def test_what_a_run_leaves_behind(run: Run) -> None:
    folder = run.folder
    assert folder.finished
    assert folder.field.kind == "crystals"
    names = {entry.name for entry in folder.path.iterdir()}
    assert names == {"recipe.yaml", "split.json", "history.jsonl", "environment.json", "model"}
    assert folder.recipe() == run.recipe
    assert len(told_of(folder.path)) == 2
    facts = json.loads(folder.environment_file.read_text())
    assert facts["data"]["rows"] == 78
    assert facts["data"]["name"] == "textbook"
    assert facts["parameters"] == sum(p.numel() for p in run.model.module.parameters())
    model = folder.model()
    assert_same_weights(model, run.model)
    assert model.prior is not None
    assert model.properties is not None
    assert model.properties.about.names == ("energy",)
    assert model.provenance["recipe"] == run.recipe.name
    for record in told_of(folder.path):
        assert set(record["measures"]) == {
            "position_error_median_angstrom",
            "position_error_mean_angstrom",
            "volume_error_percent",
        }


def test_cells_are_standardised_by_those_that_the_network_sees(run: Run) -> None:
    groups = reduced_formulas(run.crystals)
    training = run.crystals.take(run.folder.split().rows(groups)["train"])
    as_given = log_metric_tensor(training.lattices, training.counts).mean(0)
    frame = canonical(training).crystals
    as_seen = log_metric_tensor(frame.lattices, frame.counts).mean(0)
    assert np.abs(as_seen - as_given).max() > 0.01
    np.testing.assert_allclose(run.model.module.log_metric_mean, as_seen, atol=1e-5)


def test_groups_are_whole_and_elements_are_those_of_training(run: Run) -> None:
    split = run.folder.split()
    formulas = reduced_formulas(run.crystals)
    assert set(split.train) | set(split.validation) | set(split.test) == set(formulas)
    assert not set(split.train) & set(split.test)
    trained = run.crystals.take(np.isin(formulas, split.train))
    assert run.model.elements == tuple(np.unique(trained.species).tolist())


@pytest.mark.parametrize("by", ["formula", "system", "prototype", "random"])
def test_every_way_of_splitting_works(by: str) -> None:
    recipe = recipe_of(f"split.by={by}")
    parts, split = prepare_crystals(CRYSTALS, recipe)
    assert sum(len(part) for part in parts.values()) == len(CRYSTALS)
    assert all(len(part) for part in parts.values())
    groups = groups_by(CRYSTALS, by)
    assert {*split.train, *split.validation, *split.test} == set(groups)


def test_nothing_is_held_out_where_nothing_is_to_be() -> None:
    parts, _ = prepare_crystals(CRYSTALS, recipe_of("split.test=0.0"))
    assert len(parts["test"]) == 0
    assert len(parts["train"]) + len(parts["validation"]) == 78
    assert 4 <= len(parts["validation"]) <= 12


# Repeating and going on.


def test_the_same_seed_gives_the_same_weights_and_zero_is_a_seed(tmp_path: Path) -> None:
    models = []
    for number, seed in enumerate((0, 0, 1)):
        torch.manual_seed(number)
        recipe = recipe_of(f"training.seed={seed}")
        _, model = train_crystal_run(recipe, CRYSTALS, tmp_path / str(number))
        models.append(model)
    assert_same_weights(models[0], models[1])
    assert told_of(tmp_path / "0") == told_of(tmp_path / "1")
    with pytest.raises(AssertionError):
        assert_same_weights(models[0], models[2])


@pytest.mark.parametrize("stops", [(0,), (1, 3)])
def test_a_run_that_was_stopped_ends_in_the_same_weights(
    tmp_path: Path, stops: tuple[int, ...]
) -> None:
    recipe = recipe_of("training.epochs=6")
    _, whole = train_crystal_run(recipe, CRYSTALS, tmp_path / "whole")
    for epoch in stops:
        with pytest.raises(StoppedByUserError, match="give the same command again to resume"):
            train_crystal_run(recipe, CRYSTALS, tmp_path / "run", progress=_stops_after(epoch))
        with pytest.raises(RunFolderError, match="not finished"):
            RunFolder(tmp_path / "run").model()
    _, resumed = train_crystal_run(recipe, CRYSTALS, tmp_path / "run")
    assert_same_weights(resumed, whole)
    assert told_of(tmp_path / "run") == told_of(tmp_path / "whole")
    assert not (tmp_path / "run" / "checkpoint").exists()


def test_checkpoints_are_signed_as_the_first_version_signed_them() -> None:
    changes = ["loss.divergence=0.5", "model.waves=3", "model.given=[species]"]
    recipe = load_crystal_recipe("crystals/perov_5", changes)
    settings = session._signed_settings(recipe, session.build(recipe, CRYSTALS))
    digest = hashlib.sha256(json.dumps(settings).encode()).hexdigest()
    assert digest == "99233171c5f59671670b492ef7f40e32f6e227682a069182e3aa1bdc084810c4"


def test_another_recipe_or_other_data_do_not_go_on(tmp_path: Path) -> None:
    out, recipe = tmp_path / "run", recipe_of()
    with pytest.raises(StoppedByUserError):
        train_crystal_run(recipe, CRYSTALS, out, progress=_stops_after(0))
    files = [out / name for name in ("recipe.yaml", "split.json", "checkpoint/state.safetensors")]
    before = [file.read_bytes() for file in files]
    for other, data in (
        (recipe_of("training.learning_rate=0.01"), CRYSTALS),
        (recipe_of("loss.coordinates=3"), CRYSTALS),
        (recipe, CRYSTALS.take(slice(0, 70))),
    ):
        with pytest.raises(RunFolderError, match="another recipe, other data or other seeds"):
            train_crystal_run(other, data, out)
    assert [file.read_bytes() for file in files] == before
    _, model = train_crystal_run(recipe, CRYSTALS, out)
    _, whole = train_crystal_run(recipe, CRYSTALS, tmp_path / "whole")
    assert_same_weights(model, whole)


def test_a_run_that_was_stopped_in_its_prior_goes_on_there(tmp_path: Path) -> None:
    recipe = recipe_of("prior.kind=flow")

    def stops(text: str) -> None:
        if "epoch 3" in text:
            raise KeyboardInterrupt

    _, whole = train_crystal_run(recipe, CRYSTALS, tmp_path / "whole")
    out = tmp_path / "run"
    with pytest.raises(StoppedByUserError, match=r"of the prior.*the same command again to resume"):
        train_crystal_run(recipe, CRYSTALS, out, progress=Watched(step=stops))
    assert list((out / "checkpoint").glob("prior-*.safetensors"))
    bare = RunFolder(out).model()
    assert bare.prior is None
    watched = Watched(epoch=lambda _: pytest.fail("the network is trained"))
    _, resumed = train_crystal_run(recipe, CRYSTALS, out, progress=watched)
    assert watched.notes == ["the network is trained already; only its prior is fitted now"]
    assert_same_weights(resumed, whole)
    assert not (out / "checkpoint").exists()
    asked = Sampling(seed=1, steps=2, max_attempts=500)
    drawn = [model.sample(3, asked).crystals for model in (whole, resumed)]
    np.testing.assert_array_equal(drawn[0].coordinates, drawn[1].coordinates)


# Places and refusals.


def test_finished_runs_are_not_overwritten_unless_asked(tmp_path: Path) -> None:
    out = tmp_path / "run"
    train_crystal_run(recipe_of(), CRYSTALS, out)
    (out / "scorecard.json").write_text("{}")
    (out / "mine.txt").write_text("kept")
    with pytest.raises(RunFolderError, match="a finished run is here already"):
        train_crystal_run(recipe_of(), CRYSTALS, out)
    train_crystal_run(recipe_of("training.seed=1"), CRYSTALS, out, restart=True)
    assert not (out / "scorecard.json").exists()
    assert (out / "mine.txt").read_text() == "kept"
    assert RunFolder(out).recipe().training.seed == 1


def test_folders_of_something_else_are_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "chapter.txt").write_text("one")
    (tmp_path / "file").write_text("mine")
    for name in ("thesis", "file"):
        for restart in (False, True):
            with pytest.raises(RunFolderError):
                train_crystal_run(recipe_of(), CRYSTALS, tmp_path / name, restart=restart)
    assert (tmp_path / "thesis" / "chapter.txt").read_text() == "one"
    assert (tmp_path / "file").read_text() == "mine"


def test_properties_that_are_missing_are_named(folder: Path) -> None:
    crystals = energetic()
    with pytest.raises(DataError, match=r"no property 'enargy'.*did you mean energy"):
        train_crystal_run(recipe_of("properties=[enargy]"), crystals, folder)
    bare = replace(crystals, properties={})
    with pytest.raises(DataError, match="they have: none"):
        train_crystal_run(recipe_of("properties=[energy]"), bare, folder)
    assert not folder.exists()


def test_too_few_structures(folder: Path) -> None:
    few = CRYSTALS.take(slice(0, 2))
    with pytest.raises(DataError, match="2 groups cannot be split into three parts"):
        train_crystal_run(recipe_of(), few, folder)
    assert not folder.exists()
    with pytest.raises(TrainingError, match="too few"):
        train_crystal_run(recipe_of(), CRYSTALS.take(slice(0, 3)), folder)
    assert not folder.exists()


def test_a_run_on_crystals_with_elements_that_only_validation_has(folder: Path) -> None:
    # Every formula with an element of its own.
    crystals = drawn_crystals(3, 30, 5)
    species = crystals.species.copy()
    species[crystals.offsets[:-1]] = np.arange(40, 70)
    crystals = replace(crystals, species=species)
    recipe = recipe_of("split.validation=0.3", "split.test=0.3")
    with pytest.raises(TrainingError, match="0 to validate with"):
        train_crystal_run(recipe, crystals, folder)


def test_the_settings_of_the_published_system_train_our_network(folder: Path) -> None:
    recipe = load_crystal_recipe(
        "crystals/source",
        [
            *("training.epochs=2", "model.width=16", "model.heads=2", "model.feedforward=16"),
            *("model.encoder_layers=1", "model.decoder_layers=1", "prior.kind=none"),
        ],
    )
    run, model = train_crystal_run(recipe, CRYSTALS, folder)
    assert (model.latent, model.module.weights.coordinates) == (8, 10.0)
    assert len(told_of(run.path)) == 2


# Another prior for a finished run.


def test_a_prior_is_fitted_anew(tmp_path: Path) -> None:
    crystals = energetic()
    run, model = train_crystal_run(recipe_of(), crystals, tmp_path / "run")
    assert model.prior is None
    again = refit_prior(run, crystals, ["prior.kind=flow", "properties=[energy]"])
    assert_same_weights(again, model)
    assert again.prior is not None
    stored = run.model()
    assert stored.properties is not None
    assert stored.properties.about.names == ("energy",)
    recipe = run.recipe()
    assert (recipe.prior.kind, recipe.properties) == ("flow", ("energy",))
    assert recipe.training == recipe_of().training
    gone = refit_prior(run, crystals, ["prior.kind=none", "properties=[]"])
    assert gone.prior is None
    assert run.model().properties is None


def test_a_prior_is_refused_for_other_parts_and_other_data(run: Run) -> None:
    before = (
        run.folder.recipe_file.read_text(),
        (run.folder.model_folder / "model.json").read_text(),
    )
    for override in ("model.width=64", "training.epochs=3", "split.test=0.5", "name=x"):
        with pytest.raises(RecipeError, match="can no longer change"):
            refit_prior(run.folder, run.crystals, [override])
    with pytest.raises(DataError, match="not the structures that the run was trained from"):
        refit_prior(run.folder, run.crystals.take(slice(0, 60)))
    with pytest.raises(RecipeError, match="did you mean kind"):
        refit_prior(run.folder, run.crystals, ["prior.kinf=flow"])
    with pytest.raises(DataError, match="no property 'mass'"):
        refit_prior(run.folder, run.crystals, ["properties=[mass]"])
    with pytest.raises(RunFolderError, match="no run here"):
        refit_prior(RunFolder(run.folder.path / "model"), run.crystals)
    after = run.folder.recipe_file.read_text(), (run.folder.model_folder / "model.json").read_text()
    assert after == before


def test_the_recipe_that_is_stored_is_the_whole_recipe(run: Run) -> None:
    assert run.folder.recipe_file.read_text() == recipe_to_yaml(run.recipe)


def test_structures_of_one_kind_train(folder: Path) -> None:
    # Cubic cells only: angles do not vary, and their scale is bounded from below.
    cubes = replace(CRYSTALS, lattices=CRYSTALS.volumes[:, None, None] ** (1 / 3) * np.eye(3))
    _, model = train_crystal_run(recipe_of(), cubes, folder)
    found = model.reconstruct(cubes.take(np.isin(np.arange(78), _known(model, cubes))))
    assert np.isfinite(found.lattices).all()


def _known(model, crystals: Crystals) -> np.ndarray:
    strange = ~np.isin(crystals.species, model.elements)
    return np.flatnonzero(np.bincount(crystals.owner[strange], minlength=len(crystals)) == 0)


def test_recipes_of_earlier_versions_are_read(tmp_path: Path) -> None:
    recipe, path = recipe_of("prior.kind=flow"), tmp_path / "recipe.yaml"
    path.write_text(recipe_to_yaml(recipe) + "  crystals: 32\n  atoms: 64\n")
    assert load_crystal_recipe(path) == recipe
    path.write_text(path.read_text().replace("kind: flow", "kind: mixture"))
    assert load_recipe(path, kind=CrystalRecipe, stored=True) == recipe_of("prior.kind=none")
    with pytest.raises(RecipeError, match="variolite crystals prior RUN"):
        load_crystal_recipe(path)
    assert load_crystal_recipe(path, ["prior.kind=flow"]) == recipe
