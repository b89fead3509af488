"""Generators without a neural network on CRAFTED, beside what real rows show of one another.

    python -m benchmarks.frameworks.baselines                      about 4 minutes
    python -m benchmarks.frameworks.baselines --data TABLE         another table of frameworks

Splits hold out a fifth of the families. `measure` takes further generators, so that models stand
in the same table.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from benchmarks.frameworks.crafted import TABLE, load, splits
from benchmarks.frameworks.generators import BASELINES
from benchmarks.pages import RESULTS, command, provenance, table, write_page

from variolite.frameworks.diagnosis import Layout, diagnose
from variolite.frameworks.diagnosis.diversity import total_variation

Make = Callable[[pl.DataFrame, int, int], pl.DataFrame]
"""Rows made by a generator: from training rows, a seed and a number of draws."""

DRAWS = 10_000
MANY = 200
COMBINATION = "metals x linkers"
LINKERS = "linkers, members"
FIGURES: dict[str, tuple[str, str, int | None]] = {
    "TVD of metals": ("marginal TVD", "metals", None),
    "TVD of linkers": ("marginal TVD", LINKERS, None),
    "TVD of nets": ("marginal TVD", "net", None),
    "TVD of density": ("marginal TVD", "density", None),
    "pairs with metals, linkers, net": ("joint TVD", "pairs", None),
    "over real": ("joint TVD over that of real rows", "pairs", None),
    "pairs of numbers": ("joint TVD", "pairs of numbers", None),
    "over real, numbers": ("joint TVD over that of real rows", "pairs of numbers", None),
    "metals x linkers x number": ("joint TVD", "triples", None),
    "over real, triples": ("joint TVD over that of real rows", "triples", None),
    "U at 50": ("distinct", COMBINATION, 50),
    "U/E[U] at 50": ("distinct over expected", COMBINATION, 50),
    "U/E[U] at 1,000": ("distinct over expected", COMBINATION, 1000),
    "known only, 1,000": ("known over expected", COMBINATION, 1000),
    "novel rows": ("novel rows", COMBINATION, None),
    "new held-out found, 10,000": ("new held-out found", COMBINATION, 10_000),
    "tail at 1,000": ("tail coverage", COMBINATION, 1000),
    "tail of linkers at 1,000": ("tail coverage", LINKERS, 1000),
    "copies": ("copies of training rows", "all columns", None),
}
"""What the table shows: its head, and where it stands in a diagnosis."""


def baselines() -> dict[str, Make]:
    """Return the generators of this benchmark."""

    def make(name: str) -> Make:
        return lambda train, seed, n: BASELINES[name]().fit(train, seed).sample(n, seed)

    return {name: make(name) for name in BASELINES}


def measure(
    rows: pl.DataFrame,
    generators: Mapping[str, Make],
    seeds: int = 10,
    layout: Layout | None = None,
) -> list[dict[str, Any]]:
    """Fit every generator on every split; a record of all figures for each.

    The layout names the columns that are compared; all generators should make them.
    """
    records = []
    for seed, (train, held_out) in enumerate(splits(rows, seeds)):
        for name, make in generators.items():
            found = evaluate(train, held_out, make(train, seed, DRAWS), layout)
            records.append({"generator": name, "split": seed, **found})
            print(name, seed, flush=True)
    return records


def evaluate(
    train: pl.DataFrame, held_out: pl.DataFrame, made: pl.DataFrame, layout: Layout | None = None
) -> dict[str, Any]:
    """Return figures by their head: value, and what real rows or the floor show."""
    diagnosis = diagnose(train, held_out, made, layout=layout)
    out = {}
    for head, (quantity, of, n) in FIGURES.items():
        try:
            figure = diagnosis.figure(quantity, of, n)
        except KeyError:
            continue
        out[head] = {
            "value": figure.value,
            "beside": figure.reference,
            "range": [figure.low, figure.high],
        }
    return out


def summary(records: list[dict[str, Any]], heads: Iterable[str] = tuple(FIGURES)) -> list[str]:
    """Lay out means over splits with their standard deviations, a column for each generator.

    Of a single split values have their interval over held-out families.
    """
    names = list(dict.fromkeys(record["generator"] for record in records))
    several = len(records) > len(names)
    rows = []
    for head in heads:
        cells = []
        for name in names:
            some = [r[head] for r in records if r["generator"] == name and head in r]
            cells.append(_spread([one["value"] for one in some], *(o["range"] for o in some)))
        rest = [r[head]["beside"] for r in records if head in r]
        beside = _spread(rest if several else [float(np.mean(rest or np.nan))])
        if any(cells):
            rows.append([head, *cells, beside])
    head = "mean ± sd over splits" if several else "value (95 % over held-out families)"
    return table([head, *names, "real rows or floor"], rows)


def _spread(values: list[float], *ranges: list[float]) -> str:
    known = [value for value in values if np.isfinite(value)]
    if len(known) > 1:
        return f"{np.mean(known):.3f} ± {np.std(known, ddof=1):.3f}"
    if not known:
        return ""
    low, high = ranges[0] if ranges else (np.nan, np.nan)
    return f"{known[0]:.3f}" + (f" ({low:.3f} to {high:.3f})" if np.isfinite(low) else "")


def main() -> None:
    """Measure and write the page."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, default=TABLE)
    parser.add_argument("--results", type=Path, default=RESULTS)
    parser.add_argument("--seeds", type=int, default=10)
    arguments = parser.parse_args()
    made = provenance(command("benchmarks.frameworks.baselines", arguments), ("polars", "rdkit"))
    rows = load(arguments.data)
    records = measure(rows, baselines(), arguments.seeds)
    write_page(
        arguments.results / "frameworks_baselines",
        "Frameworks: generators without a neural network on CRAFTED",
        [*explained(rows, arguments.seeds), "", *summary(records)],
        {"records": records},
        made,
    )


