"""The loop: a yardstick that never moves, a stop after the warm-up, the best weights at the end."""

import math

import numpy as np
import pytest
import torch

from variolite.errors import TrainingError
from variolite.recipe import TrainingSpec
from variolite.training import Member, StoppedByUserError
from variolite.training import loop as loop_module
from variolite.training.loop import Resume, Validation, train
from variolite.training.storage import load_checkpoint
from variolite.vae import Batch, LossTerms
from watched import interrupt_at

RISING = [float(v) for v in range(40)]


class _Counter(torch.nn.Module):
    """One weight per member, which every step moves by about the rate."""

    def __init__(self, members=1):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(members, 1))

    def loss(self, batch, beta):
        pull = -self.weight[:, 0]
        return LossTerms(pull, pull.detach() + 1.0, torch.full_like(pull, 3.0))


class _Steps:
    """Two empty batches an epoch."""

    def epoch(self, number):
        empty = torch.zeros(1, 1, 1)
        yield from [Batch(empty, None, None, None, empty)] * 2


def _scripted(values):
    """Validation whose reconstruction follows a script, with a KL of 0."""
    script = iter(values)

    def validate():
        found = torch.tensor(next(script))
        return Validation(found, torch.zeros_like(found), torch.ones_like(found))

    return validate


def _run(module, validate, source, spec, **settings):
    spec = TrainingSpec(**{"beta": {"kind": "constant"}, "min_gain": 0.0} | spec)
    settings = {"learning_rate": 0.1, "betas": [1.0] * len(module.weight)} | settings
    return train(module, module.loss, source.epoch, validate, spec, **settings)


def _train(values, *, resume=None, on_epoch=lambda _: None, source=_Steps(), betas=(), **spec):
    """Train the counter; return it with its history and its weights after every epoch."""
    betas = betas or [1.0] * len(values[0])
    module, weights = _Counter(len(betas)), []

    def keep(record):
        weights.append(module.weight.detach().clone())
        on_epoch(record)

    script = _scripted(values) if values else None
    trained = _run(module, script, source, spec, betas=betas, resume=resume, on_epoch=keep)
    best = enumerate(trained.best_epochs)
    assert trained.best == [trained.history[epoch].val_monitored[m] for m, epoch in best]
    return module, trained.history, weights


def _armed(epochs):
    return {"beta": {"kind": "linear", "epochs": epochs} if epochs else {"kind": "constant"}}


@pytest.mark.parametrize(
    ("script", "armed", "spec", "trained", "best"),
    [
        # Patience counts epochs without gain, and a gain starts the count again.
        ([5.0, 4.0, 4.5, 4.2, 4.1, 9.0, 9.0], 0, {"patience": 3}, 5, 1),
        ([5.0, 6.0, 6.0, 4.9, 6.0, 6.0, 6.0, 0.0], 0, {"patience": 3}, 7, 3),
        # Nothing stops before the warm-up ends, but the best epoch may lie within it. The
        # commonest bug: a value that only rises stops the run at 1 + patience.
        (RISING, 0, {"patience": 5}, 6, 0),
        (RISING, 20, {"patience": 5}, 25, 0),
        ([3.0, 1.0, 2.0, 2.0, 2.0, 2.0], 3, {"patience": 2}, 5, 1),
        # Small gains are kept but buy no time, unless they add up.
        ([1.0, 0.99, 0.98, 0.97, 0.0], 0, {"patience": 3, "min_gain": 0.1}, 4, 3),
        ([1 - 0.06 * e for e in range(12)], 0, {"patience": 3, "min_gain": 0.1}, 12, 11),
        (RISING, 0, {"patience": None}, 40, 0),
    ],
)
def test_a_run_stops_when_its_patience_is_out_and_keeps_its_best_weights(
    script, armed, spec, trained, best
):
    values, settings = [[value] for value in script], _armed(armed) | spec
    module, history, weights = _train(values, epochs=len(script), **settings)
    assert len(history) == trained
    assert torch.equal(module.weight, weights[best])
    assert len({float(weight) for weight in weights}) == trained


