"""Every packaged recipe loads, says what the source's tables say, and survives a round trip."""

from importlib import resources

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
    expected = {
        "default",
        "mad_legacy",
        "v1",
        "v2",
        "v2_1",
        "v2_2",
        "v2_4",
        "v2_5",
        "v2_6",
        "v2_6_1",
    }
    expected |= {"v2_6_2", "v2_6_3", "v2_6_4", "v2_6_6", "v2_6_7", "v2_7", "v2_7_mad", "v2_8"}
    expected |= {"v2_10", "v2_11a", "v2_11b", "v2_11c", "v2_13", "v2_14", "v3"}
    assert {f"corelogs/{name}" for name in expected} <= set(NAMES)
    assert not [name for name in NAMES if "/_" in name]


@pytest.mark.parametrize("name", NAMES)
def test_every_recipe_names_itself_hides_no_default_and_survives_a_round_trip(name, tmp_path):
    recipe = load_recipe(name, kind=BaseRecipe)
    assert recipe.name == name
    assert recipe.title == packaged_recipes()[name] != ""
    assert recipe.description
    assert not isinstance(recipe, Recipe) or recipe.table.inputs
    text = recipe_to_yaml(recipe)
    content = yaml.safe_load(text)
    for part in ("training", "model"):
        assert set(content[part]) == set(type(getattr(recipe, part)).model_fields)
    assert content["training"]["beta"]["kind"]
    assert recipe_from_dict(content, "test", BaseRecipe) == recipe
    path = tmp_path / "recipe.yaml"
    path.write_text(text, encoding="utf-8")
    assert load_recipe(path, kind=BaseRecipe) == recipe
    assert recipe_to_yaml(load_recipe(path, kind=BaseRecipe)) == text


@pytest.mark.parametrize("name", [name for name in NAMES if name.startswith("corelogs/")])
def test_group_depth_and_label_are_no_inputs(name):
    table = load_recipe(name).table
    assert (table.group.name, table.order.name) == ("hole", "depth")
    assert [label.name for label in table.labels] == ["lithology"]
    assert not {"depth", "hole", "lithology"} & {column.name for column in table.inputs}


def test_v1_is_as_described():
    recipe = load_recipe("corelogs/v1")
    model, training = recipe.model, recipe.training
    assert (model.encoder, model.latent, model.decoder) == ((16, 8), 8, (8, 16))
    assert (model.variance, model.sigma2) == ("fixed", 0.5)
    assert (model.norm, model.dropout) == ("layer", 0.1)
    assert training.beta == ConstantBeta(value=1.0)
    assert (training.epochs, training.batch_size, training.patience) == (100, 512, 10)
    assert training.learning_rate == 1e-3
    assert training.plateau == PlateauSpec(factor=0.5, patience=5)
    for column in CORE:
        assert _steps(recipe, column) == ["standardise"]
    assert not set(COLOUR) & set(recipe.columns)


def test_v2_adds_colour_and_width_and_its_successors_change_the_scaling_or_the_noise_alone():
    names = (f"corelogs/{name}" for name in ("v1", "v2", "v2_1", "v2_5"))
    first, second, third, fourth = map(load_recipe, names)
    model = second.model
    assert (model.encoder, model.latent, model.decoder) == ((32, 16), 8, (16, 32))
    assert model.sigma2 == 0.5
    assert second.training == first.training
    for column in (*CORE, *COLOUR):
        assert _steps(second, column) == ["standardise"]
    assert (third.model, third.training) == (second.model, second.training)
    assert _steps(third, "bulk_density") == ["standardise"]
    for column in ("magnetic_susceptibility", "natural_gamma", *COLOUR):
        assert _steps(third, column) == ["signed_log", "standardise"]
    assert fourth.model == third.model.model_copy(update={"sigma2": 0.25})
    assert (fourth.training, fourth.columns) == (third.training, third.columns)


def test_v2_6_anneals_over_fifty_epochs_and_has_epochs_left():
    recipe = load_recipe("corelogs/v2_6")
    # 0.001 to 0.5 on the summed squared error, at sigma2 0.25.
    assert recipe.training.beta == LinearBeta(start=0.002, end=1.0, epochs=50)
    assert recipe.model.sigma2 == 0.25
    assert (recipe.model.encoder, recipe.model.latent) == ((32, 16), 8)
    training = recipe.training
    assert (training.batch_size, training.patience, training.epochs) == (256, 15, 100)
    assert training.plateau is None


