"""How far latents and reconstructions move when nothing but the description changes.

    python -m benchmarks.crystals.invariance

Every model encodes and reconstructs the same crystals once as they are and once turned,
reflected, moved, re-ordered and in other cells. Those of the rebuilt source get Niggli cells
in one orientation, as its loader makes them; once more without, as its `featurize` did. Writes
``benchmarks/results/crystal_invariance.md`` and ``.json``.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

os.environ["OMP_NUM_THREADS"] = "1"

import numpy as np
import torch
from benchmarks.crystals.baseline_chemeleon2 import (
    SIZES,
    BaselineModule,
    matrix_of,
    niggli,
    reconstruct,
)
from benchmarks.crystals.sets import FOLDER
from benchmarks.pages import RESULTS, provenance, table, write_page

from variolite.crystals.crystal_model import CrystalModel, encode
from variolite.crystals.crystals import Crystals, Latents
from variolite.crystals.files.reading import load_crystals
from variolite.crystals.invariance import InvarianceReport, check_invariance
from variolite.crystals.model.batch import lattices_of
from variolite.crystals.recipe import load_crystal_recipe
from variolite.crystals.run import build
from variolite.shipped import shipped_run
from variolite.training import RunFolder

TARGET = 1e-4
"""Largest change of a latent that is asked for."""

ROWS = 1_000


@dataclass(frozen=True)
class Subject:
    """A model that is checked."""

    title: str
    encode: Callable[[Crystals], Latents]
    reconstruct: Callable[[Crystals], Crystals] | None


def _of(title: str, model: CrystalModel) -> Subject:
    return Subject(title, model.encode, model.reconstruct)


def _subjects(crystals: Crystals) -> list[Subject]:
    recipe = load_crystal_recipe("crystals/mp_20/vae_dng", ["model.latent=8"])
    found = [_of("ours, untrained", CrystalModel(build(recipe, crystals).eval()))]
    home = shipped_run("mp_20")
    if home is not None:
        found.append(_of("ours, mp_20 of the package", RunFolder(home).model()))
    size = SIZES["0.86M"]
    for title, encoder in (("source", size), ("its CSPNet", replace(size, encoder="cspnet"))):
        module = BaselineModule(encoder, 0).eval()
        reduced = Subject(
            f"{title}, untrained, Niggli cells",
            lambda c, m=module: encode(m, niggli(c).crystals),
            lambda c, m=module: reconstruct(m, c),
        )
        found.append(reduced)
        raw = Subject(f"{title}, untrained, cells as given", lambda c, m=module: encode(m, c), None)
        found.append(raw)
    return found


def _some(crystals: Crystals, elements: tuple[int, ...] | None) -> Crystals:
    """So many crystals, evenly spread, without an element that the shipped model lacks."""
    if elements is not None:
        strange = crystals.owner[~np.isin(crystals.species, elements)]
        crystals = crystals.take(~np.isin(np.arange(len(crystals)), strange))
    return crystals.take(np.linspace(0, len(crystals) - 1, min(ROWS, len(crystals))).astype(int))


def _source_head(entries: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """Lengths and angles, unbounded, as the source's lattice head gives them."""
    given = torch.from_numpy(entries)
    scale = torch.from_numpy(counts.astype(float))[:, None].pow(1.0 / 3.0)
    return np.asarray(matrix_of(given[:, :3] * scale, given[:, 3:]))


@dataclass(frozen=True)
class CellCheck:
    """Whether whatever a lattice head may give is a cell.

    Number of random outputs; cells with a number that is not finite; finite ones of no or
    negative volume; smallest volume in cubic Angstrom per atom.
    """

    number: int
    not_finite: int
    not_positive: int
    smallest_volume: float


def check_cells(
    cells: Callable[[np.ndarray, np.ndarray], np.ndarray] = lattices_of,
    *,
    number: int = 10_000,
    scale: float = 3.0,
    seed: int = 0,
) -> CellCheck:
    """Give a lattice head normal random numbers and see whether all it makes of them are cells.

    It takes outputs (B, 6) and numbers of atoms (B,) to lattice vectors as rows (B, 3, 3).
    """
    random = np.random.default_rng(seed)
    counts = random.integers(1, 53, size=number)
    lattices = cells(scale * random.normal(size=(number, 6)), counts)
    finite = np.isfinite(lattices).all(axis=(1, 2))
    volumes = np.linalg.det(lattices[finite])
    return CellCheck(
        number=number,
        not_finite=int((~finite).sum()),
        not_positive=int((volumes <= 0.0).sum()),
        smallest_volume=float((volumes / counts[finite]).min(initial=np.inf)),
    )


