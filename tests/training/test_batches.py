"""Batches: every row at most once, the same for the same seed and epoch, alone or together."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from variolite.records import Records
from variolite.training import Member
from variolite.training import row_batches as batches_module
from variolite.training.row_batches import TrainingBatches
from variolite.training.tabular_fit import auto_batch_size, auto_rate
from variolite.vae import Batch
from variolite.vae import batch as rows_module

CPU = torch.device("cpu")
PAIR = [Member(0, 1.0, 2), Member(1, 1.0, 2)]


def _records(n, *, masked=True):
    """Rows whose every value tells the row number."""
    number = np.arange(n, dtype=np.float64)
    observed = np.ones((n, 2), dtype=bool)
    observed[::3, 1] = not masked
    raw = np.stack([number, number + 0.5], axis=1)
    return Records(
        numeric=np.where(observed, raw, 0.0).astype(np.float32),
        observed=observed,
        raw=np.where(observed, raw, np.nan),
        log_det=np.zeros((n, 2)),
        category=np.stack([np.arange(n) % 3], axis=1),
        condition=np.stack([number], axis=1).astype(np.float32),
        row=np.arange(n),
    )


def _batches(n, members, size, *, dropout=False):
    return TrainingBatches(Batch.of(_records(n), CPU), members, size, dropout=dropout)


def _joined(batches):
    """Row numbers, (M, n), and noise, (M, n, L)."""
    numbers = torch.cat([batch.condition[..., 0].to(torch.int64) for batch in batches], dim=1)
    return numbers, torch.cat([batch.noise for batch in batches], dim=1)


def _epoch(source, number):
    return _joined(list(source.epoch(number)))


member = st.builds(Member, st.integers(0, 3), st.sampled_from([0.5, 1.0]), st.integers(1, 4))
members = st.lists(member, min_size=1, max_size=3)


@given(n=st.integers(2, 300), size=st.integers(1, 400), members=members, epoch=st.integers(0, 5))
def test_an_epoch_sees_each_row_at_most_once_in_equal_batches(n, size, members, epoch):
    source, records = _batches(n, members, size), _records(n)
    found = list(source.epoch(epoch))
    assert len(found) == source.steps >= 1
    assert {batch.numeric.shape for batch in found} == {(len(members), source.batch_size, 2)}
    assert {batch.noise.shape[:2] for batch in found} == {(len(members), source.batch_size)}
    seen, _ = _joined(found)
    for name in ("numeric", "observed", "category"):  # what belongs to a row stays with it
        values = torch.cat([getattr(batch, name) for batch in found], dim=1)
        assert np.array_equal(values.numpy(), getattr(records, name)[seen.numpy()])
    for member in seen:
        assert member.unique().numel() == member.numel()
    assert n - seen.shape[1] < source.batch_size


def test_an_epoch_of_fewer_rows_draws_others_each_time():
    rows = Batch.of(_records(100), CPU)
    source = TrainingBatches(rows, PAIR, 16, dropout=False, rows_per_epoch=40)
    assert (source.steps, source.batch_size) == (2, 16)
    seen = [_epoch(source, number)[0] for number in range(20)]
    assert all(own.unique().numel() == 32 for epoch in seen for own in epoch)
    assert torch.cat(seen, dim=1)[0].unique().numel() == 100


def test_epochs_and_members_differ_and_miss_no_row():
    source = _batches(50, PAIR, 32)
    epochs = [_epoch(source, number) for number in range(12)]
    for value, same, other in zip(epochs[0], _epoch(source, 0), epochs[1], strict=True):
        assert torch.equal(value, same)
        assert not torch.equal(value, other)
        assert not torch.equal(value[0], value[1])
    # Rows left over come back in later epochs.
    assert {int(row) for rows, _ in epochs for row in rows[0]} == set(range(50))


def test_chunks_cover_the_epoch_without_seams(monkeypatch):
    source = _batches(300, PAIR, 32)
    whole, _ = _epoch(source, 0)
    monkeypatch.setattr(batches_module, "CHUNK_ROWS", 70)
    cut, noise = _epoch(source, 0)
    assert torch.equal(whole, cut)
    assert noise[0].unique(dim=0).shape[0] == noise.shape[1], "noise repeats between chunks"


def test_dropout_generators_are_of_the_member_and_the_epoch():
    def draws(epoch):
        first = next(_batches(90, PAIR, 32, dropout=True).epoch(epoch))
        return [torch.rand(4, generator=g).tolist() for g in first.generators]

    assert len({tuple(drawn) for epoch in range(2) for drawn in draws(epoch)}) == 4
    assert not next(_batches(90, PAIR, 32).epoch(0)).generators


def test_evaluation_keeps_the_order_and_sees_every_row(monkeypatch):
    monkeypatch.setattr(rows_module, "EVALUATION_ROWS", 40)
    members = [Member(0, 1.0, 3), Member(9, 0.5, 1)]
    found = list(batches_module.evaluation_batches(Batch.of(_records(90), CPU), members))
    assert [len(batch) for batch in found] == [40, 40, 10]
    numbers, noise = _joined(found)
    assert numbers[0].tolist() == list(range(90))
    assert (noise.shape, noise[0].unique(dim=0).shape) == ((2, 90, 3), (90, 3))
    assert (noise[1, :, 1:] == 0.0).all()


@given(rows=st.integers(1, 10_000_000))
def test_the_automatic_batch_gives_about_170_steps_at_a_rate_of_its_root(rows):
    assert (auto_rate(256), auto_rate(1024)) == pytest.approx((0.004, 0.008))
    size = auto_batch_size(rows)
    assert size & (size - 1) == 0, "not a power of two"
    smallest, largest = auto_batch_size(1), auto_batch_size(10**9)
    assert smallest <= size <= largest == 2048
    if smallest < size < largest:
        assert 170 / 1.5 < rows / size < 170 * 1.5


def test_what_is_not_there_is_none():
    complete = Batch.of(_records(10, masked=False), CPU)
    assert complete.observed is None
    picked = complete.gather(torch.tensor([[3, 1]]), torch.zeros(1, 2, 1))
    assert picked.numeric[0, :, 0].tolist() == [3.0, 1.0]
    empty = {"category": np.zeros((10, 0), np.int64), "condition": np.zeros((10, 0), np.float32)}
    rows = Batch.of(replace(_records(10), **empty), CPU)
    assert (rows.category, rows.condition) == (None, None)
    assert rows.observed is not None
