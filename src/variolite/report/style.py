"""How every figure looks: colours, type, axes placed in pixels, and the way to SVG.

A figure is a plain :class:`matplotlib.figure.Figure` of :func:`new_figure`, without pyplot and
its global state. One unit of its drawing is one CSS pixel, so that sizes of type here are
those on the page. Everything is drawn inside :func:`figure_style`.

Categories start with the eight colours of Okabe and Ito, *Color Universal Design* (2008). The
ten after them were chosen so that any two of the eighteen differ by at least as much as the two
closest of the first eight, in Oklab, under full protanopia and deuteranopia (matrices of
Machado et al. 2009, doi:10.1109/TVCG.2009.113).
"""

from __future__ import annotations

import hashlib
import io
import json
import logging
import re
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cache, lru_cache
from typing import Any, Literal
from xml.etree import ElementTree

from markupsafe import Markup

# A home that cannot be written is no reason to speak to the user: matplotlib then keeps its
# font list in a temporary folder of its own, and says so as a warning of its log.
logging.getLogger("matplotlib").setLevel(logging.ERROR)

from matplotlib import rc_context  # noqa: E402
from matplotlib.artist import Artist  # noqa: E402
from matplotlib.axes import Axes  # noqa: E402
from matplotlib.backends.backend_agg import RendererAgg  # noqa: E402
from matplotlib.backends.backend_svg import FigureCanvasSVG  # noqa: E402
from matplotlib.colors import LinearSegmentedColormap, to_hex  # noqa: E402
from matplotlib.figure import Figure  # noqa: E402
from matplotlib.font_manager import FontProperties  # noqa: E402
from matplotlib.text import Text  # noqa: E402

INK = "#1a1a1a"
MUTED = "#5c6066"
FAINT = "#dfe1e4"
SHADE = "#ececec"
PAPER = "#ffffff"
ACCENT = "#0072B2"
SECOND = "#D55E00"
OTHER = "#b9bcc0"
"""Rows of no category, and categories beyond the palette."""

OKABE_ITO = (
    "#0072B2", "#E69F00", "#009E73", "#D55E00", "#56B4E9", "#CC79A7", "#F0E442", "#000000",
)  # fmt: skip
CATEGORIES = (
    *OKABE_ITO, "#78000F", "#003C78", "#A5B487", "#A53C1E", "#5A87E1", "#3C6969", "#D2D287",
    "#2D4BA5", "#004B4B", "#69E1FF",
)  # fmt: skip
# Light to dark, so that nothing much stays near the white of the paper; the path is cividis'.
SEQUENTIAL = LinearSegmentedColormap.from_list(
    "sequential",
    ("#fffbe6", "#ecd98a", "#c3b369", "#8f8a78", "#5f6a76", "#2f4a74", "#00224e"),
)
DIVERGING = LinearSegmentedColormap.from_list(
    "diverging", ("#084a91", "#5b9bd0", "#c6dcee", "#f7f7f7", "#fbd9b0", "#ee9a45", "#a94a00")
)

WIDTH = 900.0
"""Width of a full-width figure in pixels."""
SIZE = 11.5
"""Size of letters in figures."""
SMALL = 10.5
ELLIPSIS = "…"

# Text is measured with the font that matplotlib brings along, so that a page is the same on every
# machine. Helvetica, Arial and Liberation Sans, in which it is shown, are narrower.
_MEASURED_IN = "DejaVu Sans"
SHOWN_IN = "Helvetica Neue, Helvetica, Arial, Liberation Sans, DejaVu Sans, sans-serif"
_NARROWER, _NARROWER_BOLD = 0.89, 0.96
_STYLE: dict[Any, Any] = {
    "axes.axisbelow": True,
    "axes.edgecolor": FAINT,
    "axes.grid": False,
    "axes.labelcolor": INK,
    "axes.labelsize": SIZE,
    "axes.linewidth": 1.0,
    "axes.titlelocation": "left",
    "axes.titlesize": SIZE,
    "axes.titleweight": "bold",
    "axes.unicode_minus": True,
    "figure.dpi": 72.0,
    "font.family": [_MEASURED_IN],
    "font.size": SIZE,
    "grid.color": FAINT,
    "grid.linewidth": 1.0,
    "legend.fontsize": SIZE,
    "legend.frameon": False,
    "path.simplify": False,
    "savefig.dpi": 144.0,
    "svg.fonttype": "none",
    "svg.hashsalt": "variolite",
    "text.color": INK,
    "text.parse_math": False,
    "text.usetex": False,
    "xtick.color": INK,
    "xtick.labelsize": 11.0,
    "xtick.major.size": 4.0,
    "xtick.major.width": 1.0,
    "ytick.color": INK,
    "ytick.labelsize": 11.0,
    "ytick.major.size": 4.0,
    "ytick.major.width": 1.0,
}
_NOT_IN_XML = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff\ufffe\uffff]")
_WIDE = re.compile("[\u2e80-\U0010ffff]")


