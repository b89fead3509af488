"""Alignment: the traps of the facts, pairs drawn without bias, missing rows without gradient."""

import tempfile
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn.functional import cosine_similarity

from variolite.crystals.files.reading import load_crystals
from variolite.crystals.potential.alignment import (
    PAIR_MARGIN,
    Alignment,
    Pairs,
    Projection,
    align,
    draw_pairs,
    fit_scale,
    pair_loss,
)
from variolite.crystals.potential.potential import load_potential


def chance(pairs: int, seed: int = 0) -> torch.Tensor:
    source = torch.Generator().manual_seed(seed)
    return torch.rand((2, pairs), generator=source, dtype=torch.float64)


def all_pairs(owner: torch.Tensor, known: torch.Tensor, *, within: bool) -> list[tuple[int, int]]:
    return [
        (i, j)
        for i in range(len(owner))
        for j in range(len(owner))
        if i != j and known[i] and known[j] and bool(owner[i] == owner[j]) is within
    ]


def slow_pair_loss(u: torch.Tensor, f: torch.Tensor, pairs: list[tuple[int, int]]) -> float:
    def cosine(x: torch.Tensor, y: torch.Tensor) -> float:
        return float(x @ y / x.norm() / y.norm())

    hinges = [
        max(0.0, abs(cosine(u[i], u[j]) - cosine(f[i], f[j])) - PAIR_MARGIN) for i, j in pairs
    ]
    return float(np.mean(hinges)) if hinges else 0.0


def ragged(counts: list[int], seed: int = 0) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    source = torch.Generator().manual_seed(seed)
    owner = torch.repeat_interleave(torch.arange(len(counts)), torch.tensor(counts))
    shape = (len(owner), 6)
    return torch.randn(shape, generator=source), torch.randn(shape, generator=source), owner


@given(
    counts=st.lists(st.integers(1, 5), min_size=1, max_size=5),
    hidden=st.integers(0, 2**20),
    within=st.booleans(),
)
def test_every_pair_is_drawn_equally_often(counts: list[int], hidden: int, within: bool) -> None:
    owner = ragged(counts)[2]
    known = torch.tensor([not hidden >> i & 1 for i in range(len(owner))])
    expected = all_pairs(owner, known, within=within)
    # Draws at the middle of as many equal parts of [0, 1) hit every pair exactly twice.
    draws = (torch.arange(2 * len(expected), dtype=torch.float64) + 0.5) / max(2 * len(expected), 1)
    pairs = draw_pairs(owner, known, draws, within=within)
    assert bool(pairs.exist) is bool(expected)
    found = sorted(zip(pairs.first.tolist(), pairs.second.tolist(), strict=True))
    assert found == sorted(expected * 2)


def test_the_drawn_pair_loss_is_unbiased() -> None:
    u, f, owner = ragged([1, 4, 2, 7])
    known = torch.ones(len(owner), dtype=torch.bool)
    drawn = align(u, f, owner, chance(200_000))
    for part, within in ((drawn.within, True), (drawn.across, False)):
        full = slow_pair_loss(u, f, all_pairs(owner, known, within=within))
        assert float(part) == pytest.approx(full, rel=0.02)
    assert float(drawn.pair) == pytest.approx(0.5 * float(drawn.within + drawn.across))
    assert float(drawn.total) == pytest.approx(float(drawn.point + drawn.pair))


def test_point_loss_by_its_formula() -> None:
    u, f, owner = ragged([3, 2])
    expected = np.mean([max(0.0, 0.5 - float(cosine_similarity(u[i], f[i], 0))) for i in range(5)])
    assert float(align(u, f, owner, chance(8)).point) == pytest.approx(expected, rel=1e-5)


def test_missing_features_give_neither_loss_nor_gradient() -> None:
    u, f, owner = ragged([3, 4, 2])
    missing = owner == 1
    f[missing] = torch.nan
    u.requires_grad_(True)
    found = align(u, f, owner, chance(64))
    found.total.backward()
    assert u.grad is not None
    assert torch.isfinite(u.grad).all()
    assert not u.grad[missing].any()
    assert u.grad[~missing].abs().sum() > 0
    assert int(found.atoms) == 5
    u = u.detach()
    together = align(u, f, owner, chance(64))
    alone = align(u[~missing], f[~missing], owner[~missing], chance(64))
    assert float(alone.point) == pytest.approx(float(together.point))
    assert float(alone.within) == pytest.approx(float(together.within))
    assert float(alone.across) == pytest.approx(float(together.across))


