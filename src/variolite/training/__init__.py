"""Training: the loop, schedules, history, resume, the model file and the run folder."""

from variolite.training.batches import Member
from variolite.training.fitting import Fitted, fit_tabular, members_for
from variolite.training.history import EpochRecord, read_history, write_history
from variolite.training.loop import StoppedByUserError
from variolite.training.model import TabularModel
from variolite.training.modelfile import load_model, save_model
from variolite.training.runfolder import RunFolder

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
