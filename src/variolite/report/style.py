"""How every figure looks: colours, type, and the way to SVG.

A figure is a plain :class:`matplotlib.figure.Figure` of :func:`new_figure`, without pyplot and
its global state. One unit of its drawing is one CSS pixel, so that sizes of type here are
those on the page. Everything is drawn inside :func:`figure_style`.

Categories start with the eight colours of Okabe and Ito, *Color Universal Design* (2008). The
ten after them were chosen so that any two of the eighteen differ by at least as much as the two
closest of the first eight, in Oklab, under full protanopia and deuteranopia (matrices of
Machado et al. 2009, doi:10.1109/TVCG.2009.113).
"""

from __future__ import annotations

import base64
import gc
import hashlib
import io
import logging
import re
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from markupsafe import Markup, escape

# A home that cannot be written is no reason to speak to the user: matplotlib then keeps its
# font list in a temporary folder of its own, and says so as a warning of its log.
logging.getLogger("matplotlib").setLevel(logging.ERROR)

from matplotlib import style  # noqa: E402
from matplotlib.axes import Axes  # noqa: E402
from matplotlib.backends.backend_svg import FigureCanvasSVG  # noqa: E402
from matplotlib.colors import LinearSegmentedColormap, to_hex  # noqa: E402
from matplotlib.figure import Figure  # noqa: E402
from PIL import Image  # noqa: E402

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
    "sequential", ("#fffbe6", "#ecd98a", "#c3b369", "#8f8a78", "#5f6a76", "#2f4a74", "#00224e")
)
DIVERGING = LinearSegmentedColormap.from_list(
    "diverging", ("#084a91", "#5b9bd0", "#c6dcee", "#f7f7f7", "#fbd9b0", "#ee9a45", "#a94a00")
)

WIDTH = 900.0  # width of a figure in pixels
SIZE, SMALL = 11.5, 10.5
"""Sizes of letters in figures."""
LETTER = 6.3  # about the width of a letter of :data:`SIZE`, on the wide side, to reserve room by
DASHES = (0, (4, 3))

# Text is laid out with the font that matplotlib brings along, so that a page is the same on every
# machine. Helvetica, Arial and Liberation Sans, in which it is shown, are a tenth narrower.
_LAID_OUT_IN = "DejaVu Sans"
SHOWN_IN = "Helvetica Neue, Helvetica, Arial, Liberation Sans, DejaVu Sans, sans-serif"
_STYLE: dict[Any, Any] = {
    "axes.axisbelow": True,
    "axes.edgecolor": FAINT,
    "axes.labelcolor": INK,
    "axes.titlelocation": "left",
    "axes.titlesize": "medium",
    # A given height spares measuring what a title must not touch.
    "axes.titley": 1.0,
    "axes.titleweight": "bold",
    "font.family": [_LAID_OUT_IN],
    "font.size": SIZE,
    "grid.color": FAINT,
    "image.interpolation": "none",
    "legend.borderaxespad": 0.0,
    "legend.borderpad": 0.0,
    "legend.columnspacing": 1.6,
    "legend.frameon": False,
    "legend.handleheight": 0.9,
    "legend.handletextpad": 0.5,
    "path.simplify_threshold": 1.0,
    "savefig.dpi": 144.0,
    "svg.fonttype": "none",
    "svg.hashsalt": "variolite",
    "text.color": INK,
    # A name is never a formula.
    "text.parse_math": False,
    "xtick.color": INK,
    "xtick.labelsize": 11.0,
    "ytick.color": INK,
    "ytick.labelsize": 11.0,
}
_NOT_IN_XML = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff\ufffe\uffff]")


