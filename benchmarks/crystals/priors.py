"""The flow prior over the latents of one trained crystal VAE, beside normal distributions.

    python -m benchmarks.crystals.priors RUN --data STRUCTURES... [--test STRUCTURES...]

The run is not trained any further. The flow gets as many epochs as fit into the processor
seconds allowed. All draw the same numbers of atoms; every draw is decoded and scored, valid
or not. Writes
``benchmarks/results/crystal_priors.md`` and ``.json``.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

os.environ["OMP_NUM_THREADS"] = "1"

import numpy as np
import torch
from benchmarks.machine import load
from benchmarks.pages import RESULTS, provenance, table, write_page
from safetensors.torch import load_file, save_file

from variolite.crystals.crystal_model import CrystalModel, canonicalize
from variolite.crystals.crystals import Crystals, Latents
from variolite.crystals.evaluation import score_generation
from variolite.crystals.evaluation.validity import minimum_distances
from variolite.crystals.files.groups import groups_by
from variolite.crystals.files.reading import load_crystals
from variolite.crystals.generation.conditions import Conditions
from variolite.crystals.generation.prior import (
    LatentPrior,
    fit_prior,
    prior_from,
    prior_state,
)
from variolite.crystals.generation.sampling import CONTACT_MARGIN, Sampling
from variolite.crystals.model.latents import LatentMismatch, latent_mismatch
from variolite.crystals.recipe import PriorSpec
from variolite.training import RunFolder

METRICS = {
    "distance_valid": "distances valid",
    "contacts_kept": "no contact closer than .75 of known",
    "composition_valid": "charge balanced",
    "unique": "unique",
    "novel": "novel",
    "valid_unique_novel": "valid, unique and novel",
    "density_wasserstein": "density, Wasserstein (g/cm3)",
    "elements_jensen_shannon": "elements, Jensen-Shannon (bit)",
    "coverage_recall": "coverage, recall",
    "coverage_precision": "coverage, precision",
}


@dataclass(frozen=True)
class Contestant:
    """One way to draw latents.

    Attributes
    ----------
    title
        In the table.
    draw
        From numbers of atoms and elements to latents.
    fit_seconds
        Processor seconds of fitting.
    """

    title: str
    draw: Callable[[Conditions], Latents]
    fit_seconds: float


@dataclass(frozen=True)
class Outcome:
    """What a contestant reached."""

    title: str
    fit_seconds: float
    seconds_per_thousand: float
    composition_met: float | None
    metrics: Mapping[str, tuple[float, float, float]]
    mismatch: LatentMismatch


def main() -> None:
    """Fit all priors, draw from each, and write the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("run", type=Path)
    parser.add_argument("--data", type=Path, nargs="+", required=True)
    parser.add_argument("--test", type=Path, nargs="+")
    parser.add_argument("--seconds", type=float, default=600.0)
    parser.add_argument("--samples", type=int, default=500)
    parser.add_argument("--steps", type=int, default=10)
    parser.add_argument("--many", type=int, default=10_000, help="for the speed; 0 for none")
    parser.add_argument("--work", type=Path, required=True, help="folder that keeps fitted priors")
    parser.add_argument("--results", type=Path, default=RESULTS)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    made = provenance(_command(arguments))
    run = RunFolder(arguments.run)
    model = run.model()
    crystals = _training_part(run, load_crystals(arguments.data))
    test = load_crystals(arguments.test) if arguments.test else None
    frame = canonicalize(crystals).crystals
    latents = model.encode(crystals)
    priors = {"flow": _kept(arguments.work, latents, frame, arguments.seconds)}
    flow = priors["flow"][0]
    wanted = flow.propose(arguments.samples, seed=1)
    reference = crystals.take(np.random.default_rng(0).permutation(len(crystals)))
    outcomes = []
    if model.prior is not None:
        priors["own"] = model.prior, float("nan")
    for contestant in _contestants(priors, latents, arguments.steps):
        log(contestant.title)
        outcomes.append(_measured(contestant, model, wanted, latents, reference, test))
    speed = _speed(model, model.prior or flow, arguments.many) if arguments.many else None
    content = {
        "crystals": len(crystals),
        "test": None if test is None else len(test),
        "samples": arguments.samples,
        "steps": arguments.steps,
        "recipe": model.provenance.get("recipe"),
        "priors": {kind: dict(prior.provenance) for kind, (prior, _) in priors.items()},
        "outcomes": [_plain(outcome) for outcome in outcomes],
        "speed": speed,
    }
    made["load"].append(load())
    title = "Priors over the latents of one crystal VAE"
    write_page(arguments.results / "crystal_priors", title, _page(content, outcomes), content, made)


