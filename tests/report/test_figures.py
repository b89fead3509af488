"""Axes suit their values, ticks are round, and what is drawn has the counts of the data."""

import math
import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from page_layout import layout_faults, read_page
from variolite.report.clouds import density
from variolite.report.figures import (
    IntervalPanel,
    RowLabel,
    ValueAxis,
    Whisker,
    histogram,
    interval_figure,
    interval_limits,
    legend,
    legend_height,
    number_axis,
    tick_texts,
)
from variolite.report.style import ACCENT, axes_at, figure_style, new_figure, to_svg


def ticks_of(axis: ValueAxis, target: int = 4) -> list[float]:
    """Return the ticks that an axis of 300 pixels shows."""
    with figure_style():
        axes = axes_at(new_figure(100), 10, 10, 300, 50)
        axis.on(axes, "x", target)
        ticks = axes.xaxis.get_majorticklocs().tolist()
    slack = 1e-9 * (axis.high - axis.low)
    return [tick for tick in ticks if axis.low - slack <= tick <= axis.high + slack]


@given(st.floats(-1e6, 1e6), st.floats(-6, 6), st.integers(2, 8))
def test_linear_ticks_are_even_and_round(low: float, power: float, target: int) -> None:
    with figure_style():
        axes = axes_at(new_figure(100), 10, 10, 300, 50)
        axes.set_xlim(low, low + 10**power * max(1.0, abs(low)))
        number_axis(axes, "x", target)
        steps = np.diff(axes.xaxis.get_majorticklocs())
    assert len(steps) <= target + 4
    assert np.allclose(steps, steps[0], rtol=1e-6)
    leading = steps[0] / 10 ** math.floor(math.log10(steps[0]) + 1e-7)
    assert min(abs(leading - nice) for nice in (1, 2, 5, 10)) < 1e-4


@pytest.mark.parametrize(
    ("axis", "expected"),
    [
        (ValueAxis(0.1, 2000, "log"), [0.1, 1, 10, 100, 1000]),
        (ValueAxis(3, 40, "log"), [5, 10, 20]),
        (ValueAxis(-30, 4000, "symlog", 10.0), [0, 100, 1000]),
        (ValueAxis(-35, 35), [-20, 0, 20]),
    ],
)
def test_ticks_by_example(axis: ValueAxis, expected: list[float]) -> None:
    assert ticks_of(axis) == pytest.approx(expected)


def test_kind_follows_the_tail() -> None:
    generator = np.random.default_rng(0)

    def kind_of(values: np.ndarray) -> str:
        return ValueAxis.fitting(values).kind

    assert kind_of(generator.normal(1.7, 0.2, 5000)) == "linear"
    assert kind_of(generator.lognormal(1, 1.6, 5000)) == "log"
    assert kind_of(generator.lognormal(1, 1.6, 5000) - 2) == "symlog"
    assert kind_of(np.full(100, 8.5)) == "linear"
    assert kind_of(np.full(100, np.nan)) == "linear"
    assert kind_of(-generator.lognormal(1, 1.6, 5000)) == "linear"


def test_limits_leave_out_the_outermost_values() -> None:
    data = np.append(np.linspace(0, 1, 5001), [1e9, -1e9, np.nan])
    axis = ValueAxis.fitting(data)
    assert -0.1 < axis.low < 0 < 1 < axis.high < 1.1
    assert ValueAxis.fitting(np.array([5.0, 5.0])) == ValueAxis(4.5, 5.5)
    assert ValueAxis.fitting(np.array([np.nan])) == ValueAxis(0.0, 1.0)


# Below about 1e-287 matplotlib takes all values for one.
sizes = st.floats(-1e9, 1e9).filter(lambda value: value == 0 or abs(value) > 1e-280)


@given(st.lists(st.one_of(sizes, st.just(math.nan)), max_size=60))
def test_any_input_has_an_axis_that_draws(data: list[float]) -> None:
    array = np.array(data, dtype=np.float64)
    axis = ValueAxis.fitting(array)
    inside = axis.inside(array[np.isfinite(array)])
    assert ((inside >= axis.low) & (inside <= axis.high)).all()
    assert axis.low < axis.high
    assert ticks_of(axis)


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
def test_tick_texts(ticks: list[float], written: list[str]) -> None:
    assert tick_texts(ticks) == written