@contextmanager
def figure_style() -> Iterator[None]:
    """Draw figures the way of the report, whatever the user's matplotlibrc says."""
    # Lone glyphs that the font for measuring lacks are drawn by the browser all the same.
    with rc_context(_STYLE), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing from font", UserWarning)
        warnings.filterwarnings("ignore", "Matplotlib currently does not support", UserWarning)
        yield


def new_figure(height: float, width: float = WIDTH) -> Figure:
    """Return an empty figure of a size in pixels."""
    figure = Figure(figsize=(width / 72, height / 72), dpi=72)
    FigureCanvasSVG(figure)
    figure.patch.set_visible(False)
    return figure


def axes_at(
    figure: Figure,
    left: float,
    top: float,
    width: float,
    height: float,
    *,
    title: str = "",
    x_label: str = "",
    y_label: str = "",
    grid: Literal["x", "y", "both"] | None = None,
) -> Axes:
    """Return axes in a rectangle of the figure, in pixels from its upper left corner.

    The axis lines at the left and below are dark, the others pale; ``grid`` says of which
    axis there are lines. Titles and labels are shortened to the room there is.
    """
    whole_width, whole_height = figure.get_size_inches() * 72
    axes = figure.add_axes(
        (
            left / whole_width,
            1 - (top + height) / whole_height,
            width / whole_width,
            height / whole_height,
        )
    )
    axes.patch.set_visible(False)
    axes.spines[["left", "bottom"]].set_edgecolor(INK)
    if title:
        write(figure, left, top - 9, title, bold=True, room=width)
    if x_label:
        axes.set_xlabel(shorten(x_label, width + 60))
    if y_label:
        axes.set_ylabel(shorten(y_label, height + 24), rotation_mode="anchor")
    if grid:
        axes.grid(axis=grid)
    return axes


def write(
    figure: Figure,
    x: float,
    y: float,
    text: str,
    *,
    size: float = SIZE,
    anchor: str = "left",
    colour: str = INK,
    bold: bool = False,
    room: float | None = None,
) -> Text:
    """Write one line at pixels from the upper left corner, ``y`` being its base line.

    ``anchor`` is "left", "center" or "right". A text wider than ``room`` is shortened and keeps
    its whole wording as a tooltip.
    """
    width, height = figure.get_size_inches() * 72
    whole = clean(text)
    shown = whole if room is None else shorten(whole, room, size, bold=bold)
    written = figure.text(
        x / width,
        1 - y / height,
        shown,
        fontsize=size,
        color=colour,
        fontweight="bold" if bold else "normal",
        horizontalalignment=anchor,
        verticalalignment="baseline",
    )
    if shown != whole:
        tooltip(written, whole)
    return written


def clean(text: str) -> str:
    """Return text on one line, without characters that XML forbids."""
    return " ".join(_NOT_IN_XML.sub("\ufffd", text).split())


