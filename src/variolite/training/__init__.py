"""Training: the loop, schedules, history, resume, the model file, the run folder, workers."""

from lazy_loader import attach_stub

# Loaded when first used: worker processes pass through here, and most of them need no torch.
__getattr__, __dir__, __all__ = attach_stub(__name__, __file__)
