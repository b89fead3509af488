"""What a page says of the run itself: its training curves, and what makes it again."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from variolite.errors import counted
from variolite.records.splits import Split
from variolite.report import style
from variolite.report.figures import key, legend, legend_height, number_axis
from variolite.report.formatting import listed, plain
from variolite.report.page import (
    Block,
    Code,
    Facts,
    Figure,
    Fold,
    Heading,
    Paragraph,
    Section,
    Table,
    missing,
)
from variolite.report.style import axes_at, new_figure, to_svg

if TYPE_CHECKING:
    from variolite.training import EpochRecord
    from variolite.training.run_folder import RunFiles

Floats = NDArray[np.float64]

GUTTER, TALL, LOW = 68.0, 200.0, 66.0
MOST_COLOURED = 8
SETTLING = 0.08  # fraction of the epochs whose values may lie above the axis


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


def warm_up_end(history: Sequence[EpochRecord]) -> float | None:
    """Return the first epoch at which beta has its final value; None where it never changes."""
    beta = _series(history, "beta")
    first = int(np.argmax(np.isclose(beta, beta[-1], rtol=1e-6)))
    return float(history[first].epoch) if first > 0 else None


def _series(history: Sequence[EpochRecord], name: str) -> Floats:
    """One quantity by epoch: [epochs], or [epochs, members] where it is kept for each member."""
    return np.array([getattr(record, name) for record in history], dtype=np.float64)


def best_epochs(history: Sequence[EpochRecord], provenance: Mapping[str, object]) -> list[float]:
    """Return the epoch kept for each member: as the model file says, else the lowest monitored.

    Epochs of the warm-up do not count, as stopping is armed after it.
    """
    stated = provenance.get("best_epochs", provenance.get("best_epoch"))
    if isinstance(stated, list) and all(isinstance(value, int) for value in stated):
        return [float(value) for value in stated]
    monitored = _series(history, "val_monitored")
    epochs = _series(history, "epoch")
    end = warm_up_end(history)
    armed = np.ones(len(epochs), bool) if end is None else epochs >= end
    masked = np.where(armed[:, None] & np.isfinite(monitored), monitored, np.inf)
    return [float(epochs[i]) for i in np.argmin(masked, axis=0)]


def training_section(
    history: Sequence[EpochRecord] | None,
    provenance: Mapping[str, object],
    names: Sequence[str] = (),
    units: Units | None = None,
) -> Section:
    """Return the training curves, or say that no history was written.

    ``names`` says how the members differ, such as "seed 1".
    """
    if history is None:
        reason = "No training history: the folder holds no history.jsonl."
        return missing("training", "Training", reason)
    figure = _figure(history, provenance, names, units or Units())
    return Section("training", "Training", (figure,))


def _figure(
    history: Sequence[EpochRecord], provenance: Mapping[str, object], names: Sequence[str],
    units: Units,
) -> Figure:  # fmt: skip
    curve = partial(_series, history)
    epochs, monitored = curve("epoch"), curve("val_monitored")
    # Title and unit, then what is drawn solid (validation) and dashed (training).
    tall = (
        ("objective", units.objective, monitored, curve("train_total")),
        (
            "reconstruction",
            units.objective,
            curve("val_reconstruction"),
            curve("train_reconstruction"),
        ),
        ("KL divergence", units.divergence, curve("val_kl"), curve("train_kl")),
    )
    low = (
        ("weight of the KL term", "beta", curve("beta")[:, None], None),
        ("time per epoch", "s", curve("seconds")[:, None], None),
        ("active dimensions", "count", curve("active_units"), None),
    )
    members = monitored.shape[1]
    best, end = best_epochs(history, provenance), warm_up_end(history)
    entries = [
        (f"member {i}" + (f" ({names[i]})" if i < len(names) and names[i] else ""), colour)
        for i, colour in enumerate(_colours(members))
    ]
    if members > MOST_COLOURED:
        entries = [(f"{members} members", style.ACCENT)]
    elif members == 1 and not (names and names[0]):
        entries = []
    foot, room = 24 + TALL + 50 + LOW + 40, style.WIDTH - GUTTER
    drawing = new_figure(foot + 28 + legend_height([name for name, _ in entries], room))
    for top, height, tier in ((24.0, TALL, tall), (74 + TALL, LOW, low)):
        for column, (title, unit, solid, dashed) in enumerate(tier):
            left = column * style.WIDTH / 3 + GUTTER
            axes = axes_at(drawing, left, top, style.WIDTH / 3 - GUTTER - 10, height)
            axes.grid(axis="y")
            axes.set(title=title, ylabel=unit, xlabel="" if tier is tall else "epoch")
            _curves(axes, epochs, solid, dashed, end)
            if solid is monitored:
                _best(axes, epochs, solid, best)
    handles: list[Line2D | Patch] = [
        Line2D([], [], color=style.INK, lw=1.5),
        Line2D([], [], color=style.INK, lw=1.5, ls=style.DASHES),
        Line2D([], [], color=style.INK, marker="o", ms=9, mfc=style.PAPER, mew=2, lw=0),
        Patch(facecolor=style.SHADE, edgecolor=style.MUTED),
    ]
    strokes = ["validation", "training", "best epoch, the weights kept", "warm-up of beta"]
    shown = 3 if end is None else 4
    key(drawing, handles[:shown], strokes[:shown], GUTTER, foot, ncols=4)
    legend(drawing, entries, GUTTER, foot + 22, room)
    caption = _caption(history, members, best, end, units)
    return Figure("training", to_svg(drawing, "Training curves by epoch"), caption)


def _curves(
    axes: Axes, epochs: Floats, solid: Floats, dashed: Floats | None, end: float | None
) -> None:
    kept = [solid] if dashed is None else [solid, dashed]
    if not any(np.isfinite(curve).any() for curve in kept):
        middle = axes.transAxes
        axes.text(
            0.5, 0.5, "not written", transform=middle, ha="center", va="center", color=style.MUTED
        )
        axes.set(xticks=[], yticks=[])
        return
    span = float(epochs[-1] - epochs[0])
    # The room at the left keeps the first epoch's point off the axis.
    axes.set_xlim(epochs[0] - 0.02 * span - (span == 0), epochs[-1] + 0.02 * span + (span == 0))
    axes.set_ylim(_range(kept, from_zero=dashed is None))
    number_axis(axes, "x", locator=MaxNLocator(nbins=5, steps=[1, 2, 5, 10], integer=True))
    number_axis(axes, "y", 3 if dashed is None else 5)
    if end is not None:
        axes.axvspan(axes.get_xlim()[0], end, color=style.SHADE, linewidth=0)
    axes.set_prop_cycle(color=_colours(solid.shape[1]))
    if dashed is not None:
        axes.plot(epochs, dashed, lw=1.1, ls=style.DASHES)
    axes.plot(epochs, solid, lw=1.6)


def _best(axes: Axes, epochs: Floats, curve: Floats, best: list[float]) -> None:
    """Mark the epoch whose weights were kept, for every member."""
    for member, (epoch, colour) in enumerate(zip(best, _colours(curve.shape[1]), strict=False)):
        at = int(np.argmin(np.abs(epochs - epoch)))
        axes.plot(
            epochs[at], curve[at, member], "o", ms=9, mfc=style.PAPER, mec=colour, mew=2, zorder=4
        )


def _range(curves: list[Floats], *, from_zero: bool) -> tuple[float, float]:
    """Return limits that hold all later epochs; the drop of the first ones may start above."""
    joined = np.concatenate(curves, axis=1)
    later = joined[max(1, round(SETTLING * len(joined))) :]
    seen = later if np.isfinite(later).any() else joined
    if from_zero:
        return 0.0, float(np.nanmax(joined)) * 1.12 or 1.0
    low = float(np.nanmin(joined))
    high = max(float(np.nanmax(seen)), low)
    room = 0.06 * (high - low) or 0.05 * abs(high) or 0.5
    return low - room, high + room


def _colours(members: int) -> Sequence[str]:
    return style.CATEGORIES[:members] if 1 < members <= MOST_COLOURED else [style.ACCENT] * members


def _caption(
    history: Sequence[EpochRecord], members: int, best: list[float], end: float | None, units: Units
) -> str:
    of = f" of {members} members" if members > 1 else ""
    warm = "" if end is None else f"Beta reaches its final value at epoch {end:g}. "
    which = listed([f"{epoch:g}" for epoch in best])
    if len(best) > MOST_COLOURED:
        which = f"between {min(best):g} and {max(best):g}"
    return (
        f"Training{of} over {counted(len(history), 'epoch')}, {units.wording}. The monitored "
        "validation objective always uses the final beta; the training total uses the beta of its "
        f"epoch, so the two are comparable only after warm-up. {warm}Best "
        f"epoch{'s' if len(best) > 1 else ''}, by lowest validation objective: {which}. Values of "
        "the first epochs above an axis are left out of view."
    )


# Where a run comes from: what is needed to make it again.

LONGEST_LIST = 60
DEEPEST = 4
MOST_GROUPS = 200
_NAMES = {"seconds": "time taken", "command": "command line"}


def about_run(files: RunFiles) -> str:
    """Return one line for the head of the page: recipe, data, start."""
    name, title = files.recipe.get("name"), files.recipe.get("title")
    parts = [f"Recipe {name}" if isinstance(name, str) and name else "Recipe not named"]
    if isinstance(title, str) and title:
        parts[0] += f" ({title})"
    data = files.data
    if "name" in data:
        kept, read = data.get("rows_kept"), data.get("rows")
        both = isinstance(kept, int) and isinstance(read, int)
        parts.append(f"data {data['name']}" + (f" ({kept:,} of {read:,} used)" if both else ""))
    if files.environment and files.environment.get("started"):
        parts.append(f"trained {str(files.environment['started'])[:10]}")
    return " · ".join(parts)


def provenance_section(files: RunFiles) -> Section:
    """Return versions, seed, split, command, data and times, as far as the folder has them."""
    blocks: list[Block] = []
    stated = flattened(files.provenance)
    environment = flattened(files.environment or {})
    if environment:
        blocks += [Heading("Made with"), Facts(environment)]
    else:
        unknown = "No environment.json: versions, device and command are unknown."
        blocks.append(Paragraph(unknown, "missing"))
    further = {name: fact for name, fact in stated.items() if environment.get(name) != fact}
    if further:
        blocks += [Heading("Stated by the model file"), Facts(further)]
    elif files.model is None:
        untrained = "No model/model.json: the folder holds no trained model."
        blocks.append(Paragraph(untrained, "missing"))
    blocks += [Heading("Split"), *_split(files.split)]
    if files.recipe_text:
        recipe = Code(files.recipe_text.rstrip())
        blocks.append(Fold("The resolved recipe, recipe.yaml", (recipe,)))
    else:
        blocks.append(Paragraph("No recipe.yaml in the folder.", "missing"))
    return Section("provenance", "Provenance", blocks)


def duration(seconds: float) -> str:
    """Write a length of time in the units a person would use."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest} s"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min"


