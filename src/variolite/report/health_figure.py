"""Latent health: how much each dimension carries, and what it carries."""

from __future__ import annotations

import math

from variolite.report.axes import (
    SIZE,
    WIDTH,
    Frame,
    axis_left,
    box,
    letters,
    line,
    sheet,
)
from variolite.report.blocks import Block, Figure, Section, paragraph, table
from variolite.report.contents import Dimension, Finding, Health
from variolite.report.lettering import MINUS, plain, significant, text_width
from variolite.report.markup import Markup, element, join
from variolite.report.palette import ACCENT, DIVERGING, INK, MUTED, OTHER, blend, ink_on
from variolite.report.scale import Scale
from variolite.report.wording import counted
from variolite.scoring.health import ACTIVE_NATS

__all__ = ["health_section"]

BARS = 150.0
ROW = 22.0
WIDEST = 58.0
RIGHT = 130.0
IDLE_OPACITY = 0.25
_SYMBOLS = {"ok": "✓", "note": "i", "warning": "!"}
_SPOKEN = {"ok": "fine", "note": "note", "warning": "warning"}


def health_section(health: Health | None) -> Section:
    """Return the latent dimensions with findings and advice, or say what is missing."""
    title = "Latent health"
    if health is None:
        missing = paragraph(
            "Not examined yet: run ",
            element("code", "variolite score"),
            " or ",
            element("code", "variolite doctor"),
            " to look into the latent space.",
            kind="missing",
        )
        return Section("health", title, (missing,))
    blocks: list[Block] = [
        paragraph(
            f"{health.active_units} of {health.latent} latent dimensions are active; together "
            f"they carry {significant(health.total_kl)} nats per row."
        ),
        *(_finding(finding) for finding in health.findings),
    ]
    if health.dimensions:
        blocks.append(_figure(health))
    if health.noise:
        blocks.append(_noise(health))
    return Section("health", title, tuple(blocks))


def _finding(finding: Finding) -> Markup:
    advice = (
        element("span", f" {_sentence(finding.advice)}", class_="advice") if finding.advice else ""
    )
    return element(
        "p",
        element(
            "span",
            _SYMBOLS[finding.level],
            class_="symbol",
            role="img",
            aria_label=_SPOKEN[finding.level],
        ),
        element("span", _sentence(finding.text), advice),
        class_=f"finding {finding.level}",
    )


def _sentence(text: str) -> str:
    return text if text.endswith((".", "!", "?")) else f"{text}."


def _figure(health: Health) -> Figure:
    dimensions = sorted(
        health.dimensions, key=lambda entry: -entry.kl if math.isfinite(entry.kl) else math.inf
    )
    inputs = list(dict.fromkeys(name for entry in dimensions for name in entry.correlation))
    left = max((text_width(plain(name), SIZE) for name in inputs), default=0.0)
    left = max(min(left + 16, 200), 64)
    cell = min((WIDTH - left - RIGHT) / len(dimensions), WIDEST)
    frame = Frame(left, 24, cell * len(dimensions), BARS)
    parts = [_bars(dimensions, frame, cell)]
    top = frame.bottom + 44
    if inputs:
        parts.append(letters(left, top - 10, "correlation of its mean with each input", bold=True))
        parts += [
            _row(name, dimensions, left, top + index * ROW, cell)
            for index, name in enumerate(inputs)
        ]
        parts.append(_ramp(frame.right + 30, top))
    caption = (
        f"KL divergence of each of {counted(health.latent, 'latent dimension')} from the prior, "
        f"mean over held-out rows, most informative first; blue: active, that is above "
        f"{ACTIVE_NATS} nats."
    )
    if inputs:
        caption += (
            " Below: Spearman rank correlation of the posterior mean with each input, pale where "
            "the dimension is not active and the correlation is one of noise."
        )
    height = top + ROW * len(inputs) + 8 if inputs else frame.bottom + 36
    if inputs:
        height = max(height, top + 110)
    return Figure(
        "latent-health", sheet(height, *parts, title="KL divergence by latent dimension"), caption
    )


