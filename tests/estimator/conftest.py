"""Small tables with known distributions."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from factor_table import factor_table
from numpy.typing import NDArray


@pytest.fixture(scope="session")
def quick() -> dict[str, Any]:
    """Arguments that train in a moment."""
    return {"latent": 2, "epochs": 3, "warm_up": 1, "patience": None}


@pytest.fixture(scope="session")
def table() -> NDArray[np.float64]:
    return factor_table(2000, seed=1)
