"""Crystal structure prediction on MP-20: the structure of a given composition.

    python -m benchmarks.crystals.csp --work FOLDER

Trains the recipe ``crystals/mp_20/vae_csp``, whose decoder is told the elements, with its prior
on one thread; a run in ``--work`` that was broken off is taken up. Then, on the test part:
reconstruction with the elements given, and prediction: the elements of all atoms of the cell are
given, nothing else, and one structure is drawn and matched against the true one. On a subset
``--draws`` structures are drawn and the best is taken. Random coordinates in the true cell and
templates of the training crystals are matched in the same way. Writes
``benchmarks/results/crystal_csp.md`` and ``.json``; the predicted structures stay in ``--work``.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
from benchmarks.crystals.commands import Clock, Meter, plain, spelled
from benchmarks.crystals.csp_page import page_of
from benchmarks.crystals.prediction import best_of, displacements, figures, predict
from benchmarks.crystals.reconstruction import scored_rows
from benchmarks.crystals.sets import FOLDER, SETS, ContestSet
from benchmarks.speed.machine import describe, load

from variolite.crystals.crystal_model import CrystalModel
from variolite.crystals.crystals import Crystals
from variolite.crystals.files.store import fingerprint, write_store
from variolite.crystals.matching import nearest_template, random_coordinates
from variolite.crystals.recipe import CrystalRecipe, load_crystal_recipe
from variolite.crystals.run import train_crystal_run
from variolite.crystals.score_run import reconstruct_or_fail
from variolite.progress import ConsoleProgress, Step
from variolite.recipe import recipe_to_yaml
from variolite.records import write_text_atomic
from variolite.training import RunFolder

RESULTS = Path(__file__).resolve().parents[1] / "results"
WORK = Path(__file__).resolve().parents[2] / "runs" / "csp"
RECIPE = "crystals/mp_20/vae_csp"

VARIOLITE, RANDOM, TEMPLATE = "variolite", "random coordinates in the true cell", "templates"

Draw = Callable[[Crystals, int], Crystals]
"""Makes as many structures for each crystal, one after the other, in its order."""


def main() -> None:
    """Parse, train what is missing, predict, match, write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--epochs", type=int, default=100, help="of the network")
    parser.add_argument("--prior-epochs", type=int, default=55)
    parser.add_argument("--prior-batch", type=int, default=64)
    parser.add_argument("--crystals", type=int, default=0, help="to train on; 0 for all")
    parser.add_argument("--test", type=int, default=0, help="crystals to predict; 0 for all")
    parser.add_argument("--subset", type=int, default=200, help="crystals predicted repeatedly")
    parser.add_argument("--draws", type=int, default=20, help="structures for each of those")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--workers", type=int, default=0, help="that match; 0: no others")
    parser.add_argument("--data", type=Path, default=FOLDER)
    parser.add_argument("--work", type=Path, default=WORK)
    parser.add_argument("--results", type=Path, default=RESULTS)
    arguments = parser.parse_args()
    whole = SETS["mp_20"](arguments.data)
    parts = ContestSet(
        whole.title, _spread(whole.train, arguments.crystals), _spread(whole.test, arguments.test)
    )
    recipe = load_crystal_recipe(
        RECIPE,
        [
            "split.test=0",
            f"training.epochs={arguments.epochs}",
            f"training.seed={arguments.seed}",
            f"prior.epochs={arguments.prior_epochs}",
            f"prior.batch_size={arguments.prior_batch}",
        ],
    )
    before = load()
    model, spent = _trained(recipe, parts.train, arguments.work)
    content = {
        "command": spelled("benchmarks.crystals.csp", arguments),
        "machine": describe(),
        "load_before": before,
        "title": parts.title,
        "recipe": RECIPE,
        "train": len(parts.train),
        "epochs": arguments.epochs,
        "prior_epochs": arguments.prior_epochs,
        "parameters": sum(p.numel() for p in model.module.parameters()),
        "training_seconds": spent,
        "reconstruction": _reconstruction(model, parts, arguments.workers),
        "prediction": _prediction(model, parts, arguments),
        "load_after": load(),
    }
    arguments.results.mkdir(parents=True, exist_ok=True)
    target = arguments.results / "crystal_csp.json"
    write_text_atomic(target, json.dumps(plain(content), indent=1) + "\n")
    page = arguments.results / "crystal_csp.md"
    write_text_atomic(page, "\n".join(page_of(plain(content))) + "\n")
    print(page)


