"""Training: the loop, schedules, history, resume, the model file and the run folder."""

from variolite.training.loop import StoppedByUserError
from variolite.training.run import RunFolder
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
