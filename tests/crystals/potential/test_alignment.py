"""Alignment: the traps of the facts, pairs drawn without bias, missing rows without gradient."""

from itertools import permutations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn.functional import cosine_similarity, normalize

from variolite.crystals.potential.alignment import PAIR_MARGIN, align, draw_pairs, standardise


def aligned(u, f, owner, pairs=64):
    random = torch.Generator().manual_seed(0)
    return align(u, f, owner, torch.rand((2, pairs), generator=random, dtype=torch.float64))


def all_pairs(owner, known, *, within):
    pairs = permutations(torch.nonzero(known)[:, 0].tolist(), 2)
    return [(i, j) for i, j in pairs if bool(owner[i] == owner[j]) is within]


def ragged(counts):
    random = torch.Generator().manual_seed(0)
    owner = torch.repeat_interleave(torch.arange(len(counts)), torch.tensor(counts))
    u, f = torch.randn((2, len(owner), 6), generator=random)
    return u, f, owner


@given(st.lists(st.integers(1, 5), min_size=1, max_size=5), st.integers(0, 2**20), st.booleans())
def test_every_pair_is_drawn_equally_often(counts, hidden, within):
    owner = ragged(counts)[2]
    known = torch.tensor([not hidden >> i & 1 for i in range(len(owner))])
    expected = all_pairs(owner, known, within=within)
    # Draws at the middle of as many equal parts of [0, 1) hit every pair exactly twice.
    draws = (torch.arange(2 * len(expected), dtype=torch.float64) + 0.5) / max(2 * len(expected), 1)
    first, second, exist = draw_pairs(owner, known, draws, within=within)
    assert bool(exist) is bool(expected)
    assert sorted(zip(first.tolist(), second.tolist(), strict=True)) == sorted(expected * 2)


def test_losses_by_their_formulas():
    u, f, owner = ragged([1, 4, 2, 7])
    drawn = aligned(u, f, owner, 200_000)
    points = [max(0.0, 0.5 - float(cosine_similarity(a, b, 0))) for a, b in zip(u, f, strict=True)]
    assert float(drawn.point) == pytest.approx(np.mean(points), rel=1e-5)
    apart = (normalize(u) @ normalize(u).T - normalize(f) @ normalize(f).T).abs() - PAIR_MARGIN
    for part, within in ((drawn.within, True), (drawn.across, False)):
        pairs = all_pairs(owner, torch.ones(14, dtype=torch.bool), within=within)
        full = np.mean([max(0.0, float(apart[i, j])) for i, j in pairs])
        assert float(part) == pytest.approx(full, rel=0.02)
    pair = 0.5 * float(drawn.within + drawn.across)
    assert float(drawn.total) == pytest.approx(float(drawn.point) + pair)
    # Parts without pairs are zero.
    for counts in ([1], [1, 1, 1], [6]):
        found = aligned(*ragged(counts))
        assert (float(found.within) > 0) is (max(counts) > 1)
        assert (float(found.across) > 0) is (len(counts) > 1)


def test_missing_features_give_neither_loss_nor_gradient():
    u, f, owner = ragged([3, 4, 2])
    missing = owner == 1
    f[missing] = torch.nan
    u.requires_grad_(True)
    together = aligned(u, f, owner)
    together.total.backward()
    assert u.grad is not None
    assert torch.isfinite(u.grad).all()
    assert not u.grad[missing].any()
    assert u.grad[~missing].abs().sum() > 0
    alone = aligned(u[~missing].detach(), f[~missing], owner[~missing])
    assert [float(part.detach()) for part in together] == pytest.approx([*map(float, alone)])
    assert float(aligned(u.detach(), torch.full_like(f, torch.nan), owner).total) == 0.0


def test_a_constant_output_gains_nothing_once_features_are_standardised():
    # Features whose common direction is as strong as what varies, as CHGNet's have it.
    random = torch.Generator().manual_seed(3)
    shift = 1.5 * torch.randn(16, generator=random)
    features = torch.linspace(0.2, 2.0, 16) * torch.randn((2000, 16), generator=random) + shift
    owner = torch.arange(2000) // 10
    on_raw = aligned(features.mean(0).expand_as(features), features, owner, 4096)
    assert float(on_raw.point) < 0.25
    scaled = standardise(features, features)
    best = normalize(scaled, dim=1).mean(0).expand_as(features)
    on_standardised = aligned(best, scaled, owner, 4096)
    assert float(on_standardised.point) > 0.45
    assert 0.5 * float(on_standardised.within + on_standardised.across) > 0.5
    # An unrelated output pays the whole point loss, and little for pairs: hence two figures.
    of_nothing = aligned(torch.randn(features.shape, generator=random), scaled, owner, 4096)
    assert float(of_nothing.point) == pytest.approx(0.5, abs=0.03)
    assert float(of_nothing.across) < 0.2
    # The scale is of the training atoms that have features; constants are left unscaled.
    features[:, 3] = 2.5
    features[7] = torch.nan
    scaled = standardise(features, features)
    assert torch.isnan(scaled[7]).all()
    finite = np.delete(scaled.numpy(), 7, axis=0)
    assert np.abs(finite.mean(0)).max() < 1e-4
    np.testing.assert_allclose(np.delete(finite.std(0), 3), 1.0, rtol=1e-4)
    np.testing.assert_allclose(standardise(features + 1.0, features)[:7, 3], 1.0, rtol=1e-5)