@contextmanager
def figure_style() -> Iterator[None]:
    """Draw figures the way of the report, whatever the user's matplotlibrc says."""
    # Glyphs that the font for the layout lacks are drawn by the browser all the same.
    with style.context(["default", _STYLE]), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing from font", UserWarning)
        warnings.filterwarnings("ignore", "Matplotlib currently does not support", UserWarning)
        # Looking for garbage among the many parts of figures would take a seventh of the time.
        collecting = gc.isenabled()
        gc.disable()
        try:
            yield
        finally:
            if collecting:
                gc.enable()


def new_figure(height: float) -> Figure:
    """Return an empty figure of a height in pixels."""
    figure = Figure(figsize=(WIDTH / 72, height / 72), dpi=72)
    FigureCanvasSVG(figure)
    figure.patch.set_visible(False)
    return figure


def axes_at(figure: Figure, left: float, top: float, width: float, height: float) -> Axes:
    """Return axes in a rectangle of the figure, in pixels from its upper left corner.

    The axis lines at the left and below are dark, the others pale.
    """
    whole = figure.get_figheight() * 72
    axes = figure.add_axes(
        (left / WIDTH, 1 - (top + height) / whole, width / WIDTH, height / whole)
    )
    axes.patch.set_visible(False)
    axes.spines[["left", "bottom"]].set_edgecolor(INK)
    return axes


def shorten(text: str, most: int = 40) -> str:
    """Return a name on one line without characters that XML forbids, of at most so many letters."""
    text = " ".join(_NOT_IN_XML.sub("\ufffd", text).split())
    return text if len(text) <= most else f"{text[: max(most - 1, 0)].rstrip()}…"


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


_PATH = re.compile(r' d="[^"]*')
_LARGE_PICTURE = re.compile(r'(?<=base64,)[^"]{20000,}')
# What path data can do without: space beside letters, and all but hundredths of a pixel.
_LONG = re.compile(r"(?<=\.\d\d)\d+|\s+(?=[A-Za-z])|(?<=[A-Za-z])\s+|\s+$")
# Gaps between elements, names of groups and pictures, a turn by nothing, and the root's font.
_NEEDLESS = re.compile(
    r'(?<=>)\s+(?=<)|(?<=<g) id="[^"]*"| id="image\w+"| transform="rotate\(-0 [^"]*"'
    r'|font-family: [^;"]*; '
)


def _with_palette(picture: re.Match[str]) -> str:
    """Return a PNG in 256 colours, a quarter of its size; both in base64."""
    written = io.BytesIO()
    with Image.open(io.BytesIO(base64.b64decode(picture[0]))) as image:
        image.quantize(256).save(written, "png", optimize=True)
    return base64.b64encode(written.getvalue()).decode()


def to_svg(figure: Figure, title: str) -> Markup:
    """Return a figure as one ``svg`` element that also stands alone as a file.

    The same figure gives the same bytes, ids are unique within a page, and text stays text.
    ``title`` is read out to those who cannot see.
    """
    written = io.StringIO()
    figure.savefig(written, format="svg", metadata={"Date": None})
    drawing = _NOT_IN_XML.sub("\ufffd", written.getvalue()).partition("</metadata>")[2]
    # Its style sheet would hold for the whole page: the root's attributes say the same.
    drawing = _NEEDLESS.sub("", drawing.partition("</defs>")[2])
    drawing = _PATH.sub(lambda found: " d" + _LONG.sub("", found[0][2:]), drawing)
    drawing = _LARGE_PICTURE.sub(_with_palette, drawing)
    mark = f"f{hashlib.sha256(drawing.encode()).hexdigest()[:8]}-"
    drawing = re.sub(r'( id="|href="#|url\(#)', rf"\g<1>{mark}", drawing)
    width, height = (f"{72 * inches:g}" for inches in figure.get_size_inches())
    title = escape(shorten(title, 200))
    return Markup(
        '<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" '
        f'width="{width}" height="{height}" viewBox="0 0 {width} {height}" role="img" '
        f'aria-label="{title}" font-family="{SHOWN_IN}" stroke-linejoin="round" '
        f'stroke-linecap="butt"><title>{title}</title>{drawing}'
    )
