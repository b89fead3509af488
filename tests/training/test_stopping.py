"""Patience, plateaus and best epochs, followed by hand."""

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from variolite.recipe import TrainingSpec
from variolite.training.loop import Stopping


def _stopping(members: int = 1, armed: int = 0, **spec) -> Stopping:
    settings = {"beta": {"kind": "constant"}, "min_gain": 0.0, "epochs": 1000} | spec
    return Stopping(members, armed, TrainingSpec(**settings))


RISING = [float(v) for v in range(90)]


@pytest.mark.parametrize(
    ("script", "armed", "spec", "trained", "best", "best_epoch"),
    [
        # Patience counts epochs without gain, and a gain starts the count again.
        ([5.0, 4.0, 4.5, 4.2, 4.1, 9.0, 9.0], 0, {"patience": 3}, 5, 4.0, 1),
        ([5.0, 6.0, 6.0, 4.9, 6.0, 6.0, 6.0, 0.0], 0, {"patience": 3}, 7, 4.9, 3),
        # Nothing stops before the warm-up ends, but the best epoch may lie within it. The
        # commonest bug: a value that only rises stops the run at 1 + patience.
        (RISING, 0, {"patience": 5}, 6, 0.0, 0),
        (RISING, 10, {"patience": 5}, 15, 0.0, 0),
        (RISING, 20, {"patience": 5}, 25, 0.0, 0),
        ([3.0, 1.0, 2.0, 2.0, 2.0, 2.0], 3, {"patience": 2}, 5, 1.0, 1),
        # Small gains are kept but buy no time, unless they add up.
        ([1.0, 0.99, 0.98, 0.97, 0.0], 0, {"patience": 3, "min_gain": 0.1}, 4, 0.97, 3),
        ([1 - 0.06 * e for e in range(12)], 0, {"patience": 3, "min_gain": 0.1}, 12, 0.34, 11),
        (RISING, 0, {"patience": None}, 90, 0.0, 0),
    ],
)
def test_a_member_trains_until_its_patience_is_out(
    script: list[float], armed: int, spec: dict, trained: int, best: float, best_epoch: int
) -> None:
    stopping = _stopping(1, armed, **spec)
    epoch = 0
    while epoch < len(script) and not stopping.all_done:
        stopping.update(epoch, np.array([script[epoch]]))
        epoch += 1
    assert epoch == trained
    assert stopping.best.tolist() == pytest.approx([best])
    assert stopping.best_epoch.tolist() == [best_epoch]


def test_a_member_that_is_done_never_improves_again() -> None:
    stopping = _stopping(2, patience=2)
    improved = [
        stopping.update(epoch, np.array(values)).tolist()
        for epoch, values in enumerate([(1.0, 9.0), (2.0, 8.0), (2.0, 7.0), (0.0, 6.0)])
    ]
    assert improved == [[True, True], [False, True], [False, True], [False, True]]
    assert stopping.done.tolist() == [True, False]
    assert stopping.best.tolist() == [1.0, 6.0]
    assert not stopping.all_done


@pytest.mark.parametrize(
    ("values", "armed", "patience", "expected"),
    [
        # As torch's ReduceLROnPlateau: the third epoch without gain halves the rate.
        ([1.0] * 7 + [0.5] * 2, 0, 2, [1.0, 1.0, 1.0, 0.5, 1.0, 1.0, 0.5, 1.0, 1.0]),
        # The plateau waits for the warm-up too.
        (RISING[:8], 5, 1, [1.0] * 6 + [0.5, 1.0]),
    ],
)
def test_the_rate_falls_after_more_than_the_plateau_patience(
    values: list[float], armed: int, patience: int, expected: list[float]
) -> None:
    plateau = {"factor": 0.5, "patience": patience}
    stopping = _stopping(2, armed, patience=None, plateau=plateau)
    factors = []
    for epoch, value in enumerate(values):
        stopping.update(epoch, np.array([value, -epoch]))
        factors.append(stopping.plateau_factor().tolist())
    # The rate of each member falls on its own.
    assert factors == [[factor, 1.0] for factor in expected]


values = st.lists(st.floats(0.0, 1.0).map(lambda v: round(v, 2)), min_size=1, max_size=40)


@given(values=values, cut=st.integers(0, 40), armed=st.integers(0, 10), patience=st.integers(1, 5))
def test_a_restored_state_continues_as_if_nothing_had_happened(
    values: list[float], cut: int, armed: int, patience: int
) -> None:
    plateau = {"factor": 0.5, "patience": 2}
    spec = {"patience": patience, "plateau": plateau, "min_gain": 0.05}
    whole, part = _stopping(2, armed, **spec), _stopping(2, armed, **spec)
    for epoch, value in enumerate(values):
        if epoch == cut:
            stored = json.loads(json.dumps(part.state()))
            part = _stopping(2, armed, **spec)
            part.restore(stored)
        both = np.array([value, 1.0 - value])
        assert whole.update(epoch, both).tolist() == part.update(epoch, both).tolist()
        assert whole.plateau_factor().tolist() == part.plateau_factor().tolist()
        assert whole.state() == part.state()


@given(values=values, armed=st.integers(0, 10), patience=st.integers(1, 5))
def test_members_do_not_touch_each_other(values: list[float], armed: int, patience: int) -> None:
    both, alone = (_stopping(members, armed, patience=patience) for members in (2, 1))
    for epoch, value in enumerate(values):
        pair = both.update(epoch, np.array([value, -epoch]))
        assert pair[0] == alone.update(epoch, np.array([value]))[0]
        assert both.done[0] == alone.done[0]
    assert both.best[0] == pytest.approx(alone.best[0])
    assert both.best_epoch[0] == alone.best_epoch[0]
    if not alone.done[0]:
        assert alone.best[0] == min(values)