def _command(arguments: argparse.Namespace) -> str:
    """The call, but for where the page goes."""
    words = sys.argv[1:]
    if str(arguments.results) in words:
        place = words.index(str(arguments.results))
        words = words[: place - 1] + words[place + 1 :]
    return " ".join(["python -m benchmarks.crystals.priors", *words])


def log(text: str) -> None:
    """Say on stderr how far it is."""
    print(f"  {text}", file=sys.stderr, flush=True)


def _training_part(run: RunFolder, crystals: Crystals) -> Crystals:
    """The structures whose groups the run was trained on."""
    split = run.split()
    groups = groups_by(crystals, run.recipe().split.by)
    return crystals.take(split.rows(groups)["train"])


def _kept(
    work: Path, latents: Latents, crystals: Crystals, seconds: float
) -> tuple[LatentPrior, float]:
    """Fit a flow, or take it from an earlier call that was broken off."""
    stem = work / f"flow_{seconds:.0f}"
    tensor_file, text_file = stem.with_suffix(".safetensors"), stem.with_suffix(".json")
    if not text_file.is_file():
        work.mkdir(parents=True, exist_ok=True)
        prior, spent = _fitted(latents, crystals, seconds)
        tensors, description = prior_state(prior)
        save_file(tensors, tensor_file)
        text_file.write_text(json.dumps({"spent": spent, "prior": description}))
    stored = json.loads(text_file.read_text())
    kept = prior_from(load_file(tensor_file), stored["prior"])
    assert kept is not None
    return kept, stored["spent"]


def _fitted(latents: Latents, crystals: Crystals, seconds: float) -> tuple[LatentPrior, float]:
    """Fit a flow within the processor time allowed."""
    spent = []
    for epochs in (1, 2):
        began = time.process_time()
        fit_prior(latents, crystals, PriorSpec(epochs=epochs))
        spent.append(time.process_time() - began)
    began = time.process_time()
    spec = PriorSpec(epochs=max(1, int(seconds / (spent[1] - spent[0]))))
    return fit_prior(latents, crystals, spec, log=log), time.process_time() - began


def _contestants(
    priors: Mapping[str, tuple[LatentPrior, float]], latents: Latents, steps: int
) -> list[Contestant]:
    width = latents.mean.shape[1]

    def normal(wanted: Conditions) -> Latents:
        drawn = np.random.default_rng(2).standard_normal((len(wanted.species), width))
        return _latents(drawn, wanted)

    def scaled(wanted: Conditions) -> Latents:
        return _latents(flow.statistics.restored(normal(wanted).mean), wanted)

    def of(
        kind: str, *, free: bool = False, guidance: float = 1.0
    ) -> Callable[[Conditions], Latents]:
        def draw(wanted: Conditions) -> Latents:
            given = replace(wanted, species=np.zeros_like(wanted.species)) if free else wanted
            return priors[kind][0].sample(given, seed=2, steps=steps, guidance=guidance)

        return draw

    flow, flow_seconds = priors["flow"]
    found = [
        Contestant("standard normal, as the source draws", normal, 0.0),
        Contestant("normal, scaled dimension by dimension", scaled, 0.0),
        Contestant("flow, elements given", of("flow"), flow_seconds),
        Contestant("flow, elements given, guidance 1.5", of("flow", guidance=1.5), flow_seconds),
        Contestant("flow, elements free", of("flow", free=True), flow_seconds),
    ]
    if "own" in priors:
        own, _ = priors["own"]
        title = "flow of the run, elements given"
        found.append(Contestant(title, of("own"), float(own.provenance["seconds"])))
    return found


def _latents(values: np.ndarray, wanted: Conditions) -> Latents:
    names = np.array([str(place) for place in range(len(wanted))])
    return Latents(values.astype(np.float32), None, wanted.offsets, names)