@lru_cache(maxsize=20_000)
def text_width(text: str, size: float = SIZE, *, bold: bool = False) -> float:
    """Return the width of one line in pixels."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        measured = _ruler().get_text_width_height_descent(
            _WIDE.sub("W", clean(text)), FontProperties(family=_MEASURED_IN, size=size), False
        )[0]
    return float(measured) * (_NARROWER_BOLD if bold else _NARROWER)


def shorten(text: str, width: float, size: float = SIZE, *, bold: bool = False) -> str:
    """Return ``text``, or its longest beginning with an ellipsis that fits ``width`` pixels."""
    if text_width(text, size, bold=bold) <= width:
        return text
    low, high = 0, len(text)
    while low < high:
        middle = (low + high + 1) // 2
        if text_width(text[:middle] + ELLIPSIS, size, bold=bold) <= width:
            low = middle
        else:
            high = middle - 1
    return text[:low].rstrip() + ELLIPSIS


def wrap(
    text: str, width: float, size: float = SIZE, *, lines: int = 2, bold: bool = False
) -> list[str]:
    """Break ``text`` at spaces into at most ``lines`` lines, the last one shortened."""
    words = text.split()
    rows: list[str] = []
    while words and len(rows) < lines - 1:
        taken = 1
        while taken < len(words) and (
            text_width(" ".join(words[: taken + 1]), size, bold=bold) <= width
        ):
            taken += 1
        rows.append(shorten(" ".join(words[:taken]), width, size, bold=bold))
        words = words[taken:]
    return [*rows, shorten(" ".join(words), width, size, bold=bold)] if words else rows


def blend(ramp: LinearSegmentedColormap | Sequence[str], share: float) -> str:
    """Return the colour at ``share`` (0 to 1, clipped) of a colour map or a row of colours."""
    if not isinstance(ramp, LinearSegmentedColormap):
        ramp = LinearSegmentedColormap.from_list("mixed", list(ramp))
    return str(to_hex(ramp(float(min(max(share, 0.0), 1.0)))))


def ink_on(background: str) -> str:
    """Return black or white, whichever has the higher contrast on ``background`` (WCAG 2)."""
    linear = (
        share / 12.92 if share <= 0.04045 else ((share + 0.055) / 1.055) ** 2.4
        for share in (int(background[i : i + 2], 16) / 255 for i in (1, 3, 5))
    )
    luminance = sum(w * c for w, c in zip((0.2126, 0.7152, 0.0722), linear, strict=True))
    return INK if luminance > 0.2 else PAPER


def tooltip(artist: Artist, *texts: str) -> None:
    """Show a text when the pointer rests on an artist, or one text on each part of a collection."""
    # The id of the group is the only thing that matplotlib hands on to the drawing.
    artist.set_gid("title:" + json.dumps(texts))


def halo(text: Text) -> None:
    """Give letters a white edge, so that they can be read on dots."""
    text.set_gid("halo")


def to_svg(figure: Figure, title: str) -> Markup:
    """Return a figure as one ``svg`` element that also stands alone as a file, .

    The same figure gives the same bytes. Text stays text; ids are unique within a page; every
    colour and stroke is an attribute, so that no style sheet is needed; dense clouds of points
    may be ``rasterized`` artists. ``title`` is read out to those who cannot see.
    """
    with figure_style():
        for text in _texts(figure):
            text.set_text(clean(text.get_text()))
            text.set_parse_math(False)
        written = io.StringIO()
        figure.savefig(written, format="svg", metadata={"Date": None})
    return _tidy(_NOT_IN_XML.sub("\ufffd", written.getvalue()), clean(title))


def _texts(figure: Figure) -> Iterator[Text]:
    yield from figure.texts
    for axes in figure.axes:
        yield from (*axes.texts, axes.title, axes.xaxis.label, axes.yaxis.label)


@cache
def _ruler() -> Any:
    return RendererAgg(1, 1, 72)  # type: ignore[no-untyped-call]


_SVG = "{http://www.w3.org/2000/svg}"
_LINK = "{http://www.w3.org/1999/xlink}href"
_TENTHS, _HUNDREDTHS = re.compile(r"(\.\d)\d+"), re.compile(r"(\.\d\d)\d+")
_SPACED = re.compile(r"\s*([A-Za-z])\s*")
_REFERENCE = re.compile(r"#([^)\"]+)")
_DOT = re.compile(r"M(\S+ [^MLz\s]+)L\1(?=M|$)")
_FONT = re.compile(r"(?:(bold|[1-9]00) )?([\d.]+)px")
ElementTree.register_namespace("", "http://www.w3.org/2000/svg")
ElementTree.register_namespace("xlink", "http://www.w3.org/1999/xlink")


def _tidy(drawing: str, title: str) -> Markup:
    """Rewrite matplotlib's SVG: half the size, no style sheet, tooltips, short ids."""
    root = ElementTree.fromstring(drawing)
    _, _, width, height = root.attrib["viewBox"].split()
    root.attrib = {
        "width": width,
        "height": height,
        "viewBox": root.attrib["viewBox"],
        "font-family": SHOWN_IN,
        "font-size": str(SIZE),
        "stroke-linejoin": "round",
        "stroke-linecap": "butt",
        "role": "img",
        "aria-label": title,
    }
    used = {
        name
        for part in root.iter()
        for key in (_LINK, "clip-path")
        for name in _REFERENCE.findall(part.attrib.get(key, ""))
    }
    numbers = {name: f"\ue000{number}" for number, name in enumerate(sorted(used))}
    _tidy_children(root, numbers)
    heading = ElementTree.Element(f"{_SVG}title")
    heading.text = title
    root.insert(0, heading)
    text = ElementTree.tostring(root, encoding="unicode")
    mark = "f" + hashlib.sha256(text.encode()).hexdigest()[:8] + "-"
    return Markup(text.replace("\ue000", mark))


