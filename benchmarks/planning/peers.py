"""BayBE and Ax beside ours on CRAFTED: the same rows, seeds, starts, batches and budget.

    python -m benchmarks.planning.peers --python PEERS/bin/python --described TABLE

The protocol is that of `benchmarks.planning.crafted`. The others run in an environment of theirs:

    python -m venv PEERS
    PEERS/bin/pip install -c constraints.txt torch baybe==0.15.0 ax-platform==1.3.1

There this file is run as `PEERS/bin/python benchmarks/planning/peers.py baybe FOLDER` and imports
nothing of ours. It reads `rows.csv` and `starts.json` in the folder and appends a line per campaign
to `baybe.jsonl`: a run that was stopped resumes, and seeds that all have finished are compared.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
import warnings
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

Proposer = Callable[[np.ndarray, np.ndarray, np.ndarray], list[int]]
"""From features of the pool scaled to 0 to 1, rows seen and their values: the next rows."""

BATCH, ROUNDS = 10, 7


def baybe(
    x: np.ndarray,
    seen: np.ndarray,
    y: np.ndarray,
    *,
    function: str | None = None,
    options: dict[str, Any] | None = None,
    decorrelate: bool | float = True,
) -> list[int]:
    """Recommend by a campaign whose one parameter is the candidate, encoded by its features."""
    import pandas
    from baybe import Campaign
    from baybe.acquisition import acqfs
    from baybe.parameters import CustomDiscreteParameter
    from baybe.recommenders import BotorchRecommender, TwoPhaseMetaRecommender
    from baybe.searchspace import SearchSpace
    from baybe.targets import NumericalTarget

    names = [f"row{i}" for i in range(len(x))]
    x = x + 1e-9 * np.arange(len(x))[:, None]  # Two pairs of rows are equal, which it refuses.
    table = pandas.DataFrame(x, index=names, columns=[f"f{i}" for i in range(x.shape[1])])
    one = CustomDiscreteParameter(name="candidate", data=table, decorrelate=decorrelate)
    chosen = getattr(acqfs, function)(**(options or {})) if function else None
    campaign = Campaign(
        searchspace=SearchSpace.from_product([one]),
        objective=NumericalTarget(name="y").to_objective(),
        recommender=TwoPhaseMetaRecommender(
            recommender=BotorchRecommender(acquisition_function=chosen)
        ),
        allow_recommending_already_measured=False,
    )
    campaign.add_measurements(pandas.DataFrame({"candidate": [names[i] for i in seen], "y": y}))
    found = campaign.recommend(BATCH)["candidate"]
    return [int(name[3:]) for name in found]


def ax(
    x: np.ndarray,
    seen: np.ndarray,
    y: np.ndarray,
    *,
    function: str | None = None,
    options: dict[str, Any] | None = None,
) -> list[int]:
    """Generate by Ax's modular BoTorch generator, its acquisition optimised over the open rows."""
    import logging

    import torch
    from ax.adapter.registry import Generators
    from ax.core import (
        Arm,
        Data,
        Experiment,
        Metric,
        Objective,
        OptimizationConfig,
        ParameterType,
        RangeParameter,
        SearchSpace,
    )
    from ax.generators.torch.botorch_modular.acquisition import Acquisition
    from botorch import acquisition
    from pandas import DataFrame

    logging.disable(logging.INFO)
    left = np.setdiff1d(np.arange(len(x)), seen)
    rows = torch.tensor(x[left])

    class OfPool(Acquisition):
        def optimize(self, n: int, *_: Any, **__: Any) -> Any:
            return self.select_from_candidate_set(n, rows)

    names = [f"f{i}" for i in range(x.shape[1])]
    space = SearchSpace([RangeParameter(name, ParameterType.FLOAT, 0.0, 1.0) for name in names])
    aim = OptimizationConfig(Objective(metric=Metric("y"), minimize=False))
    experiment = Experiment(space, name="pool", optimization_config=aim)
    trial = experiment.new_batch_trial()
    for place in seen:
        trial.add_arm(Arm(dict(zip(names, x[place].tolist(), strict=True)), name=f"row{place}"))
    trial.mark_running(no_runner_required=True)
    table = DataFrame(
        {
            "trial_index": trial.index,
            "arm_name": [f"row{place}" for place in seen],
            "metric_name": "y",
            "metric_signature": "y",
            "mean": y,
            "sem": np.nan,
        }
    )
    experiment.attach_data(Data(df=table))
    trial.mark_completed()
    chosen: dict[str, Any] = {}
    if function:
        chosen["botorch_acqf_class"] = getattr(acquisition, function)
        chosen["botorch_acqf_options"] = options or {}
    adapter = Generators.BOTORCH_MODULAR(
        experiment=experiment, data=experiment.fetch_data(), acquisition_class=OfPool, **chosen
    )
    taken: list[int] = []
    # Rows of the same features are one arm of weight 2.
    for arm, weight in adapter.gen(BATCH).arm_weights.items():
        place = np.array([arm.parameters[name] for name in names], dtype=float)
        near = left[np.abs(x[left] - place).sum(axis=1).argsort(kind="stable")]
        taken += near[~np.isin(near, taken)][: round(weight)].tolist()
    return taken


