"""Schedules of beta and of the learning rate by hand, and what holds for all of them."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from variolite.recipe import ConstantBeta, CyclicalBeta, LinearBeta, SigmoidBeta, TrainingSpec
from variolite.training.optimiser import beta_at, epoch_factor, final_beta, step_factor, warm_up

weight, length = st.floats(0.0, 10.0), st.integers(1, 60)
ramp = {"start": weight, "end": weight, "epochs": length}
steep = st.builds(SigmoidBeta, **ramp, steepness=st.floats(0.01, 1000.0))
ramps = st.builds(LinearBeta, **ramp) | steep
cycles = st.builds(CyclicalBeta, **ramp, cycles=st.integers(1, 5), rise=st.floats(0.001, 1.0))
schedules = st.one_of(st.builds(ConstantBeta, value=weight), ramps, cycles)


@given(schedule=schedules, epoch=st.integers(0, 400), later=st.integers(0, 200))
def test_beta_stays_within_its_ends_and_the_final_value_holds(schedule, epoch, later):
    constant = isinstance(schedule, ConstantBeta)
    low, high = sorted([schedule.value] * 2 if constant else [schedule.start, schedule.end])
    assert low <= beta_at(schedule, epoch) <= high
    assert beta_at(schedule, warm_up(schedule) + later) == final_beta(schedule)
    last = warm_up(schedule) - 1
    if low < high and last >= 0 and beta_at(schedule, last) == final_beta(schedule):
        # Only a curve so steep, or so flat, that its last step is lost in rounding.
        assert isinstance(schedule, SigmoidBeta) or high - low < 1e-12


@pytest.mark.parametrize("kind", [LinearBeta, SigmoidBeta, CyclicalBeta])
def test_rounding_never_keeps_a_ramp_from_its_end(kind):
    for start, end in np.ndindex(20, 20):
        schedule = kind(start=start / 10, end=end / 10, epochs=7)
        assert beta_at(schedule, warm_up(schedule)) == end / 10


@given(schedule=ramps)
def test_ramps_are_monotone_and_begin_at_start(schedule):
    values = [beta_at(schedule, epoch) for epoch in range(schedule.epochs + 3)]
    assert values[0] == pytest.approx(schedule.start, abs=1e-12)
    assert values == sorted(values, reverse=schedule.end < schedule.start)


@given(schedule=schedules, epochs=st.integers(1, 400))
def test_a_run_that_is_accepted_sees_the_final_beta(schedule, epochs):
    try:
        spec = TrainingSpec(beta=schedule, epochs=epochs)
    except ValidationError:
        assert epochs <= schedule.epochs * getattr(schedule, "cycles", 1)
        return
    assert warm_up(spec.beta) < epochs
    assert beta_at(spec.beta, epochs - 1) == final_beta(spec.beta)


CYCLES = {"start": 0.0, "end": 1.0, "epochs": 4, "cycles": 2}


@pytest.mark.parametrize(
    ("schedule", "values", "armed"),
    [
        (LinearBeta(start=0.2, end=1.0, epochs=4), [0.2, 0.4, 0.6, 0.8, 1.0, 1.0], 4),
        (CyclicalBeta(**CYCLES, rise=0.5), [0, 0.5, 1, 1, 0, 0.5, 1, 1, 1, 1], 6),
        # A cycle that climbs to its end holds only afterwards.
        (CyclicalBeta(**CYCLES, rise=1.0), [0, 0.25, 0.5, 0.75, 0, 0.25, 0.5, 0.75, 1], 8),
        (ConstantBeta(value=0.7), [0.7] * 5, 0),
    ],
)
def test_values_by_hand(schedule, values, armed):
    assert [beta_at(schedule, epoch) for epoch in range(len(values))] == pytest.approx(values)
    assert warm_up(schedule) == armed
    assert final_beta(schedule) == values[-1]


def test_sigmoid_and_the_annealing_of_the_source_by_hand():
    source = LinearBeta(start=0.001, end=0.5, epochs=50)
    # After 16 epochs, where every run of the source stopped, a third of the way was done.
    assert beta_at(source, 15) == pytest.approx(0.1507)
    assert warm_up(source) == 50
    schedule = SigmoidBeta(start=1.0, end=3.0, epochs=4, steepness=8.0)
    low, *_, high = curve = [1.0 / (1.0 + math.exp(-x)) for x in (-4.0, -2.0, 0.0, 2.0, 4.0)]
    expected = [1.0 + 2.0 * (value - low) / (high - low) for value in curve]
    assert [beta_at(schedule, epoch) for epoch in range(5)] == pytest.approx(expected)
    assert beta_at(schedule, 2) == pytest.approx(2.0)
    assert beta_at(schedule, 100) == 3.0


def _rates(epochs, decay="cosine", beyond=0):
    spec = TrainingSpec(beta=ConstantBeta(), epochs=epochs, decay=decay)
    return [epoch_factor(spec, epoch) for epoch in range(epochs + beyond)]


@given(epochs=st.integers(1, 500))
def test_a_cosine_rises_to_the_full_rate_and_falls_to_a_hundredth(epochs):
    rates = _rates(epochs)
    rising = max(1, round(0.05 * epochs))
    assert rates[:rising] == pytest.approx([(e + 1) / (rising + 1) for e in range(rising)])
    falling = rates[rising:]
    assert falling[:1] in ([], [1.0])
    assert falling == sorted(falling, reverse=True)
    if len(falling) > 1:
        assert rates[-1] == pytest.approx(0.01)
        # Half a cosine is as much above its middle as below.
        sums = [a + b for a, b in zip(falling, falling[::-1], strict=True)]
        assert sums == pytest.approx([1.01] * len(falling))
    # The loop divides the factor of the next epoch by that of this one.
    assert all(0.0 < rate <= 1.0 for rate in _rates(epochs, beyond=10))
    assert set(_rates(epochs, "none")) == {1.0}


def test_a_cosine_by_epoch_and_one_by_step_by_hand():
    rates = _rates(20)
    assert (rates[0], rates[10]) == pytest.approx((0.5, 0.01 + 0.99 * 0.5))
    expected = [0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * i / 18)) for i in range(19)]
    assert rates[1:] == pytest.approx(expected)
    found = [step_factor(step, 1_000, 100) for step in (0, 49, 99, 500, 750, 1_000)]
    cosine = [0.5 * (1.0 + math.cos(math.pi * step / 1_000)) for step in (49, 99, 500, 750)]
    assert found == pytest.approx([0.01, 0.5 * cosine[0], *cosine[1:], 1e-4])
