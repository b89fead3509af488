"""Draw five frameworks of the loop, over the range of their simulated uptakes, for the guide.

python -m benchmarks.frameworks.pictures --work runs/loop
"""

from __future__ import annotations

import argparse
from collections import deque
from itertools import chain, product
from pathlib import Path

import numpy as np
import polars as pl
from benchmarks.frameworks.loop import PICTURE
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from matplotlib.patches import Ellipse

from variolite.crystals.crystals import Crystal
from variolite.crystals.elements import METALLIC, SYMBOLS
from variolite.crystals.files.reading import read_all
from variolite.crystals.report.structure_views import COLOURS, VIEW, Scene, scene_of
from variolite.frameworks.assembly.structure_checks import Bonded
from variolite.report.style import INK, MUTED, figure_style

NUMBER = 5
TARGET = PICTURE.with_name("frameworks_generated.png")


def whole_linkers(crystal: Crystal) -> Scene:
    """Return the metals in and on a cell with every linker that is bound to them, uncut."""
    scene = scene_of(crystal)
    lattice = scene.lattice
    first, second, shift, _ = Bonded(crystal).bonds
    bonds = np.concatenate([np.c_[first, second, shift], np.c_[second, first, -shift]]).astype(int)
    inside = crystal.coordinates - np.floor(crystal.coordinates + 1e-3)
    moved = np.round(inside - crystal.coordinates).astype(int)
    metals = np.flatnonzero(METALLIC[crystal.species])
    corners = np.array(list(product((0, 1), repeat=3)))
    queue = deque(
        (int(atom), *(moved[atom] + corner).tolist())
        for atom in metals
        for corner in corners
        if (inside[atom] + corner <= 1.02).all()
    )
    drawn, lines = dict.fromkeys(queue), []
    while queue:
        atom, *image = queue.popleft()
        for _, other, *step in bonds[bonds[:, 0] == atom].tolist():
            there = (other, *(i + s for i, s in zip(image, step, strict=True)))
            lines.append(((atom, *image), there))
            if there not in drawn and (not METALLIC[crystal.species[other]]):
                drawn[there] = None
                queue.append(there)
    places = {key: (crystal.coordinates[key[0]] + key[1:] - 0.5) @ lattice for key in drawn}
    ends = np.array([[places[a], places[b]] for a, b in lines if b in places])
    cell = scene.lines[scene.kinds == 1]
    return Scene(
        np.array(list(places.values())),
        crystal.species[[key[0] for key in places]].astype(np.int64),
        np.concatenate([ends, cell]),
        np.repeat([0, 1], [len(ends), len(cell)]),
        lattice,
    )


def draw(axes: Axes, scene: Scene) -> None:
    """Draw atoms and bonds, what is far before what is near; Angstrom on both axes."""
    points, lines = scene.points @ VIEW.T, scene.lines @ VIEW.T
    middle = (points.max(axis=0) + points.min(axis=0)) / 2
    points, lines = points - middle, lines - middle
    low, high = points[:, 2].min(), points[:, 2].max()
    for kind, colour, width in ((1, MUTED, 0.5), (0, "#7d838a", 1.0)):
        chosen = lines[scene.kinds == kind]
        order = 2 + (chosen[:, :, 2].mean(axis=1) - low) / (high - low)
        for layer in np.unique(order.round(1)):
            some = chosen[order.round(1) == layer][:, :, :2]
            axes.add_collection(LineCollection(some, colors=colour, lw=width, zorder=layer))
    # Diameters in points: axes are drawn with equal units.
    scale = (
        axes.get_window_extent().width
        / axes.figure.dpi
        * 72
        / (2 * np.abs(points[:, :2]).max() + 1.6)
    )
    for z in np.unique(scene.species):
        of = scene.species == z
        for layer in np.unique((depth := 2 + (points[of, 2] - low) / (high - low)).round(1)):
            here = points[of][depth.round(1) == layer]
            size = (2 * scale * scene.radii[of][0]) ** 2
            axes.scatter(
                here[:, 0], here[:, 1], size, COLOURS[z], ec=INK, lw=0.25, zorder=layer + 0.05
            )
    reach = np.abs(points[:, :2]).max() + 0.8
    axes.set(xlim=(-reach, reach), ylim=(-reach, reach), aspect="equal")
    axes.axis("off")


def main() -> None:
    """Draw the picture."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--work", type=Path, required=True, help="folder of the loop")
    folder = parser.parse_args().work
    simulated = pl.read_csv(folder / "simulated.csv").sort("co2_uptake_simulated")
    places = np.linspace(0, len(simulated) - 1, NUMBER).round().astype(int)
    about = pl.read_csv(folder / "built" / "candidates.csv")
    chosen = simulated[places].join(about.select("name", "net", "catenation", "nodes"), on="name")
    crystals = read_all([folder / "chosen"]).crystals
    by_name = {crystal.name: crystal for crystal in crystals}
    with figure_style():
        figure = Figure(figsize=(12, 3.3), dpi=200)
        for place, row in enumerate(chosen.sort("co2_uptake_simulated").iter_rows(named=True)):
            axes = figure.add_axes((place / NUMBER, 0.16, 1 / NUMBER, 0.84))
            draw(axes, whole_linkers(by_name[row["name"]]))
            nets = "" if row["catenation"] in (None, 1) else f", {row['catenation']} nets"
            node = row["nodes"].split("_")[1]
            uptake, error = row["co2_uptake_simulated"], row["co2_uptake_simulated_error"]
            axes.text(
                0.5,
                -0.02,
                f"{row['net']}{nets}, {node}\n{uptake:.2f} ± {error:.2f} mol/kg",
                transform=axes.transAxes,
                ha="center",
                va="top",
                fontsize=9,
                linespacing=1.5,
            )
        seen = sorted(set(chain(*(by_name[n].species.tolist() for n in chosen["name"]))))
        for place, z in enumerate(seen):
            x = 0.02 + 0.035 * place
            figure.text(x, 0.015, SYMBOLS[z], fontsize=8, va="bottom", color=MUTED)
            dot = Ellipse((x - 0.008, 0.04), 0.008, 0.03, fc=COLOURS[z], ec=INK, lw=0.4)
            figure.add_artist(dot)
        figure.savefig(TARGET)
    print(TARGET)


if __name__ == "__main__":
    main()
