"""``python -m benchmarks.robustness``: provoke faults, count them and what broke."""

from __future__ import annotations

import argparse
import json
import shlex
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from benchmarks.pages import RESULTS, origin, provenance, table, write_page
from benchmarks.robustness import crashes, flips, fuzz
from benchmarks.robustness.programs import Program, programs

EXPLAINED = """
Small inputs, real commands. A command is killed before each of its changes of the file system and
at random moments, stopped by SIGINT and SIGTERM, given a disk that is full from each change on or
has a random size, and given twice at once. Given again it has to end in the same bytes as without
that, with no traceback, hang, process or file left. One bit of every file of a run is turned over:
a command has to name the file, or give the same bytes. A file that a command reads is cut, doubled,
shuffled or spliced: it is read, or refused in one line, and nothing else is left. Clocks that a
run notes are stopped, so that equal runs are equal.
"""

REPORTS = Path(__file__).resolve().parents[3] / "shared" / "data" / "reports"
"""Inputs that failed once; without the folder only files made here are tried."""

DISTURBANCES = {
    "kill": crashes.try_kills,
    "signal": crashes.try_signals,
    "full disk": crashes.try_full_disk,
    "two at once": crashes.try_two,
}

Kinds = dict[str, Callable[[np.random.Generator], Iterator[crashes.Attempt]]]


def main(arguments: list[str]) -> None:
    """Try all kinds of faults, or those that are named, and write a page of what broke."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.robustness", description=__doc__)
    parser.add_argument("--kills", type=int, default=200, help="of each command")
    parser.add_argument("--others", type=int, default=100, help="disturbances of every other kind")
    parser.add_argument("--cases", type=int, default=10_000, help="damaged files, of all readers")
    parser.add_argument("--only", nargs="*", metavar="WORD", help="kinds whose names hold a word")
    parser.add_argument("--out", type=Path, default=RESULTS / "robustness.md", metavar="FILE.md")
    given = parser.parse_args(arguments)
    made = provenance(f"python -m benchmarks.robustness {shlex.join(arguments)}".strip())
    stored = given.out.with_suffix(".json")
    # In memory where that is possible: the disk is not what is tried.
    memory = Path("/dev/shm")
    with tempfile.TemporaryDirectory(dir=memory if memory.is_dir() else None) as folder:
        for name, attempts in kinds(Path(folder), given.kills, given.others, given.cases).items():
            if given.only is None or any(word in name for word in given.only):
                row = _count(name, attempts(np.random.default_rng(0))) | {"made": origin(made)}
                # What was measured before, or is by another process now, stays.
                known = json.loads(stored.read_text()) if stored.is_file() else {}
                known[name] = row
                write_page(given.out, "Faults of the machine", lines_of(known), known)


def kinds(folder: Path, kills: int, others: int, cases: int) -> Kinds:
    """Every kind of fault by name, to be tried with a source of random numbers."""
    tried, work, inputs = programs(folder), folder / "work", folder / "inputs"
    found: Kinds = {}
    for program in tried.values():
        for name in DISTURBANCES:

            def attempts(
                random: np.random.Generator, program: Program = program, name: str = name
            ) -> Iterator[crashes.Attempt]:
                times = {"kill": kills, "two at once": others // 4}.get(name, others)
                return DISTURBANCES[name](crashes.Trial(program, work), times, random)

            found[f"{name}: {program.name}"] = attempts
    for kind, data in (("tables", "binned.parquet"), ("crystals", "known.crystals")):
        run, commands = folder / f"fit_{kind}", flips.commands_on(kind, inputs / data)

        def flipped(
            random: np.random.Generator, run: Path = run, commands=commands
        ) -> Iterator[crashes.Attempt]:
            return flips.try_flips(run, commands, work, 2 * others, random)

        found[f"bit flip: run on {kind}"] = flipped
    readers = fuzz.readers(folder, REPORTS)
    for reader in readers:

        def fuzzed(
            random: np.random.Generator, reader: fuzz.Reader = reader
        ) -> Iterator[crashes.Attempt]:
            return fuzz.try_reader(reader, work, cases // len(readers), random)

        found[f"fuzz: {reader.name}"] = fuzzed
    return found


def _count(name: str, attempts: Iterator[crashes.Attempt]) -> dict[str, Any]:
    faults: Counter[str] = Counter()
    tried, began = 0, time.monotonic()
    for attempt in attempts:
        tried += 1
        if attempt.fault:
            faults[attempt.fault] += 1
            print(f"    {attempt.how}: {attempt.fault}", flush=True)
    seconds = round(time.monotonic() - began)
    print(f"{name}: {tried} tried, {faults.total()} broken, {seconds} s", flush=True)
    return {"tried": tried, "broken": faults.total(), "faults": dict(faults), "seconds": seconds}


def lines_of(rows: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Return the page of the contents of ``robustness.json``, below its title."""
    tried, broken = (sum(row[key] for row in rows.values()) for key in ("tried", "broken"))
    cells = [[name, f"{row['tried']:,}", str(row["broken"])] for name, row in sorted(rows.items())]
    return [
        *sorted({f"- {row['made']}" for row in rows.values()}),
        EXPLAINED,
        *table(["kind", "tried", "broken"], [*cells, ["all", f"{tried:,}", str(broken)]]),
        "",
        *(
            f"- {name}: {n} x {fault}"
            for name, row in rows.items()
            for fault, n in row["faults"].items()
        ),
    ]


if __name__ == "__main__":
    main(sys.argv[1:])
