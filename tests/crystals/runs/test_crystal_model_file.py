"""The model file of crystals: bit-equal when whole, one clear error when not."""

import hashlib
import json
import pickle
import shutil
from functools import partial
from operator import methodcaller
from pathlib import Path

import numpy as np
import pytest
import torch
from drawn_crystals import drawn_crystals
from tiny_runs import TABULAR, assert_same_weights

from variolite.crystals.crystal_model import (
    FORMAT,
    from_format_1,
    load_crystal_model,
    save_crystal_model,
)
from variolite.crystals.files.textbook import textbook_crystals
from variolite.crystals.generation.sampling import Sampling
from variolite.errors import ModelFileError
from variolite.training import RunFolder, load_model

FIXTURE = Path(__file__).parent / "fixtures" / "crystal_format_1"
FILES = ["model.json", "weights.safetensors"]


@pytest.fixture
def stored(run, tmp_path):
    """A copy of the model folder that a test may spoil."""
    shutil.copytree(run.folder.model_folder, tmp_path / "model")
    return tmp_path / "model"


def _refuses(folder, said="."):
    with pytest.raises(ModelFileError, match=said) as caught:
        load_crystal_model(folder)
    text = str(caught.value)
    assert "\n" not in text
    assert str(folder) in text, "the error does not say where"


def test_a_model_comes_back_bit_equal(run):
    again = load_crystal_model(run.folder.model_folder)
    assert_same_weights(again, run.model)
    assert again.module.architecture == run.model.module.architecture
    assert again.module.weights == run.model.module.weights
    assert again.provenance == json.loads(json.dumps(run.model.provenance))
    assert not again.module.training
    for one, two in zip(_uses(run.model, run.known), _uses(again, run.known), strict=True):
        np.testing.assert_array_equal(one, two)


def _uses(model, crystals):
    latents, found = model.encode(crystals), model.reconstruct(crystals)
    predicted = model.properties.predict(latents, crystals.species).values
    drawn = model.sample(4, Sampling(seed=3, max_attempts=200)).crystals
    arrays = [latents.mean, latents.log_variance, found.lattices, found.coordinates]
    return [*arrays, predicted, drawn.coordinates]


def test_two_files_without_a_row_of_training_are_saved_alike(stored, run, tmp_path):
    save_crystal_model(tmp_path / "again", load_crystal_model(stored))
    for name in FILES:
        assert (tmp_path / "again" / name).read_bytes() == (stored / name).read_bytes()
    assert sorted(entry.name for entry in stored.iterdir()) == FILES
    content = b"".join((stored / name).read_bytes() for name in FILES)
    for name in run.crystals.names:
        assert name.encode() not in content
    for value in run.crystals.lattices.max(axis=(1, 2)):
        assert np.float64(value).tobytes() not in content


def test_format_1_is_still_read(tmp_path):
    model = load_crystal_model(FIXTURE)
    expected = json.loads((FIXTURE / "expected.json").read_text())
    every = textbook_crystals()
    crystals = every.take([every.names.tolist().index(name) for name in expected["crystals"]])
    np.testing.assert_allclose(model.encode(crystals).mean, expected["mean"], atol=1e-5)
    found = model.reconstruct(crystals)
    np.testing.assert_allclose(found.lattices, expected["lattices"], atol=1e-3)
    assert found.species.tolist() == expected["species"]
    assert (model.module.weights.coordinates, model.module.weights.lattice) == (7.0, 2.0)
    assert (model.module.architecture.fourier_features, model.species_given) == (2, False)
    save_crystal_model(tmp_path / "again", model)
    assert json.loads((tmp_path / "again" / "model.json").read_text())["format"] == FORMAT
    assert_same_weights(load_crystal_model(tmp_path / "again"), model)