UCB = {"function": "qUpperConfidenceBound", "options": {"beta": 1.0}}
SETUPS: dict[str, dict[str, Proposer]] = {
    "baybe": {
        "BayBE, default": baybe,
        "BayBE, UCB, all features": partial(baybe, decorrelate=False, **UCB),
    },
    "ax": {"Ax, default": ax, "Ax, UCB": partial(ax, **UCB)},
}
OURS = {"ours, default": "look-ahead", "ours, UCB": "UCB", "ours, greedy": "greedy"}


def peer(name: str, folder: Path) -> None:
    """Replay the campaigns of a peer that are not yet in its file; in the peers' environment."""
    import torch

    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    table = np.loadtxt(folder / "rows.csv", delimiter=",", skiprows=1)
    done = {(line["setup"], line["seed"]) for line in finished(folder, name)}
    for start in json.loads((folder / "starts.json").read_text()):
        rows = table[start["pool"]]
        y, x = rows[:, 0], rows[:, 1:]
        x = x[:, np.ptp(x, axis=0) > 0]
        x = (x - x.min(axis=0)) / np.ptp(x, axis=0)
        for setup, proposer in SETUPS[name].items():
            if (setup, start["seed"]) in done:
                continue
            torch.manual_seed(start["seed"])
            np.random.seed(start["seed"])  # noqa: NPY002
            seen, begin = list(start["seen"]), time.process_time()
            for _ in range(ROUNDS):
                new = proposer(x, np.array(seen), y[seen])
                if len(set(new) - set(seen)) < BATCH:
                    raise RuntimeError(f"{setup}: rows are proposed twice")
                seen += new
            line = {
                "setup": setup,
                "seed": start["seed"],
                "seen": seen,
                "seconds": (time.process_time() - begin) / ROUNDS,
            }
            with (folder / f"{name}.jsonl").open("a") as file:
                file.write(json.dumps(line) + "\n")


