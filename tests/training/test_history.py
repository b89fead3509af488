"""History files: what is written comes back, and damage is named."""

import math
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from variolite.errors import RunFolderError
from variolite.training import EpochRecord, read_history, write_history

numbers = st.lists(st.floats(allow_nan=False), min_size=1, max_size=3)
records = st.builds(
    EpochRecord,
    epoch=st.integers(0, 10_000),
    beta=st.floats(0.0, 10.0),
    seconds=st.floats(0.0, 1e6),
    rate=numbers,
    train_total=numbers,
    train_reconstruction=numbers,
    train_kl=numbers,
    val_monitored=numbers,
    val_reconstruction=numbers,
    val_kl=numbers,
    active_units=st.lists(st.integers(0, 100), min_size=1, max_size=3),
)


@given(epochs=st.lists(records, max_size=4))
def test_what_is_written_comes_back(tmp_path: Path, epochs: list[EpochRecord]) -> None:
    path = tmp_path / "history.jsonl"
    write_history(path, epochs)
    assert read_history(path) == epochs
    assert len(path.read_text(encoding="utf-8").splitlines()) == len(epochs)


def test_a_trained_history_comes_back(train_toy, tmp_path: Path) -> None:
    history = train_toy(epochs=3).history
    write_history(tmp_path / "history.jsonl", history)
    again = read_history(tmp_path / "history.jsonl")
    assert again == history
    assert [record.epoch for record in again] == [0, 1, 2]
    assert replace(again[0], val_kl=[math.pi]) != history[0]


@pytest.mark.parametrize(
    "content", [b"{", b"[1, 2]\n", b"3\n", b'{"epoch": 1}\n', b"\xff\n", b'{"other": 1}\n']
)
def test_damage_is_named(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "history.jsonl"
    path.write_bytes(content)
    with pytest.raises(RunFolderError, match="the training history is damaged"):
        read_history(path)


def test_a_missing_history_is_named(tmp_path: Path) -> None:
    with pytest.raises(RunFolderError, match="there is no training history"):
        read_history(tmp_path / "history.jsonl")
    with pytest.raises(RunFolderError, match="damaged"):
        read_history(tmp_path)
