"""One bit of a file of a run turned over: a command names the file, or gives the same bytes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from benchmarks.robustness.crashes import Attempt
from benchmarks.robustness.programs import Program, call, undisturbed


def commands_on(kind: str, data: Path) -> list[Program]:
    """The commands that read a run of a kind, tables or crystals."""
    apply = ("run", "--data", str(data), "--out")
    report = Program("report", ("report", "run"), ("run/report.html",))
    if kind == "tables":
        verbs = ("encode", "cluster", "reconstruct")
        applied = [Program(verb, (verb, *apply, "z.csv"), ("z.csv",)) for verb in verbs]
        return [*applied, report]
    made = ("generate", "run", "-n", "2", "--tries", "500", "--out", "z.csv", "--device", "cpu")
    encode = Program("encode", ("encode", *apply, "z.csv"), ("z.csv",))
    return [encode, Program("generate", made, ("z.csv",)), report]


def try_flips(
    run: Path, commands: Sequence[Program], work: Path, times: int, random: np.random.Generator
) -> Iterator[Attempt]:
    """Turn a random bit over, file after file; ``run`` is the folder that holds the run."""
    commands = [Program(c.name, c.arguments, c.leaves, run) for c in commands]
    right = []
    for command in commands:
        undisturbed(command.arguments, command.place(work))
        right.append(command.result(work))
    files = sorted(p.relative_to(run) for p in (run / "run").rglob("*") if p.is_file())
    for turn in range(times):
        file = files[turn % len(files)]
        which = int(random.integers(0, len(commands)))
        command = commands[which]
        place = command.place(work)
        content = bytearray((place / file).read_bytes())
        content[int(random.integers(0, len(content)))] ^= 1 << int(random.integers(0, 8))
        (place / file).write_bytes(content)
        ended = call(command.arguments, place)
        fault = ended.fault
        if not fault and ended.status == 2 and not ended.last.startswith("variolite: "):
            fault = f"no clear line: {ended.last[:100]}"
        elif not fault and ended.status == 2 and file.name not in ended.last:
            fault = f"does not name the file: {ended.last[:160]}"
        elif not fault and ended.status not in (0, 2):
            fault = f"ends with {ended.status}"
        elif not fault and ended.status == 0 and command.result(place) != right[which]:
            fault = "a silent change"
        yield Attempt(f"{file}, {command.name}", fault)
