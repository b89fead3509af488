"""Tick marks are round, even and inside; scales are monotonic and exact at their ends."""

import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from variolite.report.scale import (
    Scale,
    kind_for,
    limits,
    log_ticks,
    nice_ticks,
    scale_for,
    tick_labels,
)

sizes = st.floats(-280, 280).map(lambda power: 10.0**power)
values = st.one_of(st.just(0.0), st.builds(lambda size, sign: size * sign, sizes,
                                           st.sampled_from([-1.0, 1.0])))  # fmt: skip


@given(values, values, st.integers(2, 12))
def test_nice_ticks_are_inside_even_and_round(low: float, high: float, target: int) -> None:
    low, high = min(low, high), max(low, high)
    assume(high - low > 1e-6 * max(abs(low), abs(high)))
    ticks = nice_ticks(low, high, target)
    slack = 1e-6 * (high - low)
    assert 2 <= len(ticks) <= 2.5 * target + 1
    assert ticks[0] >= low - slack
    assert ticks[-1] <= high + slack
    steps = np.diff(ticks)
    assert (steps > 0).all()
    assert np.allclose(steps, steps[0], rtol=1e-6)
    leading = steps[0] / 10 ** math.floor(math.log10(steps[0]) + 1e-7)
    assert min(abs(leading - nice) for nice in (1, 2, 5, 10)) < 1e-4
    # No tick is left out at either end.
    assert ticks[0] - steps[0] < low + slack
    assert ticks[-1] + steps[0] > high - slack


@given(st.integers(-999, 999), st.integers(1, 999), st.integers(-6, 6))
def test_nice_ticks_are_the_nearest_floats_to_decimals(start: int, span: int, power: int) -> None:
    unit = Fraction(10) ** power
    low, high = float(start * unit), float((start + span) * unit)
    for tick in nice_ticks(low, high):
        exact = round(Fraction(tick) / unit * 1000) * unit / 1000
        assert tick == float(exact)


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [
        (0, 1, [0, 0.2, 0.4, 0.6, 0.8, 1.0]),
        (1.31, 2.93, [1.5, 2.0, 2.5]),
        (-35, 35, [-20, 0, 20]),
        (0.0012, 0.0031, [0.0015, 0.002, 0.0025, 0.003]),
        (99_000, 101_000, [99_000, 99_500, 100_000, 100_500, 101_000]),
    ],
)
def test_nice_ticks_by_example(low: float, high: float, expected: list[float]) -> None:
    assert nice_ticks(low, high) == pytest.approx(expected, rel=1e-12)


def test_one_value_has_one_tick_and_disorder_none() -> None:
    assert nice_ticks(3.0, 3.0) == [3.0]
    with pytest.raises(ValueError, match="finite limits in order"):
        nice_ticks(2.0, 1.0)
    with pytest.raises(ValueError, match="finite limits in order"):
        nice_ticks(0.0, math.inf)


@given(st.floats(-12, 12), st.floats(0.2, 12), st.integers(2, 8))
def test_log_ticks_are_inside_and_round(start: float, decades: float, target: int) -> None:
    low, high = 10.0**start, 10.0 ** (start + decades)
    ticks = log_ticks(low, high, target)
    assert len(ticks) >= 2
    assert all(low * (1 - 1e-6) <= tick <= high * (1 + 1e-6) for tick in ticks)
    assert (np.diff(ticks) > 0).all()


def test_log_ticks_by_example() -> None:
    assert log_ticks(0.1, 2000, 5) == pytest.approx([0.1, 1, 10, 100, 1000])
    assert log_ticks(1e-9, 1e9, 4) == pytest.approx([1e-9, 1e-4, 1e1, 1e6])
    assert log_ticks(3, 40, 4) == pytest.approx([3, 10, 30])