def flattened(facts: Mapping[str, object], prefix: str = "", depth: int = 0) -> dict[str, str]:
    """Return nested facts as one level of name and text, the names joined with commas."""
    flat: dict[str, str] = {}
    for word, value in facts.items():
        bare = _NAMES.get(str(word), plain(str(word)))
        name = f"{prefix}, {bare}" if prefix else bare
        if isinstance(value, Mapping) and depth < DEEPEST:
            flat.update(flattened(value, name, depth + 1))
        elif value is not None:
            flat[name] = _written(str(word), value)
    return flat


def _written(word: str, value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if word == "seconds" and isinstance(value, (int, float)):
        return duration(float(value))
    if isinstance(value, float):
        return f"{value:.6g}"
    if isinstance(value, int) and (word.startswith("rows") or word == "parameters"):
        return f"{value:,}"
    if isinstance(value, (list, tuple)):
        shown = [str(entry) for entry in value[:LONGEST_LIST]]
        more = [f"and {len(value) - LONGEST_LIST} more"] if len(value) > LONGEST_LIST else []
        separator = " " if word == "command" else "; " if any(" " in s for s in shown) else ", "
        return separator.join(shown + more) or "none"
    return str(value)


def _names(groups: Sequence[str]) -> str:
    shown, more = ", ".join(groups[:MOST_GROUPS]), len(groups) - MOST_GROUPS
    return f"{shown} and {more:,} more" if more > 0 else shown or "none"


def _split(split: Split | None) -> list[Block]:
    if split is None:
        return [Paragraph("No split.json: which groups were held out is unknown.", "missing")]
    sides = {"train": split.train, "validation": split.validation, "test": split.test}
    total = counted(sum(len(groups) for groups in sides.values()), "group")
    rows = [(name, f"{len(groups):,}", _names(groups)) for name, groups in sides.items()]
    return [
        Paragraph(f"{total}, each on one side only; drawn with seed {split.seed}."),
        Table(("side", "groups", "names"), rows),
    ]