def _measured(
    contestant: Contestant,
    model: CrystalModel,
    wanted: Conditions,
    latents: Latents,
    reference: Crystals,
    test: Crystals | None,
) -> Outcome:
    began = time.process_time()
    drawn = contestant.draw(wanted)
    decoded = model.decode(drawn, species=wanted.species if model.species_given else None)
    seconds = (time.process_time() - began) / len(wanted) * 1000.0
    scores = score_generation(decoded, reference, test=test)
    met = None
    if "given" in contestant.title:
        pairs = zip(
            np.split(decoded.species, wanted.offsets[1:-1]),
            np.split(wanted.species, wanted.offsets[1:-1]),
            strict=True,
        )
        met = float(np.mean([np.array_equal(np.sort(a), np.sort(b)) for a, b in pairs]))
    intervals = {row.metric: row for row in scores.samples}
    metrics = {
        name: (found.mean, found.low, found.high)
        for name, found in intervals.items()
        if name in METRICS
    }
    with np.errstate(invalid="ignore"):
        kept = minimum_distances(reference).closeness(decoded) >= CONTACT_MARGIN
    metrics["contacts_kept"] = _wilson(int(kept.sum()), len(kept))
    mismatch = latent_mismatch(drawn, latents)
    return Outcome(contestant.title, contestant.fit_seconds, seconds, met, metrics, mismatch)


def _wilson(hits: int, number: int) -> tuple[float, float, float]:
    """Share with its 95 % interval (E. B. Wilson, 1927)."""
    z, share = 1.96, hits / number
    centre = (share + z * z / (2 * number)) / (1 + z * z / number)
    half = z * np.sqrt(share * (1 - share) / number + (z / (2 * number)) ** 2)
    half /= 1 + z * z / number
    return share, centre - half, centre + half


def _speed(model: CrystalModel, prior: LatentPrior, number: int) -> dict[str, Any]:
    """Seconds of exactly this number of valid crystals, on one thread."""
    found = {}
    for steps in (10, 20):
        began, wall = time.process_time(), time.monotonic()
        made = replace(model, prior=prior).sample(number, Sampling(steps=steps, seed=3))
        found[str(steps)] = {
            "processor_seconds": time.process_time() - began,
            "seconds": time.monotonic() - wall,
            "valid_share": made.valid_share,
        }
        log(f"{number} crystals in {steps} steps: {found[str(steps)]}")
    return {"number": number, "by_steps": found}


def _plain(outcome: Outcome) -> dict[str, Any]:
    return {**asdict(outcome), "metrics": dict(outcome.metrics)}


def _page(content: Mapping[str, Any], outcomes: list[Outcome]) -> list[str]:
    names = [name for name in METRICS if any(name in o.metrics for o in outcomes)]
    heads = [
        "prior",
        "fit, processor s",
        *(METRICS[name] for name in names),
        "composition met",
        "mismatch of latents of crystals (none)",
        "classifier accuracy",
        "s per 1,000",
    ]
    rows = [
        [
            outcome.title,
            f"{outcome.fit_seconds:.0f}",
            *(_cell(outcome.metrics.get(name)) for name in names),
            "" if outcome.composition_met is None else f"{outcome.composition_met:.3f}",
            f"{outcome.mismatch.crystals:.3f} ({outcome.mismatch.crystals_floor:.3f})",
            f"{outcome.mismatch.classified:.2f}",
            f"{outcome.seconds_per_thousand:.1f}",
        ]
        for outcome in outcomes
    ]
    lines = [
        f"{content['crystals']:,} training crystals, {content['samples']} draws of each prior "
        f"(none rejected), {content['steps']} steps of Heun's rule, one thread. Intervals are "
        "95 % bootstrap over formulas, for contacts those of Wilson. Contact: of two atoms, beside "
        "the shortest distance of the same elements in a training crystal. Mismatch: sliced "
        "Wasserstein distance in standard deviations, in brackets that of two halves of the "
        "training latents. Classifier accuracy: share of crystals that a classifier assigns to "
        "the right set; 0.5 is chance.",
        "",
        *table(heads, rows),
    ]
    if content["speed"]:
        timed = [
            [
                steps,
                f"{row['processor_seconds']:.0f}",
                f"{row['seconds']:.0f}",
                f"{row['valid_share']:.3f}",
            ]
            for steps, row in content["speed"]["by_steps"].items()
        ]
        lines += [
            "",
            f"Exactly {content['speed']['number']:,} valid crystals, flow, one thread:",
            "",
            *table(["steps", "processor s", "s", "valid share"], timed),
        ]
    return lines


def _cell(value: tuple[float, float, float] | None) -> str:
    if value is None:
        return ""
    mean, low, high = value
    return f"{mean:.3f} ({low:.3f}-{high:.3f})" if np.isfinite(low) else f"{mean:.3f}"


if __name__ == "__main__":
    main()
