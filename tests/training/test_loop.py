"""The loop: a yardstick that never moves, a stop after the warm-up, the best weights at the end."""

import math
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from variolite.errors import TrainingError
from variolite.recipe import ModelSpec, TrainingSpec
from variolite.training import EpochRecord, Member, StoppedByUserError
from variolite.training import loop as loop_module
from variolite.training.loop import Resume, Trained, Validation, train
from variolite.training.storage import load_checkpoint
from variolite.vae import Batch, LossTerms

RISING = {"kind": "linear", "start": 0.0, "end": 2.0, "epochs": 6}


class _Counter(torch.nn.Module):
    """One weight per member, which every step moves by about the rate."""

    def __init__(self, members: int = 1) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(members, 1))

    def loss(self, batch: Batch, beta: torch.Tensor) -> LossTerms:
        pull = -self.weight[:, 0]
        return LossTerms(pull, pull.detach() + 1.0, torch.full_like(pull, 3.0))


class _Steps:
    """Two empty batches an epoch."""

    steps = 2

    def epoch(self, number: int) -> Iterator[Batch]:
        empty = torch.zeros(1, 1, 1)
        yield from [Batch(empty, None, None, None, empty)] * 2


def _scripted(values: list[list[float]]) -> Callable[[], Validation]:
    """Validation whose reconstruction follows a script, with a divergence of 0."""
    script = iter(values)

    def validate() -> Validation:
        reconstruction = torch.tensor(next(script))
        return Validation(
            reconstruction, torch.zeros_like(reconstruction), torch.ones_like(reconstruction)
        )

    return validate


def _train(
    values: list[list[float]] | None,
    *,
    resume: Resume | None = None,
    on_epoch: Callable[[EpochRecord], None] | None = None,
    **spec,
) -> tuple[_Counter, list[EpochRecord], list[torch.Tensor]]:
    """Train the counter; return it with its history and its weights after every epoch."""
    members = len(values[0]) if values else 1
    module, weights = _Counter(members), []

    def keep(record: EpochRecord) -> None:
        weights.append(module.weight.detach().clone())
        if on_epoch is not None:
            on_epoch(record)

    trained = train(
        module,
        module.loss,
        _Steps(),
        _scripted(values) if values else None,
        TrainingSpec(**{"beta": {"kind": "constant"}, "min_gain": 0.0} | spec),
        learning_rate=0.1,
        betas=[1.0] * members,
        resume=resume,
        on_epoch=keep,
    )
    for m, epoch in enumerate(trained.best_epochs):
        assert trained.best[m] == trained.history[epoch].val_monitored[m]
    return module, trained.history, weights


def test_stopping_is_armed_when_the_warm_up_ends() -> None:
    values = [[float(v)] for v in range(50)]
    _, history, _ = _train(values, beta=RISING, epochs=50, patience=4)
    # The commonest bug stops here after 1 + 4 epochs, at a beta a third of the way up.
    assert len(history) == 6 + 4
    assert [record.beta for record in history[:7]] == pytest.approx(
        [0.0, 1 / 3, 2 / 3, 1.0, 4 / 3, 5 / 3, 2.0]
    )


def test_the_best_weights_are_restored() -> None:
    values = [[5.0], [4.0], [3.0], [3.5], [3.2], [9.0], [9.0], [9.0]]
    module, history, weights = _train(values, epochs=8, patience=4)
    assert len(history) == 7
    assert torch.equal(module.weight, weights[2])
    assert not torch.equal(weights[2], weights[-1])


def test_every_member_keeps_its_own_best_and_stops_on_its_own() -> None:
    first = [5.0, 1.0, 2.0, 2.0, 0.0, 0.0, 0.0, 0.0]
    second = [5.0, 4.0, 3.0, 2.0, 1.0, 2.0, 2.0, 2.0]
    values = [list(pair) for pair in zip(first, second, strict=True)]
    module, history, weights = _train(values, epochs=8, patience=2)
    assert len(history) == 7, "the run ends when the last member is done"
    # The first member was done after epoch 3: its 0.0 in epoch 4 came too late.
    assert torch.equal(module.weight[0], weights[1][0])
    assert torch.equal(module.weight[1], weights[4][1])