def _spread(crystals: Crystals, number: int) -> Crystals:
    """As many crystals, evenly spread over the rows; all for 0."""
    if not 0 < number < len(crystals):
        return crystals
    return crystals.take(np.linspace(0, len(crystals) - 1, number).astype(int))


class _Metered(ConsoleProgress):
    """Charges every step of training to the network, and what follows to the prior."""

    def __init__(self, meter: Meter) -> None:
        self.meter = meter

    @contextmanager
    def stage(self, title: str, total: int | None = None) -> Iterator[Step]:
        part = "network" if title == "training" else "prior"
        with super().stage(title, total) as step:

            def metered(text: str, /, *, done: int | None = None) -> None:
                self.meter.charge(part)
                step(text, done=done)

            yield metered


def _trained(
    recipe: CrystalRecipe, training: Crystals, work: Path
) -> tuple[CrystalModel, dict[str, float]]:
    """Train, or go on with training, or take what is trained already."""
    run, meter = RunFolder(work / "run"), Meter(work / "seconds.json")
    if run.finished and run.recipe_file.read_text(encoding="utf-8") == recipe_to_yaml(recipe):
        model = run.model()
        same = model.provenance["data"]["fingerprint"] == fingerprint(training)
        if same and model.prior is not None:
            return model, meter.seconds

    meter.rest()
    progress = _Metered(meter)
    _, model = train_crystal_run(
        recipe, training, run.path, name="MP-20", device="cpu", progress=progress
    )
    meter.charge("prior")
    return model, meter.seconds


def _reconstruction(model: CrystalModel, parts: ContestSet, workers: int) -> dict[str, Any]:
    found, failures = reconstruct_or_fail(model, parts.test)
    content: dict[str, Any] = {"failures": failures, "scores": {}}
    for title, chosen in _tests(parts):
        test = parts.test.take(chosen)
        rows = scored_rows(test, found.take(chosen), ("species",), workers)
        content["scores"][title] = {"crystals": len(test), "rows": rows}
    return content


def _tests(parts: ContestSet) -> list[tuple[str, np.ndarray]]:
    everything = np.ones(len(parts.test), dtype=bool)
    unseen = parts.unseen_formulas
    if unseen.all() or not unseen.any():
        return [("all", everything)]
    return [("all", everything), ("formulas unseen in training", unseen)]


def _prediction(
    model: CrystalModel, parts: ContestSet, arguments: argparse.Namespace
) -> dict[str, Any]:
    test, train, seed = parts.test, parts.train, arguments.seed
    failures: dict[str, int] = {}

    def ours(true: Crystals, draws: int) -> Crystals:
        found = predict(model, _repeated(true, draws), seed=seed + draws, log=_say)
        failures[str(draws)] = found.missed
        write_store(arguments.work / f"predicted_{draws}.crystals", found.crystals)
        return found.crystals

    def random(true: Crystals, draws: int) -> Crystals:
        return random_coordinates(_repeated(true, draws), seed=seed)

    def templates(true: Crystals, draws: int) -> Crystals:
        ranked = [nearest_template(true, train, seed=seed, rank=rank) for rank in range(draws)]
        order = np.arange(draws * len(true)).reshape(draws, -1).T.reshape(-1)
        return Crystals.concatenate(ranked).take(order)

    methods: dict[str, Draw] = {VARIOLITE: ours, RANDOM: random, TEMPLATE: templates}
    few = _spread(test, arguments.subset)
    content: dict[str, Any] = {"subset": len(few), "draws": arguments.draws, "one": {}, "best": {}}
    for method, draw in methods.items():
        _say(method)
        clock = Clock()
        found = draw(test, 1)
        if method == VARIOLITE:
            content["seconds"] = {"processor": clock.processor, "wall": clock.wall}
        rms = displacements(found, test, workers=arguments.workers, log=_say)
        content["one"][method] = {
            title: {
                "crystals": int(chosen.sum()),
                **figures({name: r[chosen] for name, r in rms.items()}, test.take(chosen)),
            }
            for title, chosen in _tests(parts)
        }
        many = displacements(
            draw(few, arguments.draws),
            _repeated(few, arguments.draws),
            workers=arguments.workers,
            log=_say,
        )
        content["best"][method] = {}
        for number in sorted({1, min(5, arguments.draws), arguments.draws}):
            best = {
                name: best_of(r.reshape(len(few), -1)[:, :number].reshape(-1), number)
                for name, r in many.items()
            }
            content["best"][method][str(number)] = figures(best, few)
    content["missed"] = failures
    return content


def _repeated(crystals: Crystals, draws: int) -> Crystals:
    return crystals.take(np.repeat(np.arange(len(crystals)), draws))


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
