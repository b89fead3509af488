"""Reading a report back: its elements, and where each piece of lettering in a drawing stands."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from html.parser import HTMLParser

from variolite.report.style import text_width

VOID = {"br", "col", "hr", "input", "meta"}


@dataclass
class Node:
    """One element of the page."""

    name: str
    attributes: dict[str, str]
    children: list[Node | str] = field(default_factory=list)

    def walk(self) -> Iterator[Node]:
        """Yield this element and all below it in the order of the page."""
        yield self
        for child in self.children:
            if isinstance(child, Node):
                yield from child.walk()

    def find(self, name: str) -> list[Node]:
        """Return all elements of one name."""
        return [node for node in self.walk() if node.name == name]

    def own_text(self) -> str:
        """Return the text of this element without that of its children."""
        return "".join(child for child in self.children if isinstance(child, str))

    def text(self) -> str:
        """Return all text, children included."""
        return "".join(c if isinstance(c, str) else c.text() for c in self.children)


class _Reader(HTMLParser):
    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.root = Node("page", {})
        self.open = [self.root]

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        names = [name for name, _ in attrs]
        assert len(names) == len(set(names)), f"an attribute stands twice in <{tag}>"
        node = Node(tag, {name: value or "" for name, value in attrs})
        self.open[-1].children.append(node)
        if tag not in VOID:
            self.open.append(node)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        self.open.pop()

    def handle_endtag(self, tag: str) -> None:
        assert self.open[-1].name == tag, f"</{tag}> closes <{self.open[-1].name}>"
        self.open.pop()

    def handle_data(self, data: str) -> None:
        self.open[-1].children.append(data)


def read_page(html: str) -> Node:
    """Parse a page; every element must be closed in its turn."""
    reader = _Reader()
    reader.feed(html)
    reader.close()
    assert len(reader.open) == 1, f"<{reader.open[-1].name}> is never closed"
    return reader.root


@dataclass(frozen=True)
class Lettering:
    """The rectangle that one line of text covers in its drawing."""

    text: str
    left: float
    top: float
    right: float
    bottom: float

    def overlap(self, other: Lettering) -> float:
        """Return the area that both cover, after a pixel of leeway on each side."""
        width = min(self.right, other.right) - max(self.left, other.left) - 1
        height = min(self.bottom, other.bottom) - max(self.top, other.top) - 1
        return max(width, 0.0) * max(height, 0.0)


def letterings(drawing: Node) -> list[Lettering]:
    """Return the rectangles of all text in a drawing, by the widths of the font."""
    size = float(drawing.attributes["font-size"])
    return [_rectangle(node, size) for node in drawing.find("text") if node.own_text().strip()]


def layout_faults(drawing: Node, *, may_overlap: str | None = None) -> list[str]:
    """Return what is wrong with the lettering of a drawing: outside the sheet, or overlapping.

    ``may_overlap`` is a pattern of texts that may stand on others.
    """
    _, _, width, height = (float(v) for v in drawing.attributes["viewbox"].split())
    drawn = letterings(drawing)
    faults = [
        f"{piece.text!r} leaves the sheet"
        for piece in drawn
        if piece.left < -1 or piece.top < -1 or piece.right > width + 1 or piece.bottom > height + 1
    ]
    checked = [p for p in drawn if not (may_overlap and re.fullmatch(may_overlap, p.text))]
    for index, piece in enumerate(checked):
        faults += [
            f"{piece.text!r} covers {other.text!r}"
            for other in checked[index + 1 :]
            if piece.overlap(other) > 0
        ]
    return faults


def _rectangle(node: Node, size: float) -> Lettering:
    own = float(node.attributes.get("font-size", size))
    bold = node.attributes.get("font-weight") in {"bold", "700"}
    width = text_width(node.own_text(), own, bold=bold)
    x, y = float(node.attributes["x"]), float(node.attributes["y"])
    share = {"middle": 0.5, "end": 1.0}.get(node.attributes.get("text-anchor", ""), 0.0)
    left, right, top, bottom = -share * width, (1 - share) * width, -0.72 * own, 0.2 * own
    turn = re.match(r"rotate\((-?\d+)", node.attributes.get("transform", ""))
    if turn:
        assert math.isclose(float(turn.group(1)), -90)
        left, right, top, bottom = top, bottom, -right, -left
    return Lettering(node.own_text(), x + left, y + top, x + right, y + bottom)
