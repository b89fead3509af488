"""Kills, signals, full disks and two at once: the same command has to end as if undisturbed."""

from __future__ import annotations

import errno
import mmap
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from benchmarks.robustness.programs import Outcome, Program, call, ended, started

CHANGES = ("os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.truncate")
"""Audit events of Python that change the file system, besides opening a file to write."""

NEEDS_SPACE = ("open", "os.mkdir")

Result = dict[str, str]


@dataclass(frozen=True)
class Attempt:
    """One disturbance of a command, and what was wrong afterwards, if anything."""

    how: str
    fault: str | None


def _changes(event: str, arguments: tuple[Any, ...]) -> bool:
    if event != "open":
        return event in CHANGES
    path, _, flags = arguments
    if isinstance(path, int) or os.fsdecode(path).startswith("/dev/"):
        return False
    return bool(flags & (os.O_WRONLY | os.O_RDWR))


def _at_change(number: int, counter: mmap.mmap, act: Callable[[str, int], None]) -> None:
    """Call ``act`` before this and every later change of the file system; count all of them."""
    seen = 0

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        nonlocal seen
        if _changes(event, arguments):
            seen += 1
            counter[:8] = seen.to_bytes(8, "little")
            if seen >= number:
                act(event, seen - number)

    sys.addaudithook(hook)


def _die(_event: str, _later: int) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def _no_space(event: str, _later: int) -> None:
    if event in NEEDS_SPACE:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


class Trial:
    """A command that ran once undisturbed: how long it took, what it left and changed."""

    def __init__(self, program: Program, work: Path) -> None:
        self.program, self.work = program, work
        self._counter = mmap.mmap(-1, 8)
        began = time.monotonic()
        whole = call(
            program.arguments,
            program.place(work),
            prepare=lambda: _at_change(sys.maxsize, self._counter, _die),
        )
        self.seconds = time.monotonic() - began
        if whole.status or whole.fault:
            raise SystemExit(f"{program.name} does not work undisturbed:\n{whole.err}")
        self.expected = program.result(work)
        self.changes = int.from_bytes(self._counter[:8], "little")

    def run(
        self,
        act: Callable[[str, int], None] | None = None,
        number: int = 0,
        signals: dict[float, signal.Signals] | None = None,
    ) -> Outcome:
        """Run the command from its beginning, with ``act`` from a change on."""

        def prepare() -> None:
            if act is not None:
                _at_change(number, self._counter, act)

        place = self.program.place(self.work)
        return call(self.program.arguments, place, prepare=prepare, signals=signals)

    def more(self, times: int, highest: float, random: np.random.Generator) -> list[float]:
        """Random numbers for the attempts that are left of ``times`` after one at every change."""
        return random.uniform(0.0, highest, max(0, times - self.changes)).tolist()

    def resumed(self) -> str | None:
        """Give the same command again; say what is wrong with how it ends, or None."""
        again = call(self.program.arguments, self.work)
        found = self.program.result(self.work)
        if again.fault:
            return f"{again.fault}, when resumed"
        # Killed after its last write it is done, and says so.
        done = "finished run is here" in again.err or "is there already" in again.err
        if again.status and not (done and found == self.expected):
            return f"refused when resumed: {again.last}"
        if changed := sorted(dict(found.items() ^ self.expected.items())):
            return f"another result: {', '.join(changed)}"
        if left := self.program.strangers(self.work):
            return f"left behind: {', '.join(left)}"
        return None


def _at_every_change(
    trial: Trial,
    act: Callable[[str, int], None],
    how: str,
    fault_of: Callable[[Outcome], str | None],
) -> Iterator[Attempt]:
    """Disturb a command at each of its changes."""
    for number in range(1, trial.changes + 1):
        fault = fault_of(trial.run(act, number))
        yield Attempt(how.format(number), fault or trial.resumed())


def try_kills(trial: Trial, times: int, random: np.random.Generator) -> Iterator[Attempt]:
    """Kill a command at each of its changes, and at random moments up to ``times`` in all."""
    yield from _at_every_change(trial, _die, "kill at change {}", lambda end: end.fault)
    for delay in trial.more(times, trial.seconds, random):
        ended_ = trial.run(signals={delay: signal.SIGKILL})
        yield Attempt(f"kill after {delay:.3f} s", ended_.fault or trial.resumed())


