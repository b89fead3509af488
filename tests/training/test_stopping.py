"""Patience, plateaus and best epochs, followed by hand."""

import json
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from variolite.recipe import TrainingSpec
from variolite.training.loop import Stopping


def _spec(**settings) -> TrainingSpec:
    return TrainingSpec(**{"beta": {"kind": "constant"}, "min_gain": 0.0} | settings)


def _follow(stopping: Stopping, values: Sequence[float]) -> int:
    """Feed values to a single member; return the number of epochs that it trained."""
    for epoch, value in enumerate(values):
        if stopping.all_done:
            return epoch
        stopping.update(epoch, np.array([value]))
    return len(values)


def test_patience_counts_epochs_without_gain() -> None:
    stopping = Stopping(1, 0, _spec(patience=3))
    assert _follow(stopping, [5.0, 4.0, 4.5, 4.2, 4.1, 9.0, 9.0]) == 5
    assert stopping.best.tolist() == [4.0]
    assert stopping.best_epoch.tolist() == [1]


def test_a_gain_starts_the_count_again() -> None:
    stopping = Stopping(1, 0, _spec(patience=3))
    assert _follow(stopping, [5.0, 6.0, 6.0, 4.9, 6.0, 6.0, 6.0, 0.0]) == 7
    assert stopping.best_epoch.tolist() == [3]


def test_nothing_stops_before_the_warm_up_ends() -> None:
    # The commonest bug: a value that only rises stops the run at 1 + patience.
    values = [float(v) for v in range(40)]
    for armed in (0, 10, 20):
        stopping = Stopping(1, armed, _spec(patience=5))
        assert _follow(stopping, values) == max(armed, 1) + 5
        assert stopping.best_epoch.tolist() == [0]


def test_the_best_epoch_may_lie_within_the_warm_up() -> None:
    stopping = Stopping(1, 3, _spec(patience=2))
    _follow(stopping, [3.0, 1.0, 2.0, 2.0, 2.0, 2.0])
    assert stopping.best_epoch.tolist() == [1]
    assert stopping.best.tolist() == [1.0]


def test_small_gains_are_kept_but_buy_no_time() -> None:
    stopping = Stopping(1, 0, _spec(patience=3, min_gain=0.1))
    values = [1.0, 0.99, 0.98, 0.97, 0.0]
    assert _follow(stopping, values) == 4
    assert stopping.best.tolist() == [0.97]
    assert stopping.best_epoch.tolist() == [3]


def test_slow_progress_that_adds_up_is_a_gain() -> None:
    stopping = Stopping(1, 0, _spec(patience=3, min_gain=0.1))
    values = [1.0 - 0.06 * epoch for epoch in range(12)]
    assert _follow(stopping, values) == 12
    assert not stopping.all_done


def test_without_patience_nothing_stops() -> None:
    stopping = Stopping(1, 0, _spec(patience=None))
    _follow(stopping, [float(v) for v in range(90)])
    assert not stopping.all_done


def test_a_member_that_is_done_never_improves_again() -> None:
    stopping = Stopping(2, 0, _spec(patience=2))
    improved = [
        stopping.update(epoch, np.array(values)).tolist()
        for epoch, values in enumerate([(1.0, 9.0), (2.0, 8.0), (2.0, 7.0), (0.0, 6.0)])
    ]
    assert improved == [[True, True], [False, True], [False, True], [False, True]]
    assert stopping.done.tolist() == [True, False]
    assert stopping.best.tolist() == [1.0, 6.0]
    assert not stopping.all_done


def test_the_rate_falls_after_more_than_the_plateau_patience() -> None:
    spec = _spec(patience=None, plateau={"factor": 0.5, "patience": 2})
    stopping = Stopping(1, 0, spec)
    factors = []
    for epoch, value in enumerate([1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 0.5, 0.5]):
        stopping.update(epoch, np.array([value]))
        factors.append(float(stopping.plateau_factor()[0]))
    # As torch's ReduceLROnPlateau: the third epoch without gain halves the rate.
    assert factors == [1.0, 1.0, 1.0, 0.5, 1.0, 1.0, 0.5, 1.0, 1.0]


def test_the_rate_of_each_member_falls_on_its_own() -> None:
    stopping = Stopping(2, 0, _spec(patience=None, plateau={"factor": 0.1, "patience": 1}))
    factors = []
    for epoch in range(4):
        stopping.update(epoch, np.array([1.0, 1.0 - epoch]))
        factors.append(stopping.plateau_factor().tolist())
    assert factors == [[1.0, 1.0], [1.0, 1.0], [0.1, 1.0], [1.0, 1.0]]


def test_the_plateau_waits_for_the_warm_up_too() -> None:
    stopping = Stopping(1, 5, _spec(patience=None, plateau={"factor": 0.5, "patience": 1}))
    factors = []
    for epoch in range(8):
        stopping.update(epoch, np.array([float(epoch)]))
        factors.append(float(stopping.plateau_factor()[0]))
    assert factors == [1.0] * 6 + [0.5, 1.0]


values = st.lists(st.floats(0.0, 1.0).map(lambda v: round(v, 2)), min_size=1, max_size=40)


@given(values=values, cut=st.integers(0, 40), armed=st.integers(0, 10), patience=st.integers(1, 5))
def test_a_restored_state_goes_on_as_if_nothing_had_happened(
    values: list[float], cut: int, armed: int, patience: int
) -> None:
    spec = _spec(patience=patience, plateau={"factor": 0.5, "patience": 2}, min_gain=0.05)
    whole, part = Stopping(2, armed, spec), Stopping(2, armed, spec)
    for epoch, value in enumerate(values):
        if epoch == cut:
            stored = json.loads(json.dumps(part.state()))
            part = Stopping(2, armed, spec)
            part.restore(stored)
        both = np.array([value, 1.0 - value])
        assert whole.update(epoch, both).tolist() == part.update(epoch, both).tolist()
        assert whole.plateau_factor().tolist() == part.plateau_factor().tolist()
        assert whole.state() == part.state()


@given(values=values, armed=st.integers(0, 10), patience=st.integers(1, 5))
def test_members_do_not_touch_each_other(values: list[float], armed: int, patience: int) -> None:
    spec = _spec(patience=patience)
    both, alone = Stopping(2, armed, spec), Stopping(1, armed, spec)
    for epoch, value in enumerate(values):
        pair = both.update(epoch, np.array([value, -epoch]))
        single = alone.update(epoch, np.array([value]))
        assert pair[0] == single[0]
        assert both.done[0] == alone.done[0]
    assert both.best[0] == pytest.approx(alone.best[0])
    assert both.best_epoch[0] == alone.best_epoch[0]
    if not alone.done[0]:
        assert alone.best[0] == min(values)
