"""Early stopping and learning-rate plateaus, kept for every member apart."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from variolite.recipe import TrainingSpec

__all__ = ["Stopping"]


class Stopping:
    """Follow the monitored value of every member.

    A member that has run out of patience is done: its best weights no longer
    change, exactly as if it had trained alone and stopped. Waiting is counted
    from the end of the warm-up, never before.

    Parameters
    ----------
    members
        Number of members.
    armed
        First epoch at which beta holds its final value.
    spec
        Patience, least gain and plateau.
    """

    def __init__(self, members: int, armed: int, spec: TrainingSpec) -> None:
        self.armed = armed
        self.spec = spec
        self.best = np.full(members, np.inf)
        self.best_epoch = np.zeros(members, dtype=np.int64)
        self.done = np.zeros(members, dtype=bool)
        # Smaller steps than min_gain are kept as best weights but do not buy more time.
        self.reference = np.full(members, np.inf)
        self.waited = np.zeros(members, dtype=np.int64)
        self.flat = np.zeros(members, dtype=np.int64)

    @property
    def all_done(self) -> bool:
        """True when no member is left to train."""
        return bool(self.done.all())

    def update(self, epoch: int, monitored: NDArray[np.float64]) -> NDArray[np.bool_]:
        """Take in one epoch; return which members have new best weights."""
        improved = (monitored < self.best) & ~self.done
        self.best = np.where(improved, monitored, self.best)
        self.best_epoch = np.where(improved, epoch, self.best_epoch)
        gained = monitored < self.reference - self.spec.min_gain
        self.reference = np.where(gained, monitored, self.reference)
        counting = epoch >= self.armed
        self.waited = np.where(gained | (not counting), 0, self.waited + 1)
        self.flat = np.where(gained | (not counting), 0, self.flat + 1)
        if self.spec.patience is not None:
            self.done |= self.waited >= self.spec.patience
        return improved

    def rate_factor(self) -> NDArray[np.float64]:
        """Factor on every member's learning rate after the last update."""
        plateau = self.spec.plateau
        if plateau is None:
            return np.ones(len(self.best))
        due = self.flat > plateau.patience
        self.flat = np.where(due, 0, self.flat)
        return np.where(due, plateau.factor, 1.0)

    def state(self) -> dict[str, Any]:
        """JSON-able state for a checkpoint."""
        return {
            "best": [None if np.isinf(v) else float(v) for v in self.best],
            "reference": [None if np.isinf(v) else float(v) for v in self.reference],
            "best_epoch": self.best_epoch.tolist(),
            "done": self.done.tolist(),
            "waited": self.waited.tolist(),
            "flat": self.flat.tolist(),
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from a stored state."""

        def numbers(values: list[float | None]) -> NDArray[np.float64]:
            return np.array([np.inf if v is None else v for v in values])

        self.best = numbers(state["best"])
        self.reference = numbers(state["reference"])
        self.best_epoch = np.array(state["best_epoch"], dtype=np.int64)
        self.done = np.array(state["done"], dtype=bool)
        self.waited = np.array(state["waited"], dtype=np.int64)
        self.flat = np.array(state["flat"], dtype=np.int64)
