"""Small tables with known distributions."""

from __future__ import annotations

import numpy as np
import pytest
from factor_table import factor_table
from numpy.typing import NDArray


@pytest.fixture(scope="session")
def table() -> NDArray[np.float64]:
    return factor_table(2000, seed=1)


@pytest.fixture(scope="session")
def gappy(table: NDArray[np.float64]) -> NDArray[np.float64]:
    """The table with a fifth of its values missing at random."""
    holes = np.random.default_rng(2).random(table.shape) < 0.2
    return np.where(holes, np.nan, table)
