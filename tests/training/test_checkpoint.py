"""Checkpoints: whole or refused, and only for the run they came from."""

import os
from pathlib import Path

import pytest
import safetensors.torch
import torch
from hypothesis import given
from hypothesis import strategies as st

from variolite.errors import RunFolderError
from variolite.training import EpochRecord, loop
from variolite.training.storage import Checkpoint, load_checkpoint, save_checkpoint

RECORD = EpochRecord(
    epoch=0,
    beta=0.5,
    seconds=0.1,
    rate=[0.1],
    train_total=[3.0],
    train_reconstruction=[2.0],
    train_kl=[2.0],
    val_monitored=[4.0],
    val_reconstruction=[2.0],
    val_kl=[2.0],
    active_units=[1],
)


def _checkpoint() -> Checkpoint:
    source = torch.Generator().manual_seed(0)
    tensors = {name: torch.randn(2, 5, generator=source) for name in ("values", "first", "best")}
    return Checkpoint("mine", 1, 7, tensors, {"waited": [0, 1], "best": [None, 1.5]}, [RECORD])


def _same(found: Checkpoint, expected: Checkpoint) -> bool:
    plain = (found.fingerprint, found.epoch, found.steps, found.progress, found.history) == (
        expected.fingerprint,
        expected.epoch,
        expected.steps,
        expected.progress,
        expected.history,
    )
    return plain and all(
        torch.equal(found.tensors[name], value) for name, value in expected.tensors.items()
    )


def test_a_checkpoint_comes_back_as_it_was(tmp_path: Path) -> None:
    path = tmp_path / "new" / "folder" / "state.safetensors"
    save_checkpoint(path, _checkpoint())
    found = load_checkpoint(path, "mine")
    assert found is not None
    assert _same(found, _checkpoint())


def test_no_checkpoint_is_no_error(tmp_path: Path) -> None:
    assert load_checkpoint(tmp_path / "absent.safetensors", "mine") is None


def test_a_checkpoint_of_another_run_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "state.safetensors"
    save_checkpoint(path, _checkpoint())
    with pytest.raises(RunFolderError, match=r"another recipe, other data or other seeds.*restart"):
        load_checkpoint(path, "yours")


@given(position=st.integers(0, 10_000), flip=st.integers(1, 255))
def test_one_altered_byte_is_noticed(tmp_path: Path, position: int, flip: int) -> None:
    path = tmp_path / "state.safetensors"
    save_checkpoint(path, _checkpoint())
    content = bytearray(path.read_bytes())
    content[position % len(content)] ^= flip
    path.write_bytes(bytes(content))
    try:
        found = load_checkpoint(path, "mine")
    except RunFolderError as error:
        assert "damaged" in str(error)  # noqa: PT017
    else:
        # White space may turn into other white space.
        assert found is not None
        assert _same(found, _checkpoint())


@given(kept=st.floats(0.0, 0.9999))
def test_a_truncated_file_is_refused(tmp_path: Path, kept: float) -> None:
    path = tmp_path / "state.safetensors"
    save_checkpoint(path, _checkpoint())
    content = path.read_bytes()
    path.write_bytes(content[: int(kept * len(content))])
    with pytest.raises(RunFolderError, match=r"the checkpoint is damaged.*restart"):
        load_checkpoint(path, "mine")


@given(content=st.binary(max_size=200))
def test_a_foreign_file_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "state.safetensors"
    path.write_bytes(content)
    with pytest.raises(RunFolderError, match="the checkpoint is damaged"):
        load_checkpoint(path, "mine")


@pytest.mark.parametrize("metadata", [None, {"other": "1"}, {"variolite": "{", "sha256": "0"}])
def test_safetensors_of_another_origin_are_refused(
    tmp_path: Path, metadata: dict[str, str] | None
) -> None:
    path = tmp_path / "state.safetensors"
    path.write_bytes(safetensors.torch.save({"values": torch.zeros(2)}, metadata=metadata))
    with pytest.raises(RunFolderError, match="the checkpoint is damaged"):
        load_checkpoint(path, "mine")


def test_a_failed_write_leaves_the_old_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "state.safetensors"
    save_checkpoint(path, _checkpoint())

    def fail(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(ValueError, match="No space left"):
        save_checkpoint(path, Checkpoint("mine", 9, 9, {}, {}, []))
    monkeypatch.undo()
    found = load_checkpoint(path, "mine")
    assert found is not None
    assert _same(found, _checkpoint())
    assert [entry.name for entry in tmp_path.iterdir()] == ["state.safetensors"]


def test_no_row_of_the_data_is_inside(
    train_toy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loop, "CHECKPOINT_SECONDS", -1.0)
    path = tmp_path / "state.safetensors"
    train_toy(checkpoint=path, epochs=3)
    content = path.read_bytes()
    assert len(content) > 1_000
    for value in train_toy.training.numeric[:100].ravel():
        assert value.tobytes() not in content
