"""Schedules of beta and of the learning rate as pure functions of the epoch or step.

The monitored quantity always uses the *final* beta, so that a schedule moves the gradient and
never the yardstick. Early stopping counts only from the epoch at which a schedule first holds its
final value (`warm_up`).
"""

from __future__ import annotations

import math
from collections.abc import Callable

from variolite.recipe import ConstantBeta, CyclicalBeta, Schedule, SigmoidBeta, TrainingSpec

RISE = 0.05
"""Fraction of the epochs in which a cosine learning rate rises to its full value."""

LEAST = 0.01
"""Fraction of the learning rate that a cosine ends on."""


def beta_at(schedule: Schedule, epoch: int) -> float:
    """Beta during the given epoch; epochs count from 0."""
    if isinstance(schedule, ConstantBeta):
        return schedule.value
    if isinstance(schedule, SigmoidBeta):
        # The logistic curve rescaled, so that it starts at `start` and meets `end` without a
        # step; written with tanh, which never overflows.
        centred = 0.5 * schedule.steepness * (epoch / schedule.epochs - 0.5)
        fraction = 0.5 + 0.5 * math.tanh(centred) / math.tanh(0.25 * schedule.steepness)
    elif isinstance(schedule, CyclicalBeta):
        fraction = (epoch % schedule.epochs) / (schedule.rise * schedule.epochs)
    else:
        fraction = epoch / schedule.epochs
    cycles = schedule.cycles if isinstance(schedule, CyclicalBeta) else 1
    if epoch >= schedule.epochs * cycles or fraction >= 1.0:
        return schedule.end
    # Rounding must not lead a bit beyond either end.
    value = schedule.start + fraction * (schedule.end - schedule.start)
    low, high = sorted((schedule.start, schedule.end))
    return min(max(value, low), high)


def epoch_factor(spec: TrainingSpec, epoch: int) -> float:
    """Factor on the learning rate during the given epoch, above 0."""
    if spec.decay == "none":
        return 1.0
    rising = max(1, round(RISE * spec.epochs))
    if epoch < rising:
        return (epoch + 1) / (rising + 1)
    done = min((epoch - rising) / max(1, spec.epochs - 1 - rising), 1.0)
    return LEAST + (1.0 - LEAST) * 0.5 * (1.0 + math.cos(math.pi * done))


def step_factor(step: int, steps: int, warm_up_steps: int) -> float:
    """Factor on the learning rate of a step: a linear warm-up times half a cosine to 1e-4."""
    fallen = max(0.5 * (1.0 + math.cos(math.pi * (step / steps))), 1e-4)
    return min(1.0, (step + 1) / warm_up_steps) * fallen


def cosine_by_epoch(steps: int, epochs: int) -> Callable[[int], float]:
    """Factor on the learning rate by step, for ``steps`` an epoch: half a cosine, in stairs."""
    return lambda step: 0.5 * (1.0 + math.cos(math.pi * (step // steps) / epochs))


def final_beta(schedule: Schedule) -> float:
    """The value that the schedule ends on and that the monitor uses."""
    return schedule.value if isinstance(schedule, ConstantBeta) else schedule.end


def warm_up(schedule: Schedule) -> int:
    """First epoch from which beta stays at its final value."""
    if isinstance(schedule, ConstantBeta):
        return 0
    if isinstance(schedule, CyclicalBeta):
        last_cycle = schedule.epochs * (schedule.cycles - 1)
        return last_cycle + math.ceil(schedule.rise * schedule.epochs)
    return schedule.epochs
