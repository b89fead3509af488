"""Training: the loop, schedules, history, resume, the model file, the run folder, workers.

Names are loaded when first used: worker processes pass through here, and most of them need
no torch.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from variolite.training.loop import StoppedByUserError
    from variolite.training.run_folder import RunFolder
    from variolite.training.storage import EpochRecord, read_history, write_history
    from variolite.training.tabular import Fitted, fit_tabular, members_for
    from variolite.training.tabular_model import Member, TabularModel, load_model, save_model

__all__ = [
    "EpochRecord",
    "Fitted",
    "Member",
    "RunFolder",
    "StoppedByUserError",
    "TabularModel",
    "fit_tabular",
    "load_model",
    "members_for",
    "read_history",
    "save_model",
    "write_history",
]

_HOME = {
    "EpochRecord": "storage",
    "Fitted": "tabular",
    "Member": "tabular_model",
    "RunFolder": "run_folder",
    "StoppedByUserError": "loop",
    "TabularModel": "tabular_model",
    "fit_tabular": "tabular",
    "load_model": "tabular_model",
    "members_for": "tabular",
    "read_history": "storage",
    "save_model": "tabular_model",
    "write_history": "storage",
}


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'variolite.training' has no attribute {name!r}")
    return getattr(import_module(f"variolite.training.{_HOME[name]}"), name)
