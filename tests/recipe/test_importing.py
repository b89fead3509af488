"""Configurations in the style of the source as recipes: read, accounted for, never run."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from variolite.errors import RecipeError
from variolite.recipe import (
    ConstantBeta,
    CrystalRecipe,
    Imported,
    import_source,
    imported_to_yaml,
    load_any_recipe,
)
from variolite.recipe.importing import REASONS, TAKEN

CONSTANT = {"kind": "constant", "value": 1.0}

ONE_FILE = """
_target_: somewhere.VAEModule
latent_dim: 8
encoder:
  _target_: somewhere.encoders.TransformerEncoder
  d_model: 256
  nhead: 4
  num_layers: 6
  dim_feedforward: 1024
  dropout: 0.1
decoder:
  _target_: somewhere.decoders.TransformerDecoder
  d_model: 256
  nhead: 4
  num_layers: 5
  dim_feedforward: 1024
loss_weights: {atom_types: 1.0, lengths: 1.0, angles: 10.0, frac_coords: 10.0, kl: 1e-5, fa: 0.5}
augmentation: {translate: true, rotate: true}
optimizer: {_target_: torch.optim.AdamW, lr: 1e-4, weight_decay: 0.0}
"""

TREE = {
    "configs/train_vae.yaml": """
defaults:
  - data: mp-20
  - vae_module: vae_module
  - callbacks: default
  - _self_
  - experiment: null
trainer: {max_epochs: 5000, gradient_clip_val: 10}
seed: 7
ckpt_path: null
""",
    "configs/data/mp-20.yaml": "_target_: somewhere.DataModule\nbatch_size: 256\nnum_workers: 16\n",
    "configs/vae_module/vae_module.yaml": """
defaults:
  - encoder: transformer
  - decoder: transformer
_target_: somewhere.VAEModule
latent_dim: 8
atom_type_predict: True
loss_weights: {kl: 1e-5}
scheduler: ${scheduler}
""",
    "configs/vae_module/encoder/transformer.yaml": """
_target_: somewhere.TransformerEncoder
max_num_elements: 100
d_model: 512
nhead: 8
num_layers: 8
""",
    "configs/vae_module/decoder/transformer.yaml": """
_target_: somewhere.TransformerDecoder
max_num_elements: ${vae_module.encoder.max_num_elements}
d_model: ${vae_module.encoder.d_model}
num_layers: ${vae_module.encoder.num_layers}
""",
    "configs/experiment/mp_20/vae_csp.yaml": """# @package _global_
trainer:
  max_epochs: 300
vae_module:
  loss_weights: {atom_types: 0}
  atom_type_predict: false
""",
    "configs/experiment/mp_20/vae_dng.yaml": """# @package _global_
defaults:
  - override /data: mp-20
  - override /vae_module: vae_module
  - override /logger: wandb
trainer: {max_epochs: 10000}
logger: {wandb: {group: "${task_name}/${data.kind}"}}
""",
}


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A folder of configurations in files of their own, as the source has them."""
    for name, text in TREE.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return tmp_path / "configs"


def _one(tmp_path: Path, text: str) -> Imported:
    path = tmp_path / "one.yaml"
    path.write_text(text, encoding="utf-8")
    return import_source([path], "mine")


def _written(folder: Path, found: Imported) -> Path:
    path = folder / "recipe.yaml"
    path.write_text(imported_to_yaml(found), encoding="utf-8")
    return path


def _reasons(found: Imported) -> dict[str, str]:
    return {left.path: left.reason for left in found.left}


