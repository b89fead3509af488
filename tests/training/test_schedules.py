"""Schedules of beta and of the learning rate by hand, and what holds for all of them."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from variolite.recipe import ConstantBeta, CyclicalBeta, LinearBeta, SigmoidBeta, TrainingSpec
from variolite.training.schedules import beta_at, epoch_factor, final_beta, step_factor, warm_up

weight = st.floats(0.0, 10.0)
length = st.integers(1, 60)
ramps = st.one_of(
    st.builds(LinearBeta, start=weight, end=weight, epochs=length),
    st.builds(
        SigmoidBeta, start=weight, end=weight, epochs=length, steepness=st.floats(0.01, 1000.0)
    ),
)
schedules = st.one_of(
    st.builds(ConstantBeta, value=weight),
    ramps,
    st.builds(
        CyclicalBeta,
        start=weight,
        end=weight,
        epochs=length,
        cycles=st.integers(1, 5),
        rise=st.floats(0.001, 1.0),
    ),
)


def _bounds(schedule) -> tuple[float, float]:
    if isinstance(schedule, ConstantBeta):
        return schedule.value, schedule.value
    return min(schedule.start, schedule.end), max(schedule.start, schedule.end)


@given(schedule=schedules, epoch=st.integers(0, 400))
def test_beta_stays_within_start_and_end(schedule, epoch: int) -> None:
    low, high = _bounds(schedule)
    assert low <= beta_at(schedule, epoch) <= high


@given(schedule=schedules, later=st.integers(0, 200))
def test_the_final_value_holds_exactly_from_the_warm_up_on(schedule, later: int) -> None:
    assert beta_at(schedule, warm_up(schedule) + later) == final_beta(schedule)


@pytest.mark.parametrize("kind", [LinearBeta, SigmoidBeta, CyclicalBeta])
def test_rounding_never_keeps_a_ramp_from_its_end(kind: type) -> None:
    for start in range(20):
        for end in range(20):
            schedule = kind(start=start / 10, end=end / 10, epochs=7)
            assert beta_at(schedule, warm_up(schedule)) == end / 10


@given(schedule=schedules)
def test_the_warm_up_is_no_longer_than_needed(schedule) -> None:
    low, high = _bounds(schedule)
    last = warm_up(schedule) - 1
    if low < high and last >= 0 and beta_at(schedule, last) == final_beta(schedule):
        # Only a curve so steep, or so flat, that its last step is lost in rounding.
        assert isinstance(schedule, SigmoidBeta) or high - low < 1e-12


@given(schedule=ramps)
def test_ramps_are_monotone_and_begin_at_start(schedule) -> None:
    values = [beta_at(schedule, epoch) for epoch in range(schedule.epochs + 3)]
    assert values[0] == pytest.approx(schedule.start, abs=1e-12)
    ordered = sorted(values, reverse=schedule.end < schedule.start)
    assert values == ordered


@given(schedule=schedules, epochs=st.integers(1, 400))
def test_a_run_that_is_accepted_sees_the_final_beta(schedule, epochs: int) -> None:
    try:
        spec = TrainingSpec(beta=schedule, epochs=epochs)
    except ValidationError:
        assert epochs <= _length(schedule)
        return
    assert warm_up(spec.beta) < epochs
    assert beta_at(spec.beta, epochs - 1) == final_beta(spec.beta)


def _length(schedule) -> int:
    return schedule.epochs * (schedule.cycles if isinstance(schedule, CyclicalBeta) else 1)


def test_linear_by_hand() -> None:
    schedule = LinearBeta(start=0.2, end=1.0, epochs=4)
    values = [beta_at(schedule, epoch) for epoch in range(6)]
    assert values == pytest.approx([0.2, 0.4, 0.6, 0.8, 1.0, 1.0])
    assert warm_up(schedule) == 4


def test_the_annealing_of_the_source_by_hand() -> None:
    schedule = LinearBeta(start=0.001, end=0.5, epochs=50)
    # After 16 epochs, where every run of the source stopped, a third of the way was done.
    assert beta_at(schedule, 15) == pytest.approx(0.1507)
    assert warm_up(schedule) == 50


def test_sigmoid_by_hand() -> None:
    schedule = SigmoidBeta(start=1.0, end=3.0, epochs=4, steepness=8.0)

    def logistic(x: float) -> float:
        return 1.0 / (1.0 + math.exp(-x))

    low, high = logistic(-4.0), logistic(4.0)
    expected = [1.0 + 2.0 * (logistic(x) - low) / (high - low) for x in (-4.0, -2.0, 0.0, 2.0, 4.0)]
    assert [beta_at(schedule, epoch) for epoch in range(5)] == pytest.approx(expected)
    assert beta_at(schedule, 2) == pytest.approx(2.0)
    assert beta_at(schedule, 100) == 3.0


def test_cyclical_by_hand() -> None:
    schedule = CyclicalBeta(start=0.0, end=1.0, epochs=4, cycles=2, rise=0.5)
    values = [beta_at(schedule, epoch) for epoch in range(10)]
    assert values == pytest.approx([0.0, 0.5, 1.0, 1.0, 0.0, 0.5, 1.0, 1.0, 1.0, 1.0])
    assert warm_up(schedule) == 6


def test_a_cycle_that_climbs_to_its_end_holds_only_afterwards() -> None:
    schedule = CyclicalBeta(start=0.0, end=1.0, epochs=4, cycles=2, rise=1.0)
    values = [beta_at(schedule, epoch) for epoch in range(9)]
    assert values == pytest.approx([0.0, 0.25, 0.5, 0.75, 0.0, 0.25, 0.5, 0.75, 1.0])
    assert warm_up(schedule) == 8


def test_constant_needs_no_warm_up() -> None:
    schedule = ConstantBeta(value=0.7)
    assert {beta_at(schedule, epoch) for epoch in range(5)} == {0.7}
    assert (warm_up(schedule), final_beta(schedule)) == (0, 0.7)


def _rates(epochs: int, decay: str = "cosine") -> list[float]:
    spec = TrainingSpec(beta=ConstantBeta(), epochs=epochs, decay=decay)
    return [epoch_factor(spec, epoch) for epoch in range(epochs)]


@given(epochs=st.integers(1, 500))
def test_a_cosine_rises_to_the_full_rate_and_falls_to_a_hundredth(epochs: int) -> None:
    rates = _rates(epochs)
    rising = max(1, round(0.05 * epochs))
    assert all(0.0 < rate <= 1.0 for rate in rates)
    assert rates[:rising] == pytest.approx([(e + 1) / (rising + 1) for e in range(rising)])
    top, falling = rates[rising : rising + 1], rates[rising:]
    assert top in ([], [1.0])
    assert falling == sorted(falling, reverse=True)
    if epochs > rising + 1:
        assert rates[-1] == pytest.approx(0.01)
    # Half a cosine is as much above its middle as below.
    assert [a + b for a, b in zip(falling, falling[::-1], strict=True)] == pytest.approx(
        [1.01] * len(falling)
    ) or len(falling) < 2


@given(epochs=st.integers(1, 500), beyond=st.integers(0, 10))
def test_the_rate_after_the_last_epoch_is_still_above_zero(epochs: int, beyond: int) -> None:
    # The loop divides the share of the next epoch by that of this one.
    spec = TrainingSpec(beta=ConstantBeta(), epochs=epochs, decay="cosine")
    assert 0.0 < epoch_factor(spec, epochs + beyond) <= 1.0


@given(epochs=st.integers(1, 500))
def test_no_decay_is_the_full_rate_throughout(epochs: int) -> None:
    assert set(_rates(epochs, "none")) == {1.0}


def test_a_cosine_by_hand() -> None:
    rates = _rates(20)
    assert rates[0] == pytest.approx(0.5)
    assert rates[1] == 1.0
    assert rates[10] == pytest.approx(0.01 + 0.99 * 0.5)
    assert rates[19] == pytest.approx(0.01)
    expected = [0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * i / 18)) for i in range(19)]
    assert rates[1:] == pytest.approx(expected)


def test_steps_warm_up_and_fall_along_half_a_cosine() -> None:
    found = [step_factor(step, 1_000, 100) for step in (0, 49, 99, 500, 750, 1_000)]
    cosine = [0.5 * (1.0 + math.cos(math.pi * step / 1_000)) for step in (49, 99, 500, 750)]
    expected = [0.01, 0.5 * cosine[0], *cosine[1:], 1e-4]
    assert found == pytest.approx(expected)
