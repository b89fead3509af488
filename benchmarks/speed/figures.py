"""From timed epochs to the figures of ``speed.json``: medians, ratios, times to an ELBO."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import median
from typing import Any

from benchmarks.speed.driver import Record
from benchmarks.speed.lines import OURS, SOURCES, WARM_UP
from benchmarks.speed.request import Epoch

TOLERANCE = 0.01
"""Nats by which a run may stay below the ELBO it has to reach."""

Figures = dict[str, Any]

_RATIOS = (
    # What is claimed; the slower line; the faster line; least or greatest ratio; its bound.
    ("faster than the plain loop, batch 256", "plain-256", "variolite-256", "least", 5.0),
    ("faster than the plain loop, batch 1024", "plain-1024", "variolite-1024", "least", 5.0),
    ("faster than pythae, batch 256", "pythae-256", "variolite-256", "least", 8.0),
    ("faster than pythae, batch 1024", "pythae-1024", "variolite-1024", "least", 8.0),
    ("eight members against one, default", "variolite-8-default", OURS, "greatest", 3.0),
    ("eight members against one, batch 256", "variolite-8-256", "variolite-256", "greatest", 3.0),
    (
        "eight members against one by autograd, default",
        "variolite-8-default",
        "variolite-autograd-default",
        "greatest",
        3.0,
    ),
)
_SECONDS_BOUND = 0.25
_ELBO_BOUND = 8.0


def line_figures(record: Record) -> Figures:
    """Median, least and greatest CPU seconds per epoch of one line."""
    named: Figures = {
        "key": record.line.key,
        "label": record.line.label,
        "batch": record.line.batch,
    }
    if record.failure is not None or not record.rounds:
        return {**named, "failure": record.failure or "not run"}
    seconds = [epoch.cpu for run in record.rounds for epoch in run]
    loss = record.rounds[-1][-1].loss
    return {
        **named,
        "median": median(seconds),
        "low": min(seconds),
        "high": max(seconds),
        "epochs": len(seconds),
        "first_epoch": median(record.first_epochs),
        "rounds": [median(epoch.cpu for epoch in run) for run in record.rounds],
        "last_loss": loss,
    }


def reach(run: Sequence[Epoch], target: float) -> float | None:
    """CPU seconds until the held-out ELBO is first at the target; None where it never is."""
    spent = 0.0
    for epoch in run:
        spent += epoch.cpu
        if epoch.elbo is not None and epoch.elbo >= target:
            return spent
    return None


def elbo_figures(watched: Mapping[str, list[list[Epoch]]]) -> list[Figures]:
    """Time to the same held-out ELBO, per source line and seed.

    The target of a seed is the best ELBO the source line has in its own epochs, less
    :data:`TOLERANCE`; both lines are timed to the first epoch at or above it.
    """
    found: list[Figures] = []
    for source in SOURCES:
        for seed, theirs in enumerate(watched.get(source, [])):
            target = max(epoch.elbo for epoch in theirs if epoch.elbo is not None) - TOLERANCE
            for ours in (OURS, WARM_UP.key):
                if len(watched.get(ours, [])) <= seed:
                    continue
                mine = watched[ours][seed]
                found.append(
                    {
                        "source": source,
                        "ours": ours,
                        "seed": seed,
                        "target": target,
                        "source_seconds": reach(theirs, target),
                        "our_seconds": reach(mine, target),
                        "source_curve": [epoch.elbo for epoch in theirs],
                        "our_curve": [epoch.elbo for epoch in mine],
                    }
                )
    return found


def _verdict(text: str, bound: float, sense: str, values: Sequence[float], value: float) -> Figures:
    met = value >= bound if sense == "least" else value <= bound
    return {
        "claim": text,
        "sense": sense,
        "bound": bound,
        "value": value,
        "low": min(values),
        "high": max(values),
        "met": met,
    }


def verdicts(lines: Sequence[Figures], elbo: Sequence[Figures]) -> list[Figures]:
    """Every claim that could be checked, with its ratio and the spread of it over rounds.

    Parameters
    ----------
    lines : sequence of dict
        :func:`line_figures` of every line.
    elbo : sequence of dict
        :func:`elbo_figures`.

    Returns
    -------
    list of dict
        ``claim``, ``sense``, ``bound``, ``value``, ``low``, ``high``, ``met``.
    """
    timed = {line["key"]: line for line in lines if "median" in line}
    found: list[Figures] = []
    if OURS in timed:
        rounds = timed[OURS]["rounds"]
        found.append(
            _verdict(
                "CPU seconds per epoch, default settings",
                _SECONDS_BOUND,
                "greatest",
                rounds,
                timed[OURS]["median"],
            )
        )
    for text, slow, fast, sense, bound in _RATIOS:
        if slow not in timed or fast not in timed:
            continue
        pairs = zip(timed[slow]["rounds"], timed[fast]["rounds"], strict=False)
        ratios = [slower / faster for slower, faster in pairs]
        found.append(
            _verdict(text, bound, sense, ratios, timed[slow]["median"] / timed[fast]["median"])
        )
    for source in SOURCES:
        seeds = [one for one in elbo if one["source"] == source and one["ours"] == OURS]
        if not seeds:
            continue
        # A seed that never gets there counts as no gain at all.
        gains = [
            one["source_seconds"] / one["our_seconds"] if one["our_seconds"] else 0.0
            for one in seeds
        ]
        found.append(
            _verdict(
                f"less CPU to the held-out ELBO of {source}",
                _ELBO_BOUND,
                "least",
                gains,
                median(gains),
            )
        )
    return found