def explained(rows: pl.DataFrame, seeds: int) -> list[str]:
    """Say what was measured."""
    families = rows["family"].n_unique()
    states = rows.select("metals", "linkers").unique().height
    metals = rows["metals"].unique()
    chance = np.array(
        [
            total_variation(*([(one["metals"] == m).mean() for m in metals] for one in pair))
            for pair in splits(rows, max(MANY, seeds))
        ]
    )
    text = f"""
{rows.height} rows of {families} families with {states} combinations of metals and linkers.
A fifth of the families is held out, {seeds} splits, {DRAWS:,} draws of each generator, one seed per
split. Splits overlap: the standard deviation is over splits, and no standard error. Ten splits
are few: over {MANY} splits training and held-out rows differ by {chance.mean():.3f} ±
{chance.std():.3f} in metals, over these {seeds} by {chance[:seeds].mean():.3f}, so compare
generators within a row.

- TVD: total variation from held-out rows, 0 to 1. A framework of two linkers counts half for each;
  linkers of fewer than five rows count together. Numbers are in fifths. Beside single columns
  stands the bootstrap floor: as many draws of all rows against as many families.
- Pairs and triples: of n generated rows, and of as many real ones (of half of the training
  families, at the right), from held-out rows; 'over real' is the ratio of the two.
- U/E[U]: distinct combinations among n draws over those that n draws of training rows show;
  'known only' without novel ones.
- New held-out found: share of the combinations that only held-out rows have which are among 10,000
  draws. At the right stands the share made of metals and linkers that training rows have: no
  recombination of them finds more.
- Tail: combinations, and linkers, of one or two training rows, and how many of them n draws show.
- Generators: the frequency table draws training rows; independent marginals every column by itself,
  sets as a whole; the Bayes net is a Chow-Liu tree that draws linkers one by one; the mixture has
  latent classes, their number chosen by left-out families."""
    return text.strip().splitlines()


if __name__ == "__main__":
    main()
