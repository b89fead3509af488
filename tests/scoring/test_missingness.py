"""Whether an input is said to be missing at random."""

import numpy as np
import polars as pl
import pytest

from variolite.records import FittedSchema, Schema
from variolite.scoring.missingness import absence_lines

ROWS = 3000


def lines_of(missing, *, holes=10, seed=0):
    """Lines on a table in which column b lacks where ``missing`` of rock and column a says so."""
    source = np.random.default_rng(seed)
    rock = source.integers(0, 3, ROWS)
    a = rock + source.normal(size=ROWS)
    hole = source.integers(0, holes, ROWS)
    gap = missing(rock, a, hole, source.random(ROWS))
    frame = pl.DataFrame(
        {
            "A (x)": a,
            "b": np.where(gap, np.nan, source.normal(size=ROWS)),
            "hole": [f"h{i}" for i in hole],
            "rock": np.array(["mud", "sand", "chalk"])[rock],
        }
    )
    columns = {
        "a": {"source": "A (x)"},
        "b": {"missing": "mask"},
        "hole": {"role": "group"},
        "rock": {"role": "label"},
    }
    schema = FittedSchema.fit(Schema(columns=columns), frame)
    return absence_lines(schema.apply(frame), schema), gap


@pytest.mark.parametrize("share", [0.02, 0.3, 0.9])
def test_nothing_is_said_of_gaps_at_random(share):
    for seed in range(5):
        assert lines_of(lambda rock, a, hole, u: u < share, seed=seed)[0] == []


def test_a_rock_that_lacks_an_input_is_named_with_its_share():
    (line,), gap = lines_of(lambda rock, a, hole, u: (rock == 2) & (u < 0.8))
    assert line.startswith(f"b is missing in {gap.mean():.0%} of the rows, and not at random: in ")
    assert "80% of chalk and 0% of " in line.replace("79%", "80%").replace("81%", "80%")
    assert "A (x) is larger there than elsewhere with probability 0." in line


def test_the_probability_is_that_of_two_random_rows():
    (line,), gap = lines_of(lambda rock, a, hole, u: (a < -0.3) & (u < 0.9))
    assert "A (x) is smaller there" in line
    source = np.random.default_rng(0)
    rock = source.integers(0, 3, ROWS)
    a = rock + source.normal(size=ROWS)
    pairs = a[gap][:, None] < a[~gap][None]
    assert f"probability {pairs.mean():.2f}" in line


@pytest.mark.parametrize("lacking", [1, 2, 9])
def test_a_difference_between_a_few_holes_alone_is_not_enough(lacking):
    found, _ = lines_of(lambda rock, a, hole, u: (hole < lacking) & (rock == 2), holes=10)
    assert bool(found) == (lacking == 9)


def test_a_few_rows_are_not_enough():
    def few(rock, a, hole, u):
        return a > np.sort(a)[-30]

    assert lines_of(few)[0] == []