def test_v2_6_6_has_ten_latents_and_a_mixture():
    before, after = load_recipe("corelogs/v2_6"), load_recipe("corelogs/v2_6_6")
    assert after.model == before.model.model_copy(update={"latent": 10})
    assert after.training == before.training
    assert after.clustering.algorithm == "gmm"
    assert (min(after.clustering.k), max(after.clustering.k)) == (10, 20)


def _changed(name):
    """What a recipe changes of the one it extends, by key; columns apart."""
    text = resources.files("variolite").joinpath("recipes", f"{name}.yaml").read_text("utf-8")
    content = yaml.safe_load(text)
    parts = {k: v for k, v in content.items() if k in ("model", "training", "clustering")}
    return content["extends"], {
        f"{k}.{key}": v for k, own in parts.items() for key, v in own.items()
    }


GROUPS = (
    ("bulk_density", "magnetic_susceptibility", "natural_gamma", "gamma_ray", "deep_resistivity"),
    (*COLOUR, "neutron_porosity", "mean_porosity", "porosity_difference"),
)


@pytest.mark.parametrize(
    ("name", "parent", "changes"),
    [
        ("v2_2", "v2_1", {"model.context": {"kind": "neighbours"}}),
        ("v2_4", "v2_1", {"model.prior": "mixture", "training.pretraining": {"epochs": 20}}),
        ("v2_7", "v2_6", {"model.prior": "mixture", "model.components": 12}),
        (
            "v2_8",
            "v2_1",
            {"training.contrastive": {"weight": 0.1, "temperature": 0.5, "clusters": 12}},
        ),
        ("v2_10", "v2_6", {"model.prior": "vamp", "model.components": 50}),
        ("v2_11b", "v2_6", {"training.masking": {"kind": "value", "share": 0.15}}),
        ("v2_11c", "v2_6", {"training.masking": {"kind": "hole", "share": 0.1}}),
        ("v2_13", "v2_6_7", {"model.decoders": "by_column", "model.variance": "feature"}),
        ("v2_14", "v2_6_7", {"training.guidance": {"weight": 0.6, "share": 0.2}}),
        ("v3", "v2_1", {"model.decoders": "by_group", "model.encoder": [16, 8]}),
    ],
)
def test_a_variant_changes_what_the_source_changed(name, parent, changes):
    extends, found = _changed(f"corelogs/{name}")
    assert extends == f"corelogs/{parent}"
    assert changes.items() <= found.items()


def test_two_encoders_divide_every_input_among_them():
    for name in ("v2_6_4", "v3"):
        recipe = load_recipe(f"corelogs/{name}")
        physical, colour = recipe.model.encoders.values()
        assert {*physical, *colour} == {column.name for column in recipe.table.inputs}
        assert set(GROUPS[0]) == set(physical)
        assert set(GROUPS[1]) < set(colour)
    assert load_recipe("corelogs/v2_6_2").training.pretraining.columns == GROUPS[0]
    colour = load_recipe("corelogs/v2_6_3").table.inputs
    assert not {column.name for column in colour} & set(GROUPS[0])


def test_the_shipped_model_has_the_noise_of_beta_three_quarters():
    recipe = load_recipe("corelogs/v2_6_7")
    assert (recipe.model.norm, recipe.model.dropout, recipe.model.sigma2) == ("none", 0.0, 0.375)
    assert recipe.training.beta == LinearBeta(start=0.0, end=1.0, epochs=50)
    assert load_recipe("corelogs/v2_14").model.sigma2 == pytest.approx(0.6 * 0.75 / 2)


def test_the_default_learns_its_noise_and_masks_what_is_missing():
    recipe = load_recipe("corelogs/default")
    assert (recipe.model.variance, recipe.model.sigma2) == ("feature", None)
    assert (recipe.model.norm, recipe.model.dropout) == ("none", 0.0)
    assert recipe.training.beta.end == 1.0, "with learned noise any other beta is no likelihood"
    assert (recipe.training.batch_size, recipe.training.learning_rate) == ("auto", "auto")
    assert {column.missing for column in recipe.table.inputs} == {"mask"}
    assert recipe.columns["hole"].missing == "drop"