def test_ticks_that_would_touch_are_left_out() -> None:
    with figure_style():
        figure = new_figure(60)
        axes = axes_at(figure, 10, 10, 60, 20)
        axes.set_xlim(100_000, 100_040)
        number_axis(axes, "x", 8)
        (drawing,) = read_page(to_svg(figure, "narrow")).find("svg")
    assert drawing.find("text")
    assert not [fault for fault in layout_faults(drawing) if "covers" in fault]


def whisker(mean: float, half: float = 0.05, **further: bool) -> Whisker:
    return Whisker(mean, mean - half, mean + half, ACCENT, f"{mean} noted", **further)


def test_intervals_have_a_dot_and_a_note_each_and_labels_fit() -> None:
    rows = [whisker(0.2, strong=True), None, whisker(0.4, hollow=True), whisker(math.nan)]
    names = ["VAE", "empty", "a method of a very long name " * 9, "not defined"]
    with figure_style():
        svg = interval_figure(
            [RowLabel(name, place, place == 0) for place, name in enumerate(names)],
            [IntervalPanel("ARI", "higher", rows), IntervalPanel("AMI", "higher", rows[:1])],
            title="scores",
            key=[("VAE", ACCENT)],
        )
    (drawing,) = read_page(svg).find("svg")
    notes = [node.text() for node in drawing.find("title")]
    assert notes.count("0.2 noted") == 2
    assert notes.count("0.4 noted") == 1
    assert clean_end(names[2]) in notes
    assert layout_faults(drawing) == []


def clean_end(name: str) -> str:
    return " ".join(name.split())


def test_limits_of_intervals_begin_at_zero_only_when_near_it() -> None:
    assert interval_limits([0.2, 0.5, 0.15, math.nan])[0] == 0
    low, high = interval_limits([0.75, 0.95])
    assert 0.7 < low < 0.75
    assert 0.95 < high < 1
    assert interval_limits([]) == (0.0, 1.08)
    low, high = interval_limits([0.0, 0.0])
    assert low < 0 < high


def test_every_point_is_in_a_cell() -> None:
    generator = np.random.default_rng(1)
    x = generator.normal(size=500)
    with figure_style():
        figure = new_figure(120)
        axes = axes_at(figure, 10, 10, 100, 100)
        axes.set(xlim=(-1, 1), ylim=(-1, 1), xticks=[], yticks=[])
        density(axes, x, x)
        svg = to_svg(figure, "cells")
    filled = re.findall(r'd="([^"]+)"[^>]*fill="#', svg)
    cells = sum(path.count("z") for path in filled)
    edges = np.clip(((np.clip(x, -1, 1) + 1) / 2 * 44).astype(int), 0, 43)
    assert cells == len(set(edges.tolist()))


def test_histogram_holds_all_values() -> None:
    values = np.append(np.random.default_rng(0).lognormal(size=300), np.nan)
    with figure_style():
        axes = axes_at(new_figure(100), 10, 10, 80, 80)
        histogram(axes, values, ValueAxis.fitting(values), noun="crystals")
        (bars,) = [patch for patch in axes.patches if hasattr(patch, "get_data")]
    assert bars.get_data().values.sum() == 300


@given(st.lists(st.text(max_size=40), min_size=1, max_size=20), st.floats(80, 900))
def test_a_legend_stays_in_its_room(names: list[str], width: float) -> None:
    height = legend_height(names, width)
    with figure_style():
        figure = new_figure(height + 4, 900)
        legend(figure, [(name, ACCENT) for name in names], 0, 2, width)
        places = [text.get_position() for text in figure.texts]
    assert len(places) == len(names)
    assert all(y * (height + 4) >= 0 for _, y in places)
    assert all(x * 900 <= width for x, _ in places)
