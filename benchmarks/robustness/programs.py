"""The commands that are tried, on small inputs, each run in a forked copy of this process.

Forking after torch is imported makes one attempt cost tenths of a second instead of three. The
clocks that a run notes are stopped in the fork, so that two equal runs are equal in every byte.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib
import multiprocessing
import os
import select
import shutil
import signal
import sys
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace

import variolite.corelogs.report as pages
from variolite.cli import main
from variolite.corelogs import bin_tables, simulate_cores, write_instrument_tables
from variolite.crystals.files.store import write_store
from variolite.crystals.files.textbook import textbook_crystals
from variolite.crystals.files.writing import write_structures
from variolite.crystals.generation import composition, prior
from variolite.records import write_table
from variolite.training import loop, run

TABLES = ("training.epochs=4", "training.beta.epochs=1", "clustering.k=[3,4]")
TABLES += ("training.batch_size=256", "training.patience=null")
CRYSTALS = ("training.epochs=3", "training.batch_size=64", "model.width=16", "model.heads=2")
CRYSTALS += ("model.feedforward=16", "model.latent=4", "model.encoder_layers=1")
CRYSTALS += ("model.decoder_layers=1", "split.test=0.2", "prior.kind=flow", "prior.epochs=2")
CRYSTALS += ("prior.width=16", "prior.layers=1", "prior.heads=2", "prior.batch_size=64")

IMPORTED = ("sklearn.cluster", "sklearn.mixture", "sklearn.metrics", "sympy", "torch._dynamo")
IMPORTED += ("torch.onnx", "safetensors.torch", "variolite.corelogs.report", "matplotlib.figure")
IMPORTED += ("variolite.crystals.report", "variolite.crystals.crystal_model")
"""What commands import late: here once, not in every fork."""

TIME_LIMIT = 120.0
"""Seconds after which a command counts as hanging."""

ORPHANS = 5.0
"""Seconds in which the processes that a command started have to be gone after it."""


@dataclass(frozen=True)
class Outcome:
    """How a command ended: exit status (negative: the signal) and what it printed on stderr."""

    status: int
    err: str
    hung: bool = False
    orphans: bool = False

    @property
    def last(self) -> str:
        """The last line on stderr."""
        lines = self.err.strip().splitlines()
        return lines[-1] if lines else ""

    @property
    def fault(self) -> str | None:
        """What no command may do, however it is disturbed; None if it did not."""
        if self.hung:
            return "hangs"
        if self.orphans:
            return "leaves processes behind"
        if "Traceback (most recent call last)" in self.err or "panicked at" in self.err:
            return f"traceback: {self.last[:100]}"
        return None


@dataclass(frozen=True)
class Program:
    """A command, and what it needs and leaves.

    ``before`` is a folder that is copied to the place of work first; ``leaves`` are the files
    and folders that it writes there.
    """

    name: str
    arguments: tuple[str, ...]
    leaves: tuple[str, ...]
    before: Path | None = None

    def place(self, work: Path) -> Path:
        """Lay out a place of work as it is before the command."""
        work.mkdir(parents=True, exist_ok=True)
        for path in work.iterdir():
            shutil.rmtree(path) if path.is_dir() else path.unlink()
        if self.before is not None:
            shutil.copytree(self.before, work, dirs_exist_ok=True)
        return work

    def result(self, work: Path) -> dict[str, str]:
        """Checksum of every file that is left."""
        found = {}
        for top in self.leaves:
            place = work / top
            for path in [place] if place.is_file() else sorted(place.rglob("*")):
                if path.is_file():
                    digest = hashlib.sha256(path.read_bytes()).hexdigest()
                    found[str(path.relative_to(work))] = digest
        return found

    def strangers(self, work: Path) -> list[str]:
        """Files that neither were there before nor belong to the result."""
        known = set() if self.before is None else {p.name for p in self.before.iterdir()}
        outside = {p.name for p in work.iterdir()} - known - set(self.leaves)
        hidden = {str(p.relative_to(work)) for p in work.rglob(".*")}
        return sorted(outside | hidden)


def call(
    arguments: Sequence[str],
    work: Path,
    *,
    prepare: Callable[[], None] = lambda: None,
    signals: Mapping[float, signal.Signals] | None = None,
) -> Outcome:
    """Run a command in a fork, in the folder ``work``.

    ``prepare`` is called in the child before the command; ``signals`` are sent to it, at seconds
    from its start.
    """
    return ended(started(arguments, work, prepare), work, signals or {})


def started(
    arguments: Sequence[str], work: Path, prepare: Callable[[], None], name: str = ""
) -> int:
    """Start a command in a fork that leads a process group; return its process id."""
    with _err(work, name).open("wb") as err, Path(os.devnull).open("wb") as out:
        child = os.fork()
        if child == 0:
            _become(arguments, work, err.fileno(), out.fileno(), prepare)
    return child


def ended(
    child: int, work: Path, signals: Mapping[float, signal.Signals], name: str = ""
) -> Outcome:
    """Wait for a command, and for all processes that it started."""
    began, handle = time.monotonic(), os.pidfd_open(child)
    waiting = select.poll()
    waiting.register(handle, select.POLLIN)
    done = hung = False
    for at, number in sorted({**signals, TIME_LIMIT: signal.SIGKILL}.items()):
        done = bool(waiting.poll(max(0.0, began + at - time.monotonic()) * 1e3))
        if done:
            break
        hung = at == TIME_LIMIT
        os.killpg(child, number) if hung else os.kill(child, number)
    os.close(handle)
    _, status = os.waitpid(child, 0)
    orphans = _wait_for_group(child)
    path = _err(work, name)
    text = path.read_text(encoding="utf-8", errors="replace")
    path.unlink()
    return Outcome(os.waitstatus_to_exitcode(status), text, hung, orphans)


def _err(work: Path, name: str) -> Path:
    return work.parent / f"{work.name}{name}.err"


def _wait_for_group(leader: int) -> bool:
    """Whether processes of the group outlive their leader; they are killed then."""
    until = time.monotonic() + ORPHANS
    with contextlib.suppress(ProcessLookupError):
        while time.monotonic() < until:
            os.killpg(leader, 0)
            time.sleep(0.005)
        os.killpg(leader, signal.SIGKILL)
        return True
    return False


def _become(
    arguments: Sequence[str], work: Path, err: int, out: int, prepare: Callable[[], None]
) -> None:
    """Turn the fork into the program; never returns."""
    code = 1
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # until the program has a handler of its own
    try:
        os.setpgid(0, 0)
        os.dup2(err, 2)
        os.dup2(out, 1)
        os.chdir(work)
        sys.argv = ["variolite", *arguments]
        _change(arguments)
        prepare()
        main()
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else 0 if end.code is None else 1
    except BaseException:
        traceback.print_exc()
    finally:
        with contextlib.suppress(Exception):
            sys.stderr.flush()
            sys.stdout.flush()
        os._exit(code)


def _change(arguments: Sequence[str]) -> None:
    """Stop the clocks that a run notes, store its state after every epoch, and be quick."""
    stopped = SimpleNamespace(monotonic=lambda: 0.0)
    for module in (run, loop, prior):
        module.time = stopped
    run.datetime = SimpleNamespace(now=lambda _: datetime(2000, 1, 1, tzinfo=UTC))
    loop.CHECKPOINT_SECONDS = -1.0
    composition.EPOCHS, composition.FEWEST_STEPS = 1, 5
    if arguments[0] == "score":
        # Drawing takes ten times as long as all else, in memory, and ends in writing one file.
        pages.table_page = lambda files: files.name


def programs(folder: Path) -> dict[str, Program]:
    """Make the inputs below ``folder`` and return the commands that are tried on them."""
    for module in IMPORTED:
        importlib.import_module(module)
    inputs = folder / "inputs"
    # In a process of its own: threads of polars that ran here would be missing in the forks.
    maker = multiprocessing.get_context("spawn").Process(target=_make_inputs, args=(inputs,))
    maker.start()
    maker.join()
    tables = map(str, sorted((inputs / "raw").glob("*.csv")))
    table, store = str(inputs / "binned.parquet"), str(inputs / "textbook.crystals")
    fit = ("--out", "run", "--device", "cpu")
    found = [
        Program(
            "fit tables",
            ("fit", "corelogs/default", "--data", table, *fit, *_settings(TABLES)),
            ("run",),
        ),
        Program(
            "fit crystals",
            ("fit", "crystals/mp_20/vae_dng", "--data", store, *fit, *_settings(CRYSTALS)),
            ("run",),
        ),
        Program(
            "bin",
            ("corelogs", "bin", *tables, "--join", "outer", "--out", "binned.csv"),
            ("binned.csv",),
        ),
        Program(
            "pack",
            ("crystals", "pack", str(inputs / "cifs"), "--out", "set.crystals"),
            ("set.crystals", "set.rejects.csv"),
        ),
    ]
    trained = [folder / "fit_tables", folder / "fit_crystals"]
    for program, place in zip(found, trained, strict=False):
        undisturbed(program.arguments, program.place(place))
    score = ("score", "run", "--data", table, "--no-baselines")
    generate = ("generate", "run", "-n", "4", "--tries", "500", "--device", "cpu")
    undisturbed((*generate, "--out", str(inputs / "known.crystals")), trained[1])
    found += [
        Program("score", score, ("run",), trained[0]),
        Program("generate", (*generate, "--out", "made"), ("made",), trained[1]),
    ]
    return {program.name: program for program in found}


def undisturbed(arguments: Sequence[str], work: Path) -> None:
    """Run a command that has to end well."""
    done = call(arguments, work)
    if done.status or done.fault:
        raise SystemExit(f"{arguments[0]} does not work undisturbed:\n{done.err}")


def _make_inputs(inputs: Path) -> None:
    cores = simulate_cores(holes=6, metres=20, seed=1)
    tables = write_instrument_tables(cores, inputs / "raw")
    write_table(bin_tables([*tables.values()], join="outer").table, inputs / "binned.parquet")
    crystals = textbook_crystals()
    write_store(inputs / "textbook.crystals", crystals)
    write_structures(crystals, inputs / "cifs")
    (inputs / "cifs" / "broken.cif").write_text("data_broken\n", encoding="utf-8")


def _settings(changes: Sequence[str]) -> tuple[str, ...]:
    return tuple(part for change in changes for part in ("--set", change))
