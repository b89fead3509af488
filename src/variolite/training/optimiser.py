"""Adam on one flat tensor, a learning rate for every member, averages, and the schedules.

A small network has a dozen tiny tensors; updating them one by one costs more than the
mathematics. Here all parameters are views into one (M, P) tensor of members and their weights,
and all gradients are gathered into another, so that a step is a handful of calls.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from variolite.recipe import ConstantBeta, CyclicalBeta, Schedule, SigmoidBeta, TrainingSpec


class FlatParameters:
    """The parameters of a module laid out in one tensor ``values``, (M, P), a row per member.

    The parameters become views into it, so that changing one changes the other. ``gradients``,
    (M, P), are of the last step; ``views`` say where in them that of every parameter lies, in its
    shape.
    """

    def __init__(self, module: nn.Module, members: int) -> None:
        self.parameters = [p for p in module.parameters() if p.requires_grad]
        self.members = members
        with torch.no_grad():
            self.values = torch.cat([p.reshape(members, -1) for p in self.parameters], dim=1)
        self.gradients = torch.zeros_like(self.values)
        self.views: dict[nn.Parameter, Tensor] = {}
        start = 0
        for parameter in self.parameters:
            # A slice of columns is not contiguous over members, but splits into the shape of the
            # parameter without a copy: the members axis comes first in both.
            span = slice(start, start + parameter.numel() // members)
            parameter.data = self.values[:, span].view(parameter.shape)
            self.views[parameter] = self.gradients[:, span].view(parameter.shape)
            start = span.stop

    def collect(self, total: Tensor) -> None:
        """Gather the gradients of a scalar."""
        found = torch.autograd.grad(total, self.parameters)
        torch.cat([g.reshape(self.members, -1) for g in found], dim=1, out=self.gradients)


class Adam:
    """Adam (Kingma and Ba 2015) without weight decay.

    ``learning_rate``, (M,), may be replaced between steps. Where the Euclidean norm of a member's
    gradient exceeds ``clip``, it is scaled down to it.
    """

    decay_first, decay_second, epsilon = 0.9, 0.999, 1e-8

    def __init__(self, parameters: FlatParameters, learning_rate: Tensor, clip: float) -> None:
        self.parameters = parameters
        self.learning_rate = learning_rate
        self.clip = clip
        self.steps = 0
        self.first = torch.zeros_like(parameters.values)
        self.second = torch.zeros_like(parameters.values)
        self._scratch = torch.empty_like(parameters.values)

    @property
    def learning_rate(self) -> Tensor:
        """Learning rate of every member, (M,)."""
        return self._learning_rate

    @learning_rate.setter
    def learning_rate(self, learning_rate: Tensor) -> None:
        self._learning_rate = learning_rate
        # (M, 1), to divide by the rate along with the denominator: it changes once an epoch.
        self._inverse_rate = learning_rate.reciprocal().unsqueeze(1)

    @torch.no_grad()
    def step(self) -> None:
        """Apply the collected gradients."""
        values, gradients = self.parameters.values, self.parameters.gradients
        self.steps += 1
        # Without a branch on the norms, (M, 1), so that no device has to wait for them.
        norm = torch.linalg.vector_norm(gradients, dim=1, keepdim=True)
        gradients.mul_(self.clip / norm.clamp_(min=self.clip))
        self.first.lerp_(gradients, 1.0 - self.decay_first)
        self.second.mul_(self.decay_second)
        self.second.addcmul_(gradients, gradients, value=1.0 - self.decay_second)
        # The bias corrections go into one scalar and the epsilon, as in the paper's section 2.
        root = (1.0 - self.decay_second**self.steps) ** 0.5
        scale = root / (1.0 - self.decay_first**self.steps)
        denominator = torch.sqrt(self.second, out=self._scratch).add_(self.epsilon * root)
        values.addcdiv_(self.first, denominator.mul_(self._inverse_rate), value=-scale)

    def state(self) -> dict[str, Tensor]:
        """Tensors to store so that training can be resumed."""
        moments = {"first": self.first, "second": self.second}
        return {"values": self.parameters.values, **moments, "rate": self.learning_rate}

    def restore(self, state: dict[str, Tensor], steps: int) -> None:
        """Resume from stored tensors."""
        self.parameters.values.copy_(state["values"])
        self.first.copy_(state["first"])
        self.second.copy_(state["second"])
        self.learning_rate = state["rate"].to(self.first.device)
        self.steps = steps


class MovingAverage:
    """Exponential moving average of flat weights, (M, P), with a shorter memory in the first steps.

    A fixed decay would remember the random weights of the start for 1 / (1 - decay) steps.
    """

    def __init__(self, parameters: FlatParameters, decay: float) -> None:
        self._parameters = parameters
        self._decay = decay
        self.values = parameters.values.clone()

    def update(self, steps: int) -> None:
        """Take in the weights after the given number of steps."""
        decay = min(self._decay, (1 + steps) / (10 + steps))
        self.values.lerp_(self._parameters.values, 1.0 - decay)

    @contextmanager
    def in_place(self) -> Iterator[None]:
        """Let the module have the average for as long as it is evaluated."""
        with torch.no_grad():
            own = self._parameters.values.clone()
            self._parameters.values.copy_(self.values)
            yield
            self._parameters.values.copy_(own)


# Schedules of beta and of the learning rate, as pure functions of the epoch or step.
#
# The monitored quantity always uses the *final* beta, so that a schedule moves the gradient and
# never the yardstick. Early stopping counts only from the epoch at which a schedule first holds
# its final value (`warm_up`).

RISE = 0.05  # fraction of the epochs in which a cosine learning rate rises to its full value
LEAST = 0.01  # fraction of the learning rate that a cosine ends on


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
