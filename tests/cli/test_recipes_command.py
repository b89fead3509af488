"""``variolite recipes``: list and show as before, import beside them."""

import json

import pytest
import yaml

from variolite.recipe import BaseRecipe, load_recipe, packaged_recipes

SOURCE = """
latent_dim: 8
encoder: {_target_: somewhere.TransformerEncoder, d_model: 64, nhead: 4, dropout: 0.1}
loss_weights: {kl: 1e-5}
ckpt_path: null
"""


@pytest.fixture
def source(tmp_path):
    path = tmp_path / "vae_dng.yaml"
    path.write_text(SOURCE, encoding="utf-8")
    return path


def test_recipes_are_listed_and_shown_and_show_may_be_left_out(program):
    listed = program("recipes", "--json")
    assert listed == program("recipes", "show", "--json")
    assert json.loads(listed.out) == packaged_recipes()
    assert all(name in program("recipes").out for name in packaged_recipes())
    written = program("recipes", "corelogs/default")
    assert written == program("recipes", "show", "corelogs/default")
    shown = json.loads(program("recipes", "corelogs/default", "--json").out)
    assert shown["model"]["latent"] == yaml.safe_load(written.out)["model"]["latent"]
    assert "Did you mean corelogs/" in program.fails("recipes", "corelogs/v0")


def test_importing_writes_a_recipe_and_accounts_for_the_rest(program, source, tmp_path):
    out = tmp_path / "mine.yaml"
    lines = program.works("recipes", "import", source, out=out).out.splitlines()
    assert (lines[0], lines[-1]) == ("4 taken over:", str(out))
    assert "2 without a counterpart:" in lines
    assert any("encoder.dropout = 0.1" in line and "no dropout" in line for line in lines)
    assert any("ckpt_path = null" in line for line in lines)
    recipe = load_recipe(out, kind=BaseRecipe)
    assert (recipe.name, recipe.title) == ("mine", "Imported from vae_dng.yaml")
    program.works("recipes", out)
    account = json.loads(program("recipes", "import", source, "--json", out=out).out)
    assert account["recipe"] == yaml.safe_load(out.read_text())
    assert {"from": "encoder.d_model", "value": 64, "to": "model.width"} in account["taken"]
    assert account["missing"] == []


def test_mistakes_in_importing_are_one_line(program, source, tmp_path):
    out = tmp_path / "mine.yaml"
    assert "cannot be read" in program.fails("recipes", "import", tmp_path / "absent", out=out)
    line = program.fails("recipes", "import", source, out=tmp_path / "mine.txt")
    assert "a recipe is a .yaml file" in line
    for content, message in (
        ("defaults: [data: mp-20]\nlatent_dim: 8", "composed of other files"),
        ("latent_dim: !!python/object/apply:os.mkdir [x]", "not valid YAML"),
        ("latent_dim: 8\nencoder: {_target_: os.system}", "'os.system'"),
    ):
        source.write_text(content)
        assert message in program.fails("recipes", "import", source, out=out)
    assert program("recipes", "import", source).code == 2
    assert not out.exists()
