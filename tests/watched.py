"""Progress that a test looks at, or stops training through."""

from contextlib import contextmanager

from variolite.progress import Progress


class Watched(Progress):
    """Keeps notes and steps; ``epoch`` is called after every epoch, ``step`` at every step."""

    def __init__(self, epoch=lambda _: None, step=lambda _: None):
        self.notes: list[str] = []
        self.steps: list[str] = []
        self.epoch, self.step = epoch, step

    def note(self, text):
        self.notes.append(text)

    @contextmanager
    def stage(self, title, total=None):
        self._step(title)
        yield self._step

    def _step(self, text, *, done=None):
        self.steps.append(text)
        self.step(text)

    @contextmanager
    def training(self, epochs):
        yield self.epoch


def interrupt_at(epoch):
    """What interrupts training as a user would, after the epoch of this number."""

    def stop(record):
        if record.epoch == epoch:
            raise KeyboardInterrupt

    return stop
