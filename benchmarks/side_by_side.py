"""Two ways to the same result, in turn on the same inputs: processor seconds and their ratio."""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from benchmarks.machine import load
from benchmarks.pages import RESULTS, command, provenance, table, write_page

BEFORE = load()
EXPLAINED = (
    "One thread; processor time of the process; all ways in turn on the same inputs; ratios turn "
    "by turn, median (least-greatest)."
)
DATA = Path(__file__).resolve().parents[2] / "shared" / "data"
Row = Mapping[str, Any]


@dataclass(frozen=True)
class Timed:
    """Processor seconds of every way, (R,), and what each returned the last time."""

    seconds: Mapping[str, np.ndarray]
    found: Mapping[str, Any]

    def median(self, way: str) -> float:
        """Median processor seconds of one way."""
        return float(np.median(self.seconds[way]))

    def ratio(self, way: str) -> list[float]:
        """Seconds of a way over those of ours, turn by turn: median, least and greatest."""
        ratios = self.seconds[way] / self.seconds["ours"]
        return [float(np.median(ratios)), float(ratios.min()), float(ratios.max())]


def in_turn(ways: Mapping[str, Callable[[], Any]], repeats: int, *, warm: bool = True) -> Timed:
    """Carry out all ways ``repeats`` times, one after the other.

    A slow moment of a busy machine falls on all ways of one turn, and every other turn goes
    backwards, so that none is always first. The first turn is not counted if ``warm``.
    """
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    found: dict[str, Any] = {}
    for turn in range(-1 if warm else 0, repeats):
        for name in list(ways)[:: 1 if turn % 2 else -1]:
            began = time.process_time()
            found[name] = ways[name]()
            if turn >= 0:
                seconds[name].append(time.process_time() - began)
    return Timed({name: np.array(s) for name, s in seconds.items()}, found)


def times(ratio: Sequence[float]) -> str:
    """Write a ratio with the least and the greatest of its turns."""
    return "**{}** ({}-{})".format(*map(rounded, ratio))


def rounded(value: float) -> str:
    """Three digits, without an exponent."""
    return f"{float(f'{value:.3g}'):,g}"


def tabulated(rows: Sequence[Row], columns: Mapping[str, Callable[[Row], str]]) -> list[str]:
    """Lines of a Markdown table: every column from its title and how a row is written there."""
    return table(list(columns), [[write(row) for write in columns.values()] for row in rows])


def parsed(text: str, data: Path, **numbers: int) -> argparse.Namespace:
    """Options of a command: the folders, and whole numbers with their defaults."""
    parser = argparse.ArgumentParser(description=text.splitlines()[0])
    parser.add_argument("--data", type=Path, default=data)
    parser.add_argument("--results", type=Path, default=RESULTS)
    for name, default in numbers.items():
        parser.add_argument(f"--{name}", type=int, default=default)
    return parser.parse_args()


def publish(
    path: str,
    arguments: argparse.Namespace,
    packages: Sequence[str],
    title: str,
    figures: Mapping[str, Any],
    lines: Sequence[str],
) -> None:
    """Write a page; ``path`` is the module and the name of the page."""
    module, _, name = path.partition(":")
    made = provenance(command(f"benchmarks.{module}", arguments), packages)
    made["load"] = [BEFORE, *made["load"]]
    write_page(arguments.results / name, title, [EXPLAINED, "", *lines], figures, made)
