"""Random tensors, and comparing them through numpy: torch's checks load computer algebra first."""

import numpy as np
import torch

_TOLERANCE = {torch.float32: (1.3e-6, 1e-5), torch.float64: (1e-7, 1e-7)}


def draws(*shape, seed=0, scale=1.0):
    """Standard normal numbers times ``scale`` in double precision."""
    source = torch.Generator().manual_seed(seed)
    return scale * torch.randn(*shape, generator=source, dtype=torch.float64)


def assert_close(found, expected, *, rtol=None, atol=None):
    """Fail unless shape, type and values agree."""
    assert found.shape == expected.shape
    assert found.dtype == expected.dtype
    relative, absolute = _TOLERANCE[found.dtype]
    close = {"rtol": relative if rtol is None else rtol, "atol": absolute if atol is None else atol}
    np.testing.assert_allclose(found.detach().numpy(), expected.detach().numpy(), **close)