def test_every_member_keeps_its_own_best_and_stops_on_its_own():
    # The first member is done after epoch 3: its 0.0 comes too late, and it may go wrong then.
    first = [5.0, 1.0, 2.0, 2.0, 0.0, math.nan, math.inf, 0.0]
    second = [5.0, 4.0, 3.0, 2.0, 1.0, 2.0, 2.0, 2.0]
    values = [list(pair) for pair in zip(first, second, strict=True)]
    module, history, weights = _train(values, epochs=8, patience=2)
    assert len(history) == 7, "the run ends when the last member is done"
    assert torch.equal(module.weight[0], weights[1][0])
    assert torch.equal(module.weight[1], weights[4][1])


@pytest.mark.parametrize(
    ("script", "armed", "patience", "factors"),
    [
        # As torch's ReduceLROnPlateau: the third epoch without gain halves the rate.
        ([1.0] * 7 + [0.5] * 2, 0, 2, [1.0, 1.0, 1.0, 0.5, 1.0, 1.0, 0.5, 1.0]),
        # The plateau waits for the warm-up too.
        (RISING[:8], 5, 1, [1.0] * 6 + [0.5]),
    ],
)
def test_the_plateau_lowers_the_rate_of_its_member(script, armed, patience, factors):
    values = [[value, -float(epoch)] for epoch, value in enumerate(script)]
    settings = _armed(armed) | {"plateau": {"factor": 0.5, "patience": patience}}
    _, history, _ = _train(values, epochs=len(script), patience=None, **settings)
    rates = np.array([record.rate for record in history])
    np.testing.assert_allclose(rates[1:, 0] / rates[:-1, 0], factors, rtol=1e-6)
    np.testing.assert_allclose(rates[:, 1], 0.1, rtol=1e-6)


def test_history_says_what_happened():
    beta = {"kind": "linear", "start": 0.5, "end": 2.0, "epochs": 1}
    _, history, _ = _train([[2.0, 3.0], [1.0, 2.5]], epochs=2, beta=beta)
    first, second = history
    assert [(record.epoch, record.beta) for record in history] == [(0, 0.5), (1, 2.0)]
    assert first.rate == pytest.approx([0.1, 0.1])
    assert first.train_kl == [3.0, 3.0]
    # The steps start at weight 0 and 0.1, and the stub's loss is 1 - weight.
    assert first.train_reconstruction == pytest.approx([0.95, 0.95], abs=1e-4)
    assert first.train_total == pytest.approx([0.95 + 0.5 * 3.0] * 2, abs=1e-4)
    assert second.train_total == pytest.approx([0.75 + 2.0 * 3.0] * 2, abs=1e-3)
    assert first.val_monitored == first.val_reconstruction == [2.0, 3.0]
    assert first.val_kl == [0.0, 0.0]
    assert first.active_units == [1.0, 1.0]
    assert first.seconds >= 0.0


def test_without_validation_the_training_terms_are_monitored_at_the_final_beta():
    beta = {"kind": "linear", "start": 0.0, "end": 2.0, "epochs": 6}
    _, history, _ = _train(None, epochs=7, beta=beta, betas=[0.25, 3.0])
    assert [record.beta for record in history] == pytest.approx([e / 3 for e in range(7)])
    for record in history:
        reconstruction, kl = np.array(record.train_reconstruction), np.array(record.train_kl)
        kl *= [0.25, 3.0]
        assert record.val_monitored == pytest.approx(reconstruction + 2.0 * kl, rel=1e-6)
        assert record.train_total == pytest.approx(reconstruction + record.beta * kl, rel=1e-6)


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_a_loss_that_is_no_number_names_the_member_and_the_epoch(bad):
    values = [[1.0, 1.0], [1.0, 1.0], [1.0, bad], [1.0, 1.0]]
    with pytest.raises(TrainingError, match="member 1 is not a finite number after epoch 3"):
        _train(values, epochs=4)


FALLING = [[float(9 - v)] for v in range(8)]


@pytest.fixture
def resume(tmp_path):
    return Resume(tmp_path / "checkpoint" / "state.safetensors", "run")


class _Interrupted(_Steps):
    """The user interrupts within an epoch."""

    def __init__(self, at):
        self.at = at

    def epoch(self, number):
        for batch in super().epoch(number):
            yield batch
            if number == self.at:
                raise KeyboardInterrupt