@pytest.mark.parametrize("counts", [[1], [1, 1, 1], [6]])
def test_parts_without_pairs_are_zero(counts: list[int]) -> None:
    u, f, owner = ragged(counts)
    found = align(u, f, owner, chance(16))
    assert (float(found.within) > 0) is (max(counts) > 1)
    assert (float(found.across) > 0) is (len(counts) > 1)


def test_no_features_at_all_is_zero_and_not_nan() -> None:
    u, f, owner = ragged([2, 2])
    found = align(u, torch.full_like(f, torch.nan), owner, chance(16))
    assert isinstance(found, Alignment)
    assert float(found.total) == 0.0


def biased_features(atoms: int = 2000) -> torch.Tensor:
    """Features whose common direction is as strong as what varies, as CHGNet's have it."""
    source = torch.Generator().manual_seed(3)
    spread = torch.linspace(0.2, 2.0, 16)
    shift = torch.randn(16, generator=source)
    return spread * torch.randn((atoms, 16), generator=source) + 1.5 * shift


def test_a_constant_output_gains_nothing_once_features_are_standardised() -> None:
    features = biased_features()
    owner = torch.arange(len(features)) // 10
    constant = features.mean(0).expand_as(features)
    on_raw = align(constant, features, owner, chance(4096))
    scale = fit_scale(features)
    best = torch.nn.functional.normalize(scale.apply(features), dim=1).mean(0)
    on_standardised = align(best.expand_as(features), scale.apply(features), owner, chance(4096))
    assert float(on_raw.point) < 0.25
    assert float(on_standardised.point) > 0.45
    assert float(on_standardised.pair) > 0.5


@pytest.fixture(scope="module")
def real_features(shared_data: Path) -> tuple[torch.Tensor, torch.Tensor]:
    """CHGNet features of 150 crystals of MP-20, and the crystal of every atom."""
    pytest.importorskip("chgnet", reason="the package chgnet is not installed")
    rows = pl.read_csv(shared_data / "crystals/mp_20/biternary_val.csv.gz", n_rows=3000)
    with tempfile.TemporaryDirectory() as folder:
        rows[::20].write_csv(Path(folder) / "some.csv")
        crystals = load_crystals(Path(folder) / "some.csv")
    found = load_potential("chgnet").features(crystals)
    return torch.from_numpy(found), torch.from_numpy(crystals.owner)


def test_the_trap_in_real_features(real_features: tuple[torch.Tensor, torch.Tensor]) -> None:
    features, owner = real_features
    constant = features.mean(0).expand_as(features)
    on_raw = align(constant, features, owner, chance(20_000))
    assert float(on_raw.point) < 0.25
    assert float(on_raw.across) > 0.5
    standardised = fit_scale(features).apply(features)
    directions = torch.nn.functional.normalize(standardised, dim=1).mean(0)
    on_standardised = align(directions.expand_as(features), standardised, owner, chance(20_000))
    assert float(on_standardised.point) > 0.4
    assert float(on_standardised.across) > 0.6
    # An unrelated output pays the whole point loss, and little for pairs: hence two figures.
    unrelated = torch.randn(features.shape, generator=torch.Generator().manual_seed(0))
    of_nothing = align(unrelated, standardised, owner, chance(20_000))
    assert float(of_nothing.point) == pytest.approx(0.5, abs=0.03)
    assert float(of_nothing.across) < 0.2


def test_scale_is_of_the_training_atoms_with_features() -> None:
    features = biased_features()
    features[:, 3] = 2.5
    features[7] = torch.nan
    scale = fit_scale(features)
    known = np.delete(features.numpy().astype(np.float64), 7, axis=0)
    np.testing.assert_allclose(scale.mean.numpy(), known.mean(0), rtol=1e-5, atol=1e-6)
    assert float(scale.deviation[3]) == 1.0
    standardised = scale.apply(features)
    assert torch.isnan(standardised[7]).all()
    finite = standardised[torch.isfinite(standardised).all(1)].numpy()
    assert np.abs(finite.mean(0)).max() < 1e-4
    np.testing.assert_allclose(np.delete(finite.std(0), 3), 1.0, rtol=1e-4)


def test_projection_takes_its_width_from_the_features() -> None:
    projection = Projection(8, 21)
    z = torch.randn(5, 8)
    assert projection(z).shape == (5, 21)
    pairs = Pairs(torch.tensor([0]), torch.tensor([1]), torch.tensor(True))
    assert pair_loss(projection(z), torch.randn(5, 21), pairs).shape == ()
