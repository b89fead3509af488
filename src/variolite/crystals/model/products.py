"""Matrix products in bfloat16 where the processor has them; everything else in float32.

A training step of a transformer is two thirds matrix products. Processors with
AVX512-BF16 or AMX do them up to four times as fast in bfloat16. Weights,
residual stream, norms, attention and optimiser stay float32; a product's factors are rounded
to 8 bits, which changes gradients by 0.4 % (relative norm), less than a batch of crystals
does. Small attention is five times slower in bfloat16 on a processor, which is why autocast
does not help.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function
from torch.autograd.function import once_differentiable
from torch.nn import functional

__all__ = ["fast_products", "feed_forward", "linear"]


def fast_products(device: torch.device) -> bool:
    """Whether products in bfloat16 are fast on a processor."""
    supported = getattr(torch.cpu, "_is_avx512_bf16_supported", None)
    return device.type == "cpu" and supported is not None and bool(supported())


class _Linear(Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        x, weight = x.bfloat16(), weight.bfloat16()
        ctx.save_for_backward(x, weight)
        return torch.mm(x, weight.t()).float().add_(bias)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        x, weight = ctx.saved_tensors
        rounded = gradient.bfloat16()
        back = torch.mm(rounded, weight).float()
        return back, torch.mm(rounded.t(), x).float(), gradient.sum(0)


class _FeedForward(Function):
    @staticmethod
    def forward(
        ctx: Any, x: Tensor, widen: Tensor, first: Tensor, narrow: Tensor, second: Tensor
    ) -> Tensor:
        x, widen, narrow = x.bfloat16(), widen.bfloat16(), narrow.bfloat16()
        hidden = torch.addmm(first.bfloat16(), x, widen.t())
        active = functional.gelu(hidden, approximate="tanh")
        ctx.save_for_backward(x, widen, narrow, hidden, active)
        return torch.mm(active, narrow.t()).float().add_(second)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, ...]:
        x, widen, narrow, hidden, active = ctx.saved_tensors
        rounded = gradient.bfloat16()
        by_active = torch.mm(rounded, narrow)
        by_hidden = torch.ops.aten.gelu_backward(by_active, hidden, approximate="tanh")
        return (
            torch.mm(by_hidden, widen).float(),
            torch.mm(by_hidden.t(), x).float(),
            by_hidden.sum(0, dtype=torch.float32),
            torch.mm(rounded.t(), active).float(),
            gradient.sum(0),
        )


def linear(x: Tensor, layer: torch.nn.Linear) -> Tensor:
    """x W^T + b with rounded factors, (N, I) to (N, O)."""
    return _Linear.apply(x, layer.weight, layer.bias)  # type: ignore[no-any-return, no-untyped-call]


def feed_forward(x: Tensor, widen: torch.nn.Linear, narrow: torch.nn.Linear) -> Tensor:
    """Narrow(GELU(widen(x))) with rounded factors in one node, (N, W) to (N, W)."""
    return _FeedForward.apply(  # type: ignore[no-any-return, no-untyped-call]
        x, widen.weight, widen.bias, narrow.weight, narrow.bias
    )