def test_without_patience_the_run_goes_to_its_end() -> None:
    values = [[float(v)] for v in range(12)]
    module, history, weights = _train(values, epochs=12, patience=None)
    assert len(history) == 12
    assert torch.equal(module.weight, weights[0])


def test_the_plateau_lowers_the_rate_of_its_member() -> None:
    values = [[1.0, 1.0 - 0.1 * epoch] for epoch in range(6)]
    plateau = {"factor": 0.5, "patience": 1}
    _, history, _ = _train(values, epochs=6, patience=None, plateau=plateau)
    rates = np.array([record.rate for record in history])
    np.testing.assert_allclose(rates[:, 0], [0.1, 0.1, 0.1, 0.05, 0.05, 0.025], rtol=1e-6)
    np.testing.assert_allclose(rates[:, 1], 0.1, rtol=1e-6)


def test_history_says_what_happened() -> None:
    values = [[2.0, 3.0], [1.0, 2.5]]
    _, history, _ = _train(
        values, epochs=2, beta={"kind": "linear", "start": 0.5, "end": 2.0, "epochs": 1}
    )
    first, second = history
    assert (first.epoch, second.epoch) == (0, 1)
    assert (first.beta, second.beta) == (0.5, 2.0)
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


def test_without_validation_the_training_parts_are_monitored_at_the_final_beta() -> None:
    _, history, _ = _train(None, epochs=7, beta=RISING)
    for record in history:
        expected = record.train_reconstruction[0] + 2.0 * record.train_kl[0]
        assert record.val_monitored[0] == pytest.approx(expected, rel=1e-6)
        total = record.train_reconstruction[0] + record.beta * record.train_kl[0]
        assert record.train_total[0] == pytest.approx(total, rel=1e-6)


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_a_loss_that_is_no_number_names_the_member_and_the_epoch(bad: float) -> None:
    values = [[1.0, 1.0], [1.0, 1.0], [1.0, bad], [1.0, 1.0]]
    with pytest.raises(TrainingError, match="member 1 is not a finite number after epoch 3"):
        _train(values, epochs=4)


def test_a_member_that_is_done_may_go_wrong_without_spoiling_the_others() -> None:
    first = [1.0, 2.0, 2.0, math.nan, math.nan, math.nan]
    second = [6.0, 5.0, 4.0, 3.0, 2.0, 1.0]
    values = [list(pair) for pair in zip(first, second, strict=True)]
    module, history, weights = _train(values, epochs=6, patience=2)
    assert len(history) == 6
    assert torch.equal(module.weight[0], weights[0][0])
    assert torch.equal(module.weight[1], weights[5][1])


def _interrupt_at(epoch: int) -> Callable[[EpochRecord], None]:
    def stop(record: EpochRecord) -> None:
        if record.epoch == epoch:
            raise KeyboardInterrupt

    return stop


def test_ctrl_c_stores_all_whole_epochs_and_the_run_goes_on(tmp_path: Path) -> None:
    values = [[float(9 - v)] for v in range(8)]
    whole, _, _ = _train(values, epochs=8)
    resume = Resume(tmp_path / "checkpoint" / "state.safetensors", "run")
    with pytest.raises(StoppedByUserError, match=r"in epoch 4 of 8\. give the same command"):
        _train(values, epochs=8, resume=resume, on_epoch=_interrupt_at(3))
    stored = load_checkpoint(resume.path, "run")
    assert stored is not None
    assert stored.epoch == 4
    resumed, history, weights = _train(values[4:], epochs=8, resume=resume)
    assert len(weights) == 4
    assert [record.epoch for record in history] == list(range(8))
    assert torch.equal(resumed.weight, whole.weight)


