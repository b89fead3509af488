"""A model that sees the rows above and below: the same for any order of rows, stored, and used."""

from dataclasses import replace

import numpy as np
import polars as pl
import pytest
from toy_tables import fit, fitted, small

from variolite.errors import DataError
from variolite.training import load_model, save_model

COLUMNS = {"a": {}, "b": {}, "hole": {"role": "group"}, "depth": {"role": "order"}}
SHORT = {"epochs": 4, "beta": {"kind": "constant"}, "batch_size": 64}


def _layers(seed=0):
    """Two logs of three holes, with beds of eight rows and much noise."""
    source = np.random.default_rng(seed)
    beds = np.repeat(source.normal(size=(45, 1)), 8, axis=0)
    logs = beds + 0.5 * source.normal(size=(360, 2))
    depth = np.tile(np.arange(120) * 0.2, 3)
    hole = np.repeat(["x", "y", "z"], 120)
    return fitted(
        pl.DataFrame({"a": logs[:, 0], "b": logs[:, 1], "hole": hole, "depth": depth}), COLUMNS
    )


@pytest.mark.parametrize("kind", ["neighbours", "windows"])
def test_codes_depend_on_the_rows_around_and_not_on_the_order_of_rows(kind, tmp_path):
    schema, records = _layers()
    model = fit(schema, records, model=small(context={"kind": kind}), **SHORT).model
    codes = model.encode(records)
    shuffled = np.random.default_rng(1).permutation(len(records))
    found = model.encode(records.take(shuffled))
    np.testing.assert_allclose(found, codes[:, shuffled], rtol=1e-4, atol=1e-5)
    other = replace(records, numeric=records.numeric.copy())
    other.numeric[10] += 3.0  # one value of the first hole
    moved = np.abs(model.encode(other) - codes).max((0, 2)) > 1e-6
    assert moved[[9, 10, 11]].all()
    assert not moved[120:].any()
    save_model(tmp_path, model)
    np.testing.assert_array_equal(load_model(tmp_path).encode(records), codes)


def test_a_table_without_depth_is_refused():
    schema, records = _layers()
    model = small(context={"kind": "neighbours"})
    trained = fit(schema, records, model=model, **SHORT).model
    bare = replace(records, order=None)
    for use in (lambda: fit(schema, bare, model=model, **SHORT), lambda: trained.encode(bare)):
        with pytest.raises(DataError, match="rows above and below"):
            use()


def test_only_the_encoder_sees_the_context():
    schema, records = _layers()
    trained = fit(schema, records, model=small(context={"kind": "windows"}), **SHORT).model
    assert trained.reconstruct(records).shape == (1, 360, 2)
    assert trained.sample(5)["a"].shape == (5,)