def test_a_single_file_becomes_a_recipe(tmp_path: Path) -> None:
    found = _one(tmp_path, ONE_FILE)
    assert found.content == {
        "kind": "crystals",
        "name": "mine",
        "title": "Imported from one.yaml",
        "model": {
            "kind": "transformer",
            "latent": 8,
            "width": 256,
            "heads": 4,
            "encoder_layers": 6,
            "decoder_layers": 5,
            "feedforward": 1024,
        },
        "loss": {
            "divergence": 1e-5,
            "alignment": 0.5,
            "species": 1.0,
            "coordinates": 10.0,
            "lattice": 1.0,
        },
        "training": {"learning_rate": 1e-4, "beta": CONSTANT},
    }
    recipe = load_any_recipe(_written(tmp_path, found))
    assert isinstance(recipe, CrystalRecipe)
    assert (recipe.model.width, recipe.loss.alignment) == (256, 0.5)
    assert recipe.training.beta == ConstantBeta(value=1.0)


def test_every_value_stands_in_the_account_once(tmp_path: Path) -> None:
    found = _one(tmp_path, ONE_FILE)
    told = [entry.path for entry in (*found.taken, *found.left)]
    recognised = {"_target_", "encoder._target_", "decoder._target_"}

    def leaves(node: Any, path: str = "") -> list[str]:
        if isinstance(node, dict):
            return [leaf for k, v in node.items() for leaf in leaves(v, f"{path}.{k}".lstrip("."))]
        return [path]

    assert sorted(told) == sorted(set(leaves(yaml.safe_load(ONE_FILE))) - recognised)
    assert len(told) == len(set(told))
    assert all(left.reason for left in found.left)


def test_a_primary_file_brings_the_files_below_it(tree: Path) -> None:
    found = import_source([tree / "train_vae.yaml"], "mine")
    assert [path.name for path in found.files] == [
        "train_vae.yaml",
        "mp-20.yaml",
        "vae_module.yaml",
        "transformer.yaml",
        "transformer.yaml",
    ]
    assert found.content["model"] == {
        "kind": "transformer",
        "latent": 8,
        "width": 512,
        "heads": 8,
        "encoder_layers": 8,
        "decoder_layers": 8,
        "given": [],
    }
    assert found.content["training"] == {
        "epochs": 5000,
        "gradient_clip": 10,
        "batch_size": 256,
        "seed": 7,
        "beta": CONSTANT,
    }
    assert found.missing == ("callbacks/default.yaml",)


def test_an_experiment_lies_over_its_primary_file(tree: Path) -> None:
    experiment = tree / "experiment/mp_20/vae_csp.yaml"
    found = import_source([tree / "train_vae.yaml", experiment], "mine")
    assert found.content["model"]["given"] == ["species"]
    assert found.content["training"]["epochs"] == 300
    assert found.content["training"]["seed"] == 7
    assert found.content["loss"] == {"divergence": 1e-5, "species": 0}


def test_an_experiment_that_names_its_parts_stands_alone(tree: Path) -> None:
    found = import_source([tree / "experiment/mp_20/vae_dng.yaml"], "mine")
    assert found.content["training"] == {"epochs": 10000, "batch_size": 256, "beta": CONSTANT}
    assert found.content["model"]["width"] == 512
    assert found.missing == ("logger/wandb.yaml",)
    # Nothing is looked up that is not in the files.
    group = next(left for left in found.left if left.path == "logger.wandb.group")
    assert group.value == "${task_name}/${data.kind}"


def test_a_file_of_a_group_stands_in_its_section(tree: Path) -> None:
    found = import_source([tree / "vae_module/vae_module.yaml"], "mine")
    assert found.content["model"]["width"] == 512
    assert found.content["model"]["decoder_layers"] == 8


