"""Every strategy of `variolite plan` on the table of CRAFTED as it is published.

    python -m benchmarks.planning.strategies            about 5 minutes

By `variolite.planning.backtest`, what `variolite plan backtest` does: every candidate costs 1, 30
are known at the start, seven batches of ten. Columns that look like the target are left out.
"""

from __future__ import annotations

import argparse
from dataclasses import asdict

import numpy as np
from benchmarks.frameworks.crafted import TABLE
from benchmarks.pages import RESULTS, command, provenance, table, write_page

from variolite.planning import Columns, Target, read_pool
from variolite.planning.backtest import area, backtest, interval, summary
from variolite.planning.rules import Settings
from variolite.progress import ConsoleProgress

OTHERS = (
    *("ucb", "ei", "top_probability", "thompson", "exploration"),
    *("published_uncertainty", "published_value"),
)


def main() -> None:
    """Replay, and write the page."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--seeds", type=int, default=20)
    arguments = parser.parse_args()
    made = provenance(
        command("benchmarks.planning.strategies", arguments), ["numpy", "scipy", "scikit-learn"]
    )
    pool = read_pool(TABLE, Columns((Target("co2_mean8"),)))
    settings = Settings(budget=70.0, seeds=arguments.seeds)
    found = backtest(pool, settings, OTHERS, workers=2, progress=ConsoleProgress())
    result = summary(found)
    rows = []
    for name, entry in result["strategies"].items():
        mine = [r for r in found if r.strategy == name]
        ours = [r for r in found if r.strategy == result["default"]]
        more = interval([area(a) - area(b) for a, b in zip(ours, mine, strict=True)])
        ends = "recall_top5", "area_under_recall"
        cells = [
            f"{entry[k]:.3f} ({entry[f'{k}_low']:.3f} to {entry[f'{k}_high']:.3f})" for k in ends
        ]
        less = "" if name == result["default"] else "{:+.3f} ({:+.3f} to {:+.3f})".format(*more)
        within = np.mean([r.best[-1] >= 0.99 * r.reachable for r in mine])
        rows.append([name, *cells, f"{within:.0%}", less])
    ours = [r.coverage for r in found if r.strategy == result["default"]]
    covered = ", ".join(f"{share:.1%}" for share in np.mean(ours, axis=0))
    lines = [
        f"{len(pool)} frameworks, {pool.features.shape[1]} features, {arguments.seeds} seeds. In "
        "brackets: 95 % intervals over seeds. The area is the mean recall over the money spent; "
        "the last column is that of ours less that of the other on the same seeds.",
        "",
        *table(["strategy", "recall", "area", "best within 1 %", "ours more"], rows),
        "",
        f"90 % intervals hold for {covered} of the rows held out, by round from the start.",
    ]
    content = {**result, "settings": {k: str(v) for k, v in asdict(settings).items()}}
    title = "Strategies of planning on the published table of CRAFTED"
    write_page(RESULTS / "planning_strategies", title, lines, content, made)


if __name__ == "__main__":
    main()
