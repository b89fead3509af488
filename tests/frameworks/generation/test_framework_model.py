"""The model of frameworks: kept in a file without pickles, and conditions that are predicted."""

import hashlib
import json
from dataclasses import replace

import numpy as np
import polars as pl
import pytest
import safetensors.torch
import torch

from variolite.errors import DataWarning, ModelFileError, SchemaError
from variolite.frameworks.framework_table import read_frameworks
from variolite.frameworks.generation.framework_model import load_model, save_model
from variolite.frameworks.generation.latent_prior import LatentPrior
from variolite.frameworks.generation.sampling import Request, draw
from variolite.training.row_sampling import AS_TRAINED

DESCRIPTION, WEIGHTS = "model.json", "weights.safetensors"


@pytest.fixture
def folder(model, tmp_path):
    save_model(tmp_path / "model", model)
    return tmp_path / "model"


def test_it_comes_back_bit_equal(model, folder, example):
    again = load_model(folder)
    assert again.members == model.members
    assert again.schema == model.schema
    assert len(again.priors) == 2
    assert list(again.surrogates) == ["co2_uptake", "void_fraction"]
    for first, second in zip(model.priors, again.priors, strict=True):
        for name, value in vars(first).items():
            assert np.array_equal(value, getattr(second, name)), name
    records = model.records(example.data)
    assert np.array_equal(model.describe(records), again.describe(records))
    for name, surrogate in model.surrogates.items():
        pairs = zip(
            *(s.predict(model.describe(records)) for s in (surrogate, again.surrogates[name])),
            strict=True,
        )
        assert all(np.array_equal(*pair) for pair in pairs)
    for i in range(2):
        rows = [
            draw(m.only(i), 50, Request({"co2_uptake": 5.0}, {}), AS_TRAINED, 3)
            for m in (model, again)
        ]
        assert rows[0].equals(rows[1])
    assert not draw(model.only(0), 50, Request({}, {}), AS_TRAINED, 3).equals(
        draw(model.only(1), 50, Request({}, {}), AS_TRAINED, 3)
    )


def test_without_priors_and_surrogates_it_comes_back_too(model, tmp_path):
    save_model(tmp_path, replace(model, priors=(), surrogates={}))
    again = load_model(tmp_path)
    assert again.priors == ()
    assert again.surrogates == {}
    rows = draw(again.only(0), 20, Request({}, {}), AS_TRAINED, 0)
    assert not set(rows.columns) & set(model.condition_names), "nothing says what a row has"


def test_surrogates_see_no_condition(model, example):
    frame = read_frameworks(example.data).frame
    first = model.describe(model.schema.apply(frame))
    moved = frame.with_columns(pl.col("co2_uptake", "void_fraction").reverse())
    assert np.array_equal(first, model.describe(model.schema.apply(moved)))
    assert not np.array_equal(
        first, model.describe(model.schema.apply(frame.with_columns(pl.col("density").reverse())))
    )


def test_conditions_that_a_table_lacks_are_predicted(model, example):
    bare = example.frame.drop("co2_uptake", "void_fraction")
    with pytest.warns(DataWarning, match="no co2_uptake, void_fraction: the encoder is given what"):
        table = model.table(bare)
    known = model.records(example.data)
    for name in model.condition_names:
        expected = model.surrogates[name].predict(model.describe(known))[0]
        np.testing.assert_allclose(table.frame[name].to_numpy(), expected)
        truth = example.frame[name].to_numpy()
        assert np.corrcoef(expected, truth)[0, 1] > 0.8
    with pytest.warns(DataWarning, match="no void_fraction"):
        one = model.table(example.frame.drop("void_fraction"))
    assert one.frame["co2_uptake"].to_list() == example.frame["co2_uptake"].to_list()
    blind = replace(model, surrogates={})
    with pytest.raises(SchemaError, match="no column for 'co2_uptake'"):
        blind.records(bare)


def test_a_row_that_cannot_be_used_gets_no_prediction(model, example):
    frame = read_frameworks(example.data).frame.head(5)
    frame = frame.with_columns(metals=pl.Series(["Zn", None, "Cu", "Zn", "Zn"]))
    found = model.predict(frame, model.condition_names)
    mean, low, high = (found[f"co2_uptake_{end}"] for end in ("predicted", "low", "high"))
    for values in (mean, low, high):
        assert np.isnan(values).tolist() == [False, True, False, False, False]
    assert ((low < mean) & (mean < high))[[0, 2, 3, 4]].all()


