"""How far reconstructions are off: by crystal, by number of atoms and by chemical family."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from variolite.crystals.elements import FAMILIES
from variolite.report.axes import SIZE, WIDTH, Frame, sheet
from variolite.report.blocks import Block, Figure, Section, paragraph
from variolite.report.crystals.run import CrystalRun
from variolite.report.crystals.spread import Measure, histogram, quantile_rows
from variolite.report.lettering import text_width
from variolite.report.markup import Markup
from variolite.report.palette import ACCENT
from variolite.report.whiskers import Whisker, labels_left, whisker_panel
from variolite.report.wording import counted, listed

__all__ = ["errors_section", "wilson_interval"]

Floats = NDArray[np.float64]
Group = tuple[str, NDArray[np.bool_]]

MOST_SIZES = 9
ROW = 23.0
_MEASURES = {
    "periodic_error": ("periodic error", "Å"),
    "length_error_percent": ("error of cell lengths", "%"),
    "angle_error_deg": ("error of cell angles", "°"),
    "volume_error_percent": ("error of cell volume", "%"),
}
_MEANING = (
    "Periodic error: distance between the places of an atom in the cell of the original, to the "
    "nearest periodic image and after the translation of all atoms that makes it least; a crystal "
    "of one atom has none."
)


def errors_section(run: CrystalRun) -> Section:
    """Return histograms and errors by group, or say what is missing for them."""
    anchor, title = "errors", "Errors"
    measures = _measures(run)
    if not measures or not run.count:
        reason = (
            "No errors by crystal yet: run `variolite score` to write held_out.parquet."
            if run.held_out is None
            else "No errors by crystal: held_out.parquet has none of the columns "
            f"{listed(list(_MEASURES))}."
        )
        return Section(anchor, title, (paragraph(reason, kind="missing"),))
    blocks: list[Block] = [_histograms(run, measures)]
    for name, groups in (("number of atoms", _sizes(run)), ("chemical family", _families(run))):
        if len(groups) > 1:
            blocks.append(_by_group(run, measures, groups, name))
    return Section(anchor, title, tuple(blocks))


def wilson_interval(hits: int, tries: int) -> tuple[float, float]:
    """Return the 95 % interval of a share by Wilson's score method (Wilson 1927).

    NaN where there was no try.
    """
    if tries == 0:
        return math.nan, math.nan
    z = 1.959964
    share = hits / tries
    centre = (share + z**2 / (2 * tries)) / (1 + z**2 / tries)
    half = z * math.sqrt(share * (1 - share) / tries + (z / (2 * tries)) ** 2) / (1 + z**2 / tries)
    return max(centre - half, 0.0), min(centre + half, 1.0)


def _measures(run: CrystalRun) -> dict[str, Measure]:
    found: dict[str, Measure] = {}
    for name, (title, unit) in _MEASURES.items():
        values = run.column(name)
        if values is not None and np.isfinite(values).any():
            found[name] = Measure(title, unit, np.abs(values))
    return found


def _histograms(run: CrystalRun, measures: dict[str, Measure]) -> Figure:
    width, height = (WIDTH - 2 * 62) / 2, 150.0
    shown = [(measure, "crystals") for measure in measures.values()]
    atoms_told = ""
    errors = run.pairs.errors if run.pairs is not None else None
    if run.pairs is not None and errors is not None and "periodic_error" in measures:
        shown[0] = (Measure("periodic error of every atom", "Å", errors.distances), "atoms")
        whose = "their" if run.pairs.extent == run.extent else "the"
        of = "" if whose == "their" else f" of {run.pairs.extent}"
        atoms_told = f"; the first panel counts {whose} {len(errors.distances):,} atoms{of}"
    drawn = [
        histogram(
            measure,
            Frame(
                54 + (index % 2) * (width + 66), 38 + (index // 2) * (height + 82), width, height
            ),
            noun,
        )
        for index, (measure, noun) in enumerate(shown)
    ]
    tiers = -(-len(shown) // 2)
    without = [
        f"{measure.title} ({len(measure.values) - len(measure.known):,})"
        for measure, _ in shown
        if len(measure.known) < len(measure.values)
    ]
    left_out = f" Left out, as they have no value: {listed(without)}." if without else ""
    caption = (
        f"Errors of the reconstruction of {run.extent}{atoms_told}. Solid line: median; dashed: "
        f"95 % lie below. {_MEANING} Errors of lengths and angles are means over the three of a "
        "crystal. Where an axis is logarithmic, smaller values, zeros among them, count in the "
        f"first bar; in every panel larger ones count in the last.{left_out}"
    )
    return Figure(
        "errors",
        sheet(tiers * (height + 82) - 8, *drawn, title="Errors of the reconstruction"),
        caption,
    )


def _sizes(run: CrystalRun) -> list[Group]:
    """Group crystals by number of atoms; neighbouring numbers share a group where they are many."""
    atoms = run.atoms
    if atoms is None:
        return []
    numbers, counts = np.unique(atoms, return_counts=True)
    if len(numbers) <= MOST_SIZES:
        bounds = [(n, n) for n in numbers.tolist()]
    else:
        place = np.minimum(
            (np.cumsum(counts) - counts) * MOST_SIZES // counts.sum(), MOST_SIZES - 1
        )
        bounds = [
            (int(numbers[place == group].min()), int(numbers[place == group].max()))
            for group in np.unique(place).tolist()
        ]
    return [
        (
            counted(low, "atom") if low == high else f"{low} to {high} atoms",
            (atoms >= low) & (atoms <= high),
        )
        for low, high in bounds
    ]


def _families(run: CrystalRun) -> list[Group]:
    families = run.families
    if families is None:
        return []
    present = [name for name in FAMILIES if (families == name).any()]
    present.sort(key=lambda name: -int((families == name).sum()))
    return [(name, families == name) for name in present]


def _by_group(
    run: CrystalRun, measures: dict[str, Measure], groups: Sequence[Group], name: str
) -> Figure:
    labels = [f"{label} ({int(rows.sum()):,})" for label, rows in groups]
    room = min(max(text_width(label, SIZE) for label in labels) + 4, 240)
    chosen = [
        measures[key] for key in ("periodic_error", "volume_error_percent") if key in measures
    ] or list(measures.values())[:2]
    matched = run.column("matched_strict")
    panels = len(chosen) + (matched is not None)
    gap = 26.0
    width = (WIDTH - room - 24 - gap * (panels - 1)) / panels
    frames = [
        Frame(room + 14 + index * (width + gap), 26, width, ROW * len(groups))
        for index in range(panels)
    ]
    masks = [rows for _, rows in groups]
    drawn: list[Markup] = [labels_left([(label, False) for label in labels], frames[0], room)]
    drawn += [
        quantile_rows(measure, masks, frame, measure.title)
        for measure, frame in zip(chosen, frames, strict=False)
    ]
    intervals = ""
    if matched is not None:
        drawn.append(
            whisker_panel(
                [_share(matched[rows]) for rows in masks],
                frames[-1],
                "strict match",
                "share matched (%)",
            )
        )
        intervals = (
            " Right: share of crystals matched at the strict tolerance, whiskers 95 % intervals "
            "by Wilson's method over crystals."
        )
    caption = (
        f"Errors of the reconstruction of {run.extent} by {name}, with the number of crystals in "
        "brackets. Dot: median; bar: middle half; line: 5 to 95 % of the crystals, cut off at "
        f"the ends of the axis; dashed: median of all. The periodic error of a crystal is the "
        f"median over its atoms.{intervals}"
    )
    anchor = f"errors-by-{name.split()[-1]}"
    drawing = sheet(frames[0].bottom + 40, *drawn, title=f"Errors by {name}")
    return Figure(anchor, drawing, caption)


def _share(matched: Floats) -> Whisker | None:
    known = matched[np.isfinite(matched)]
    if not known.size:
        return None
    hits, tries = int((known > 0).sum()), int(known.size)
    low, high = wilson_interval(hits, tries)
    return Whisker(
        mean=100 * hits / tries,
        low=100 * low,
        high=100 * high,
        colour=ACCENT,
        note=f"{hits:,} of {tries:,} crystals",
    )