@given(
    st.sampled_from(["linear", "log", "symlog"]),
    st.lists(st.floats(0.01, 1e4), min_size=3, max_size=20, unique=True),
)
def test_scales_are_monotonic_and_exact_at_their_ends(kind, data: list[float]) -> None:
    data = sorted(data)
    assume(data[-1] > data[0] * (1 + 1e-6))
    scale = Scale(data[0], data[-1], 100.0, 20.0, kind, threshold=0.1)
    pixels = scale(np.array(data))
    assert pixels[0] == pytest.approx(100)
    assert pixels[-1] == pytest.approx(20)
    assert (np.diff(pixels) <= 0).all()
    assert all(20 - 1e-6 <= scale.at(tick) <= 100 + 1e-6 for tick in scale.ticks(4))
    beyond = scale.inside(np.array([data[0] / 2, data[-1] * 2]))
    assert beyond == pytest.approx([100, 20])


def test_symlog_ticks_hold_zero_and_powers_of_ten() -> None:
    scale = Scale(-30.0, 4000.0, 0, 100, "symlog", 10.0)
    ticks = scale.ticks(4)
    assert 0.0 in ticks
    assert all(tick == 0 or math.log10(abs(tick)) % 1 == 0 for tick in ticks)
    pixels = scale(np.array(ticks))
    assert (np.diff(pixels) > 10).all()


def test_kind_follows_the_tail() -> None:
    generator = np.random.default_rng(0)
    assert kind_for(generator.normal(1.7, 0.2, 5000))[0] == "linear"
    assert kind_for(generator.lognormal(1, 1.6, 5000))[0] == "log"
    assert kind_for(generator.lognormal(1, 1.6, 5000) - 2)[0] == "symlog"
    assert kind_for(np.full(100, 8.5))[0] == "linear"
    assert kind_for(np.full(100, np.nan))[0] == "linear"
    assert kind_for(-generator.lognormal(1, 1.6, 5000))[0] == "linear"


def test_limits_leave_out_the_outermost_values() -> None:
    data = np.append(np.linspace(0, 1, 5001), [1e9, -1e9, np.nan])
    low, high = limits(data)
    assert -0.1 < low < 0 < 1 < high < 1.1
    assert limits(np.array([5.0, 5.0])) == (4.5, 5.5)
    assert limits(np.array([np.nan])) == (0.0, 1.0)


@given(st.lists(st.one_of(st.floats(-1e9, 1e9), st.just(math.nan)), max_size=60))
def test_any_input_has_a_scale_that_draws(data: list[float]) -> None:
    array = np.array(data, dtype=np.float64)
    scale = scale_for(array, 0.0, 100.0)
    finite = array[np.isfinite(array)]
    pixels = scale.inside(finite)
    assert np.isfinite(pixels).all()
    assert ((pixels >= -1e-6) & (pixels <= 100 + 1e-6)).all()
    assert scale.ticks(4)


@pytest.mark.parametrize(
    ("ticks", "written"),
    [
        ([0.0, 0.5, 1.0], ["0.0", "0.5", "1.0"]),
        ([0.25, 0.5], ["0.25", "0.50"]),
        ([-20.0, 0.0, 20.0], ["−20", "0", "20"]),
        ([1000.0, 1500.0], ["1,000", "1,500"]),
        ([0.1, 1.0, 10.0, 100.0], ["0.1", "1", "10", "100"]),
        ([0.001, 0.01, 0.1], ["0.001", "0.01", "0.1"]),
        ([0.0, 2e6, 4e6], ["0", "2e6", "4e6"]),
        ([1e-5, 2e-5], ["1e−5", "2e−5"]),
        ([0.0], ["0"]),
    ],
)
def test_tick_labels(ticks: list[float], written: list[str]) -> None:
    assert tick_labels(ticks) == written


@given(values, values)
def test_labels_of_nice_ticks_differ_and_give_the_value(low: float, high: float) -> None:
    low, high = min(low, high), max(low, high)
    assume(high - low > 1e-2 * max(abs(low), abs(high)))
    ticks = nice_ticks(low, high)
    labels = tick_labels(ticks)
    assert len(set(labels)) == len(ticks)
    step = ticks[1] - ticks[0]
    for tick, label in zip(ticks, labels, strict=True):
        assert float(label.replace("−", "-").replace(",", "")) == pytest.approx(
            tick, abs=1e-3 * step
        )
