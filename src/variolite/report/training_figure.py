"""Training curves: the objective and its parts by epoch, for every member."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from variolite.report.axes import (
    WIDTH,
    Frame,
    axis_below,
    axis_left,
    box,
    letters,
    line,
    path_of,
    sheet,
    swatches,
)
from variolite.report.blocks import Block, Figure, Section, paragraph
from variolite.report.contents import History
from variolite.report.epochs import best_epochs, warm_up_end
from variolite.report.lettering import significant
from variolite.report.markup import Markup, element, join
from variolite.report.palette import ACCENT, CATEGORIES, INK, MUTED, SHADE
from variolite.report.scale import Scale, nice_ticks
from variolite.report.wording import counted, listed

__all__ = ["Units", "training_section"]

Floats = NDArray[np.float64]

GUTTER = 58.0
TALL, LOW = 200.0, 66.0
LOWER_TOP = TALL + 74
DASHES = "4 3"
MOST_COLOURED = 8
SETTLING = 0.08
"""Share of the epochs whose values may lie above the axis."""


@dataclass(frozen=True)
class Units:
    """What the objective with its reconstruction part and the KL divergence are measured in."""

    objective: str = "nats per row"
    divergence: str = "nats per row"

    @property
    def wording(self) -> str:
        """Both, for a caption."""
        if self.objective == self.divergence:
            return f"in {self.objective}"
        return (
            f"objective and reconstruction as {self.objective}, KL divergence in {self.divergence}"
        )


@dataclass(frozen=True)
class _Panel:
    """One panel: solid and dashed curves, [epochs, members] each, or None where not written."""

    title: str
    unit: str
    column: int
    lower: bool
    solid: Floats | None
    dashed: Floats | None = None
    marked: bool = False

    @property
    def frame(self) -> Frame:
        """Where the panel stands on the sheet."""
        column = WIDTH / 3
        top = LOWER_TOP if self.lower else 24.0
        return Frame(
            self.column * column + GUTTER, top, column - GUTTER - 10, LOW if self.lower else TALL
        )


def training_section(
    history: History | None,
    provenance: Mapping[str, object],
    names: Sequence[str] = (),
    units: Units | None = None,
) -> Section:
    """Return the training curves, or say that no history was written.

    ``names`` says what tells the members apart, such as "seed 1".
    """
    units = units or Units()
    if history is None:
        missing = paragraph(
            "No training history: the folder holds no history.jsonl.", kind="missing"
        )
        return Section("training", "Training", (missing,))
    blocks: list[Block] = [_figure(history, provenance, names, units)]
    if history.cut_short:
        blocks.append(
            paragraph(
                "The last line of history.jsonl is incomplete and was left out; training was "
                "probably interrupted there.",
                kind="remark",
            )
        )
    return Section("training", "Training", tuple(blocks))


def _figure(
    history: History, provenance: Mapping[str, object], names: Sequence[str], units: Units
) -> Figure:
    panels = _panels(history, units)
    members = max((panel.solid.shape[1] for panel in panels if panel.solid is not None), default=1)
    best = best_epochs(history, provenance)
    end = warm_up_end(history)
    key_top = LOWER_TOP + LOW + 50
    key = _key(key_top, marked=best is not None, shaded=end is not None)
    entries = [(_member_name(index, names), _colour(index, members)) for index in range(members)]
    if members == 1 and not (names and names[0]):
        entries = []
    legend, depth = swatches(
        entries if members <= MOST_COLOURED else [(f"{members} members", ACCENT)],
        GUTTER,
        key_top + 16,
        WIDTH - GUTTER,
    )
    drawing = sheet(
        key_top + 20 + depth,
        *(_draw(panel, history.epochs, best, end) for panel in panels),
        key,
        legend,
        title="Training curves by epoch",
    )
    return Figure("training", drawing, _caption(history, members, best, end, units))


def _panels(history: History, units: Units) -> list[_Panel]:
    nats = units.objective
    beta = history.beta
    seconds = [[np.nan if entry.seconds is None else entry.seconds] for entry in history.lines]
    series = history.series
    return [
        _Panel(
            "objective", nats, 0, False, series("val_monitored"), series("train_total"), marked=True
        ),
        _Panel(
            "reconstruction",
            nats,
            1,
            False,
            series("val_reconstruction"),
            series("train_reconstruction"),
        ),
        _Panel("KL divergence", units.divergence, 2, False, series("val_kl"), series("train_kl")),
        _Panel("weight of the KL term", "beta", 0, True, None if beta is None else beta[:, None]),
        _Panel("time per epoch", "s", 1, True, np.array(seconds, dtype=np.float64)),
        _Panel("active dimensions", "count", 2, True, series("active_units")),
    ]


def _draw(panel: _Panel, epochs: Floats, best: list[float] | None, end: float | None) -> Markup:
    frame = panel.frame
    head = letters(frame.left, frame.top - 9, panel.title, bold=True, room=frame.width)
    kept = [curve for curve in (panel.solid, panel.dashed) if curve is not None]
    if not any(np.isfinite(curve).any() for curve in kept):
        middle = (frame.left + frame.width / 2, frame.top + frame.height / 2)
        note = letters(*middle, "not written", anchor="middle", fill=MUTED)
        return join((head, box(frame), note))
    span = float(epochs[-1] - epochs[0])
    # The room at the left keeps the first epoch's point off the axis.
    across = Scale(
        epochs[0] - 0.02 * span - (span == 0),
        epochs[-1] + 0.02 * span + (span == 0),
        frame.left,
        frame.right,
    )
    low, high = _range(kept, from_zero=panel.lower)
    down = Scale(low, high, frame.bottom, frame.top)
    shade = Markup("")
    if end is not None:
        edge = across.at(end)
        shade = box(
            Frame(frame.left, frame.top, edge - frame.left, frame.height), fill=SHADE, stroke=None
        )
    curves = [
        _curve(curve[:, member], epochs, across, down, _colour(member, curve.shape[1]), dashed)
        for curve, dashed in ((panel.dashed, True), (panel.solid, False))
        if curve is not None
        for member in range(curve.shape[1])
    ]
    return join(
        (
            shade,
            axis_left(down, frame, panel.unit, target=3 if panel.lower else 5),
            axis_below(
                across, frame, "epoch" if panel.lower else "", grid=False, at=_epoch_ticks(epochs)
            ),
            box(frame),
            *curves,
            *(_marks(panel, epochs, across, down, best) if panel.marked and best else ()),
            head,
        )
    )


def _epoch_ticks(epochs: Floats) -> list[float]:
    ticks = nice_ticks(float(epochs[0]), float(epochs[-1]), 4)
    return [tick for tick in ticks if tick == round(tick)]


def _curve(
    values: Floats, epochs: Floats, across: Scale, down: Scale, colour: str, dashed: bool
) -> Markup:
    visible = np.where((values >= down.low) & (values <= down.high), values, np.nan)
    return element(
        "path",
        d=path_of(across(epochs), down(visible)),
        fill="none",
        stroke=colour,
        stroke_width=1.1 if dashed else 1.6,
        stroke_dasharray=DASHES if dashed else None,
        stroke_linejoin="round",
        stroke_linecap="butt" if dashed else "round",
    )


def _marks(
    panel: _Panel, epochs: Floats, across: Scale, down: Scale, best: list[float]
) -> list[Markup]:
    marks: list[Markup] = []
    if panel.solid is None:
        return marks
    for member, epoch in enumerate(best[: panel.solid.shape[1]]):
        at = int(np.argmin(np.abs(epochs - epoch)))
        value = float(panel.solid[at, member])
        if down.low <= value <= down.high:
            note = f"member {member}: best epoch {epoch:g}, {significant(value, 4)} {panel.unit}"
            marks.append(
                element(
                    "circle",
                    element("title", note),
                    cx=across.at(float(epochs[at])),
                    cy=down.at(value),
                    r=4.5,
                    fill="#ffffff",
                    stroke=_colour(member, panel.solid.shape[1]),
                    stroke_width=2,
                )
            )
    return marks


def _range(curves: list[Floats], *, from_zero: bool) -> tuple[float, float]:
    """Return limits that hold all later epochs; the drop of the first ones may start above."""
    joined = np.concatenate(curves, axis=1)
    later = joined[max(1, round(SETTLING * len(joined))) :]
    seen = later if np.isfinite(later).any() else joined
    low, high = float(np.nanmin(joined)), float(np.nanmax(seen))
    high = max(high, low)
    room = 0.06 * (high - low) or 0.05 * abs(high) or 0.5
    if from_zero:
        return 0.0, float(np.nanmax(joined)) * 1.12 or 1.0
    return low - room, high + room


def _key(top: float, *, marked: bool, shaded: bool) -> Markup:
    """Explain the strokes: solid, dashed, circle and shade."""
    parts: list[Markup] = []
    x = GUTTER
    for dashes, text in ((None, "validation"), (DASHES, "training")):
        parts.append(line(x, top, x + 26, top, stroke=INK, width=1.5, dashes=dashes))
        parts.append(letters(x + 32, top + 4, text))
        x += 110
    if marked:
        parts.append(
            element("circle", cx=x + 8, cy=top, r=4.5, fill="#fff", stroke=INK, stroke_width=2)
        )
        parts.append(letters(x + 20, top + 4, "best epoch, the weights kept"))
        x += 200
    if shaded:
        parts.append(box(Frame(x, top - 6, 22, 12), fill=SHADE, stroke=MUTED))
        parts.append(letters(x + 28, top + 4, "warm-up of beta"))
    return join(parts)


def _member_name(index: int, names: Sequence[str]) -> str:
    named = f" ({names[index]})" if index < len(names) and names[index] else ""
    return f"member {index}{named}"


def _colour(member: int, members: int) -> str:
    return CATEGORIES[member] if 1 < members <= MOST_COLOURED else ACCENT


def _caption(
    history: History, members: int, best: list[float] | None, end: float | None, units: Units
) -> str:
    sentences = [
        f"Training{f' of {members} members' if members > 1 else ''} over "
        f"{counted(len(history.lines), 'epoch')}, "
        f"{units.wording}. The monitored validation objective always uses the final beta; the "
        "training total uses the beta of its epoch, so the two are comparable only after "
        "warm-up."
    ]
    if end is not None:
        sentences.append(f"Beta reaches its final value at epoch {end:g}.")
    if best:
        which = (
            listed([f"{epoch:g}" for epoch in best])
            if len(best) <= MOST_COLOURED
            else f"between {min(best):g} and {max(best):g}"
        )
        plural = "s" if len(best) > 1 else ""
        sentences.append(f"Best epoch{plural}, by lowest validation objective: {which}.")
    sentences.append("Values of the first epochs above an axis are left out of view.")
    return " ".join(sentences)
