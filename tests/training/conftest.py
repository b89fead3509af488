"""The toy table of the training tests."""

import numpy as np
import pytest
from toy_tables import Trainer, linear_rows, table_of


@pytest.fixture
def train_toy():
    """Train on 400 rows of four columns on two factors."""
    schema, records = table_of(linear_rows(400))
    return Trainer(schema, records.take(np.arange(300)), records.take(np.arange(300, 400)))
