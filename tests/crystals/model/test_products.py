"""Rounded matrix products: as the plain ones but for the last of eight bits."""

from __future__ import annotations

import pytest
import torch

from variolite.crystals.model.network import bf16_feed_forward, bf16_is_fast, bf16_linear

# A factor has 8 bits: 1/256 at most from rounding, several times over two layers.
CLOSE = 0.02


def _error(found: torch.Tensor, expected: torch.Tensor) -> float:
    return float((found - expected).detach().norm() / expected.detach().norm())


@pytest.fixture
def rows() -> torch.Tensor:
    return torch.randn((60, 24), generator=torch.Generator().manual_seed(0)).requires_grad_()


@pytest.fixture
def layers() -> tuple[torch.nn.Linear, torch.nn.Linear]:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        return torch.nn.Linear(24, 40), torch.nn.Linear(40, 24)


def test_linear_and_its_gradients_are_close_to_the_plain_ones(
    rows: torch.Tensor, layers: tuple[torch.nn.Linear, torch.nn.Linear]
) -> None:
    layer = layers[0]
    wanted = (rows, layer.weight, layer.bias)
    plain, rounded = layer(rows), bf16_linear(rows, layer)
    assert 0.0 < _error(rounded, plain) < CLOSE
    weights = torch.linspace(-1.0, 1.0, plain.numel()).view_as(plain)
    expected = torch.autograd.grad((plain * weights).sum(), wanted)
    found = torch.autograd.grad((rounded * weights).sum(), wanted)
    assert max(_error(f, e) for f, e in zip(found, expected, strict=True)) < CLOSE


def test_feed_forward_and_its_gradients_are_close_to_the_plain_ones(
    rows: torch.Tensor, layers: tuple[torch.nn.Linear, torch.nn.Linear]
) -> None:
    widen, narrow = layers
    plain = narrow(torch.nn.functional.gelu(widen(rows), approximate="tanh"))
    rounded = bf16_feed_forward(rows, widen, narrow)
    assert 0.0 < _error(rounded, plain) < CLOSE
    weights = torch.linspace(-1.0, 1.0, plain.numel()).view_as(plain)
    wanted = (rows, widen.weight, widen.bias, narrow.weight, narrow.bias)
    expected = torch.autograd.grad((plain * weights).sum(), wanted)
    found = torch.autograd.grad((rounded * weights).sum(), wanted)
    assert max(_error(f, e) for f, e in zip(found, expected, strict=True)) < CLOSE


def test_no_gpu_takes_the_products_of_the_processor() -> None:
    assert not bf16_is_fast(torch.device("cuda"))
