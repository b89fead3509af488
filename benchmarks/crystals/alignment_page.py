"""``crystal_alignment.md`` and ``.json``, from the files that the runs left."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from benchmarks.crystals.paired import Difference, compare, interval, mean_of, median_of
from benchmarks.pages import provenance, write_page

Result = Mapping[str, Any]


def _unseen(result: Result) -> np.ndarray:
    return np.array(result["crystals"]["unseen_formula"], dtype=bool)


def _everywhere(result: Result) -> np.ndarray:
    return np.ones(len(result["crystals"]["formula"]), dtype=bool)


SCORES: Sequence[tuple[str, str, Callable[..., np.ndarray], float, int, Callable[..., Any]]] = (
    ("strict", "strict match, %", mean_of, 100.0, 1, _everywhere),
    ("periodic", "periodic error, Å", median_of, 1.0, 4, _everywhere),
    ("probe_latents", "probe error, eV/atom", mean_of, 1.0, 4, _unseen),
)
"""Name in the files, name in the table, statistic, factor, digits, crystals it is over."""

REFERENCES = (
    ("probe_mean", "mean of the training crystals"),
    ("probe_composition", "element fractions alone"),
    ("probe_features", "the CHGNet features themselves"),
)


def _commands(groups: Mapping[Any, Mapping[float, Sequence[Any]]]) -> str:
    """The calls that made the runs, as far as they can be seen from the runs."""
    calls = []
    for by_weight in groups.values():
        runs = [run for found in by_weight.values() for run in found]
        weights = " ".join(f"{weight:g}" for weight in sorted(by_weight))
        seeds = len({run["seed"] for run in runs})
        budget = f"--budget {runs[0]['seconds']:g} --seeds {seeds} --weights {weights}"
        calls.append(f"`alignment {budget}`")
    return ", ".join(calls)


def write_alignment(runs: Path, results: Path) -> None:
    """Write both files."""
    groups: dict[tuple[float, int, int], dict[float, list[Result]]] = defaultdict(
        lambda: defaultdict(list)
    )
    for file in sorted(runs.glob("*.json")):
        result = json.loads(file.read_text())
        key = (result["seconds"], result["train"], result["test"])
        groups[key][result["weight"]].append(result)
    if not groups:
        raise SystemExit(f"no finished run lies in {runs}")
    lines = [
        f"Runs: {_commands(groups)}. Our "
        "network at the .86M size with 8 latent dimensions an atom, trained on MP-20 (binary and "
        "ternary) on one thread; weight 0 is without alignment. The processor seconds of the "
        "CHGNet features are taken off the budget "
        "of the aligned runs. Strict match and periodic error as in `crystal_contest.md`, of "
        "reconstructions from the mean latents of test crystals whose elements are all known. "
        "Probe: ridge regression from mean and standard deviation of the latents over the atoms "
        "to the formation energy, fitted on the training crystals; mean absolute error on test "
        "crystals of formulas that no training crystal has. Explained share: of the variance of "
        "the standardised features of test atoms, by a linear map of the latents fitted on "
        "training atoms. In brackets: 95 % intervals over formulas and seeds; differences are "
        "paired.",
    ]
    figures: list[dict[str, Any]] = []
    for (seconds, train, test), by_weight in sorted(groups.items()):
        lines += ["", f"## {seconds:g} s, {train:,} training and {test:,} test crystals", ""]
        lines += _table(by_weight, figures, seconds)
    made = provenance("python -m benchmarks.crystals.alignment --table")
    title = "Foundation alignment at equal processor time"
    write_page(results / "crystal_alignment", title, lines, {"figures": figures}, made)


def _table(
    by_weight: Mapping[float, list[Result]], figures: list[dict[str, Any]], seconds: float
) -> list[str]:
    titles = " | ".join(title for _, title, *_ in SCORES)
    lines = [
        f"| weight | seeds | steps | {titles} | explained share |",
        "|---|---|---|" + "---|" * (len(SCORES) + 1),
    ]
    for weight, results in sorted(by_weight.items()):
        cells = []
        for name, _, statistic, factor, digits, chosen in SCORES:
            found = interval(*_values(results, name, chosen), statistic)
            cells.append(_with_interval(found, factor, digits))
            figures.append(_figure(seconds, weight, name, found, len(results)))
        explained = float(np.mean([r["explained_share"] for r in results]))
        figures.append(
            {"seconds": seconds, "weight": weight, "score": "explained_share", "mean": explained}
        )
        steps = np.mean([r["steps"] for r in results])
        cells.append(f"{explained:.3f}")
        lines.append(f"| {weight:g} | {len(results)} | {steps:,.0f} | " + " | ".join(cells) + " |")
    first = next(iter(by_weight.values()))[0]
    charged = np.mean([r["feature_seconds"] for rs in by_weight.values() for r in rs])
    lines += [
        "",
        f"The features took {charged:.0f} s. The best linear code of 8 numbers would explain "
        f"{first['principal_share']:.3f} of their variance. Probe errors without latents, same "
        "test crystals: "
        + "; ".join(f"{title} {_reference(first, name):.4f}" for name, title in REFERENCES)
        + " eV/atom.",
    ]
    if 0.0 in by_weight:
        lines += _differences(by_weight, figures, seconds)
    parts = [(w, r["alignment_test"]) for w, rs in by_weight.items() for r in rs if w]
    if parts:
        lines += ["", "Parts of the alignment loss on test crystals, mean over seeds:", ""]
        lines += ["| weight | point | pairs within | pairs across |", "|---|---|---|---|"]
        for weight in sorted({w for w, _ in parts}):
            of = [p for w, p in parts if w == weight]
            means = [np.mean([p[name] for p in of]) for name in ("point", "within", "across")]
            lines.append(f"| {weight:g} | " + " | ".join(f"{m:.3f}" for m in means) + " |")
    return lines


def _differences(
    by_weight: Mapping[float, list[Result]], figures: list[dict[str, Any]], seconds: float
) -> list[str]:
    titles = " | ".join(title for _, title, *_ in SCORES)
    lines = ["", "With alignment minus without:", "", f"| weight | {titles} |"]
    lines.append("|---|" + "---|" * len(SCORES))
    for weight, results in sorted(by_weight.items()):
        if not weight:
            continue
        cells = []
        for name, _, statistic, factor, digits, chosen in SCORES:
            values, formulas = _values(results, name, chosen)
            without, _ = _values(by_weight[0.0], name, chosen)
            found = compare(values, without, formulas, statistic)
            settled = "" if found.settled else ", not settled"
            cells.append(_with_interval(found, factor, digits, sign="+") + settled)
            figures.append(_figure(seconds, weight, f"{name}_difference", found, len(results)))
        lines.append(f"| {weight:g} | " + " | ".join(cells) + " |")
    return lines


def _values(
    results: Sequence[Result], name: str, chosen: Callable[[Result], np.ndarray]
) -> tuple[list[np.ndarray], list[str]]:
    over = chosen(results[0])
    formulas = np.array(results[0]["crystals"]["formula"])[over].tolist()
    return [np.array(r["crystals"][name], dtype=float)[over] for r in results], formulas


def _reference(result: Result, name: str) -> float:
    return float(np.array(result["crystals"][name])[_unseen(result)].mean())


def _with_interval(found: Difference, factor: float, digits: int, sign: str = "") -> str:
    mean, low, high = (factor * value for value in (found.mean, found.low, found.high))
    return f"{mean:{sign}.{digits}f} [{low:{sign}.{digits}f}, {high:{sign}.{digits}f}]"


def _figure(
    seconds: float, weight: float, score: str, found: Difference, seeds: int
) -> dict[str, Any]:
    return {
        "seconds": seconds,
        "weight": weight,
        "score": score,
        "mean": found.mean,
        "low": found.low,
        "high": found.high,
        "seeds": seeds,
    }
