"""Original and reconstructed structures side by side, the typical, the best and the worst."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from variolite.crystals.crystals import Crystals
from variolite.report.blocks import Alternatives, Block, Figure, Section, paragraph
from variolite.report.crystals.run import CrystalRun, Pairs
from variolite.report.crystals.scene import scenes_of_pair
from variolite.report.crystals.structure_view import structure_view
from variolite.report.lettering import chemical, decimals, significant
from variolite.report.wording import counted

__all__ = ["examples_section"]

Floats = NDArray[np.float64]

MOST = 12
FEWEST_ATOMS = 3
SIZES = (0.0, 0.25, 0.5, 0.75, 1.0)
RANKS = (
    ("median", 0.5),
    ("least", 0.0),
    ("lower quartile", 0.25),
    ("upper quartile", 0.75),
    ("95 % mark of the", 0.95),
    ("99 % mark of the", 0.99),
    ("largest", 1.0),
)
"""What is shown of the crystals in the order of their error, the typical one first."""


def examples_section(run: CrystalRun) -> Section:
    """Return pairs of structures that can be turned, or say what is missing for them."""
    anchor, title = "structures", "Structures side by side"
    if run.pairs is None or not len(run.pairs):
        missing = paragraph(
            "No structures to show yet: run `variolite score` to write originals.crystals and "
            "reconstructed.crystals.",
            kind="missing",
        )
        return Section(anchor, title, (missing,))
    chosen = _chosen(run.pairs)
    options = tuple(
        (
            f"{why}: {chemical(str(run.pairs.formulas[index]))}",
            (_figure(run.pairs, index, why, f"s{place}"),),
        )
        for place, (index, why) in enumerate(chosen.items())
    )
    if not options:
        missing = paragraph("No pair of structures has finite cells to draw.", kind="missing")
        return Section(anchor, title, (missing,))
    blocks: list[Block] = [Alternatives("Crystal", options)]
    if run.sampling:
        blocks.insert(0, paragraph(f"Examples of {run.pairs.extent}.{run.sampling}", kind="remark"))
    return Section(anchor, title, tuple(blocks))


def _chosen(pairs: Pairs) -> dict[int, str]:
    """Choose by rank of the periodic error, then the median one of a few sizes."""
    finite = _drawable(pairs.originals) & _drawable(pairs.reconstructed)
    # A reconstruction so bad that it has no error counts as the worst.
    errors = np.zeros(len(pairs)) if pairs.errors is None else pairs.errors.medians
    known = np.nan_to_num(errors, nan=np.inf)
    order = np.argsort(known, kind="stable")
    order = order[finite[order]]
    # One or two atoms can hardly be in a wrong place.
    telling = order[pairs.originals.counts[order] >= FEWEST_ATOMS]
    ranked = telling if len(telling) else order
    chosen: dict[int, str] = {}
    if pairs.errors is not None and len(ranked):
        for name, share in RANKS:
            chosen.setdefault(int(ranked[round(share * (len(ranked) - 1))]), f"{name} error")
    atoms = pairs.originals.counts[order]
    sizes = np.quantile(atoms, SIZES, method="nearest") if len(order) else np.empty(0)
    for size in np.unique(sizes).tolist():
        alike = order[atoms == size]
        chosen.setdefault(int(alike[len(alike) // 2]), f"typical of {counted(int(size), 'atom')}")
    return dict(list(chosen.items())[:MOST])


def _drawable(crystals: Crystals) -> NDArray[np.bool_]:
    """Return which structures have atoms, all at finite places, [B]."""
    wrong = ~np.isfinite(crystals.coordinates).all(axis=1)
    misplaced = np.bincount(crystals.owner, weights=wrong, minlength=len(crystals)) > 0
    finite = np.isfinite(crystals.lattices).all(axis=(1, 2))
    return np.asarray(finite & ~misplaced & (crystals.counts > 0))


def _figure(pairs: Pairs, index: int, why: str, key: str) -> Figure:
    original, rebuilt = pairs.originals[index], pairs.reconstructed[index]
    formula = str(pairs.formulas[index])
    name = chemical(formula)
    scenes = scenes_of_pair(original, rebuilt)
    drawing = structure_view(
        list(zip((f"original: {name}", "reconstructed"), scenes, strict=True)),
        key,
        title=f"{name}, original and reconstructed",
        abreast=2,
    )
    own = float(pairs.errors.medians[index]) if pairs.errors is not None else math.nan
    error = f", periodic error {significant(own)} Å: {why}" if math.isfinite(own) else ""
    wrong = int((original.species != rebuilt.species).sum())
    types = f" {counted(wrong, 'atom')} came back as another element." if wrong else ""
    before, after = (parameters[index] for parameters in pairs.parameters)
    volume, after_volume = (volumes[index] for volumes in pairs.volumes)
    caption = (
        f"{name} (id {original.name or 'not given'}, {counted(len(original), 'atom')}{error}). "
        f"Cell {_cell(before)} became {_cell(after)}; volume per atom {decimals(volume, 2)} "
        f"became {decimals(after_volume, 2)} Å³.{types} Both are drawn at one scale in parallel "
        "projection, one cell with the atoms on its faces; the shift common to all atoms is "
        "taken out. Colours are those of Jmol, radii 0.45 covalent radii; bonds join atoms nearer "
        "than 1.15 times the sum of their covalent radii, metals not with each other."
    )
    return Figure(f"structure-{formula}-{original.name}", drawing, caption)


def _cell(parameters: Floats) -> str:
    lengths = ", ".join(decimals(value, 3) for value in parameters[:3].tolist())
    angles = ", ".join(decimals(value, 1) for value in parameters[3:].tolist())
    return f"{lengths} Å; {angles}°"