def test_format_1_may_give_elements_and_have_another_network(tmp_path):
    content = json.loads((FIXTURE / "model.json").read_text())
    content["architecture"]["species_given"] = True
    assert from_format_1(content)["architecture"]["given"] == ["species"]
    shutil.copytree(FIXTURE, tmp_path / "model")
    _resign(tmp_path / "model", lambda content: content.update(network="source"))
    _refuses(tmp_path / "model", "the published system.*Train crystals/source again")


class _Trap:
    """Unpickling it leaves a trace."""

    def __reduce__(self):
        return Path.touch, (Path("unpickled"),)


@pytest.mark.parametrize("file", FILES)
def test_altered_truncated_foreign_and_missing_files(stored, file, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    whole = (stored / file).read_bytes()
    wrong = [whole[: int(share * (len(whole) - 2))] for share in (0.0, 0.3, 0.999)]
    places = np.linspace(0, len(whole) - 2, 9).astype(int).tolist()
    wrong += [whole[:i] + bytes([whole[i] ^ 1]) + whole[i + 1 :] for i in places]
    for content in (*wrong, b"3", b'{"kind": "something"}', b"\x80\x02", pickle.dumps(_Trap())):
        (stored / file).write_bytes(content)
        _refuses(stored)
    assert not Path("unpickled").exists()
    (stored / file).unlink()
    _refuses(stored, "there is no model here" if file == "model.json" else "weights are missing")
    _refuses(tmp_path / "nowhere", "there is no model here")


def test_models_of_another_kind_are_named_both_ways(stored):
    _refuses(TABULAR, r"model of another kind \(variolite\.tabular_vae\), not a crystal model")
    with pytest.raises(ModelFileError, match=r"variolite\.crystal_vae"):
        load_model(stored)
    assert RunFolder(stored.parent).field.kind == "crystals"


def _resign(folder, change):
    """Alter a model as someone does who also signs it again."""
    path = folder / "model.json"
    content = json.loads(path.read_text(encoding="utf-8"))
    change(content)
    bare = {key: value for key, value in content.items() if key != "sha256"}
    text = json.dumps(bare, sort_keys=True, separators=(",", ":"))
    content["sha256"] = hashlib.sha256(text.encode()).hexdigest()
    path.write_text(json.dumps(content), encoding="utf-8")


def test_formats_that_are_not_known(stored):
    _resign(stored, lambda content: None)
    load_crystal_model(stored)
    for number in (FORMAT + 1, 0, "1", None, True, 10**30):
        _resign(stored, lambda content, to=number: content.update(format=to))
        _refuses(stored, f"this version reads 1 to {FORMAT}.*Upgrade")


def _set(part, key, value):
    return lambda content: content[part].update({key: value})


def _put(content, key, value):
    content[key] = value


SIZES = [("width", 64), ("width", 31), ("heads", 0), ("heads", 3), ("fourier_features", 0)]
SIZES += [("waves", 4), ("latent", -1), ("given", "perhaps")]
WRONG = {"features": "many", "format": 1, "architecture": None, "prior": {"kind": "?"}}
WRONG |= {"properties": []}


@pytest.mark.parametrize(
    "change",
    [
        *(_set("architecture", name, value) for name, value in SIZES),
        _set("weights", "coordinates", "heavy"),
        *(partial(_put, key="elements", value=value) for value in ([], [1, 2, 300], "all")),
        *(partial(_put, key=key, value=value) for key, value in WRONG.items()),
        *(methodcaller("pop", key) for key in ("weights", "provenance", "prior")),
        lambda content: content["elements"].reverse(),
    ],
)
def test_descriptions_that_do_not_hold_together(stored, change):
    _resign(stored, change)
    _refuses(stored)


def test_a_model_loads_to_the_device_that_is_asked_for(stored):
    model = load_crystal_model(stored, torch.device("cpu"))
    assert next(model.module.parameters()).device.type == "cpu"
    assert model.encode(drawn_crystals(0).take(slice(0, 0))).mean.shape == (0, 4)