def try_signals(trial: Trial, times: int, random: np.random.Generator) -> Iterator[Attempt]:
    """Send SIGINT and SIGTERM at random moments: 130 and 143, one line, and it resumes."""
    for turn, delay in enumerate(random.uniform(0.0, trial.seconds, times).tolist()):
        number = (signal.SIGINT, signal.SIGTERM)[turn % 2]
        stopped = trial.run(signals={delay: number})
        fault = stopped.fault
        # Before the program has begun, and after its last act, the signal itself ends it.
        if stopped.status not in (0, -number) and not fault:
            if stopped.status != 128 + number:
                fault = f"ends with {stopped.status} at {number.name}: {stopped.last}"
            elif not stopped.last.startswith("variolite: stopped "):
                fault = f"says {stopped.last!r} at {number.name}"
        yield Attempt(f"{number.name} after {delay:.3f} s", fault or trial.resumed())


def _met_full_disk(trial: Trial, full: Outcome) -> str | None:
    """What is wrong with how a command met a full disk, before it is given again."""
    if full.fault:
        return f"{full.fault}, on a full disk"
    if full.status == 0:
        return None  # all was written before
    if full.status != 2 or not full.last.startswith("variolite: "):
        return f"ends with {full.status} on a full disk: {full.last}"
    if left := trial.program.strangers(trial.work):
        return f"left behind on a full disk: {', '.join(left)}"
    return None


def try_full_disk(trial: Trial, times: int, random: np.random.Generator) -> Iterator[Attempt]:
    """Let the disk be full from each change on; then, where allowed, a disk of random size."""
    how = "no space from change {} on"
    yield from _at_every_change(trial, _no_space, how, partial(_met_full_disk, trial))
    present = _pages(trial.program.before) if trial.program.before else 0
    used = _pages(trial.work) - present
    for share in trial.more(times, 1.2, random):
        with _small_disk(trial.work, present + int(share * used)) as grow:
            if grow is None:
                return
            fault = _met_full_disk(trial, trial.run())
            grow()
            yield Attempt(f"a disk of {share:.0%} of what is needed", fault or trial.resumed())


def _pages(folder: Path) -> int:
    """Bytes that a folder takes on a small disk, whole pages for everything in it."""
    sizes = (path.stat().st_size if path.is_file() else 0 for path in folder.rglob("*"))
    return 4096 * sum(2 + size // 4096 for size in sizes)


@contextmanager
def _small_disk(place: Path, size: int) -> Iterator[Callable[[], None] | None]:
    """Mount a small disk at ``place``, and yield what makes it large; None where not allowed."""

    def mount(options: str) -> bool:
        command = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(place)]
        return subprocess.run(command, capture_output=True, check=False).returncode == 0

    if not mount(f"size={size}"):
        yield None
        return
    try:
        yield lambda: None if mount("remount,size=100m") else sys.exit("the disk cannot grow")
    finally:
        subprocess.run(["umount", str(place)], check=True)


def try_two(trial: Trial, times: int, random: np.random.Generator) -> Iterator[Attempt]:
    """Give a command twice at once: one of them is refused, or both write the same."""
    for delay in random.uniform(0.0, trial.seconds, times).tolist():
        place, arguments = trial.program.place(trial.work), trial.program.arguments
        first = started(arguments, place, lambda: None, "1")
        time.sleep(delay)
        second = started(arguments, place, lambda: None, "2")
        ends = [ended(first, place, {}, "1"), ended(second, place, {}, "2")]
        fault = next((end.fault for end in ends if end.fault), None)
        for end in ends:
            said = ("another process is writing", "finished run is here", "is there already")
            if end.status and not any(words in end.last for words in said):
                fault = fault or f"ends with {end.status}: {end.last}"
        if ends[0].status and ends[1].status:
            fault = fault or "both are refused"
        if not fault and trial.program.result(place) != trial.expected:
            fault = "another result"
        if not fault and (left := trial.program.strangers(place)):
            fault = f"left behind: {', '.join(left)}"
        yield Attempt(f"a second one after {delay:.3f} s", fault)
