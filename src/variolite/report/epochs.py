"""Which epochs of a history matter: the end of the warm-up and the ones whose weights were kept."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from variolite.report.contents import History

__all__ = ["best_epochs", "warm_up_end"]


def warm_up_end(history: History) -> float | None:
    """Return the first epoch at which beta has its final value; None where it never changes."""
    beta = history.beta
    if beta is None:
        return None
    first = int(np.argmax(np.isclose(beta, beta[-1], rtol=1e-6)))
    return float(history.epochs[first]) if first > 0 else None


def best_epochs(history: History, provenance: Mapping[str, object]) -> list[float] | None:
    """Return the epoch kept for each member: as the model file says, else the lowest monitored.

    Epochs of the warm-up do not count, as stopping is armed after it.
    """
    stated = provenance.get("best_epochs", provenance.get("best_epoch"))
    if isinstance(stated, list) and all(isinstance(value, int) for value in stated):
        return [float(value) for value in stated]
    monitored = history.series("val_monitored")
    if monitored is None:
        return None
    end = warm_up_end(history)
    armed = np.ones(len(history.epochs), bool) if end is None else history.epochs >= end
    masked = np.where(armed[:, None] & np.isfinite(monitored), monitored, np.inf)
    return [float(history.epochs[i]) for i in np.argmin(masked, axis=0)]
