"""Small tables with known distributions."""

import pytest
from factor_table import factor_table


@pytest.fixture(scope="session")
def quick():
    """Arguments that train in a moment."""
    return {"latent": 2, "epochs": 3, "warm_up": 1, "patience": None}


@pytest.fixture(scope="session")
def table():
    return factor_table(2000, seed=1)
