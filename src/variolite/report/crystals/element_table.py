"""How often each element comes back as itself, as a periodic table, and what it is taken for."""

from __future__ import annotations

from bisect import bisect_left

import numpy as np
from numpy.typing import NDArray

from variolite.crystals.elements import HEAVIEST, SYMBOLS
from variolite.report.axes import Frame, box, letters, sheet
from variolite.report.blocks import Block, Figure, Section, paragraph, table
from variolite.report.crystals.run import CrystalRun, Pairs
from variolite.report.markup import Markup, element, join
from variolite.report.palette import FAINT, MUTED, SEQUENTIAL, blend, ink_on
from variolite.report.wording import counted

__all__ = ["elements_section", "place_in_table"]

Integers = NDArray[np.int64]

CELL, TALL = 49.0, 38.0
TOP = 4.0
KEY = 150.0
MOST_MIXED = 10
FLOORS = (0.95, 0.9, 0.8, 0.5, 0.0)
"""Where the colours may begin; the highest that is below every accuracy is taken."""


def elements_section(run: CrystalRun) -> Section:
    """Return the table of elements and the commonest mistakes, or say what is missing."""
    anchor, title = "elements", "Elements"
    if run.pairs is None or not run.pairs.originals.species.size:
        missing = paragraph(
            "No elements to compare yet: run `variolite score` to write originals.crystals and "
            "reconstructed.crystals.",
            kind="missing",
        )
        return Section(anchor, title, (missing,))
    confusion = _confusion(run.pairs)
    wrong = int(confusion.sum() - np.trace(confusion))
    if run.species_given and not wrong:
        told = paragraph(
            "The atom types were given to this model, so that all of them are right by "
            "construction.",
            kind="remark",
        )
        return Section(anchor, title, (told,))
    blocks: list[Block] = [_figure(run.pairs, confusion, run.sampling)]
    mistakes = _mistakes(confusion)
    if mistakes:
        blocks.append(element("h4", "Commonest mistakes"))
        blocks.append(
            table(
                ("element", "came back as", "atoms", "share of the element's atoms"),
                mistakes,
                numbers_from=2,
            )
        )
    return Section(anchor, title, tuple(blocks))


def place_in_table(number: int) -> tuple[int, int]:
    """Return row and column, from 0, of an element in the long-period table of 18 columns.

    Lanthanides and actinides, La and Ac among them, stand in rows 7 and 8.
    """
    row = bisect_left(_NOBLE, number)
    if number < 1 or row == len(_NOBLE):
        raise ValueError(f"{number} is not the atomic number of an element")
    start = _NOBLE[row - 1] if row else 0
    place, length = number - start - 1, _NOBLE[row] - start
    if length == 32 and 2 <= place <= 16:
        return row + 2, place
    if place < min(2, length - 1):
        return row, place
    return row, 17 - (_NOBLE[row] - number)


_NOBLE = (2, 10, 18, 36, 54, 86, 118)


def _confusion(pairs: Pairs) -> Integers:
    """Count atoms by element of the original and of the reconstruction, [119, 119]."""
    width = HEAVIEST + 1
    codes = pairs.originals.species.astype(np.int64) * width + pairs.reconstructed.species
    return np.bincount(codes, minlength=width * width).reshape(width, width).astype(np.int64)


def _figure(pairs: Pairs, confusion: Integers, sampling: str) -> Figure:
    atoms = confusion.sum(axis=1)
    right = np.diagonal(confusion)
    present = np.flatnonzero(atoms)
    shares = right[present] / atoms[present]
    floor = next(floor for floor in FLOORS if floor <= shares.min())
    accuracy = dict(zip(present.tolist(), shares.tolist(), strict=True))
    cells = [
        _cell(number, accuracy.get(number), int(atoms[number]), floor)
        for number in range(1, HEAVIEST + 1)
    ]
    drawing = sheet(
        TOP + 9 * TALL + 12, *cells, _key(floor), title="Accuracy of atom types by element"
    )
    overall = int(right.sum()) / int(atoms.sum())
    perfect = int((shares == 1).sum())
    caption = (
        f"Share of the atoms of each element whose type the reconstruction gives back, in "
        f"per cent, over {counted(int(atoms.sum()), 'atom')} of {pairs.extent}: "
        f"{100 * overall:.2f} % of all atoms, and all atoms of {perfect} of "
        f"{counted(len(present), 'element')}. Colours begin at {100 * floor:.0f} %; "
        "elements without a number do not occur. Rest the pointer on a cell for its number of "
        f"atoms.{sampling}"
    )
    return Figure("elements", drawing, caption)


def _cell(number: int, share: float | None, atoms: int, floor: float) -> Markup:
    row, column = place_in_table(number)
    gap = 10.0 if row > 6 else 0.0
    frame = Frame(6 + column * CELL, TOP + row * TALL + gap, CELL - 2, TALL - 2)
    if share is None:
        return join(
            (
                box(frame, stroke=FAINT),
                letters(frame.left + 5, frame.top + 14, SYMBOLS[number], size=10.5, fill=MUTED),
            )
        )
    colour = _shade(share, floor)
    ink = ink_on(colour)
    note = f"{SYMBOLS[number]}: {100 * share:.2f} % of {counted(atoms, 'atom')}"
    return element(
        "g",
        element("title", note),
        box(frame, fill=colour, stroke=MUTED),
        letters(frame.left + 5, frame.top + 14, SYMBOLS[number], bold=True, fill=ink),
        letters(
            frame.right - 4, frame.bottom - 6, _per_cent(share), size=10.5, anchor="end", fill=ink
        ),
    )


def _per_cent(share: float) -> str:
    """Write per cent so that only a whole is called 100."""
    if share == 1:
        return "100"
    return f"{min(100 * share, 99.9):.1f}"


def _shade(share: float, floor: float) -> str:
    # Right is pale and wrong is dark, so that what needs a look stands out.
    return blend(SEQUENTIAL, 0.95 * (1 - (share - floor) / (1 - floor)))


def _key(floor: float) -> Markup:
    left, top, steps = 6 + 3 * CELL, TOP + 12, 40
    bars = (
        element(
            "rect",
            x=left + index * KEY / steps,
            y=top,
            width=KEY / steps + 0.4,
            height=11,
            fill=_shade(floor + (1 - floor) * index / (steps - 1), floor),
        )
        for index in range(steps)
    )
    return join(
        (
            element("g", *bars, shape_rendering="crispEdges"),
            box(Frame(left, top, KEY, 11), stroke=MUTED),
            letters(left, top + 25, f"{100 * floor:.0f} %", size=10.5, fill=MUTED),
            letters(left + KEY, top + 25, "100 %", size=10.5, anchor="end", fill=MUTED),
            letters(
                left + KEY / 2, top - 5, "atoms with the right type", size=10.5, anchor="middle"
            ),
        )
    )


def _mistakes(confusion: Integers) -> list[tuple[str, ...]]:
    wrong = confusion.copy()
    np.fill_diagonal(wrong, 0)
    order = np.argsort(-wrong, axis=None, kind="stable")[:MOST_MIXED]
    rows: list[tuple[str, ...]] = []
    for true, given in zip(*np.unravel_index(order, wrong.shape), strict=True):
        count = int(wrong[true, given])
        if count:
            share = count / int(confusion[true].sum())
            rows.append((SYMBOLS[true], SYMBOLS[given], f"{count:,}", f"{100 * share:.1f} %"))
    return rows
