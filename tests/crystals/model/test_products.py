"""Rounded matrix products: as the plain ones but for the last of eight bits."""

import pytest
import torch

from variolite.crystals.model.network import bf16_feed_forward, bf16_is_fast, bf16_linear

# A factor has 8 bits: 1/256 at most from rounding, several times over two layers.
CLOSE = 0.02


def _error(found, expected):
    return float((found - expected).detach().norm() / expected.detach().norm())


@pytest.mark.parametrize("feed_forward", [False, True])
def test_products_and_their_gradients_are_close_to_the_plain_ones(feed_forward):
    rows = torch.randn((60, 24), generator=torch.Generator().manual_seed(0)).requires_grad_()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        widen, narrow = torch.nn.Linear(24, 40), torch.nn.Linear(40, 24)
    wanted = (rows, *widen.parameters())
    plain, rounded = widen(rows), bf16_linear(rows, widen)
    if feed_forward:
        wanted += tuple(narrow.parameters())
        plain = narrow(torch.nn.functional.gelu(plain, approximate="tanh"))
        rounded = bf16_feed_forward(rows, widen, narrow)
    assert 0.0 < _error(rounded, plain) < CLOSE
    weights = torch.linspace(-1.0, 1.0, plain.numel()).view_as(plain)
    expected = torch.autograd.grad((plain * weights).sum(), wanted)
    found = torch.autograd.grad((rounded * weights).sum(), wanted)
    assert max(_error(f, e) for f, e in zip(found, expected, strict=True)) < CLOSE


def test_no_gpu_takes_the_products_of_the_processor():
    assert not bf16_is_fast(torch.device("cuda"))