def _tidy_children(parent: ElementTree.Element, numbers: dict[str, str]) -> None:
    """Tidy all elements below ``parent``, drop what says nothing and open bare groups."""
    kept: list[ElementTree.Element] = []
    for child in parent:
        name = child.tag.removeprefix(_SVG)
        if name in ("metadata", "style"):
            continue
        child.tail = None
        own = child.attrib.pop("id", "")
        if own in numbers:
            child.set("id", numbers[own])
        _tidy_attributes(child, numbers)
        _tidy_children(child, numbers)
        if own == "halo":
            for part in child:
                part.attrib |= {"stroke": PAPER, "stroke-width": "3", "paint-order": "stroke"}
        elif own.startswith("title:"):
            _add_titles(child, json.loads(own.removeprefix("title:")))
        if name in ("g", "defs") and not len(child):
            continue
        if name == "g":
            child.text = None
            if not child.attrib and child.find(f"{_SVG}title") is None:
                kept.extend(child)
                continue
        elif name == "defs":
            child.text = None
        kept.append(child)
    parent[:] = kept


def _tidy_attributes(part: ElementTree.Element, numbers: dict[str, str]) -> None:
    """Turn style into attributes, cut numbers, renumber references."""
    attributes: dict[str, str] = {}
    for key, value in part.attrib.items():
        if key == "style":
            for entry in value.split(";"):
                name, _, setting = (piece.strip() for piece in entry.partition(":"))
                if name == "font":
                    found = _FONT.search(setting)
                    assert found is not None
                    attributes["font-size"] = found[2]
                    if found[1]:
                        attributes["font-weight"] = found[1]
                elif name == "font-size":
                    attributes[name] = setting.removesuffix("px")
                elif name and name != "font-family":
                    attributes[name] = setting
        elif key == "transform" and value.startswith("rotate(-0 "):
            continue
        elif key == "d":
            attributes[key] = _path(value)
        elif key == _LINK and not value.startswith("#"):
            attributes[key] = value
        else:
            attributes[key] = _REFERENCE.sub(
                lambda found: f"#{numbers.get(found[1], found[1])}", _cut(value)
            )
    if attributes.get("font-size") == str(SIZE):
        del attributes["font-size"]
    part.attrib = attributes


def _path(data: str) -> str:
    """Write path data shortly; a stroke of no length, which a round cap shows as a dot, as h0."""
    short = _cut(data) if len(data) < 400 else _TENTHS.sub(r"\1", data)
    return _DOT.sub(r"M\1h0", _SPACED.sub(r"\1", short).strip())


def _cut(text: str) -> str:
    """Cut numbers to hundredths of a pixel."""
    return _HUNDREDTHS.sub(r"\1", text)


def _add_titles(group: ElementTree.Element, texts: Sequence[str]) -> None:
    """Put one title on each part of a drawn group, or one on the whole group."""
    for part, text in zip(_strokes(group) if len(texts) > 1 else [group], texts, strict=False):
        heading = ElementTree.Element(f"{_SVG}title")
        heading.text = clean(text)
        part.insert(0, heading)


def _strokes(group: ElementTree.Element) -> list[ElementTree.Element]:
    """Return what is drawn in a group, in order."""
    drawn: list[ElementTree.Element] = []
    for part in group:
        if part.tag == f"{_SVG}g":
            drawn += _strokes(part)
        elif part.tag != f"{_SVG}defs":
            drawn.append(part)
    return drawn