def test_ctrl_c_within_an_epoch_keeps_the_weights_of_its_start(tmp_path: Path) -> None:
    values = [[float(9 - v)] for v in range(8)]
    _, _, weights = _train(values, epochs=3)
    resume = Resume(tmp_path / "state.safetensors", "run")

    class Interrupted(_Steps):
        def epoch(self, number: int) -> Iterator[Batch]:
            for batch in super().epoch(number):
                yield batch
                if number == 3:
                    raise KeyboardInterrupt

    module = _Counter()
    with pytest.raises(StoppedByUserError):
        train(
            module,
            module.loss,
            Interrupted(),
            _scripted(values),
            TrainingSpec(beta={"kind": "constant"}, epochs=8),
            learning_rate=0.1,
            betas=[1.0],
            resume=resume,
        )
    stored = load_checkpoint(resume.path, "run")
    assert stored is not None
    assert (stored.epoch, stored.steps) == (3, 6)
    assert torch.equal(stored.tensors["values"], weights[2])


def test_ctrl_c_before_the_first_epoch_ends_says_that_nothing_is_stored(tmp_path: Path) -> None:
    resume = Resume(tmp_path / "state.safetensors", "run")

    def validate() -> Validation:
        raise KeyboardInterrupt

    module = _Counter()
    with pytest.raises(StoppedByUserError, match="nothing was stored"):
        train(
            module,
            module.loss,
            _Steps(),
            validate,
            TrainingSpec(beta={"kind": "constant"}),
            learning_rate=0.1,
            betas=[1.0],
            resume=resume,
        )
    assert not resume.path.exists()


def test_checkpoints_are_written_as_time_goes_by(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loop_module, "CHECKPOINT_SECONDS", -1.0)
    resume = Resume(tmp_path / "state.safetensors", "run")
    seen = []

    def look(record: EpochRecord) -> None:
        stored = load_checkpoint(resume.path, "run")
        assert stored is not None
        seen.append(stored.epoch)

    _train([[1.0]] * 4, epochs=4, resume=resume, on_epoch=look)
    assert seen == [1, 2, 3, 4]


# Learning rates by the step, averaged weights, and fewer checks.


def _halving(**settings) -> tuple[_Counter, Trained, list[float]]:
    """Train four epochs of two steps at half the rate each step; return what was validated."""
    module, seen = _Counter(), []

    def validate() -> Validation:
        seen.append(module.weight.item())
        return Validation(-module.weight[0].detach(), torch.zeros(1), torch.zeros(1))

    spec = TrainingSpec(beta={"kind": "constant"}, epochs=4, patience=None)
    trained = train(
        module,
        module.loss,
        _Steps(),
        validate,
        spec,
        learning_rate=0.1,
        betas=[1.0],
        **{"step_factor": lambda step: 0.5**step} | settings,
    )
    return module, trained, seen


WEIGHTS = 0.2 * (1.0 - 0.5 ** np.arange(9))
"""Of the counter after every step."""


def test_the_learning_rate_may_change_with_every_step() -> None:
    module, trained, seen = _halving()
    np.testing.assert_allclose(seen, WEIGHTS[2::2], rtol=1e-5)
    rates = [record.rate[0] for record in trained.history]
    np.testing.assert_allclose(rates, 0.1 * 0.5 ** np.array([1, 3, 5, 7]), rtol=1e-6)
    assert module.weight.item() == pytest.approx(WEIGHTS[8])


def test_averaged_weights_are_validated_and_kept() -> None:
    expected, mean = [], 0.0
    for step, weight in enumerate(WEIGHTS[1:], start=1):
        mean += (1.0 - min(0.5, (1 + step) / (10 + step))) * (weight - mean)
        expected.append(mean)
    module, _, seen = _halving(average=0.5)
    np.testing.assert_allclose(seen, expected[1::2], rtol=1e-5)
    assert module.weight.item() == pytest.approx(expected[-1])


def test_an_interrupted_average_goes_on(tmp_path: Path) -> None:
    resume = Resume(tmp_path / "state.safetensors", "run")
    whole, _, _ = _halving(average=0.9)
    with pytest.raises(StoppedByUserError, match="in epoch 2 of 4 of the prior"):
        _halving(average=0.9, resume=resume, on_epoch=_interrupt_at(1), part="prior")
    resumed, trained, seen = _halving(average=0.9, resume=resume)
    assert (len(trained.history), len(seen)) == (4, 2)
    assert torch.equal(resumed.weight, whole.weight)