@pytest.mark.parametrize(
    ("more", "section", "key", "value"),
    [
        ("lambda_2: 0.01", "loss", "divergence", 0.01),
        ("kl_weight: 1e-3", "loss", "divergence", 1e-3),
        ("lambda_1: 2", "loss", "reconstruction", 2),
        ("lambda_3: .5", "loss", "alignment", 0.5),
        ("d_model: 64", "model", "width", 64),
        ("hidden_dim: 64", "model", "width", 64),
        ('nhead: "4"', "model", "heads", 4),
        ("atom_type_predict: false", "model", "given", ["species"]),
        ("seed: 0", "training", "seed", 0),
        ("trainer: {max_epochs: 9}", "training", "epochs", 9),
    ],
)
def test_other_names_are_understood(
    more: str, section: str, key: str, value: object, tmp_path: Path
) -> None:
    content = _one(tmp_path, f"latent_dim: 4\n{more}\n").content
    assert content[section][key] == value
    assert type(content[section][key]) is type(value)


def test_two_numbers_for_one_setting_keep_the_first_and_say_so(tmp_path: Path) -> None:
    found = _one(tmp_path, "encoder: {d_model: 64}\ndecoder: {d_model: 32}\n")
    assert found.content["model"]["width"] == 64
    assert _reasons(found) == {
        "decoder.d_model": "model.width is one value, taken from encoder.d_model"
    }


@pytest.mark.parametrize(
    ("text", "path", "reason"),
    [
        ("encoder: {dropout: 0.1}", "encoder.dropout", "no dropout"),
        ("augmentation: {rotate: true}", "augmentation.rotate", "do not depend on it"),
        ("loss_weights: {angles: 10}", "loss_weights.angles", "one metric"),
        ("optimizer: {_target_: torch.optim.AdamW}", "optimizer._target_", "the same"),
        ("optimizer: {_target_: torch.optim.SGD}", "optimizer._target_", "Adam is used here"),
        ("encoder: {my_switch: 3}", "encoder.my_switch", "no such setting"),
        ("encoder: {extra: {_target_: os.system}}", "encoder.extra._target_", "neither knows nor"),
        ("latent_dim: many", "latent_dim", "another kind of value"),
        ("latent_dim: true", "latent_dim", "another kind of value"),
        ("latent_dim: 8\nresume_from: a.ckpt", "resume_from", "pickles"),
        ("latent_dim: 8\ntrainer: {devices: 4}", "trainer.devices", "`variolite fit`"),
    ],
)
def test_what_has_no_counterpart_is_told_with_the_reason(
    text: str, path: str, reason: str, tmp_path: Path
) -> None:
    assert reason in _reasons(_one(tmp_path, text))[path]


@pytest.mark.parametrize("name", ["cspnet", "CSPNet", "CSPNetEncoder"])
def test_the_other_encoder_is_that_of_the_source_model(name: str, tmp_path: Path) -> None:
    encoder = f"encoder: {{_target_: a.b.{name}, hidden_dim: 512, num_layers: 6}}\n"
    found = _one(tmp_path, f"latent_dim: 8\natom_type_predict: false\n{encoder}")
    assert "decodes the elements always" in _reasons(found)["atom_type_predict"]
    assert found.content["model"] == {
        "kind": "source",
        "encoder": "cspnet",
        "latent": 8,
        "width": 512,
        "encoder_layers": 6,
    }


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("_target_: a.GAN\nlatent_dim: 8", "the model is 'a.GAN'"),
        ("encoder: {_target_: os.system}", "the encoder is 'os.system'"),
        ("decoder: {_target_: my.MLP}", "the decoder is 'my.MLP'.*TransformerDecoder"),
        ("encoder: mlp", "the encoder is 'mlp'"),
        ("", "no crystal VAE"),
        ("trainer: {max_epochs: 3}", "no crystal VAE"),
        ("[1, 2]", "a configuration is a mapping"),
        ("latent_dim: 8\nlatent_dim: 9", "given twice"),
        ("latent_dim: [8", "not valid YAML"),
        ("latent_dim: 8\ndefaults: 3", "defaults is a list"),
        ("latent_dim: 8\ndefaults: [{a: b, c: d}]", "an entry of defaults"),
        ("latent_dim: 8\ndefaults: [{a: ../../etc/passwd}]", "leads out of the folder"),
        ("latent_dim: 8\ndefaults: [one]", "includes itself"),
        ("latent_dim: &a [*a]", "aliases expand"),
        ("latent_dim: 0", "model.latent: .*greater than or equal to 1"),
        ("latent_dim: 8.5", "model.latent: "),
        ("encoder: {d_model: 100, nhead: 8}", "width 100 is no multiple of heads 8"),
        ("loss_weights: {kl: -1}", "loss.divergence: "),
    ],
)
def test_what_cannot_be_imported_is_one_clear_error(text: str, said: str, tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match=said) as caught:
        _one(tmp_path, text)
    assert "\n" not in str(caught.value)
    assert caught.value.where


