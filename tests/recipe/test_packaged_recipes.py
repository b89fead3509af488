"""Every packaged recipe loads, says what the source's tables say, and survives a round trip."""

import pytest
import yaml

from variolite.recipe import (
    BaseRecipe,
    ConstantBeta,
    LinearBeta,
    PlateauSpec,
    Recipe,
    load_recipe,
    packaged_recipes,
    recipe_from_dict,
    recipe_to_yaml,
)

NAMES = sorted(packaged_recipes())
CORE = ("bulk_density", "magnetic_susceptibility", "natural_gamma")
COLOUR = ("red", "green", "blue")


def _steps(recipe, column):
    return [step.name for step in recipe.columns[column].transform]


def test_the_recipes_of_the_source_are_all_there():
    expected = {"default", "v1", "v2", "v2_1", "v2_5", "v2_6", "v2_6_6"}
    assert {f"corelogs/{name}" for name in expected} <= set(NAMES)
    assert not [name for name in NAMES if "/_" in name]


@pytest.mark.parametrize("name", NAMES)
def test_every_recipe_resolves_and_names_itself(name):
    recipe = load_recipe(name, kind=BaseRecipe)
    assert recipe.name == name
    assert recipe.title == packaged_recipes()[name]
    assert recipe.title
    assert recipe.description
    assert not isinstance(recipe, Recipe) or recipe.table.inputs


@pytest.mark.parametrize("name", NAMES)
def test_every_recipe_survives_a_round_trip(name, tmp_path):
    recipe = load_recipe(name, kind=BaseRecipe)
    text = recipe_to_yaml(recipe)
    assert recipe_from_dict(yaml.safe_load(text), "test", BaseRecipe) == recipe
    path = tmp_path / "recipe.yaml"
    path.write_text(text, encoding="utf-8")
    assert load_recipe(path, kind=BaseRecipe) == recipe
    assert recipe_to_yaml(load_recipe(path, kind=BaseRecipe)) == text


@pytest.mark.parametrize("name", NAMES)
def test_a_written_recipe_hides_no_default(name):
    recipe = load_recipe(name, kind=BaseRecipe)
    content = yaml.safe_load(recipe_to_yaml(recipe))
    assert set(content["training"]) == set(type(recipe.training).model_fields)
    assert set(content["model"]) == set(type(recipe.model).model_fields)
    assert content["training"]["beta"]["kind"]


@pytest.mark.parametrize("name", [name for name in NAMES if name.startswith("corelogs/")])
def test_group_depth_and_label_are_no_inputs(name):
    table = load_recipe(name).table
    assert table.group is not None
    assert table.group.name == "hole"
    assert table.order is not None
    assert table.order.name == "depth"
    assert [label.name for label in table.labels] == ["lithology"]
    assert not {"depth", "hole", "lithology"} & {column.name for column in table.inputs}


def test_v1_is_as_described():
    recipe = load_recipe("corelogs/v1")
    assert (recipe.model.encoder, recipe.model.latent, recipe.model.decoder) == (
        (16, 8),
        8,
        (8, 16),
    )
    assert (recipe.model.variance, recipe.model.sigma2) == ("fixed", 0.5)
    assert (recipe.model.norm, recipe.model.dropout) == ("layer", 0.1)
    assert recipe.training.beta == ConstantBeta(value=1.0)
    assert (recipe.training.epochs, recipe.training.batch_size) == (100, 512)
    assert recipe.training.learning_rate == 1e-3
    assert recipe.training.patience == 10
    assert recipe.training.plateau == PlateauSpec(factor=0.5, patience=5)
    for column in CORE:
        assert _steps(recipe, column) == ["standardise"]
    assert not set(COLOUR) & set(recipe.columns)


def test_v2_adds_colour_and_width_to_v1():
    first, second = load_recipe("corelogs/v1"), load_recipe("corelogs/v2")
    assert (second.model.encoder, second.model.latent) == ((32, 16), 8)
    assert second.model.decoder == (16, 32)
    assert second.model.sigma2 == 0.5
    assert second.training == first.training
    for column in (*CORE, *COLOUR):
        assert _steps(second, column) == ["standardise"]


def test_v2_1_changes_the_scaling_alone():
    second, third = load_recipe("corelogs/v2"), load_recipe("corelogs/v2_1")
    assert (third.model, third.training) == (second.model, second.training)
    assert _steps(third, "bulk_density") == ["standardise"]
    for column in ("magnetic_susceptibility", "natural_gamma", *COLOUR):
        assert _steps(third, column) == ["signed_log", "standardise"]


def test_v2_5_halves_the_noise_alone():
    before, after = load_recipe("corelogs/v2_1"), load_recipe("corelogs/v2_5")
    assert after.model == before.model.model_copy(update={"sigma2": 0.25})
    assert (after.training, after.columns) == (before.training, before.columns)


def test_v2_6_anneals_over_fifty_epochs_and_has_epochs_left():
    recipe = load_recipe("corelogs/v2_6")
    # 0.001 to 0.5 on the summed squared error, at sigma2 0.25.
    assert recipe.training.beta == LinearBeta(start=0.002, end=1.0, epochs=50)
    assert recipe.model.sigma2 == 0.25
    assert (recipe.model.encoder, recipe.model.latent) == ((32, 16), 8)
    assert (recipe.training.batch_size, recipe.training.patience) == (256, 15)
    assert recipe.training.plateau is None
    assert recipe.training.epochs == 100


def test_v2_6_6_has_ten_latents_and_a_mixture():
    before, after = load_recipe("corelogs/v2_6"), load_recipe("corelogs/v2_6_6")
    assert after.model == before.model.model_copy(update={"latent": 10})
    assert after.training == before.training
    assert after.clustering.algorithm == "gmm"
    assert (min(after.clustering.k), max(after.clustering.k)) == (10, 20)


def test_the_default_learns_its_noise_and_masks_what_is_missing():
    recipe = load_recipe("corelogs/default")
    assert (recipe.model.variance, recipe.model.sigma2) == ("feature", None)
    assert (recipe.model.norm, recipe.model.dropout) == ("none", 0.0)
    assert recipe.training.beta.end == 1.0, "with learned noise any other beta is no likelihood"
    assert (recipe.training.batch_size, recipe.training.learning_rate) == ("auto", "auto")
    assert {column.missing for column in recipe.table.inputs} == {"mask"}
    assert recipe.columns["hole"].missing == "drop"
