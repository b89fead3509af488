"""Saved estimators come back the same, and hold no rows."""

from dataclasses import replace

import numpy as np
import polars as pl
import pytest
from sklearn.base import clone

from variolite import Column, Schema, TabularVAE, load_recipe
from variolite.errors import ModelFileError
from variolite.recipe import SigmoidBeta
from variolite.training import save_model
from variolite.training.run import train_run

SHORT = load_recipe("corelogs/default", ["training.epochs=6", "training.beta.epochs=2"])


@pytest.mark.parametrize(
    "arguments",
    [
        {},
        {"members": 3, "random_state": 5},
        {"beta": SigmoidBeta(epochs=2), "transforms": {"x1": ["signed_log", "standardise"]}},
        {"recipe": SHORT},
        {"variance": "fixed", "sigma2": np.float64(0.2), "encoder": [8], "decoder": (4, 8)},
    ],
)
def test_a_loaded_estimator_does_the_same(tmp_path, table, quick, arguments):
    vae = TabularVAE(**{**quick, **arguments}).fit(table)
    vae.save(tmp_path / "model")
    loaded = TabularVAE.load(tmp_path / "model")
    np.testing.assert_array_equal(loaded.transform(table), vae.transform(table))
    np.testing.assert_array_equal(loaded.score_samples(table), vae.score_samples(table))
    np.testing.assert_array_equal(loaded.sample(9, random_state=1), vae.sample(9, random_state=1))
    assert loaded.history_ == vae.history_
    assert loaded.n_features_in_ == 4
    assert loaded.transforms == vae.transforms
    assert isinstance(loaded.encoder, tuple)
    # Fitted again, both go the same way: the arguments are the same in all that matters.
    both = [clone(estimator).fit(table[:200]).transform(table) for estimator in (vae, loaded)]
    np.testing.assert_array_equal(*both)


def test_names_kind_and_schema_come_back(tmp_path, table, quick):
    frame = pl.DataFrame(table, schema=list("abcd"))
    schema = Schema(columns={n: Column(name=n, aliases=(n.upper(),)) for n in "ab"})
    for by in (None, schema):
        vae = TabularVAE(**quick, schema=by).fit(frame)
        vae.save(tmp_path / "model")
        loaded = TabularVAE.load(tmp_path / "model")
        assert list(loaded.feature_names_in_) == list(vae.feature_names_in_)
        assert loaded.sample(3, random_state=0).equals(vae.sample(3, random_state=0))
        np.testing.assert_array_equal(loaded.transform(frame), vae.transform(frame))
        assert loaded.schema == by


def test_a_run_of_the_command_line_can_be_loaded(tmp_path):
    rng = np.random.default_rng(0)
    logs = {"GR": rng.gamma(4, 10, 400), "RHOB": rng.normal(2.3, 0.2, 400)}
    logs = pl.DataFrame({"hole": np.repeat([f"H{i}" for i in range(8)], 50)} | logs)
    run, prepared = train_run(SHORT, logs, tmp_path / "run")
    vae = TabularVAE.load(run.path)
    expected = run.model().encode(prepared.records)[0].astype(np.float32)
    np.testing.assert_array_equal(vae.transform(logs), expected)
    assert len(vae.history_) == 6
    assert isinstance(vae.sample(3), pl.DataFrame)
    assert clone(vae).fit(logs).transform(logs).shape == (400, 10)
    alone = TabularVAE.load(run.model_folder)
    np.testing.assert_array_equal(alone.transform(logs), expected)
    assert alone.history_ == []


def test_no_row_is_in_the_folder_and_damage_is_explained(tmp_path, table, quick):
    with pytest.raises(ModelFileError, match="there is no model here"):
        TabularVAE.load(tmp_path)
    marked = table.copy()
    marked[3, 1] = 0.123456789012345
    vae = TabularVAE(**quick).fit(marked)
    vae.save(tmp_path)
    files = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    assert set(files) == {"history.jsonl", "model.json", "weights.safetensors"}
    content = b"".join(files.values())
    for value in (marked[3, 1], marked[7, 0], marked[11, 2]):
        assert repr(float(value)).encode() not in content
        assert np.float64(value).tobytes() not in content
        assert np.float32(value).tobytes() not in content
    (tmp_path / "weights.safetensors").write_bytes(files["weights.safetensors"][:-8])
    with pytest.raises(ModelFileError, match="truncated"):
        TabularVAE.load(tmp_path)
    save_model(tmp_path, replace(vae.model_, provenance={"estimator": {"arguments": {}}}))
    with pytest.raises(ModelFileError, match="arguments of the estimator cannot be read"):
        TabularVAE.load(tmp_path)