@pytest.mark.parametrize(
    "tag",
    [
        "!!python/object/apply:os.mkdir ['{trace}']",
        "!!python/object/new:os.mkdir ['{trace}']",
        "!!python/name:os.mkdir",
        "!!python/module:os",
        "!mine 3",
    ],
)
def test_tags_run_nothing_here_either(tag: str, tmp_path: Path) -> None:
    trace = tmp_path / "trace"
    with pytest.raises(RecipeError, match="not valid YAML"):
        _one(tmp_path, "latent_dim: " + tag.format(trace=trace))
    assert not trace.exists()


def test_nothing_named_as_a_target_is_imported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "trap.py").write_text(f"open({str(tmp_path / 'trace')!r}, 'w')\n")
    monkeypatch.syspath_prepend(tmp_path)
    found = _one(tmp_path, "latent_dim: 8\noptimizer: {_target_: trap.Adam}\n")
    assert _reasons(found)["optimizer._target_"]
    with pytest.raises(RecipeError):
        _one(tmp_path, "latent_dim: 8\nencoder: {_target_: trap.Encoder}\n")
    assert not (tmp_path / "trace").exists()


def test_files_that_cannot_be_read_or_are_too_large(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="cannot read the configuration: No such file"):
        import_source([tmp_path / "absent.yaml"], "mine")
    binary = tmp_path / "binary.yaml"
    binary.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(RecipeError, match="not UTF-8"):
        import_source([binary], "mine")
    binary.write_bytes(b"a" * 1_000_001)
    with pytest.raises(RecipeError, match="more than 1,000,000 bytes"):
        import_source([binary], "mine")


def test_names_from_the_root_mean_the_folder_of_configurations(tmp_path: Path) -> None:
    assert _one(tmp_path, "latent_dim: 8\ndefaults: [/etc/passwd]").missing == ("etc/passwd.yaml",)
    (tmp_path / "out.yaml").symlink_to("/etc/passwd")
    with pytest.raises(RecipeError, match="leads out of the folder"):
        _one(tmp_path, "latent_dim: 8\ndefaults: [out]")


def test_a_chain_of_references_ends(tmp_path: Path) -> None:
    text = "latent_dim: ${a.b}\na: {b: '${c}'}\nc: 12\nencoder: {d_model: '${encoder.d_model}'}\n"
    found = _one(tmp_path, text)
    assert found.content["model"]["latent"] == 12
    assert "another kind of value" in _reasons(found)["encoder.d_model"]


def test_the_text_holds_the_recipe_and_what_was_left_out(tmp_path: Path) -> None:
    found = _one(tmp_path, ONE_FILE + 'logger: {name: "a\\nb: 3\\n"}\n')
    text = imported_to_yaml(found)
    assert yaml.safe_load(text) == found.content
    comments = [line for line in text.splitlines() if line.startswith("#")]
    assert len(comments) == 2 + len(found.left)


def test_no_key_is_both_taken_and_explained() -> None:
    assert not set(TAKEN) & set(REASONS)


@given(text=st.text(max_size=80))
def test_no_text_ends_in_a_traceback(text: str, tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.getbasetemp()
    with contextlib.suppress(RecipeError):
        _one(folder, "latent_dim: 8\n" + text)
