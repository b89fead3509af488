"""Configurations in the style of the source as recipes: read, accounted for, never run."""

import contextlib

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from variolite.crystals.recipe import REASONS, TAKEN, CrystalRecipe, import_source
from variolite.errors import RecipeError
from variolite.recipe import BaseRecipe, ConstantBeta, load_recipe

CONSTANT = {"kind": "constant", "value": 1.0}

ONE_FILE = """
_target_: somewhere.VAEModule
latent_dim: 8
encoder: {_target_: somewhere.encoders.TransformerEncoder, d_model: 256, nhead: 4, num_layers: 6,
  dim_feedforward: 1024, dropout: 0.1}
decoder: {_target_: somewhere.decoders.TransformerDecoder, d_model: 256, nhead: 4, num_layers: 5,
  dim_feedforward: 1024}
loss_weights: {atom_types: 1.0, lengths: 1.0, angles: 10.0, frac_coords: 10.0, kl: 1e-5, fa: 0.5}
augmentation: {translate: true, rotate: true}
optimizer: {_target_: torch.optim.AdamW, lr: 1e-4, weight_decay: 0.0}
"""


def _one(tmp_path, text):
    path = tmp_path / "one.yaml"
    path.write_text(text, encoding="utf-8")
    return import_source([path], "mine")


def _reasons(found):
    return {left.path: left.meaning for left in found.left}


def test_a_single_file_becomes_a_recipe(tmp_path):
    found = _one(tmp_path, ONE_FILE)
    sizes = {"latent": 8, "width": 256, "heads": 4, "encoder_layers": 6, "decoder_layers": 5}
    terms = {"species": 1.0, "coordinates": 10.0, "lattice": 1.0}
    assert found.content == {
        "kind": "crystals",
        "name": "mine",
        "title": "Imported from one.yaml",
        "model": {**sizes, "feedforward": 1024},
        "loss": {"kl": 1e-5, "alignment": 0.5, **terms},
        "training": {"learning_rate": 1e-4, "beta": CONSTANT},
    }
    written = tmp_path / "recipe.yaml"
    written.write_text(found.to_yaml(), encoding="utf-8")
    recipe = load_recipe(written, kind=BaseRecipe)
    assert isinstance(recipe, CrystalRecipe)
    assert (recipe.model.width, recipe.loss.alignment) == (256, 0.5)
    assert recipe.training.beta == ConstantBeta(value=1.0)


def test_every_value_stands_in_the_account_once(tmp_path):
    found = _one(tmp_path, ONE_FILE)
    told = [entry.path for entry in (*found.taken, *found.left)]
    recognised = {"_target_", "encoder._target_", "decoder._target_"}

    def leaves(node, path=""):
        if isinstance(node, dict):
            return [leaf for k, v in node.items() for leaf in leaves(v, f"{path}.{k}".lstrip("."))]
        return [path]

    assert sorted(told) == sorted(set(leaves(yaml.safe_load(ONE_FILE))) - recognised)
    assert len(told) == len(set(told))
    assert all(left.meaning for left in found.left)
    assert not set(TAKEN) & set(REASONS)


@pytest.mark.parametrize(
    ("more", "section", "key", "value"),
    [
        ("lambda_2: 0.01", "loss", "kl", 0.01),
        ("lambda_1: 2", "loss", "reconstruction", 2),
        ("lambda_3: .5", "loss", "alignment", 0.5),
        ("d_model: 64", "model", "width", 64),
        ('nhead: "4"', "model", "heads", 4),
        ("atom_type_predict: false", "model", "given", ["species"]),
        ("seed: 0", "training", "seed", 0),
        ("trainer: {max_epochs: 9}", "training", "epochs", 9),
    ],
)
def test_other_names_are_understood(more, section, key, value, tmp_path):
    found = _one(tmp_path, f"latent_dim: 4\n{more}\n").content[section][key]
    assert (found, type(found)) == (value, type(value))


def test_two_numbers_for_one_setting_keep_the_first_and_say_so(tmp_path):
    found = _one(tmp_path, "encoder: {d_model: 64}\ndecoder: {d_model: 32}\n")
    assert found.content["model"]["width"] == 64
    assert _reasons(found) == {
        "decoder.d_model": "model.width is one value, taken from encoder.d_model"
    }


