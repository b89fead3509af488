"""Reading a report back: its elements, where each piece of lettering stands, and what holds of
every page."""

from __future__ import annotations

import math
import re
import warnings
from dataclasses import dataclass, field
from functools import cache
from html.parser import HTMLParser
from itertools import combinations
from typing import NamedTuple
from xml.etree import ElementTree

from matplotlib.backends.backend_agg import RendererAgg
from matplotlib.font_manager import FontProperties

VOID = {"br", "col", "hr", "input", "meta"}


@dataclass
class Node:
    """One element of the page."""

    name: str
    attributes: dict[str, str]
    children: list[Node | str] = field(default_factory=list)

    def walk(self):
        """Yield this element and all below it in the order of the page."""
        yield self
        for child in self.children:
            if isinstance(child, Node):
                yield from child.walk()

    def find(self, name):
        return [node for node in self.walk() if node.name == name]

    def own_text(self):
        """The text of this element without that of its children."""
        return "".join(child for child in self.children if isinstance(child, str))

    def text(self):
        return "".join(c if isinstance(c, str) else c.text() for c in self.children)


class _Reader(HTMLParser):
    def __init__(self):
        super().__init__(convert_charrefs=True)
        self.open = [Node("page", {})]

    def handle_starttag(self, tag, attrs):
        node = Node(tag, {name: value or "" for name, value in attrs})
        assert len(node.attributes) == len(attrs), f"an attribute stands twice in <{tag}>"
        self.open[-1].children.append(node)
        if tag not in VOID:
            self.open.append(node)

    def handle_startendtag(self, tag, attrs):
        self.handle_starttag(tag, attrs)
        self.open.pop()

    def handle_endtag(self, tag):
        assert self.open[-1].name == tag, f"</{tag}> closes <{self.open[-1].name}>"
        self.open.pop()

    def handle_data(self, data):
        self.open[-1].children.append(data)


def read_page(html):
    """Parse a page; every element must be closed in its turn."""
    reader = _Reader()
    reader.feed(html)
    reader.close()
    assert len(reader.open) == 1, f"<{reader.open[-1].name}> is never closed"
    return reader.open[0]


class Lettering(NamedTuple):
    """The rectangle that one line of text covers in its drawing."""

    text: str
    left: float
    top: float
    right: float
    bottom: float

    def covers(self, other):
        """Whether both cover an area, after a pixel of leeway on each side."""
        return (
            min(self.right, other.right) - max(self.left, other.left) > 1
            and min(self.bottom, other.bottom) - max(self.top, other.top) > 1
        )


@cache
def text_width(text, size, *, bold=False):
    """Return about the width of one line in Helvetica, which is narrower than DejaVu Sans."""
    font = FontProperties(family="DejaVu Sans", size=size)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        measured, _, _ = RendererAgg(1, 1, 72).get_text_width_height_descent(text, font, False)
    return float(measured) * (0.96 if bold else 0.89)


def layout_faults(drawing, *, may_overlap=None):
    """Return what is wrong with the lettering of a drawing: outside the sheet, or overlapping.

    ``may_overlap`` is a pattern of texts that may stand on others.
    """
    _, _, width, height = (float(v) for v in drawing.attributes["viewbox"].split())
    drawn = [_rectangle(node) for node in drawing.find("text") if node.own_text().strip()]
    faults = [
        f"{piece.text!r} leaves the sheet"
        for piece in drawn
        if piece.left < -1 or piece.top < -1 or piece.right > width + 1 or piece.bottom > height + 1
    ]
    checked = [p for p in drawn if not (may_overlap and re.fullmatch(may_overlap, p.text))]
    pairs = combinations(checked, 2)
    return faults + [f"{one.text!r} covers {two.text!r}" for one, two in pairs if one.covers(two)]


