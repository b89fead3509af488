"""Axes suit their values, ticks are round, and what is drawn has the counts of the data."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binomtest

from page_layout import layout_faults, read_page
from variolite.report import figures
from variolite.report.clouds import CELLS, density
from variolite.report.style import ACCENT, OTHER, axes_at, figure_style, new_figure, to_svg


def ticks_of(axis, target=4):
    """Return the ticks that an axis of 300 pixels shows."""
    with figure_style():
        axes = axes_at(new_figure(100), 10, 10, 300, 50)
        axis.on(axes, "x", target)
        ticks = axes.xaxis.get_majorticklocs().tolist()
    slack = 1e-9 * (axis.high - axis.low)
    return [tick for tick in ticks if axis.low - slack <= tick <= axis.high + slack]


@pytest.mark.parametrize(
    ("axis", "expected"),
    [
        (figures.ValueAxis(0.1, 2000, "log"), [0.1, 1, 10, 100, 1000]),
        (figures.ValueAxis(3, 40, "log"), [5, 10, 20]),
        (figures.ValueAxis(-30, 4000, "symlog", 10.0), [0, 100, 1000]),
        (figures.ValueAxis(-35, 35), [-20, 0, 20]),
    ],
)
def test_ticks_by_example(axis, expected):
    assert ticks_of(axis) == pytest.approx(expected)


def test_kind_follows_the_tail():
    generator = np.random.default_rng(0)
    tailed = generator.lognormal(1, 1.6, 5000)
    even = generator.normal(1.7, 0.2, 5000)
    inputs = (even, tailed, tailed - 2, np.full(100, 8.5), np.full(100, np.nan), -tailed)
    kinds = [figures.ValueAxis.fitting(values).kind for values in inputs]
    assert kinds == ["linear", "log", "symlog", "linear", "linear", "linear"]


def test_limits_leave_out_the_outermost_values():
    data = np.append(np.linspace(0, 1, 5001), [1e9, -1e9, np.nan])
    axis = figures.ValueAxis.fitting(data)
    assert -0.1 < axis.low < 0 < 1 < axis.high < 1.1
    assert figures.ValueAxis.fitting(np.array([5.0, 5.0])) == figures.ValueAxis(4.5, 5.5)
    assert figures.ValueAxis.fitting(np.array([np.nan])) == figures.ValueAxis(0.0, 1.0)


# Below about 1e-287 matplotlib takes all values for one.
sizes = st.floats(-1e9, 1e9).filter(lambda value: value == 0 or abs(value) > 1e-280)


@given(st.lists(st.one_of(sizes, st.just(math.nan)), max_size=60))
def test_any_input_has_an_axis_that_draws(data):
    array = np.array(data, dtype=np.float64)
    axis = figures.ValueAxis.fitting(array)
    inside = axis.inside(array[np.isfinite(array)])
    assert ((inside >= axis.low) & (inside <= axis.high)).all()
    assert axis.low < axis.high
    assert ticks_of(axis)


def test_ticks_of_narrow_axes_do_not_touch_however_extreme():
    with figure_style():
        figure, drawn = figures.panels(3, abreast=3, height=60, widest=80)
        for axes, limits in zip(drawn, ((100_000, 100_040), (0, 1.7e-7), (-1, 2e9)), strict=True):
            axes.set(xlim=limits, yticks=[])
            figures.number_axis(axes, "x", 3)
        (drawing,) = read_page(to_svg(figure, "narrow")).find("svg")
    texts = [text.own_text() for text in drawing.find("text")]
    assert {"1e−7", "2e9"} <= set(texts)
    assert layout_faults(drawing) == []


def whisker(mean, half=0.05, **further):
    return figures.Whisker(mean, mean - half, mean + half, ACCENT, **further)


def test_intervals_have_a_dot_and_two_caps_each_and_labels_fit():
    rows = [whisker(0.2, strong=True), None, whisker(0.4, hollow=True), whisker(math.nan)]
    names = ["VAE", "empty", "a method of a very long name " * 9, "not defined"]
    with figure_style():
        axes = axes_at(new_figure(100), 0, 0, 200, 92)
        figures.draw_whiskers(axes, rows)
        bars, caps, dots = axes.collections
        svg = figures.interval_figure(
            [figures.RowLabel(name, place, place == 0) for place, name in enumerate(names)],
            [
                figures.IntervalPanel("ARI", "higher", rows),
                figures.IntervalPanel("AMI \ud800" + " and" * 40, "higher \x07" * 3, rows[:1]),
            ],
            title="scores",
            key=[("VAE", ACCENT)],
        )
    ends = np.array([bar.tolist() for bar in bars.get_segments()])
    assert ends == pytest.approx(np.array([[[0.15, 0], [0.25, 0]], [[0.35, 2], [0.45, 2]]]))
    assert sorted(x for x, _ in caps.get_offsets()) == pytest.approx([0.15, 0.25, 0.35, 0.45])
    assert dots.get_offsets().tolist() == [[0.2, 0.0], [0.4, 2.0]]
    (band,) = axes.patches
    assert (band.get_x(), band.get_width()) == pytest.approx((0.15, 0.1))
    (drawing,) = read_page(svg).find("svg")
    assert any(text.own_text().startswith("a method of a very") for text in drawing.find("text"))
    assert layout_faults(drawing) == []


def test_limits_of_intervals_begin_at_zero_only_when_near_it():
    assert figures.interval_limits([0.2, 0.5, 0.15, math.nan])[0] == 0
    assert figures.interval_limits([0.75, 0.95]) == pytest.approx((0.734, 0.966))
    assert figures.interval_limits([]) == (0.0, 1.08)
    assert figures.interval_limits([0.0, 0.0]) == pytest.approx((-0.116, 0.116))


def test_every_point_is_in_a_cell():
    x = np.random.default_rng(1).lognormal(size=500)
    with figure_style():
        axes = axes_at(new_figure(120), 10, 10, 100, 100)
        figures.ValueAxis(0.5, 5, "log").on(axes, "x")
        axes.set(ylim=(-1, 1))
        density(axes, x, np.zeros(500))
    counts = axes.images[0].get_array()
    assert counts.shape == (CELLS, CELLS)
    share = np.clip(np.log10(np.clip(x, 0.5, 5) / 0.5), 0, 1)
    expected, _ = np.histogram(share, CELLS, (0, 1))
    assert counts.filled(0)[CELLS // 2].tolist() == expected.tolist()
    assert counts.sum() == 500


def test_histogram_holds_all_values():
    values = np.append(np.random.default_rng(0).lognormal(size=300), np.nan)
    with figure_style():
        axes = axes_at(new_figure(100), 10, 10, 80, 80)
        figures.histogram(axes, values, figures.ValueAxis.fitting(values), noun="crystals")
        (bars,) = [patch for patch in axes.patches if hasattr(patch, "get_data")]
    assert bars.get_data().values.sum() == 300


def test_shares_by_bin_are_of_all_values():
    edges = figures.ValueAxis(1.0, 1000.0, "log").edges(3)
    assert edges == pytest.approx([1, 10, 100, 1000])
    signed = figures.ValueAxis(-9.0, 9.0, "symlog").edges(2)
    assert signed == pytest.approx([-9, 0, 9])
    with figure_style():
        axes = axes_at(new_figure(100), 10, 10, 80, 80)
        sets = [np.array([2.0, 2.0, 20.0, np.nan]), np.array([0.1, 5e4])]
        figures.shares_by_bin(axes, edges, sets, [ACCENT, OTHER])
    line, bars = axes.patches
    assert line.get_data().values == pytest.approx([200 / 3, 100 / 3, 0])
    assert bars.get_data().values == pytest.approx([50, 0, 50])
    assert bars.get_fill()
    assert not line.get_fill()


@pytest.mark.parametrize(("hits", "of"), [(38, 40), (5, 10), (0, 20)])
def test_the_interval_of_a_share_is_wilsons(hits, of):
    found = figures.share_whisker(hits, of)
    interval = binomtest(hits, of).proportion_ci(method="wilson")
    assert found.mean == pytest.approx(100 * hits / of)
    assert [found.low, found.high] == pytest.approx([100 * interval.low, 100 * interval.high])


@given(st.lists(st.text("abcdefgi 01", max_size=60), min_size=1, max_size=20), st.floats(120, 800))
@settings(deadline=None, max_examples=20)
def test_a_legend_stays_in_its_room(names, width):
    height = figures.legend_height(names, width)
    with figure_style():
        figure = new_figure(height + 4)
        figures.legend(figure, [(name, ACCENT) for name in names], 20, 2, width)
        box = figure.legends[0].get_window_extent()
    assert len(figure.legends[0].get_texts()) == len(names)
    assert box.x0 >= 19
    assert box.x1 <= max(20 + width, 380)
    assert box.y0 >= 0
