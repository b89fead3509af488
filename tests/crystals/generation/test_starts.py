"""Prototypes are means of many crystals; starts have the moments of latents."""

import numpy as np
import pytest
import torch

from variolite.crystals.generation.starts import FEWEST_FORMULAS, Start, StartMeans, fit_start
from variolite.crystals.model.batch import Layout

ELEMENTS, LATENT = 6, 4


def rows(*sets):
    """Join (latents, tokens, group, formula) of crystals to the arguments of `fit_start`."""
    latents, tokens, groups, formulas = zip(*sets, strict=True)
    counts = np.array([len(t) for t in tokens])
    whole = np.concatenate(latents), np.concatenate(tokens), counts
    return *whole, np.array(groups), np.array(formulas), ELEMENTS


@pytest.fixture(scope="module")
def world():
    """Crystals AB2 in group 7, whose atoms lie at three sites, in any order; odd ones in group 9.

    Elements 1 to 3 are A, 4 to 6 are B in group 7. What a crystal shares moves its last latent.
    """
    random = np.random.default_rng(0)
    codes = np.repeat([-3.0, 3.0], 3)
    sites = np.array([[0.0, 0.0], [2.0, -1.0], [-2.0, 1.0]])
    sets = []
    for place in range(400):
        a, b = random.integers(1, 4), random.integers(4, 7)
        order = random.permutation(3)
        z = np.zeros((3, LATENT))
        z[:, :2] = sites + random.normal(0.0, 0.05, (3, 2))
        z[:, 2] = codes[np.array([a, b, b]) - 1]
        z[:, 3] = random.normal(0.0, 0.5)
        odd = place % 4 == 0
        if odd:
            z[:, :2] = random.normal(0.0, 3.0, (3, 2))
        sets.append((z[order], np.array([a, b, b])[order], 9 if odd else 7, f"{a}-{b}"))
    return rows(*sets)


def test_prototypes_are_found_whatever_the_order_of_atoms(world):
    start, means = fit_start(*world)
    latents, _, counts, groups, _, _ = world
    assert start.sizes.tolist() == [3]
    assert start.groups.tolist() == [7]
    assert start.members.tolist() == [300]
    assert start.roles.tolist() == [0, 1, 1]
    np.testing.assert_array_equal(means.kinds.numpy(), groups == 7)
    # The base of every member is near its latents, but for what the crystal shares.
    member = np.repeat(groups == 7, counts)
    off = (latents - means.base.numpy())[member]
    assert np.abs(off[:, :3]).max() < 0.3
    deviations = [float((k @ k)[3, 3]) ** 0.5 for k in start.shared]
    assert deviations[1] == pytest.approx(0.5, rel=0.1)
    own = (start.own[1] @ start.own[1]).diagonal().sqrt().numpy()
    # Sites are known to 0.05, and the means of elements, which odd crystals blur, a little worse.
    assert ((own[:2] > 0.05) & (own[:2] < 0.1)).all()


def test_too_few_formulas_make_no_prototype(world):
    latents, tokens, counts, groups, formulas, elements = world
    few = np.unique(formulas)[: FEWEST_FORMULAS - 1]
    some = np.isin(formulas, few)
    atoms = np.repeat(some, counts)
    start, means = fit_start(
        latents[atoms], tokens[atoms], counts[some], groups[some], formulas[some], elements
    )
    assert len(start.sizes) == len(start.sites) == 0
    assert not means.kinds.any()


def test_new_crystals_get_the_part_that_suits_their_elements(world):
    start, _ = fit_start(*world)
    random = np.random.default_rng(1)
    # B A B, and a group without a prototype, and other amounts.
    tokens = np.array([5, 2, 5, 5, 2, 5, 2, 5])
    means = start.assign(tokens, np.array([3, 3, 2]), np.array([7, 9, 7]), random)
    assert means.kinds.tolist() == [1, 0, 0]
    assert start.groups_of(tokens, np.array([3, 3, 2])) == {0: [7], 1: [7]}
    added = (means.base - start.mean[tokens]).numpy()
    assert not added[3:].any()
    # With their latents known, crystals get the prototype only if they would be members of it.
    latents = means.base.numpy()[:3].astype(float)
    seen = tokens[:3], np.array([3]), np.array([7]), random
    swapped = start.assign(*seen, latents[[2, 1, 0]])
    np.testing.assert_allclose(swapped.base, latents[[2, 1, 0]], atol=1e-5)
    assert not start.assign(*seen, latents + 3.0 * np.eye(3, 4)).kinds.any()
    a, (b, c) = added[1, :2], added[[0, 2], :2]
    assert np.abs(b - c).max() == pytest.approx(4.0, abs=0.2)
    np.testing.assert_allclose(b + c - 2.0 * a, 0.0, atol=0.2)


def test_noise_has_the_moments_of_latents():
    start = Start(2, 1)
    own, shared = torch.tensor([[0.3, 0.1], [0.1, 0.2]]), torch.tensor([[1.0, 0.0], [0.0, 0.1]])
    start.own[1], start.shared[1] = own, shared
    number = 4_000
    layout = Layout.of(np.full(number, 2), torch.device("cpu"))
    means = StartMeans(torch.full((2 * number, 2), 7.0), torch.ones(number, dtype=torch.int64))
    noise = torch.randn(3 * number, 2, generator=torch.Generator().manual_seed(0))
    first, second = (start(noise, means, layout) - 7.0).view(number, 2, 2).unbind(1)
    covariance = own @ own + shared @ shared
    np.testing.assert_allclose(first.T @ first / number, covariance, atol=0.06)
    np.testing.assert_allclose(first.T @ second / number, shared @ shared, atol=0.06)
    half = start(noise, means, layout, temperature=0.5) - 7.0
    np.testing.assert_allclose(half.view(number, 2, 2)[:, 0], 0.5 * first, atol=1e-5)
    plain = Start(2, 1)  # as made: standard normal around nothing
    none = StartMeans(torch.zeros(2 * number, 2), torch.zeros(number, dtype=torch.int64))
    assert torch.equal(plain(noise, none, layout), noise[: 2 * number])