def _page(content: dict[str, Any], sets: dict[str, dict[str, InvarianceReport]]) -> list[str]:
    lines = [
        "Largest change of any latent of any atom, in standard deviations of the latents "
        "(in brackets in their own units), when nothing but the description of a crystal "
        "changes: a random one for each crystal. Latents are compared atom by atom under "
        "rotation, reflection and moves by whole cells, and as the set of a crystal under "
        "another origin, order or cell, because atoms that a symmetry exchanges may exchange "
        f"their latents. Target: {TARGET:g} in both units.",
        "",
    ]
    for title, reports in sets.items():
        first = next(iter(reports.values()))
        latents, shapes, residuals = [], [], []
        for model, report in reports.items():
            met = "met" if not report.mutated and report.passes(TARGET, np.inf) else "not met"
            changes = (f"{c.deviations:.1e} ({c.largest:.1e})" for c in report.latents)
            latents.append([model, *changes, met])
            if report.shapes:
                shapes.append([model, *(f"{c.largest:.1e}" for c in report.shapes)])
            changes = (
                f"{c.median / report.spread:.3f}, {c.high / report.spread:.2f}, "
                f"{c.deviations:.1f}; {c.moved:.1%}"
                for c in report.residuals
            )
            residuals.append([model, *changes])
        lines += [
            f"## {title}: {first.crystals:,} crystals, {first.atoms:,} atoms",
            "",
            *table(["model", *(c.name for c in first.latents), "target"], latents),
            "",
            "Reconstructions, largest change of shape in Angstrom:",
            "",
            *table(["model", *(c.name for c in first.shapes)], shapes),
            "",
            "Crystals that differ a little, without a target: median, 95th percentile and largest "
            "change in standard deviations, share of crystals beyond 0.1:",
            "",
            *table(["model", *(c.name for c in first.residuals)], residuals),
            "",
        ]
    columns = {
        "number": "outputs",
        "not_finite": "not finite",
        "not_positive": "of no or negative volume",
    }
    cells = [
        [title, *(f"{check[name]:,}" for name in columns)]
        for title, check in content["cells"].items()
    ]
    return [
        *lines,
        "## Random outputs of the lattice head",
        "",
        *table(["head", *columns.values()], cells),
        "",
        "A shape is the sorted shortest distances between all pairs of atoms, the lengths of "
        "the three shortest independent lattice vectors and the cubic root of the volume. "
        "Strained: every cell by a random symmetric strain whose largest eigenvalue is 0.3 %; "
        "noise: normal, 0.01 Angstrom along each axis. A strained crystal is another crystal, "
        "and where two reduced cells are nearly equal the canonical one may switch: that is the "
        'share of crystals that move far. "As given" leaves out the reduction of cells.',
    ]


def main() -> None:
    """Check every model on both sets and write the page."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, default=FOLDER)
    parser.add_argument("--results", type=Path, default=RESULTS)
    arguments = parser.parse_args()
    made = provenance("python -m benchmarks.crystals.invariance")
    home = shipped_run("mp_20")
    known = None if home is None else RunFolder(home).model().elements
    sets: dict[str, dict[str, InvarianceReport]] = {}
    for title, file in (
        ("MP-20 test, binary and ternary", "mp_20/biternary_test_a"),
        ("MPTS-52 validation", "mpts_52/val"),
    ):
        crystals = _some(load_crystals(arguments.data / f"{file}.csv.gz"), known)
        sets[title] = {}
        for subject in _subjects(crystals):
            report = check_invariance(subject.encode, crystals, reconstruct=subject.reconstruct)
            sets[title][subject.title] = report
            print(f"{title}: {subject.title}: {report}", flush=True)
    cells: dict[str, CellCheck] = {
        "ours": check_cells(),
        "source": check_cells(_source_head, scale=1.0),
    }
    content = {
        "target": TARGET,
        "sets": {
            title: {name: asdict(report) for name, report in reports.items()}
            for title, reports in sets.items()
        },
        "cells": {title: asdict(check) for title, check in cells.items()},
    }
    lines = _page(content, sets)
    title = "Invariance of latents and reconstructions"
    write_page(arguments.results / "crystal_invariance", title, lines, content, made)


if __name__ == "__main__":
    main()
