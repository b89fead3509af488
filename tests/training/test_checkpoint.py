"""Checkpoints and histories: whole or refused, and only for the run they came from."""

import os
from dataclasses import replace

import pytest
import safetensors.torch
import torch
from hypothesis import given
from hypothesis import strategies as st

from variolite.errors import RunFolderError
from variolite.training import EpochRecord, loop, read_history, write_history
from variolite.training.storage import Checkpoint, load_checkpoint, save_checkpoint

LISTS = ("rate", "train_total", "train_reconstruction", "train_kl")
LISTS += ("val_monitored", "val_reconstruction", "val_kl")
RECORD = EpochRecord(0, 0.5, 0.1, **{key: [2.0] for key in LISTS}, active_units=[1])
TENSORS = {name: torch.arange(10.0).view(2, 5).sin() for name in ("values", "first", "best")}
PROGRESS = {"waited": [0, 1], "best": [None, 1.5]}
CHECKPOINT = Checkpoint("mine", 1, 7, TENSORS, PROGRESS, [RECORD])


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "new" / "state.safetensors"
    save_checkpoint(path, CHECKPOINT)
    return path


def _same(found):
    assert found.tensors.keys() == TENSORS.keys()
    equal = all(torch.equal(found.tensors[name], value) for name, value in TENSORS.items())
    return equal and replace(found, tensors={}) == replace(CHECKPOINT, tensors={})


def test_a_checkpoint_comes_back_for_its_own_run(path):
    assert _same(load_checkpoint(path, "mine"))
    assert load_checkpoint(path.with_name("absent"), "mine") is None
    with pytest.raises(RunFolderError, match=r"another recipe, other data or other seeds.*restart"):
        load_checkpoint(path, "yours")


@given(position=st.integers(0, 10_000), flip=st.integers(1, 255))
def test_one_altered_byte_is_noticed(path, position, flip):
    save_checkpoint(path, CHECKPOINT)
    content = bytearray(path.read_bytes())
    content[position % len(content)] ^= flip
    path.write_bytes(content)
    try:
        found = load_checkpoint(path, "mine")
    except RunFolderError as error:
        assert "damaged" in str(error)  # noqa: PT017
    else:
        assert _same(found)  # white space may turn into other white space


FOREIGN = [
    safetensors.torch.save({"values": torch.zeros(2)}, metadata=metadata)
    for metadata in (None, {"other": "1"}, {"variolite": "{", "sha256": "0"})
]


@given(kept=st.floats(0.0, 0.9999), foreign=st.binary(max_size=200))
def test_truncated_and_foreign_files_are_refused(path, kept, foreign):
    save_checkpoint(path, CHECKPOINT)
    content = path.read_bytes()
    for damaged in (content[: int(kept * len(content))], foreign, *FOREIGN):
        path.write_bytes(damaged)
        with pytest.raises(RunFolderError, match=r"the checkpoint is damaged.*restart"):
            load_checkpoint(path, "mine")


def test_a_failed_write_leaves_the_old_checkpoint(path, monkeypatch):
    def fail(descriptor):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", fail)
        with pytest.raises(ValueError, match="No space left"):
            save_checkpoint(path, Checkpoint("mine", 9, 9, {}, {}, []))
    assert _same(load_checkpoint(path, "mine"))
    assert [entry.name for entry in path.parent.iterdir()] == ["state.safetensors"]


def test_no_row_of_the_data_is_inside(train_toy, tmp_path, monkeypatch):
    monkeypatch.setattr(loop, "CHECKPOINT_SECONDS", -1.0)
    path = tmp_path / "state.safetensors"
    train_toy(checkpoint=path, epochs=3)
    content = path.read_bytes()
    assert len(content) > 1_000
    assert not [v for v in train_toy.training.numeric[:100].ravel() if v.tobytes() in content]


numbers = st.lists(st.floats(allow_nan=False), min_size=1, max_size=3)
records = st.builds(
    EpochRecord,
    epoch=st.integers(0, 10_000),
    beta=st.floats(0.0, 10.0),
    seconds=st.floats(0.0, 1e6),
    **dict.fromkeys(LISTS, numbers),
    active_units=st.lists(st.integers(0, 100), min_size=1, max_size=3),
)


@given(epochs=st.lists(records, max_size=4))
def test_a_history_comes_back(tmp_path, epochs):
    path = tmp_path / "history.jsonl"
    write_history(path, epochs)
    assert read_history(path) == epochs
    assert len(path.read_text(encoding="utf-8").splitlines()) == len(epochs)


@pytest.mark.parametrize(
    "content", [b"{", b"[1, 2]\n", b"3\n", b'{"epoch": 1}\n', b"\xff\n", b'{"other": 1}\n']
)
def test_damage_to_a_history_is_named(tmp_path, content):
    path = tmp_path / "history.jsonl"
    with pytest.raises(RunFolderError, match="there is no training history"):
        read_history(path)
    path.write_bytes(content)
    for place in (path, tmp_path):
        with pytest.raises(RunFolderError, match="the training history is damaged"):
            read_history(place)