@pytest.mark.parametrize(
    ("text", "path", "reason"),
    [
        ("encoder: {dropout: 0.1}", "encoder.dropout", "no dropout here"),
        ("latent_dim: 8\naugmentation: {rotate: true}", "augmentation.rotate", "do not depend"),
        ("loss_weights: {angles: 10}", "loss_weights.angles", "one metric"),
        ("latent_dim: 8\noptimizer: {_target_: SGD}", "optimizer._target_", "Adam without weight"),
        ("encoder: {my_switch: 3}", "encoder.my_switch", "no such setting"),
        ("encoder: {extra: {_target_: os.system}}", "encoder.extra._target_", "neither knows nor"),
        ("latent_dim: many", "latent_dim", "another kind of value"),
        ("latent_dim: true", "latent_dim", "another kind of value"),
        ("latent_dim: 8\nresume_from: a.ckpt", "resume_from", "no such setting"),
        ("latent_dim: ${a.b}", "latent_dim", "another kind of value"),
        ("latent_dim: 8\ntrainer: {devices: 4}", "trainer.devices", "`variolite fit`"),
    ],
)
def test_what_has_no_counterpart_is_told_with_the_reason(text, path, reason, tmp_path):
    assert reason in _reasons(_one(tmp_path, text))[path]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("_target_: a.GAN\nlatent_dim: 8", "the model is 'a.GAN'"),
        ("encoder: {_target_: os.system}", "the encoder is 'os.system'"),
        ("decoder: {_target_: my.MLP}", "the decoder is 'my.MLP'.*TransformerDecoder"),
        ("latent_dim: 8\nencoder: {_target_: a.CSPNetEncoder}", "the encoder is 'a.CSPNetEncoder'"),
        ("encoder: mlp", "the encoder is 'mlp'"),
        ("", "a recipe is a mapping"),
        ("trainer: {max_epochs: 3}", "no crystal VAE"),
        ("[1, 2]", "a recipe is a mapping"),
        ("latent_dim: 8\nlatent_dim: 9", "given twice"),
        ("latent_dim: [8", "not valid YAML"),
        ("latent_dim: 8\ndefaults: [encoder: a]", "composed of other files.*one plain file"),
        ("vae_module: {latent_dim: 8, defaults: []}", "composed of other files"),
        ("latent_dim: &a [*a]", "aliases expand"),
        ("latent_dim: 0", "model.latent: .*greater than or equal to 1"),
        ("latent_dim: 8.5", "model.latent: "),
        ("encoder: {d_model: 100, nhead: 8}", "width 100 is not a multiple of heads 8"),
        ("loss_weights: {kl: -1}", "loss.kl: "),
    ],
)
def test_what_cannot_be_imported_is_one_clear_error(text, said, tmp_path):
    with pytest.raises(RecipeError, match=said) as caught:
        _one(tmp_path, text)
    assert "\n" not in str(caught.value)
    assert caught.value.where


def test_nothing_is_run_or_imported(tmp_path, monkeypatch):
    trace = tmp_path / "trace"
    made = [f"!!python/object/{how}:os.mkdir ['{trace}']" for how in ("apply", "new")]
    for tag in (*made, "!!python/name:os.mkdir", "!!python/module:os", "!mine 3"):
        with pytest.raises(RecipeError, match="not valid YAML"):
            _one(tmp_path, f"latent_dim: {tag}")
    (tmp_path / "trap.py").write_text(f"open({str(trace)!r}, 'w')\n")
    monkeypatch.syspath_prepend(tmp_path)
    found = _one(tmp_path, "latent_dim: 8\noptimizer: {_target_: trap.Adam}\n")
    assert _reasons(found)["optimizer._target_"]
    with pytest.raises(RecipeError):
        _one(tmp_path, "latent_dim: 8\nencoder: {_target_: trap.Encoder}\n")
    assert not trace.exists()


def test_a_later_file_lies_over_an_earlier_one(tmp_path):
    first, second = tmp_path / "first.yaml", tmp_path / "second.yaml"
    first.write_text("vae_module: {latent_dim: 8, encoder: {d_model: 64}}\nseed: 7\n")
    second.write_text("vae_module: {latent_dim: 4}\natom_type_predict: false\n")
    found = import_source([first, second], "mine")
    assert found.content["model"] == {"latent": 4, "width": 64, "given": ["species"]}
    assert found.content["training"]["seed"] == 7
    assert [path.name for path in found.files] == ["first.yaml", "second.yaml"]


def test_the_text_holds_the_recipe_and_what_was_left_out(tmp_path):
    found = _one(tmp_path, ONE_FILE + 'logger: {name: "a\\nb: 3\\n"}\n')
    text = found.to_yaml()
    assert yaml.safe_load(text) == found.content
    comments = [line for line in text.splitlines() if line.startswith("#")]
    assert len(comments) == 2 + len(found.left)


@given(text=st.text(max_size=80))
def test_no_text_ends_in_a_traceback(text, tmp_path_factory):
    folder = tmp_path_factory.getbasetemp()
    with contextlib.suppress(RecipeError):
        _one(folder, "latent_dim: 8\n" + text)