def _rectangle(node):
    given = node.attributes
    styled = given | dict(re.findall(r"([\w-]+): ([^;]+)", given.get("style", "")))
    size = float(styled.get("font-size", "11.5").removesuffix("px"))
    bold = styled.get("font-weight") in {"bold", "700"}
    width = text_width(node.own_text(), size, bold=bold)
    # Lines of several are moved, a single one has a place.
    moved = re.match(r"translate\(([\d.]+) ([\d.]+)\)", styled.get("transform", ""))
    x, y = (float(v) for v in (moved.groups() if moved else (styled["x"], styled["y"])))
    share = {"middle": 0.5, "end": 1.0}.get(styled.get("text-anchor", ""), 0.0)
    left, right, top, bottom = -share * width, (1 - share) * width, -0.72 * size, 0.2 * size
    turn = re.search(r"rotate\((-?\d+)", styled.get("transform", ""))
    if turn:
        assert math.isclose(float(turn.group(1)), -90)
        left, right, top, bottom = top, bottom, -right, -left
    return Lettering(node.own_text(), x + left, y + top, x + right, y + bottom)


# What holds of the page of every field

HOSTILE = "$x^2$ </svg></style><script>alert('x')</script>\"&<img src=x onerror=alert(1)>\x00\x07"


def check_layout(page, sections, may_overlap):
    """Every section is there, and no lettering is clipped or covers another."""
    assert {node.attributes["id"] for node in page.find("section")} == sections
    for drawing in page.find("svg"):
        faults = layout_faults(drawing, may_overlap=may_overlap)
        assert faults == [], (drawing.attributes["aria-label"], faults[:6])


def check_page(html, sections, may_overlap, *, least=9):
    """The page is whole, numbered, legible and self-contained, and its drawings stand alone.

    It has at least so many of them.
    """
    page = read_page(html)
    check_layout(page, sections, may_overlap)
    assert len(page.find("section")) == len(sections)
    assert {a.attributes["href"] for a in page.find("a")} == {f"#{name}" for name in sections}
    figures = page.find("figure")
    numbers = list(dict.fromkeys(figure.find("b")[0].text() for figure in figures))
    assert numbers == [f"Figure {n}." for n in range(1, len(numbers) + 1)]
    for figure in figures:
        assert len(figure.find("svg")) == 1
        assert len(figure.find("figcaption")[0].text()) > 60
        assert re.fullmatch(r"[\w.-]+", figure.attributes["data-name"])
    ids = [node.attributes["id"] for node in page.walk() if "id" in node.attributes]
    assert len(ids) == len(set(ids))
    drawings = re.findall(r"<svg .*?</svg>", html, flags=re.DOTALL)
    assert len(drawings) == len(page.find("svg")) == len(figures) >= least
    for drawing in drawings:
        root = ElementTree.fromstring(drawing)
        assert {"viewBox", "width", "height", "font-family"} <= root.attrib.keys()
        # Colours and strokes must not depend on the style sheet of the page.
        assert all("class" not in part.attrib for part in root.iter())
        own = {part.attrib["id"] for part in root.iter() if "id" in part.attrib}
        assert set(re.findall(r"(?:url\(|href=\")#([^)\"]+)", drawing)) <= own
    # Nothing is loaded from elsewhere, and only the script of the page may run.
    addresses = set(re.findall(r"https?://[^\s\"'<>)]+", html))
    assert addresses == {"http://www.w3.org/2000/svg", "http://www.w3.org/1999/xlink"}
    loading = {"src", "srcset", "data", "poster", "action", "background"}
    for node in page.walk():
        assert node.attributes.get("xlink:href", "#").startswith(("#", "data:image/png;base64,"))
        assert not loading & node.attributes.keys(), node
        assert node.name not in {"link", "iframe", "object", "embed", "img", "base"}
        assert all(not name.startswith("on") for name in node.attributes), node
    assert "@import" not in html
    assert re.search(r"url\((?!#)", html) is None
    (policy,) = [m.attributes["content"] for m in page.find("meta") if "http-equiv" in m.attributes]
    assert "default-src 'none'" in policy
    assert "http" not in policy
    assert "'sha256-" in policy
    assert len(page.find("script")) == len(page.find("style")) == 1
