"""Comparing tensors through numpy: torch's own checks load a computer algebra system first."""

from collections.abc import Callable

import numpy as np
import torch

__all__ = ["assert_close", "numeric_gradient"]

_TOLERANCE = {torch.float32: (1.3e-6, 1e-5), torch.float64: (1e-7, 1e-7)}


def assert_close(
    found: torch.Tensor,
    expected: torch.Tensor,
    *,
    rtol: float | None = None,
    atol: float | None = None,
) -> None:
    """Fail unless shape, type and values agree."""
    assert found.shape == expected.shape
    assert found.dtype == expected.dtype
    relative, absolute = _TOLERANCE[found.dtype]
    np.testing.assert_allclose(
        found.detach().numpy(),
        expected.detach().numpy(),
        rtol=relative if rtol is None else rtol,
        atol=absolute if atol is None else atol,
    )


@torch.no_grad()
def numeric_gradient(
    scalar: Callable[[torch.Tensor], torch.Tensor], at: torch.Tensor
) -> torch.Tensor:
    """Gradient by central differences."""
    gradient = torch.zeros_like(at)
    for i in range(at.numel()):
        step = torch.zeros_like(at)
        step.view(-1)[i] = 1e-6
        gradient.view(-1)[i] = (scalar(at + step) - scalar(at - step)) / 2e-6
    return gradient
