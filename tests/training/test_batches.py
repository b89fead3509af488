"""Batches: every row at most once, the same for the same seed and epoch, alone or together."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from variolite.records import Records
from variolite.training import Member
from variolite.training import tabular as batches_module
from variolite.training.tabular import (
    TrainingBatches,
    auto_batch_size,
    auto_rate,
    evaluation_batches,
)
from variolite.vae import Batch
from variolite.vae import tabular as rows_module

CPU = torch.device("cpu")


def _records(n: int, *, masked: bool = True) -> Records:
    """Rows whose every value tells the row number."""
    number = np.arange(n, dtype=np.float64)
    observed = np.ones((n, 2), dtype=bool)
    if masked:
        observed[::3, 1] = False
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


def _rows(n: int) -> Batch:
    return Batch.of(_records(n), CPU)


def _numbers(batch: Batch) -> torch.Tensor:
    return batch.condition[..., 0].to(torch.int64)


members = st.lists(
    st.builds(
        Member,
        seed=st.integers(0, 3),
        beta=st.sampled_from([0.5, 1.0]),
        latent=st.integers(1, 4),
    ),
    min_size=1,
    max_size=3,
)


@given(n=st.integers(2, 300), size=st.integers(1, 400), members=members, epoch=st.integers(0, 5))
def test_an_epoch_sees_each_row_at_most_once_in_equal_batches(
    n: int, size: int, members: list[Member], epoch: int
) -> None:
    source = TrainingBatches(_rows(n), members, size, dropout=False)
    found = list(source.epoch(epoch))
    assert len(found) == source.steps >= 1
    assert {batch.numeric.shape for batch in found} == {(len(members), source.batch_size, 2)}
    assert {batch.noise.shape[:2] for batch in found} == {(len(members), source.batch_size)}
    seen = torch.cat([_numbers(batch) for batch in found], dim=1)
    for member in seen:
        assert member.unique().numel() == member.numel()
    assert n - seen.shape[1] < source.batch_size


def test_what_belongs_to_a_row_stays_with_it() -> None:
    source = TrainingBatches(_rows(50), [Member(0, 1.0, 2), Member(1, 1.0, 2)], 16, dropout=False)
    records = _records(50)
    for batch in source.epoch(0):
        number = _numbers(batch)
        for m in range(2):
            rows = number[m].numpy()
            assert np.array_equal(batch.numeric[m].numpy(), records.numeric[rows])
            assert np.array_equal(batch.observed[m].numpy(), records.observed[rows])
            assert np.array_equal(batch.category[m].numpy(), records.category[rows])


def _flat(source: TrainingBatches, epoch: int) -> tuple[torch.Tensor, torch.Tensor]:
    found = list(source.epoch(epoch))
    numbers = torch.cat([_numbers(batch) for batch in found], dim=1)
    return numbers, torch.cat([batch.noise for batch in found], dim=1)


@given(members=members, epoch=st.integers(0, 5), position=st.integers(0, 2))
def test_a_member_gets_the_same_batches_alone_and_beside_others(
    members: list[Member], epoch: int, position: int
) -> None:
    index = position % len(members)
    member = members[index]
    together = _flat(TrainingBatches(_rows(90), members, 32, dropout=False), epoch)
    alone = _flat(TrainingBatches(_rows(90), [member], 32, dropout=False), epoch)
    assert torch.equal(together[0][index], alone[0][0])
    assert torch.equal(together[1][index, :, : member.latent], alone[1][0])
    assert (together[1][index, :, member.latent :] == 0.0).all()


def test_epochs_and_seeds_differ_and_repeat() -> None:
    source = TrainingBatches(_rows(90), [Member(0, 1.0, 2), Member(1, 1.0, 2)], 32, dropout=False)
    first, again, later = _flat(source, 0), _flat(source, 0), _flat(source, 1)
    for value, same, other in zip(first, again, later, strict=True):
        assert torch.equal(value, same)
        assert not torch.equal(value, other)
        assert not torch.equal(value[0], value[1])


def test_rows_left_over_come_back_in_later_epochs() -> None:
    source = TrainingBatches(_rows(50), [Member(0, 1.0, 2)], 32, dropout=False)
    seen = {int(row) for epoch in range(12) for row in _flat(source, epoch)[0][0]}
    assert seen == set(range(50))


def test_chunks_cover_the_epoch_without_seams(monkeypatch: pytest.MonkeyPatch) -> None:
    source = TrainingBatches(_rows(300), [Member(0, 1.0, 3)], 32, dropout=False)
    whole, _ = _flat(source, 0)
    monkeypatch.setattr(batches_module, "CHUNK_ROWS", 70)
    cut, noise = _flat(source, 0)
    assert torch.equal(whole, cut)
    assert noise[0].unique(dim=0).shape[0] == noise.shape[1], "noise repeats between chunks"


def test_noise_is_standard_normal() -> None:
    source = TrainingBatches(_rows(20_000), [Member(0, 1.0, 2)], 1_000, dropout=False)
    _, noise = _flat(source, 0)
    assert noise.mean((0, 1)).abs().max() < 0.03
    assert (noise.std((0, 1)) - 1.0).abs().max() < 0.03


def test_dropout_generators_are_of_the_member_and_the_epoch() -> None:
    def draws(members: list[Member], epoch: int) -> list[list[float]]:
        source = TrainingBatches(_rows(90), members, 32, dropout=True)
        return [torch.rand(4, generator=g).tolist() for g in next(source.epoch(epoch)).generators]

    both = [Member(0, 1.0, 2), Member(5, 1.0, 3)]
    assert draws(both, 0) == draws(both[:1], 0) + draws(both[1:], 0)
    assert draws(both, 0) != draws(both, 1)
    assert draws(both, 0)[0] != draws(both, 0)[1]
    assert not next(TrainingBatches(_rows(90), both, 32, dropout=False).epoch(0)).generators


def test_evaluation_keeps_the_order_and_sees_every_row(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rows_module, "EVALUATION_ROWS", 40)
    members = [Member(0, 1.0, 3), Member(9, 0.5, 1)]
    for found in (_rows(90).chunks(), evaluation_batches(_rows(90), members, noise_seed=7)):
        found = list(found)
        assert [len(batch) for batch in found] == [40, 40, 10]
        numbers = torch.cat([_numbers(batch) for batch in found], dim=1)
        assert numbers[0].tolist() == list(range(90))
    noise = torch.cat([batch.noise for batch in found], dim=1)
    assert noise.shape == (2, 90, 3)
    assert (noise[1, :, 1:] == 0.0).all()
    again = list(evaluation_batches(_rows(90), members[1:], noise_seed=7))
    alone = torch.cat([batch.noise for batch in again], dim=1)
    assert torch.equal(alone[0], noise[1, :, :1]), "validation noise depends on the neighbours"
    assert noise[0].unique(dim=0).shape[0] == 90


@given(rows=st.integers(1, 10_000_000))
def test_the_automatic_batch_gives_about_170_steps(rows: int) -> None:
    size = auto_batch_size(rows)
    assert size & (size - 1) == 0, "not a power of two"
    smallest, largest = auto_batch_size(1), auto_batch_size(10**9)
    assert smallest <= size <= largest == 2048
    if smallest < size < largest:
        assert 170 / 1.5 < rows / size < 170 * 1.5


def test_the_automatic_rate_grows_with_the_root_of_the_batch() -> None:
    assert auto_rate(256) == pytest.approx(0.004)
    assert auto_rate(1024) == pytest.approx(0.008)


def test_complete_records_carry_no_mask() -> None:
    complete = Batch.of(_records(10, masked=False), CPU)
    assert complete.observed is None
    assert complete.gather(torch.tensor([[3, 1]]), torch.zeros(1, 2, 1)).numeric[
        0, :, 0
    ].tolist() == [3.0, 1.0]
    bare = replace(
        _records(10), category=np.zeros((10, 0), np.int64), condition=np.zeros((10, 0), np.float32)
    )
    rows = Batch.of(bare, CPU)
    assert rows.category is None
    assert rows.condition is None
    assert rows.observed is not None
