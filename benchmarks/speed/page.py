"""``speed.md``, written from the figures of ``speed.json`` and nothing else."""

from __future__ import annotations

from collections.abc import Mapping
from statistics import median
from typing import Any

from benchmarks.pages import table
from benchmarks.speed.lines import OURS, line

Figures = Mapping[str, Any]

_WAYS = {"least": "at least", "greatest": "at most"}


def _times(one: Figures, other: Figures | None) -> str:
    if other is None:
        return ""
    ratio = one["median"] / other["median"]
    return f"{ratio:.0f}" if ratio >= 10 else f"{ratio:.1f}" if ratio >= 1 else f"{ratio:.2f}"


def _lines(figures: Figures) -> list[str]:
    timed = {one["key"]: one for one in figures["lines"] if "median" in one}
    rows = []
    for one in figures["lines"]:
        batch = str(one["batch"] or "default")
        if "median" not in one:
            rows.append([one["label"], batch, f"not available: {one['failure']}", "", "", "", ""])
            continue
        ours, floor = timed.get(f"variolite-{batch}"), timed.get(f"c-{batch}")
        rows.append(
            [
                one["label"],
                batch,
                f"**{one['median']:.3f}**",
                f"{one['low']:.3f}-{one['high']:.3f}",
                f"{one['first_epoch']:.2f}",
                _times(one, ours),
                _times(one, floor),
            ]
        )
    head = [
        "engine",
        "batch",
        "CPU s per epoch",
        "min-max",
        "first epoch",
        "times ours, same batch",
        "times C, same batch",
    ]
    return table(head, rows)


def _elbo(figures: Figures) -> list[str]:
    rows = []
    for one in figures["elbo"]:
        source = line(one["source"])
        ours, theirs = one["our_seconds"], one["source_seconds"]
        rows.append(
            [
                f"{source.label}, batch {source.batch}",
                "constant" if one["ours"] == OURS else "warm-up",
                str(one["seed"]),
                f"{one['target']:.3f}",
                f"{theirs:.2f}",
                f"{ours:.2f}" if ours else "not reached",
                f"{theirs / ours:.1f}" if ours else "-",
            ]
        )
    return table(
        ["to match", "our beta", "seed", "ELBO, nats", "its CPU s", "our CPU s", "ratio"], rows
    )


def _claims(figures: Figures) -> list[str]:
    rows = [
        [
            claim["claim"],
            f"{_WAYS[claim['sense']]} {claim['bound']:g}",
            f"**{claim['value']:.2f}**",
            f"{claim['low']:.2f}-{claim['high']:.2f}",
            "yes" if claim["met"] else "**no**",
        ]
        for claim in figures["claims"]
    ]
    return table(["claim", "asked", "measured", "over rounds or seeds", "met"], rows)


def lines_of(figures: Figures) -> list[str]:
    """Return the page of the contents of ``speed.json``, below its title and origin."""
    task = figures["task"]
    versions = "; ".join(
        f"{peer}: " + ", ".join(f"{name} {number}" for name, number in found.items())
        for peer, found in figures["environments"].items()
    )
    count = median(one["epochs"] for one in figures["lines"] if "epochs" in one)
    parts = [
        f"Task: {task['train_rows']:,} x {task['features']} float32 rows "
        f"({task['held_out_rows']:,} more held out by group), {task['network']}. "
        "CPU seconds of the whole process at one thread (`OMP_NUM_THREADS=1`), evaluation left "
        f"out, each engine in a process of its own, {figures['rounds']} rounds in turn; the first "
        f"epoch of every run is left out, {count:.0f} epochs a line remain. Median, least and "
        "greatest epoch.",
        "",
        f"Environments: {versions}.",
        "",
        "## Claims",
        "",
        *_claims(figures),
        "",
        "## CPU seconds per epoch",
        "",
        *_lines(figures),
        "",
        "pythae trains with its own trainer on the same network and objective. scvi-tools cannot "
        "take the same network: two hidden layers of 32 on either side, its BatchNorm and dropout, "
        "Normal likelihood; it shows what its loop costs. The loop in C does the same arithmetic, "
        "shuffling, noise and Adam and nothing else.",
    ]
    if figures["elbo"]:
        parts += [
            "",
            "## CPU seconds to the same held-out ELBO",
            "",
            f"The ELBO is of a Gaussian decoder with fixed variance {task['noise_variance']} (the "
            f"objective of all), eight fixed draws per row. The plain loop trains "
            f"{figures['source_epochs']} epochs at batch 256 and rate 0.001; the value to reach is "
            f"its best over them less {figures['tolerance']} nats, for each seed; both are "
            "timed to the first epoch that reaches it. Ours runs at its default batch and rate, "
            "once with beta constant as in the plain loop (what the claim is about) and once with "
            "its usual warm-up.",
            "",
            *_elbo(figures),
        ]
    return parts
