"""``crystal_ablations.md`` and ``.json``, from the files that the runs left."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from benchmarks.crystals.ablations_entries import ABLATIONS, FULL, PADDED
from benchmarks.crystals.ablations_reading import (
    SCORES,
    STRICT,
    Compared,
    Section,
    reading,
    verdict_of,
)
from benchmarks.crystals.paired import Difference, compare, interval
from benchmarks.crystals.sets import SETS
from benchmarks.crystals.tables import Result, or_infinite, values_of, with_interval
from benchmarks.pages import provenance, table, write_page

SPEED = "speed"
"""Stands in the place of an opponent where speed is measured."""

Key = tuple[str, float]
"""Data set and budget."""

Groups = dict[Key, dict[str, list[Result]]]


def write_ablations(runs: Path, results: Path) -> None:
    """Write both files; says what is missing instead of filling it in."""
    everything = [json.loads(file.read_text()) for file in sorted(runs.glob("*.json"))]
    groups = _grouped(everything)
    if not groups:
        raise SystemExit(f"no run of the full model lies in {runs}")
    figures: list[dict[str, Any]] = []
    budgets = {seconds for _, seconds in groups}
    lines: list[str] = []
    sections: list[Section] = []
    for key, by_name in groups.items():
        sections.append(_compared(key, by_name, figures, alone=len(budgets) == 1))
        lines += ["", *_section(sections[-1], key, by_name, figures)]
    speed = [r for r in everything if r["opponent"] == SPEED]
    head = [
        f"Runs: {_commands(groups)}.",
        "",
        "Each variant is the full model with one change, at the .86M size with 8 latent "
        "dimensions an atom, trained for the same processor seconds on one thread with the rate, "
        "decay and batch of the full model. Scores as in `crystal_contest.md`: strict match "
        "(`get_rms_dist`, stol .1, ltol .05, angle 3, not scaled, primitive_cell=False), periodic "
        "error (median over the atoms of a crystal, then over crystals) and share of types that "
        "are right, all of reconstructions from the mean latents in the given cells. In "
        "brackets: 95 % intervals, bootstrap over formulas (over crystals where all have one) and "
        "over seeds; differences are paired by crystal. A verdict is given where the interval "
        "of the difference excludes 0. Variants of one seed start from the same weights and see "
        "the same batches.",
        "",
        *(f"- {a.title}: {a.change}." for a in ABLATIONS.values()),
        f"- {PADDED.title}: {PADDED.change}; the same result in more time, so speed alone.",
        "",
        "What foundation alignment and a learned prior are worth is measured apart, by "
        "`benchmarks.crystals.alignment` and `benchmarks.crystals.priors`.",
        "",
        "## Reading",
        "",
        *reading(sections),
    ]
    lines = [*head, *lines]
    if speed:
        lines += ["", "## Speed", "", *_speed(speed, figures)]
    made = provenance("python -m benchmarks.crystals.ablations --table")
    title = "Ablations of the crystal VAE"
    write_page(results / "crystal_ablations", title, lines, {"figures": figures}, made)


def _commands(groups: Groups) -> str:
    """The commands that made the runs, as far as they can be seen from the runs."""
    made: dict[tuple[float, int], list[str]] = defaultdict(list)
    for (set_name, seconds), by_name in groups.items():
        made[seconds, max(len(results) for results in by_name.values())].append(set_name)
    return ", ".join(
        f"`ablations --budget {seconds:g} --seeds {seeds} --sets {' '.join(names)}`"
        for (seconds, seeds), names in made.items()
    )


def _grouped(everything: Sequence[Result]) -> Groups:
    """Results by set and budget, then by variant; without the full model nothing compares."""
    found: Groups = defaultdict(lambda: defaultdict(list))
    for result in sorted(everything, key=lambda r: r["seed"]):
        if result["opponent"] in ABLATIONS:
            found[result["set_name"], result["seconds"]][result["opponent"]].append(result)
    order = list(SETS)
    return {
        key: {name: found[key][name] for name in ABLATIONS if name in found[key]}
        for key in sorted(found, key=lambda key: (order.index(key[0]), key[1]))
        if FULL in found[key]
    }


def _compared(
    key: Key,
    by_name: Mapping[str, list[Result]],
    figures: list[dict[str, Any]],
    *,
    alone: bool,
) -> Section:
    full = by_name[FULL]
    formulas = full[0]["crystals"]["formula"]
    variants = []
    for name, results in by_name.items():
        if name == FULL:
            continue
        differences = {}
        for score, _, statistic, _ in SCORES:
            found = compare(values_of(results, score), values_of(full, score), formulas, statistic)
            differences[score] = found
            verdict = {"verdict": verdict_of(found, score)}
            figures.append({**_figure(key, name, FULL, score, found), **verdict})
        of_full = {r["seed"]: r for r in full}
        pairs = [(r, of_full[r["seed"]]) for r in results if r["seed"] in of_full]
        variants.append(
            Compared(
                title=ABLATIONS[name].title,
                differences=differences,
                by_seed=tuple(_strict(a) - _strict(b) for a, b in pairs),
                gaps=tuple(np.subtract(_curve(results), _curve(full)).tolist()),
                impossible=float(np.mean([r["impossible_cells"] / r["test"] for r in results])),
                steps=_steps(results) / _steps(full),
            )
        )
    return Section(
        title=full[0]["title"] if alone else f"{full[0]['title']}, {key[1]:g} CPU-s",
        full=tuple(_strict(r) for r in full),
        epochs=float(np.mean([r["curve"][-1]["epochs"] for r in full])),
        shares=tuple(at["share"] for at in full[0]["curve"]),
        variants=tuple(variants),
    )


def _strict(result: Result) -> float:
    return float(np.mean(result["crystals"][STRICT]))


def _steps(results: Sequence[Result]) -> float:
    return float(np.mean([result["curve"][-1]["steps"] for result in results]))


def _curve(results: Sequence[Result]) -> list[float]:
    """Strict match at every share of the budget, means over seeds."""
    curves = [[at["strict"] for at in result["curve"]] for result in results]
    return [float(value) for value in np.mean(curves, axis=0)]


def _section(
    section: Section,
    key: Key,
    by_name: Mapping[str, list[Result]],
    figures: list[dict[str, Any]],
) -> list[str]:
    first = by_name[FULL][0]
    head = ["", "seeds", *(title for _, title, _, _ in SCORES), "strict match of every seed"]
    return [
        f"## {first['title']}, {key[1]:g} CPU-s",
        "",
        f"{first['train']:,} crystals to train on, {first['test']:,} scored, of which "
        f"{sum(first['crystals']['unseen_formula']):,} have a formula that training lacks.",
        "",
        *table(head, [_scores(key, name, results, figures) for name, results in by_name.items()]),
        "",
        *_differences(section),
        "",
        *_curves(section, by_name),
        "",
        *_efforts(by_name),
    ]


def _scores(
    key: Key, name: str, results: Sequence[Result], figures: list[dict[str, Any]]
) -> list[str]:
    row = [ABLATIONS[name].title, str(len(results))]
    formulas = results[0]["crystals"]["formula"]
    for score, _, statistic, factor in SCORES:
        found = interval(values_of(results, score), formulas, statistic)
        row.append(with_interval(found, factor, brackets=True))
        figures.append(_figure(key, name, None, score, found))
    return [*row, ", ".join(f"{100 * _strict(r):.1f}" for r in results)]


def _differences(section: Section) -> list[str]:
    rows = []
    for variant in section.variants:
        row = [variant.title]
        for score, _, _, factor in SCORES:
            found = variant.differences[score]
            row += [with_interval(found, factor, brackets=True), verdict_of(found, score)]
        rows.append(row)
    columns = [part for _, title, _, _ in SCORES for part in (title, "")]
    return table(["minus full model", *columns], rows)


def _curves(section: Section, by_name: Mapping[str, list[Result]]) -> list[str]:
    rows = []
    for name, results in by_name.items():
        row = [ABLATIONS[name].title]
        for place, strict in enumerate(_curve(results)):
            errors = [or_infinite(result["curve"][place]["periodic"]) for result in results]
            row.append(f"{100 * strict:.1f} % / {np.mean(errors):.3f} Å")
        rows.append(row)
    return table(
        ["strict match / periodic error at", *(f"{share:g}" for share in section.shares)], rows
    )


def _efforts(by_name: Mapping[str, list[Result]]) -> list[str]:
    rows = []
    for name, results in by_name.items():
        last = [result["curve"][-1] for result in results]
        broken = np.mean([result["impossible_cells"] for result in results])
        rows.append(
            [
                ABLATIONS[name].title,
                f"{broken:.1f} of {results[0]['test']:,}",
                f"{results[0]['parameters']:,}",
                f"{np.mean([at['seconds'] for at in last]):.0f}",
                f"{np.mean([at['steps'] for at in last]):,.0f}",
                f"{np.mean([at['epochs'] for at in last]):.1f}",
                f"{np.mean([r['divergence_test'] for r in results]):.1f}",
            ]
        )
    head = ["", "impossible cells", "parameters", "CPU-s", "steps", "epochs", "KL, nats an atom"]
    return table(head, rows)


def _speed(speed: Sequence[Result], figures: list[dict[str, Any]]) -> list[str]:
    rows = []
    for result in sorted(speed, key=lambda r: list(SETS).index(r["set_name"])):
        for engine in result["engines"]:
            rates = 1.0 / np.array(engine["seconds"])
            at, low, high = engine["ratio"]
            ratio = f"{at:.2f} [{low:.2f}, {high:.2f}]" if engine["name"] != FULL else ""
            rows.append(
                [
                    result["title"],
                    engine["title"],
                    f"{100 * result['padding']:.0f} %" if engine["name"] == "padded" else "",
                    f"{np.median(rates):.2f} ({rates.min():.2f}-{rates.max():.2f})",
                    ratio,
                ]
            )
            figures.append(
                {
                    "set": result["set_name"],
                    "variant": engine["name"],
                    "score": "steps_per_cpu_second",
                    "median": float(np.median(rates)),
                    "ratio_to_full": {"at": at, "low": low, "high": high},
                }
            )
    first = speed[0]
    return [
        f"Steps of {first['trial']['batch']} crystals drawn at random, in turn step by step, "
        f"processor time of one thread: median, least and greatest of {first['steps']} steps; "
        "ratio to the full model of the medians, with a 95 % interval over steps. Padding: share "
        "of places that hold no atom.",
        "",
        *table(["", "", "padding", "steps per CPU-s", "times the full model"], rows),
    ]


def _figure(
    key: Key, name: str, other: str | None, score: str, found: Difference
) -> dict[str, Any]:
    place = zip(("set", "seconds"), key, strict=True)
    return {**dict(place), "variant": name, "minus": other, "score": score, **vars(found)}
