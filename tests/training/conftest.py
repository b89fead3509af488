"""Small tables with known structure for the training tests."""

import numpy as np
import pytest
from toy_tables import Table, Trainer, linear_rows, table_of


@pytest.fixture
def toy() -> Table:
    """400 rows of four columns on two factors."""
    return table_of(linear_rows(400))


@pytest.fixture
def train_toy(toy: Table) -> Trainer:
    schema, records = toy
    return Trainer(schema, records.take(np.arange(300)), records.take(np.arange(300, 400)))
