"""``crystal_contest.md`` and ``.json``, from the files that the runs left."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from benchmarks.crystals.opponents import BASELINES, OPPONENTS
from benchmarks.crystals.paired import Difference, compare, interval, mean_of, median_of
from benchmarks.crystals.sets import SETS
from benchmarks.crystals.tables import Result, or_infinite, values_of, with_interval
from benchmarks.pages import provenance, table, write_page

Key = tuple[str, str, float]
"""Data set, size and budget."""

SCORES = (
    ("strict_unreduced", "strict match", mean_of, 100.0),
    ("periodic", "periodic error, Å", median_of, 1.0),
    ("cdvae_unreduced", "CDVAE match", mean_of, 100.0),
    ("default_unreduced", "default match", mean_of, 100.0),
    ("cdvae_primitive", "CDVAE match, primitive", mean_of, 100.0),
    ("types", "types right", mean_of, 100.0),
    ("length_percent", "length error, %", median_of, 1.0),
    ("angle_degree", "angle error, °", median_of, 1.0),
    ("volume_percent", "volume error, %", median_of, 1.0),
)
"""Name in the files, name in the table, statistic over crystals, factor."""

PRIMARY = SCORES[:2]


def write_contest(runs: Path, results: Path) -> None:
    """Write both files; says what is missing instead of filling it in."""
    everything = [json.loads(file.read_text()) for file in sorted(runs.glob("*.json"))]
    tuning = [r for r in everything if r["tuning"]]
    finished = [r for r in everything if not r["tuning"]]
    if not any(r["opponent"] in OPPONENTS for r in finished):
        raise SystemExit(f"no finished run lies in {runs}")
    groups = _grouped(finished)
    lines = [
        f"Runs: {_commands(everything)}.",
        "",
        "All opponents have 8 latent dimensions an atom, parameters within 5 %, and the same "
        "processor seconds of training on one thread. Reconstructions are decoded from the mean "
        "of the latents. Strict: stol .1, ltol .05, angle 3, not scaled; CDVAE: stol .5, ltol .3, "
        "angle 10; default: stol .3, ltol .2, angle 5; all `get_rms_dist`, primitive_cell=False "
        "unless it says primitive. Periodic error: distance of an atom to its true place after the "
        "best translation, nearest image; median over the atoms of a crystal, then over "
        "crystals. A crystal that cannot be compared counts as a failure. In brackets: 95 % "
        "intervals over formulas and seeds.",
    ]
    figures = []
    for key, opponents in groups.items():
        lines += ["", *_section(key, opponents, figures)]
    if tuning:
        lines += ["", "## Trials", "", *_trials(tuning)]
    made = provenance("python -m benchmarks.crystals.contest --table")
    title = "Contest against the rebuilt source"
    write_page(results / "crystal_contest", title, lines, {"figures": figures}, made)


def _commands(everything: Iterable[Result]) -> str:
    """The commands that made the runs, as far as they can be seen from the runs."""
    made = {
        (r["tuning"], r["size"], r["seconds"]) for r in everything if r["opponent"] in OPPONENTS
    }
    return ", ".join(
        f"`contest {'--tune ' if tuning else ''}--size {size} --budget {seconds:g}`"
        for tuning, size, seconds in sorted(made, reverse=True)
    )


def _grouped(finished: Iterable[Result]) -> dict[Key, dict[str, list[Result]]]:
    """Results by set, size and budget, then by opponent; baselines belong to every budget."""
    trained: dict[Key, dict[str, list[Result]]] = defaultdict(lambda: defaultdict(list))
    baselines: dict[str, dict[str, list[Result]]] = defaultdict(lambda: defaultdict(list))
    for result in finished:
        if result["opponent"] in BASELINES:
            baselines[result["set_name"]][result["opponent"]].append(result)
        else:
            key = (result["set_name"], result["size"], result["seconds"])
            trained[key][result["opponent"]].append(result)
    order = list(SETS)
    return {
        key: {
            name: found[name]
            for found in (trained[key], baselines[key[0]])
            for name in (*OPPONENTS, *BASELINES)
            if name in found
        }
        for key in sorted(trained, key=lambda key: (order.index(key[0]), *key[1:]))
    }


def _section(
    key: Key, opponents: Mapping[str, list[Result]], figures: list[dict[str, Any]]
) -> list[str]:
    _, size, budget = key
    first = next(iter(opponents.values()))[0]
    lines = [
        f"## {first['title']}, {size}, {budget:g} CPU-s",
        "",
        f"{first['train']:,} crystals to train on, {first['test']:,} scored, of which "
        f"{sum(first['crystals']['unseen_formula']):,} have a formula that training lacks.",
        "",
        *_scores(key, opponents, figures),
    ]
    if "ours" in opponents:
        lines += ["", *_differences(key, opponents, figures)]
    return [*lines, "", *_curves(opponents), "", *_efforts(opponents)]


def _scores(
    key: Key, opponents: Mapping[str, list[Result]], figures: list[dict[str, Any]]
) -> list[str]:
    rows = []
    for name, results in opponents.items():
        row = [_title(name), str(len(results))]
        for score, _, statistic, factor in SCORES:
            formulas = results[0]["crystals"]["formula"]
            found = interval(values_of(results, score), formulas, statistic, resamples=500)
            row.append(with_interval(found, factor, brackets=(score, statistic) in _BRACKETED))
            figures.append(_figure(key, name, None, score, found))
        rows.append(row)
    return table(["", "seeds", *(title for _, title, _, _ in SCORES)], rows)


_BRACKETED = [(score, statistic) for score, _, statistic, _ in PRIMARY]


def _differences(
    key: Key, opponents: Mapping[str, list[Result]], figures: list[dict[str, Any]]
) -> list[str]:
    rows = []
    pairs = [("ours", name) for name in opponents if name not in ("ours", "ours_equal")]
    pairs += [("ours_equal", "source")] if {"ours_equal", "source"} <= set(opponents) else []
    for own, name in pairs:
        results = opponents[name]
        row = [f"{_title(own)} minus {_title(name)}"]
        for score, _, statistic, factor in PRIMARY:
            formulas = results[0]["crystals"]["formula"]
            found = compare(
                values_of(opponents[own], score), values_of(results, score), formulas, statistic
            )
            better = found.mean > 0 if statistic is mean_of else found.mean < 0
            verdict = ("win" if better else "loss") if found.settled else "tie"
            row += [with_interval(found, factor, brackets=True), verdict]
            figures.append({**_figure(key, own, name, score, found), "verdict": verdict})
        rows.append(row)
    columns = [part for _, title, _, _ in PRIMARY for part in (title, "")]
    return table(["difference", *columns], rows)


def _curves(opponents: Mapping[str, list[Result]]) -> list[str]:
    shares = next(
        ([at["share"] for at in r[0]["curve"]] for r in opponents.values() if r[0]["curve"]), []
    )
    rows = []
    for name, results in opponents.items():
        if not results[0]["curve"]:
            continue
        row = [_title(name)]
        for place in range(len(shares)):
            points = [result["curve"][place] for result in results]
            strict = np.mean([point["strict"] for point in points])
            periodic = np.mean([or_infinite(point["periodic"]) for point in points])
            row.append(f"{100 * strict:.1f} % / {periodic:.3f} Å")
        rows.append(row)
    return table(["strict match / periodic error at", *(f"{s:g}" for s in shares)], rows)


def _efforts(opponents: Mapping[str, list[Result]]) -> list[str]:
    rows = []
    for name, results in opponents.items():
        if not results[0]["curve"]:
            continue
        last = [result["curve"][-1] for result in results]
        trial = results[0]["trial"]
        rows.append(
            [
                _title(name),
                f"{results[0]['parameters']:,}",
                f"{np.mean([at['seconds'] for at in last]):.0f}",
                f"{np.mean([r['prepared_seconds'] for r in results]):.1f}",
                f"{np.mean([at['steps'] for at in last]):,.0f}",
                f"{np.mean([at['epochs'] for at in last]):.1f}",
                f"{trial['rate']:g}, {trial['decay']}, {results[0]['batch']}",
                f"{np.mean([r['divergence_test'] for r in results]):.1f}",
            ]
        )
    head = ["", "parameters", "CPU-s", "preparing, CPU-s", "steps", "epochs"]
    return table([*head, "rate, decay, batch", "KL, nats an atom"], rows)


def _trials(tuning: Sequence[Result]) -> list[str]:
    rows = [
        [
            r["set_name"],
            _title(r["opponent"]),
            r["size"],
            f"{r['seconds']:g}",
            f"{r['trial']['rate']:g}, {r['trial']['decay']}, {r['trial']['batch']}",
            f"{100 * r['curve'][-1]['strict']:.1f} %",
            f"{or_infinite(r['curve'][-1]['periodic']):.3f}",
        ]
        for r in sorted(tuning, key=lambda r: (r["set_name"], r["opponent"], r["size"]))
    ]
    head = ["set", "", "size", "CPU-s", "rate, decay, batch", "strict match", "periodic error, Å"]
    return table(head, rows)


def _figure(
    key: Key, name: str, other: str | None, score: str, found: Difference
) -> dict[str, Any]:
    place = zip(("set", "size", "seconds"), key, strict=True)
    return {**dict(place), "opponent": name, "minus": other, "score": score, **vars(found)}


def _title(name: str) -> str:
    return OPPONENTS[name].title if name in OPPONENTS else BASELINES[name][0]