# Damage: whatever is wrong with a file, one line says so, and nothing hangs.


def resign(folder, change=lambda _: None):
    path = folder / DESCRIPTION
    content = json.loads(path.read_text(encoding="utf-8"))
    change(content)
    content["weights_sha256"] = hashlib.sha256((folder / WEIGHTS).read_bytes()).hexdigest()
    bare = {key: value for key, value in content.items() if key != "sha256"}
    text = json.dumps(bare, sort_keys=True, separators=(",", ":"))
    content["sha256"] = hashlib.sha256(text.encode()).hexdigest()
    path.write_text(json.dumps(content), encoding="utf-8")


def refuses(folder, match="."):
    with pytest.raises(ModelFileError, match=match) as caught:
        load_model(folder)
    assert "\n" not in str(caught.value)
    assert str(folder) in str(caught.value)


@pytest.mark.parametrize(
    "change",
    [
        lambda c: c.pop("priors"),
        lambda c: c.pop("surrogates"),
        lambda c: c.update(priors=3),
        lambda c: c.update(priors=1),
        lambda c: c.update(priors="many"),
        lambda c: c.update(surrogates=[]),
        lambda c: c["surrogates"].update(density=c["surrogates"]["co2_uptake"]),
        lambda c: c["surrogates"]["co2_uptake"].pop("width"),
        lambda c: c["surrogates"]["co2_uptake"].update(other=1),
        lambda c: c["surrogates"]["co2_uptake"].update(width="wide"),
        lambda c: c.update(format=99),
        lambda c: c.update(kind="variolite.tabular_vae"),
        lambda c: c["schema"].update(levels={}),
    ],
)
def test_descriptions_that_do_not_hold_together(folder, change):
    resign(folder)
    load_model(folder)
    resign(folder, change)
    refuses(folder)


def altered(name, change):
    def alter(tensors):
        tensors[name] = change(tensors[name].clone())

    return alter


def cycle(left):
    left[1] = 0
    return left


LEFT, ROOTS = "surrogate.co2_uptake.left", "surrogate.co2_uptake.roots"
TENSORS = {
    "missing": lambda t: t.pop("prior.0.means"),
    "missing tree": lambda t: t.pop(LEFT),
    "shorter tree": altered(LEFT, lambda v: v[:-1]),
    "cycle": altered(LEFT, cycle),
    "beyond": altered(LEFT, lambda v: v + len(v)),
    "roots": altered(ROOTS, lambda v: v - 1),
    "feature": altered("surrogate.co2_uptake.feature", lambda v: v + 10_000),
    "nan": altered("surrogate.co2_uptake.value", lambda v: v * float("nan")),
    "floats": altered(LEFT, lambda v: v.double()),
    "prior shape": altered("prior.1.covariances", lambda v: v[:, :-1]),
    "prior width": altered("prior.1.means", lambda v: v[:, :-1]),
    "not positive": altered("prior.0.covariances", lambda v: -v),
    "weights": altered("prior.0.weights", lambda v: -v),
}


@pytest.mark.parametrize("name", TENSORS)
def test_tensors_that_do_not_hold_together(folder, name):
    tensors = safetensors.torch.load((folder / WEIGHTS).read_bytes())
    TENSORS[name](tensors)
    whole = {key: value.contiguous() for key, value in tensors.items()}
    (folder / WEIGHTS).write_bytes(safetensors.torch.save(whole))
    resign(folder)
    refuses(folder)


@pytest.mark.parametrize("file", [DESCRIPTION, WEIGHTS])
def test_truncated_and_altered_files(folder, file):
    content = (folder / file).read_bytes()
    (folder / file).write_bytes(content[: len(content) // 2])
    refuses(folder)
    middle = len(content) // 2
    (folder / file).write_bytes(
        content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :]
    )
    refuses(folder)
    (folder / file).unlink()
    refuses(folder)


def test_a_prior_is_of_the_size_of_its_model(model):
    prior = model.priors[0]
    assert isinstance(prior, LatentPrior)
    assert prior.means.shape[1] == model.members[0].latent + len(model.condition_names)
    assert torch.linalg.eigvalsh(torch.from_numpy(prior.covariances)).min() > 0
