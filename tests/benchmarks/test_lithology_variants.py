"""Rows of the variants and their page, on blobs."""

import json
import re
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from benchmarks.lithology_variants_scores import (
    DATA,
    SETTINGS,
    _stretches,
    lengthened,
    methods,
    recipe_of,
)
from benchmarks.lithology_variants_table import SWITCHES, part_of, write_variants

from synthetic_wells import wells, without
from variolite.scoring import ClusteringPlan, evaluate_clustering, pca_whitened, raw

PLAN = ClusteringPlan(algorithms=("kmeans",), ks=(2, 3), rules=("silhouette",), seeds=2)


@pytest.fixture(scope="module")
def part():
    x, group, kind = wells(spread=2.5)
    x[:, 0] *= 30.0
    scored = {"pca_whitened": [], "v2": [], "v2_1": []}
    for well in np.unique(group)[:3]:
        held, train, test = without([well, "well 7"], group, {"kind": kind})
        features = {"pca_whitened": pca_whitened, "v2": raw, "v2_1": lambda a, b: (a, b)}
        for name, represent in features.items():
            found = evaluate_clustering({name: represent(x[train], x[test])}, held, PLAN)
            scored[name].append((found, {"columns": ["a", "b", "c"], "seconds": 2.0}))
    made = {"command": "c", "date": "d", "machine": "m"}
    head = {"title": "Blobs", "ks": (2, 3), "facts": "Three splits.", "made": made}
    return head | part_of(scored, "blobs")


def test_paired_differences_are_those_of_the_scores(part):
    of = {m["method"]: m["scores"] for m in part["methods"]}
    switch = [r for r in part["paired"] if r["switch"] == "distribution-aware scaling"]
    assert [(r["algorithm"], r["k"]) for r in switch] == [("kmeans", 2), ("kmeans", 3)]
    for row in switch:
        first, less = (
            next(s for s in of[name] if s.get("k") == row["k"] and s["rule"] == "fixed")
            for name in (row["method"], row["less"])
        )
        for metric in ("ari", "ami"):
            mean, low, high = row[metric]
            assert mean == pytest.approx(first[metric][0] - less[metric][0], abs=1e-6)
            assert low <= mean <= high
    assert {r["method"] for r in part["paired"] if r["less"] == "pca_whitened"} == {"v2", "v2_1"}


def test_a_part_replaces_its_own_and_keeps_the_others(part, tmp_path):
    stem = tmp_path / "variants"
    write_variants(stem, "kgs", part | {"title": "Kansas"})
    write_variants(stem, "force", part)
    write_variants(stem, "kgs", part | {"title": "Panoma"})
    assert list(json.loads(stem.with_suffix(".json").read_text())) == ["force", "kgs"]
    page = stem.with_suffix(".md").read_text()
    assert page.index("## Blobs") < page.index("## Panoma")
    assert "Kansas" not in page
    shown = "`v2_1` less `v2` | kmeans 2"
    assert shown in page


def test_stretches_lie_side_by_side_and_are_a_fair_draw():
    n = 5_000
    order = np.random.default_rng(1).permutation(n)
    group = np.array(["a", "b"])[np.arange(n) % 2]
    records = SimpleNamespace(group=group, order=order.astype(float))
    rows = np.flatnonzero(group == "a")
    drawn = _stretches(records, rows, 500)
    assert len(drawn) == 500 == len(set(drawn.tolist()))
    assert set(drawn.tolist()) <= set(rows.tolist())
    # In a well every second of all depths: a stretch has no gap among its twenty.
    place = np.searchsorted(np.sort(order[rows]), np.sort(order[drawn]))
    assert (np.diff(place) > 1).sum() < 25
    assert (_stretches(records, rows, 10_000) == rows).all()


def test_every_switch_is_between_methods_that_can_be():
    named = {name for _, *pair in SWITCHES for name in pair}
    every = {name for data in DATA for name in methods(data)}
    assert SETTINGS.keys() <= named <= every
    assert "mad_legacy" in methods("samples")
    assert recipe_of("v2_6, 4 latents").model.latent == 4
    assert len({switch for switch, *_ in SWITCHES}) == len(SWITCHES)
    assert DATA["samples"].logs[-1] == "thermal_conductivity"


def test_a_lengthened_recipe_keeps_its_proportions():
    recipe = lengthened(recipe_of("v2_6_2"), 3).training
    assert (recipe.epochs, recipe.patience, recipe.beta.epochs) == (300, 60, 75)
    assert recipe.pretraining.epochs == 150
    assert lengthened(recipe_of("v2_1"), 2).training.plateau.patience == 10
    assert lengthened(recipe_of("v2_6"), 1) == recipe_of("v2_6")


def test_numbers_of_the_claims_page_stand_in_the_results():
    root = Path(__file__).parents[2]
    results = "".join(
        path.read_text() for path in (root / "benchmarks" / "results").glob("lithology_*.md")
    )
    rows = [
        line.split(" | ")
        for line in (root / "docs" / "lithology-claims.md").read_text().splitlines()
        if line.startswith("| ")
    ][1:]
    number = r"[+-]?\.\d{3}(?: ± \.\d{3}| \[[+-]?\.\d{3}, [+-]?\.\d{3}\])"
    found = [text for row in rows for text in re.findall(number, row[2])]
    assert len(found) > 20
    missing = [text for text in found if re.sub(r"(?<!\d)\.", "0.", text) not in results]
    assert not missing