@pytest.mark.parametrize(("checks", "epochs"), [(1, [4]), (2, [2, 4]), (4, [1, 2, 3, 4])])
def test_checks_are_spread_over_the_epochs(checks: int, epochs: list[int]) -> None:
    _, trained, seen = _halving(checks=checks)
    np.testing.assert_allclose(seen, WEIGHTS[[2 * epoch for epoch in epochs]], rtol=1e-5)
    assert trained.best_epochs == [3]


def test_without_checks_the_last_weights_are_kept() -> None:
    module, _, seen = _halving(checks=0)
    assert seen == []
    assert module.weight.item() == pytest.approx(WEIGHTS[8])


# The same with a real model.


def test_the_monitored_value_uses_the_final_beta_in_every_epoch(train_toy) -> None:
    members = tuple(Member(seed=0, beta=beta, latent=2) for beta in (0.25, 1.0, 3.0))
    beta = {"kind": "linear", "start": 0.0, "end": 2.0, "epochs": 5}
    history = train_toy(members, beta=beta, epochs=8).history
    for record in history:
        for m, member in enumerate(members):
            expected = record.val_reconstruction[m] + 2.0 * member.beta * record.val_kl[m]
            assert record.val_monitored[m] == pytest.approx(expected, rel=1e-5)
            total = record.train_reconstruction[m] + record.beta * member.beta * record.train_kl[m]
            assert record.train_total[m] == pytest.approx(total, rel=1e-5)


def test_an_annealed_run_goes_past_its_warm_up(train_toy) -> None:
    beta = {"kind": "linear", "start": 0.0, "end": 5.0, "epochs": 15}
    history = train_toy(beta=beta, epochs=40, patience=2, learning_rate=0.02).history
    moving = [r.val_reconstruction[0] + r.beta * r.val_kl[0] for r in history[:15]]
    assert int(np.argmin(moving)) + 2 < 14, "this run would not have shown the bug"
    assert len(history) >= 15 + 2
    assert history[-1].beta == 5.0


@pytest.mark.parametrize(
    ("members", "patience"),
    [((Member(0, 1.0, 2),), 3), ((Member(0, 1.0, 2), Member(1, 0.5, 1)), None)],
)
def test_the_returned_model_scores_the_best_of_its_history(
    train_toy, members: tuple[Member, ...], patience: int | None
) -> None:
    scores: list[list[float]] = []
    fitted = train_toy(
        members,
        epochs=30,
        patience=patience,
        learning_rate=0.05,
        on_epoch=lambda record: scores.append(record.val_monitored),
    )
    best = np.min(scores, axis=0)
    assert fitted.best == best.tolist()
    assert fitted.best_epochs == np.argmin(scores, axis=0).tolist()
    assert (best < np.array(scores)[-1]).all(), "the last epoch was the best: nothing is tested"
    again = train_toy.validate(fitted)
    np.testing.assert_allclose(again, best, rtol=1e-6)


def test_a_diverging_run_ends_in_one_clear_error(train_toy) -> None:
    with pytest.raises(TrainingError, match=r"lower training\.learning_rate"):
        train_toy(learning_rate=1e30, epochs=5)


@pytest.mark.parametrize("likelihood", ["gaussian", "student_t"])
@pytest.mark.parametrize("variance", ["feature", "row", "fixed"])
def test_training_lowers_the_objective(train_toy, likelihood: str, variance: str) -> None:
    model = ModelSpec(
        latent=2,
        encoder=(8,),
        decoder=(8,),
        likelihood=likelihood,
        variance=variance,
        sigma2=0.1 if variance == "fixed" else None,
        norm="layer",
    )
    history = train_toy(model=model, epochs=12, learning_rate=0.02).history
    assert history[-1].val_monitored[0] < history[0].val_monitored[0] - 0.5
    assert all(np.isfinite(r.train_total).all() for r in history)
