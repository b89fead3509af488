"""A run that is killed, again and again, ends in the very weights of an undisturbed one."""

import json
import os
import signal
import time
from dataclasses import asdict, replace

import numpy as np
import pytest
import torch
from toy_tables import small

from variolite.errors import RunFolderError
from variolite.records import Schema
from variolite.training import Member, StoppedByUserError
from variolite.training import loop as loop_module
from watched import interrupt_at

MEMBERS = (Member(0, 1.0, 3), Member(1, 0.5, 2), Member(7, 2.0, 1))
# Dropout, plateaus and different latent sizes: everything that has a state.
MODEL = small(latent=3, encoder=(16,), decoder=(16,), norm="layer", dropout=0.2)
SPEC = {
    "epochs": 60,
    "beta": {"kind": "cyclical", "epochs": 5, "cycles": 3},
    "plateau": {"factor": 0.5, "patience": 1},
    "patience": 12,
    "learning_rate": 0.02,
}


@pytest.fixture
def path(tmp_path):
    return tmp_path / "checkpoint" / "state.safetensors"


@pytest.fixture
def every_epoch(monkeypatch):
    monkeypatch.setattr(loop_module, "CHECKPOINT_SECONDS", -1.0)


def _outcome(fitted):
    weights = {k: v.numpy() for k, v in fitted.model.module.state_dict().items()}
    return weights, [asdict(replace(record, seconds=0.0)) for record in fitted.history]


def _assert_same(found, expected):
    assert found[1] == expected[1]
    assert found[0].keys() == expected[0].keys()
    for name, value in expected[0].items():
        assert found[0][name].tobytes() == value.tobytes(), name


@pytest.mark.skipif(not hasattr(os, "fork"), reason="kills a forked process")
def test_killed_at_random_moments_it_ends_as_if_undisturbed(train_toy, path, tmp_path, every_epoch):
    expected = _outcome(train_toy(MEMBERS, MODEL, **SPEC))
    assert len({tuple(r["rate"]) for r in expected[1]}) > 1, "no plateau was met"
    result = tmp_path / "result.npz"
    source = np.random.default_rng(5)
    kills = 0
    while not result.exists():
        child = os.fork()
        if child == 0:
            code, fresh = 1, []
            try:
                trained = train_toy(MEMBERS, MODEL, checkpoint=path, on_epoch=fresh.append, **SPEC)
                weights, history = _outcome(trained)
                partial = tmp_path / "partial.npz"
                np.savez(partial, history=json.dumps(history), fresh=len(fresh), **weights)
                partial.rename(result)
                code = 0
            finally:
                os._exit(code)
        if kills < 8:
            while not path.exists() and os.waitpid(child, os.WNOHANG) == (0, 0):
                time.sleep(0.001)
            time.sleep(float(source.uniform(0.0, 0.1)))
            os.kill(child, signal.SIGKILL)
            kills += 1
        _, status = os.waitpid(child, 0)
        assert os.WIFSIGNALED(status) or os.WEXITSTATUS(status) == 0, "the run failed"
    with np.load(result) as stored:
        weights = {name: stored[name] for name in expected[0]}
        _assert_same((weights, json.loads(str(stored["history"]))), expected)
        assert stored["fresh"] < len(expected[1]), "no kill fell within the run"


@pytest.mark.parametrize("epoch", [0, 7, 20])
def test_interrupted_at_any_epoch_it_ends_as_if_undisturbed(train_toy, path, epoch):
    torch.manual_seed(1)
    before = torch.get_rng_state()
    expected = _outcome(train_toy(MEMBERS, MODEL, **SPEC))
    assert torch.equal(torch.get_rng_state(), before), "training moved the global generator"

    with pytest.raises(StoppedByUserError, match=f"in epoch {epoch + 1} of 60"):
        train_toy(MEMBERS, MODEL, checkpoint=path, on_epoch=interrupt_at(epoch), **SPEC)
    torch.manual_seed(2)
    np.random.seed(3)  # noqa: NPY002
    fresh = []
    resumed = train_toy(MEMBERS, MODEL, checkpoint=path, on_epoch=fresh.append, **SPEC)
    assert fresh[0].epoch == epoch + 1, "the run began again from the start"
    _assert_same(_outcome(resumed), expected)


def test_a_finished_run_is_not_trained_again(train_toy, path, every_epoch):
    first = train_toy(MEMBERS, MODEL, checkpoint=path, **SPEC)
    fresh = []
    again = train_toy(MEMBERS, MODEL, checkpoint=path, on_epoch=fresh.append, **SPEC)
    assert not fresh
    _assert_same(_outcome(again), _outcome(first))
    assert again.best_epochs == first.best_epochs


@pytest.mark.parametrize(
    "change", ["model", "spec", "members", "likelihood", "training", "validation", "mask"]
)
def test_another_recipe_or_other_data_are_not_resumed(train_toy, path, every_epoch, change):
    train_toy(checkpoint=path, epochs=3)
    others = {"model": {"model": small(norm="layer")}, "spec": {"min_gain": 0.5}}
    others["members"] = {"members": (Member(1, 1.0, 2),)}
    trainer = train_toy
    if change == "likelihood":
        columns = train_toy.schema.schema.columns
        heavy = {**columns, "a": columns["a"].model_copy(update={"likelihood": "student_t"})}
        trainer = replace(train_toy, schema=replace(train_toy.schema, schema=Schema(columns=heavy)))
    elif change not in others:
        part = "training" if change == "mask" else change
        records = getattr(train_toy, part)
        numeric, observed = records.numeric.copy(), records.observed.copy()
        if change == "mask":
            observed[0, 0] = False
        else:
            numeric[0, 0] += 1.0
        changed = replace(records, numeric=numeric, observed=observed)
        trainer = replace(train_toy, **{part: changed})
    with pytest.raises(RunFolderError, match="another recipe, other data or other seeds"):
        trainer(checkpoint=path, epochs=3, **others.get(change, {}))