def test_ctrl_c_within_an_epoch_keeps_the_weights_of_its_start(resume):
    _, _, weights = _train(FALLING, epochs=3)
    with pytest.raises(StoppedByUserError, match="Nothing was stored"):
        _train(FALLING, epochs=8, resume=resume, source=_Interrupted(0))
    assert not resume.path.exists()
    with pytest.raises(StoppedByUserError, match=r"in epoch 4 of 8\. Give the same command"):
        _train(FALLING, epochs=8, resume=resume, source=_Interrupted(3))
    stored = load_checkpoint(resume.path, "run")
    assert (stored.epoch, stored.steps) == (3, 6)
    assert torch.equal(stored.tensors["values"], weights[2])


def test_checkpoints_are_written_as_time_goes_by(resume, monkeypatch):
    monkeypatch.setattr(loop_module, "CHECKPOINT_SECONDS", -1.0)
    seen = []

    def look(_):
        seen.append(load_checkpoint(resume.path, "run").epoch)

    _train([[1.0]] * 4, epochs=4, resume=resume, on_epoch=look)
    assert seen == [1, 2, 3, 4]


def _halving(**settings):
    """Train four epochs of two steps at half the rate each step; return what was validated."""
    module, seen = _Counter(), []

    def validate():
        seen.append(module.weight.item())
        return Validation(-module.weight[0].detach(), torch.zeros(1), torch.zeros(1))

    spec = {"epochs": 4, "patience": None, "min_gain": 1e-3}
    factor = {"step_factor": lambda step: 0.5**step}
    return module, _run(module, validate, _Steps(), spec, **factor | settings), seen


WEIGHTS = 0.2 * (1.0 - 0.5 ** np.arange(9))
"""Of the counter after every step."""


@pytest.mark.parametrize(
    ("checks", "epochs"), [(None, [1, 2, 3, 4]), (1, [4]), (2, [2, 4]), (4, [1, 2, 3, 4]), (0, [])]
)
def test_the_rate_changes_with_every_step_and_checks_are_spread(checks, epochs):
    module, trained, seen = _halving(checks=checks)
    np.testing.assert_allclose(seen, WEIGHTS[[2 * epoch for epoch in epochs]], rtol=1e-5)
    rates = [record.rate[0] for record in trained.history]
    np.testing.assert_allclose(rates, 0.1 * 0.5 ** np.array([1, 3, 5, 7]), rtol=1e-6)
    assert module.weight.item() == pytest.approx(WEIGHTS[8])
    assert trained.best_epochs == [3] or checks == 0


def test_averaged_weights_are_validated_and_kept():
    expected, mean = [], 0.0
    for step, weight in enumerate(WEIGHTS[1:], start=1):
        mean += (1.0 - min(0.5, (1 + step) / (10 + step))) * (weight - mean)
        expected.append(mean)
    module, _, seen = _halving(average=0.5)
    np.testing.assert_allclose(seen, expected[1::2], rtol=1e-5)
    assert module.weight.item() == pytest.approx(expected[-1])


def test_an_interrupted_average_is_resumed(resume):
    whole, _, _ = _halving(average=0.9)
    with pytest.raises(StoppedByUserError, match="in epoch 2 of 4 of the prior"):
        _halving(average=0.9, resume=resume, on_epoch=interrupt_at(1), part="prior")
    resumed, trained, seen = _halving(average=0.9, resume=resume)
    assert (len(trained.history), len(seen)) == (4, 2)
    assert torch.equal(resumed.weight, whole.weight)


PAIR = (Member(0, 1.0, 2), Member(1, 0.5, 1))


@pytest.mark.parametrize(("members", "patience"), [(PAIR[:1], 3), (PAIR, None)])
def test_the_returned_model_scores_the_best_of_its_history(train_toy, members, patience):
    fitted = train_toy(members, epochs=30, patience=patience, learning_rate=0.05)
    scores = np.array([record.val_monitored for record in fitted.history])
    assert fitted.best == scores.min(axis=0).tolist()
    assert fitted.best_epochs == scores.argmin(axis=0).tolist()
    assert (scores.min(axis=0) < scores[-1]).all(), "the last epoch was the best: a weak test"
    np.testing.assert_allclose(train_toy.validate(fitted), scores.min(axis=0), rtol=1e-6)


def test_a_diverging_run_ends_in_one_clear_error(train_toy):
    with pytest.raises(TrainingError, match=r"Lower training\.learning_rate"):
        train_toy(learning_rate=1e30, epochs=5)
