"""What a section of the page is made of; the page numbers the figures and lays them out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from variolite.report.markup import Markup, element, join

__all__ = ["Alternatives", "Block", "Figure", "Section", "fold", "paragraph", "table"]


@dataclass(frozen=True)
class Figure:
    """One drawing with the caption that belongs under it.

    ``name`` becomes the file name when the reader saves the drawing.
    """

    name: str
    drawing: Markup
    caption: str


@dataclass(frozen=True)
class Alternatives:
    """Sets of figures of which the reader sees one at a time, chosen by its name.

    Figures in the same place of their sets share a number.
    """

    prompt: str
    options: tuple[tuple[str, tuple[Figure, ...]], ...]


Block = Markup | Figure | Alternatives


@dataclass(frozen=True)
class Section:
    """A heading with an anchor and the blocks under it."""

    anchor: str
    title: str
    blocks: tuple[Block, ...]


def paragraph(*pieces: str, kind: str | None = None) -> Markup:
    """Return a paragraph; ``kind`` is its CSS class, such as ``missing`` or ``remark``."""
    return element("p", *pieces, class_=kind)


def fold(summary: str, *content: str, kind: str | None = None) -> Markup:
    """Return content behind a line that opens it.

    It opens by itself for printing, except where ``kind`` is ``screen``, which
    is left out of a print.
    """
    return element("details", element("summary", summary), *content, class_=kind)


def table(
    head: Sequence[str], rows: Sequence[Sequence[str]], *, numbers_from: int | None = None
) -> Markup:
    """Return a table; columns from ``numbers_from`` on are set flush right."""

    def cell(kind: str, index: int, content: str) -> Markup:
        number = numbers_from is not None and index >= numbers_from
        return element(kind, content, class_="number" if number else None)

    header = element("tr", *(cell("th", index, name) for index, name in enumerate(head)))
    body = join(
        element("tr", *(cell("td", index, content) for index, content in enumerate(row)))
        for row in rows
    )
    inner = element("table", element("thead", header), element("tbody", body))
    return element("div", inner, class_="wide")