def finished(folder: Path, name: str) -> list[dict[str, Any]]:
    """Return the campaigns of a peer that are in its file."""
    path = folder / f"{name}.jsonl"
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def main() -> None:
    """Replay all, and write the page."""
    from benchmarks.pages import RESULTS, command, provenance, table, write_page
    from benchmarks.planning.crafted import SCORES, SHARE, interval, replay, split
    from benchmarks.planning.tables import crafted

    parser = argparse.ArgumentParser()
    parser.add_argument("--python", type=Path, required=True, help="interpreter of the others")
    parser.add_argument("--described", type=Path, default=None)
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--folder", type=Path, default=Path("peers"), help="of what is exchanged")
    options = parser.parse_args()
    made = provenance(command("benchmarks.planning.peers", options), ("numpy", "scipy"))
    data = crafted(options.described)
    options.folder.mkdir(parents=True, exist_ok=True)
    rows = np.column_stack([data.target, data.features])
    np.savetxt(options.folder / "rows.csv", rows, delimiter=",", header="value, features")
    starts = []
    for seed in range(options.seeds):
        _, pool, _, seen = split(len(rows), seed)
        starts.append({"seed": seed, "pool": pool.tolist(), "seen": seen.tolist()})
    (options.folder / "starts.json").write_text(json.dumps(starts))
    running = [
        subprocess.Popen([options.python, __file__, name, options.folder]) for name in SETUPS
    ]
    found: dict[str, dict[int, tuple[list[float], float]]] = {}
    for name, score in OURS.items():
        found[name] = {}
        for seed in range(options.seeds):
            begin = time.process_time()
            calibrate = name == "ours, default"  # As `variolite plan` does, in each round.
            done = replay(
                data, data.target, data.noise, seed, "default", SCORES[score], calibrate=calibrate
            )
            found[name][seed] = (done["recall"], (time.process_time() - begin) / ROUNDS)
    if any(process.wait() for process in running):
        raise SystemExit("a peer has failed: see above; the same command resumes")
    for line in (line for name in SETUPS for line in finished(options.folder, name)):
        y = data.target[starts[line["seed"]]["pool"]]
        top = np.argsort(-y)[: round(SHARE * len(y))]
        ends = range(len(line["seen"]) - ROUNDS * BATCH, len(line["seen"]) + 1, BATCH)
        recall = [float(np.isin(top, line["seen"][:end]).mean()) for end in ends]
        found.setdefault(line["setup"], {})[line["seed"]] = (recall, line["seconds"])
    seeds = sorted(set.intersection(*map(set, found.values())))
    recalls = {name: np.array([each[s][0] for s in seeds]) for name, each in found.items()}
    areas = {name: each.mean(axis=1) for name, each in recalls.items()}
    cells = []
    for name, each in found.items():
        less = areas["ours, default"] - areas[name]
        cells.append(
            [
                name,
                "{:.3f} ({:.3f} to {:.3f})".format(*interval(recalls[name][:, -1])),
                "{:.3f} ({:.3f} to {:.3f})".format(*interval(areas[name])),
                "" if not less.any() else "{:+.3f} ({:+.3f} to {:+.3f})".format(*interval(less)),
                f"{np.mean([each[s][1] for s in seeds]):.1f}",
                " ".join(f"{v:.2f}" for v in recalls[name].mean(axis=0)),
            ]
        )
    head = ["", "recall", "area", "ours more in area", "CPU s a proposal", "recall by round"]
    lines = [
        f"{len(rows)} frameworks, {data.features.shape[1]} features, a fifth held out, 30 known "
        f"at the start, seven batches of ten, {len(seeds)} seeds. In brackets: 95 % intervals "
        "over seeds. Recall is the share found of the best twentieth of the pool, the area its "
        "mean over start and rounds; differences are paired by seed.",
        "",
        *table(head, cells),
        "",
        "BayBE 0.15.0 has one parameter, the candidate, encoded by its features (a custom "
        "discrete parameter). Its default leaves out features that correlate by more than .7 "
        "with one kept, and acquires by qLogEI. Ax 1.3.1 has a range parameter per feature and "
        "its modular BoTorch generator, qLogNEI by default, which selects from the open rows one "
        "after the other. Features are scaled to 0 to 1 over the pool; both fit a Gaussian "
        "process and infer its noise. UCB is that of a batch, with beta 1. Their defaults look "
        "for the one best, not for the best twentieth.",
        "",
        "Environment of the others:",
        "",
        "    python -m venv PEERS",
        "    PEERS/bin/pip install -c constraints.txt torch baybe==0.15.0 ax-platform==1.3.1",
    ]
    content = {"seeds": seeds, "recall": recalls, "areas": areas}
    write_page(RESULTS / "planning_peers", "BayBE and Ax beside ours", lines, content, made)


if __name__ == "__main__":
    if len(sys.argv) == 3 and sys.argv[1] in SETUPS:
        peer(sys.argv[1], Path(sys.argv[2]))
    else:
        main()
