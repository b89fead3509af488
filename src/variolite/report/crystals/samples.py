"""Generated crystals: a gallery drawn at random, and how they spread beside real ones."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from variolite.crystals.crystals import Crystals
from variolite.crystals.elements import SYMBOLS, compositions, reduced_formulas
from variolite.crystals.evaluation.distributions import densities
from variolite.report.axes import WIDTH, Frame, axis_below, axis_left, box, letters, line, sheet
from variolite.report.blocks import Alternatives, Block, Figure, Section, paragraph
from variolite.report.crystals.run import CrystalRun
from variolite.report.crystals.scene import scene_of
from variolite.report.crystals.structure_view import structure_view
from variolite.report.lettering import chemical, decimals
from variolite.report.markup import Markup, element, join
from variolite.report.palette import ACCENT, OTHER
from variolite.report.scale import Scale, limits
from variolite.report.wording import counted

__all__ = ["samples_section"]

Floats = NDArray[np.float64]

SHOWN = 12
ABREAST = 3
MOST_ELEMENTS = 30
BINS = 28


def samples_section(run: CrystalRun) -> Section:
    """Return gallery and distributions of generated crystals, or say that there are none."""
    anchor, title = "samples", "Generated crystals"
    if run.samples is None or not len(run.samples):
        missing = paragraph(
            "No generated crystals: run `variolite score` with samples to write samples.crystals.",
            kind="missing",
        )
        return Section(anchor, title, (missing,))
    blocks: list[Block] = [_gallery(run.samples), _distributions(run.samples, run.originals)]
    return Section(anchor, title, tuple(blocks))


def _gallery(samples: Crystals) -> Alternatives:
    drawable = np.flatnonzero(_drawable(samples))
    chosen = np.sort(np.random.default_rng(0).permutation(drawable)[:SHOWN])
    formulas = [chemical(str(formula)) for formula in reduced_formulas(samples.take(chosen))]
    weights = densities(samples.take(chosen))
    options: list[tuple[str, tuple[Figure, ...]]] = []
    for start in range(0, len(chosen), ABREAST):
        places = range(start, min(start + ABREAST, len(chosen)))
        scenes = [
            (
                f"{formulas[place]}, {counted(len(samples[int(chosen[place])]), 'atom')}, "
                f"{decimals(float(weights[place]), 2)} g/cm³",
                scene_of(samples[int(chosen[place])]),
            )
            for place in places
        ]
        names = ", ".join(formulas[place] for place in places)
        drawing = structure_view(
            scenes, f"g{start}", title=f"Generated crystals {names}", abreast=ABREAST
        )
        caption = (
            f"Generated crystals {start + 1} to {places[-1] + 1} of {len(chosen)} that were drawn "
            f"at random, not picked, from {len(samples):,}; all three at one scale in parallel "
            "projection, one cell with the atoms on its faces, with their density. Colours and "
            "bonds as in the figures above."
        )
        options.append((names, (Figure(f"samples-{start + 1}", drawing, caption),)))
    return Alternatives("Generated crystals", tuple(options))


def _drawable(crystals: Crystals) -> NDArray[np.bool_]:
    """Return which structures have atoms in a cell of finite volume, shape (B,)."""
    finite = np.isfinite(crystals.lattices).all(axis=(1, 2)) & (crystals.counts > 0)
    with np.errstate(invalid="ignore"):
        return np.asarray(finite & (crystals.volumes > 0))


def _distributions(samples: Crystals, reference: Crystals | None) -> Figure:
    width, height = (WIDTH - 3 * 62) / 3, 150.0
    frames = [Frame(52 + index * (width + 66), 26, width, height) for index in range(3)]
    every = [samples] if reference is None else [samples, reference]
    parts = [
        _steps(
            [densities(crystals.take(_drawable(crystals))) for crystals in every],
            frames[0],
            "density (g/cm³)",
            whole=False,
        ),
        _steps(
            [crystals.counts.astype(np.float64) for crystals in every],
            frames[1],
            "atoms in the cell",
            whole=True,
        ),
        _steps(
            [(compositions(crystals) > 0).sum(axis=1).astype(np.float64) for crystals in every],
            frames[2],
            "different elements",
            whole=True,
        ),
    ]
    below = Frame(52, frames[0].bottom + 62, WIDTH - 60, 140)
    parts.append(_element_bars(every, below))
    parts.append(_key(below.bottom + 40, reference is not None))
    beside = f" beside the {len(reference):,} held-out crystals" if reference is not None else ""
    caption = (
        f"What {len(samples):,} generated crystals are made of{beside}: share of the crystals by "
        "density, number of atoms in the cell and number of different elements; below, share of "
        "the crystals that contain an element, the commonest first. Values beyond the axis of "
        "the density count in the bar at its end. Nothing here says that a crystal is stable: see "
        "the scores of generation for that."
    )
    title = "Distributions of generated crystals"
    return Figure("samples-distributions", sheet(below.bottom + 52, *parts, title=title), caption)


def _steps(sets: list[Floats], frame: Frame, label: str, *, whole: bool) -> Markup:
    """Draw histograms over one another: the reference as grey bars, the samples as a line."""
    joined = np.concatenate(sets)
    joined = joined[np.isfinite(joined)]
    if not joined.size:
        return Markup("")
    if whole:
        low, high = float(joined.min()) - 0.5, float(joined.max()) + 0.5
        edges = np.arange(low, high + 0.5)
    else:
        low, high = limits(joined, tail=0.005)
        low = low if low > 0.3 * high else 0.0
        edges = np.linspace(low, high, BINS + 1)
    across = Scale(low, high, frame.left, frame.right)
    shares = [
        100
        * np.histogram(np.clip(values[np.isfinite(values)], low, high), bins=edges)[0]
        / max(len(values), 1)
        for values in sets
    ]
    down = Scale(0.0, max(float(share.max()) for share in shares) * 1.06, frame.bottom, frame.top)
    x = across(edges).tolist()
    drawn: list[Markup] = []
    if len(shares) > 1:
        drawn = [
            element(
                "rect",
                x=left,
                y=down.at(share),
                width=right - left,
                height=frame.bottom - down.at(share),
                fill=OTHER,
            )
            for share, left, right in zip(shares[1].tolist(), x[:-1], x[1:], strict=True)
            if share
        ]
    heights = down(shares[0]).tolist()
    outline = f"M{x[0]:.1f} {frame.bottom:.1f}" + "".join(
        f"L{left:.1f} {y:.1f}L{right:.1f} {y:.1f}"
        for left, right, y in zip(x[:-1], x[1:], heights, strict=True)
    )
    drawn.append(
        element(
            "path",
            d=f"{outline}L{x[-1]:.1f} {frame.bottom:.1f}",
            fill="none",
            stroke=ACCENT,
            stroke_width=1.8,
        )
    )
    ticks = [tick for tick in across.ticks(6) if not whole or tick == round(tick)]
    return join(
        (
            axis_left(down, frame, "share of crystals (%)", target=4),
            axis_below(across, frame, label, grid=False, at=ticks),
            *drawn,
        )
    )


def _element_bars(sets: list[Crystals], frame: Frame) -> Markup:
    shares = [
        100 * (compositions(crystals) > 0).sum(axis=0) / max(len(crystals), 1) for crystals in sets
    ]
    order = np.argsort(-np.maximum.reduce(shares), kind="stable")[:MOST_ELEMENTS]
    order = order[np.maximum.reduce(shares)[order] > 0]
    top = max(float(share.max()) for share in shares) * 1.06
    down = Scale(0.0, top, frame.bottom, frame.top)
    cell = frame.width / max(len(order), 1)
    cell = min(cell, 60.0)
    drawn: list[Markup] = [axis_left(down, frame, "crystals with it (%)", target=4)]
    for index, number in enumerate(order.tolist()):
        x = frame.left + index * cell
        if len(shares) > 1:
            y = down.at(float(shares[1][number]))
            drawn.append(
                element(
                    "rect",
                    x=x + cell * 0.15,
                    y=y,
                    width=cell * 0.7,
                    height=frame.bottom - y,
                    fill=OTHER,
                )
            )
        y = down.at(float(shares[0][number]))
        drawn.append(line(x + cell * 0.08, y, x + cell * 0.92, y, stroke=ACCENT, width=2.6))
        drawn.append(
            letters(x + cell / 2, frame.bottom + 15, SYMBOLS[number], anchor="middle", size=11)
        )
    drawn.append(line(frame.left, frame.bottom, frame.right, frame.bottom))
    return join(drawn)


def _key(top: float, has_reference: bool) -> Markup:
    parts = [
        line(52, top, 78, top, stroke=ACCENT, width=2.2),
        letters(84, top + 4, "generated"),
    ]
    if has_reference:
        parts += [
            box(Frame(170, top - 6, 22, 12), fill=OTHER, stroke=None),
            letters(198, top + 4, "held-out crystals"),
        ]
    return join(parts)
