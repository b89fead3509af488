"""Records: rows are taken together, shapes are checked."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from variolite.errors import DataError
from variolite.records import Records


def records(n: int = 5) -> Records:
    grid = np.arange(2.0 * n).reshape(n, 2)
    return Records(
        numeric=grid.astype(np.float32),
        observed=np.ones((n, 2), dtype=bool),
        raw=grid,
        log_det=np.zeros((n, 2)),
        category=np.zeros((n, 0), dtype=np.int64),
        condition=np.zeros((n, 0), dtype=np.float32),
        row=np.arange(n),
        group=np.array(list("aabbc")),
        labels={"facies": np.array(list("vwxyz"))},
    )


@pytest.mark.parametrize("chosen", [[3, 1, 1], np.array([False, True, False, True, False]), []])
def test_take(chosen: object) -> None:
    picked = records().take(chosen)  # type: ignore[arg-type]
    expected = np.arange(5)[np.asarray(chosen, dtype=None if len(chosen) else int)]  # type: ignore[arg-type]
    assert picked.row.tolist() == expected.tolist()
    assert picked.numeric[:, 0].tolist() == (2.0 * expected).tolist()
    assert picked.group is not None
    assert picked.group.tolist() == ["aabbc"[i] for i in expected]
    assert picked.labels["facies"].tolist() == ["vwxyz"[i] for i in expected]
    assert picked.order is None
    assert len(picked) == len(expected)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"observed": np.ones((5, 1), dtype=bool)}, "observed has shape"),
        ({"category": np.zeros((4, 1), dtype=np.int64)}, "category has 4 rows, not 5"),
        ({"group": np.array(["a"])}, "group has 1 rows"),
        ({"labels": {"x": np.array(["a"])}}, "label 'x' has 1 rows"),
    ],
)
def test_shapes_are_checked(change: dict[str, object], says: str) -> None:
    with pytest.raises(DataError, match=says):
        replace(records(), **change)  # type: ignore[arg-type]