def _bars(dimensions: list[Dimension], frame: Frame, cell: float) -> Markup:
    values = [entry.kl for entry in dimensions if math.isfinite(entry.kl)]
    down = Scale(0.0, max([*values, 10 * ACTIVE_NATS]) * 1.1, frame.bottom, frame.top)
    threshold = down.at(ACTIVE_NATS)
    parts: list[Markup] = [axis_left(down, frame, "KL (nats)", target=4, gutter=44)]
    for index, entry in enumerate(dimensions):
        x = frame.left + index * cell
        name = f"z{entry.index}"
        if math.isfinite(entry.kl):
            top = down.at(max(entry.kl, 0.0))
            spread = (
                f", standard deviation of its mean {significant(entry.mean_sd)}"
                if entry.mean_sd is not None
                else ""
            )
            parts.append(
                element(
                    "rect",
                    element("title", f"{name}: {significant(entry.kl)} nats{spread}"),
                    x=x + cell * 0.14,
                    y=top,
                    width=cell * 0.72,
                    height=max(frame.bottom - top, 0.8),
                    fill=ACCENT if entry.active else OTHER,
                )
            )
            written = significant(entry.kl, 2)
            if text_width(written, 10) < cell - 2:
                parts.append(
                    letters(x + cell / 2, top - 4, written, anchor="middle", size=10, fill=MUTED)
                )
        parts.append(
            letters(x + cell / 2, frame.bottom + 15, name, anchor="middle", size=11, room=cell)
        )
    parts.append(line(frame.left, threshold, frame.right, threshold, stroke=INK, dashes="4 3"))
    parts.append(
        letters(
            frame.right + 6, threshold + 3, f"active above {ACTIVE_NATS}", size=10.5, fill=MUTED
        )
    )
    parts.append(line(frame.left, frame.bottom, frame.right, frame.bottom))
    return join(parts)


def _row(name: str, dimensions: list[Dimension], left: float, top: float, cell: float) -> Markup:
    parts = [letters(left - 8, top + 15, plain(name), anchor="end", room=left - 10)]
    for index, entry in enumerate(dimensions):
        value = entry.correlation.get(name, math.nan)
        if not math.isfinite(value):
            continue
        colour = blend(DIVERGING, (value + 1) / 2)
        written = _correlation(value, cell)
        parts.append(
            element(
                "g",
                element("title", f"z{entry.index} and {plain(name)}: r = {value:.3f}"),
                element(
                    "rect",
                    x=left + index * cell,
                    y=top,
                    width=cell,
                    height=ROW,
                    fill=colour,
                    fill_opacity=1 if entry.active else IDLE_OPACITY,
                    stroke="#ffffff",
                ),
                letters(
                    left + (index + 0.5) * cell,
                    top + 15,
                    written,
                    anchor="middle",
                    size=10.5,
                    fill=ink_on(colour) if entry.active else MUTED,
                ),
            )
        )
    return join(parts)


def _correlation(value: float, room: float) -> str:
    """Write a correlation without its leading zero, to one decimal where cells are narrow."""
    places = 2 if room >= text_width(f"{MINUS}.88", 10.5) + 2 else 1
    size = f"{abs(value):.{places}f}"
    bare = size.removeprefix("0").rstrip("0") if float(size) in (0, 1) else size.removeprefix("0")
    return (MINUS if value < 0 and float(size) else "") + (bare.rstrip(".") or "0")


def _ramp(left: float, top: float) -> Markup:
    """Draw the key of correlations from -1 to 1, upright beside the map."""
    steps = 40
    height = 96.0
    bars = (
        element(
            "rect",
            x=left,
            y=top + height - (index + 1) * height / steps,
            width=11,
            height=height / steps + 0.4,
            fill=blend(DIVERGING, index / (steps - 1)),
        )
        for index in range(steps)
    )
    marks = (
        letters(left + 16, top + height * (1 - (value + 1) / 2) + 4, text, size=10.5, fill=MUTED)
        for value, text in ((0.93, "r = 1"), (0.0, "0"), (-1.0, f"{MINUS}1"))
    )
    return join(
        (
            element("g", *bars, shape_rendering="crispEdges"),
            box(Frame(left, top, 11, height), stroke=MUTED),
            *marks,
        )
    )


def _noise(health: Health) -> Markup:
    head = ("input", "noise σ", "variance σ²")
    meaning = paragraph(
        "Standard deviation σ of the noise around the reconstruction, in transformed units. "
        "Where an input is standardised, σ² is the share of its variance left unexplained."
    )
    rows = [
        (plain(name), significant(sigma), significant(sigma**2))
        for name, sigma in health.noise.items()
    ]
    return element(
        "div",
        element("h4", "Noise the decoder learned"),
        meaning,
        table(head, rows, numbers_from=1),
    )
