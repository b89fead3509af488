"""The page: sections of figures, tables and words, set into one HTML file by one template."""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from itertools import count

import jinja2
from markupsafe import Markup, escape

from variolite import __version__

_NOT_IN_HTML = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\ud800-\udfff\ufffe\uffff]")


@dataclass(frozen=True)
class Figure:
    """One drawing with its caption; ``name`` becomes the file name when the reader saves it."""

    name: str
    drawing: Markup
    caption: str

    @property
    def file_name(self) -> str:
        """A name that every file system takes."""
        return re.sub(r"[^A-Za-z0-9._-]+", "-", self.name).strip("-.")[:80] or "figure"


@dataclass(frozen=True)
class Alternatives:
    """Named sets of figures of which the reader chooses one; like places share a number."""

    prompt: str
    options: tuple[tuple[str, tuple[Figure, ...]], ...]


@dataclass(frozen=True)
class Paragraph:
    """A paragraph in which `text between backticks` is code.

    ``kind`` is its CSS class: "missing" for a part that is not there, "remark" for small print.
    """

    text: str
    kind: str = ""


@dataclass(frozen=True)
class Heading:
    """A heading within a section."""

    text: str


@dataclass(frozen=True)
class Bullets:
    """Remarks as a list."""

    entries: tuple[str, ...]


@dataclass(frozen=True)
class Code:
    """Text of a file, unchanged."""

    text: str


@dataclass(frozen=True)
class Finding:
    """A sentence with its weight ("ok", "note" or "warning"), and what to do about it."""

    level: str
    text: str
    advice: str = ""


@dataclass(frozen=True)
class Table:
    """A table; columns from ``numbers_from`` on are set flush right.

    The reader sorts a ``sortable`` one by its heads: by number where a column begins with numbers.
    """

    head: Sequence[str]
    rows: Sequence[Sequence[str]]
    numbers_from: int | None = None
    sortable: bool = False


@dataclass(frozen=True)
class Facts:
    """Names with what is known under each."""

    facts: Mapping[str, str]


@dataclass(frozen=True)
class Fold:
    """Blocks behind a line that opens them; open in a print, or left out of it as "screen"."""

    summary: str
    blocks: Sequence[Block]
    kind: str = ""


Block = (
    Figure | Alternatives | Paragraph | Heading | Bullets | Code | Finding | Table | Facts | Fold
    | Markup
)  # fmt: skip


@dataclass(frozen=True)
class Section:
    """A heading with an anchor and the blocks under it."""

    anchor: str
    title: str
    blocks: Sequence[Block]


def missing(anchor: str, title: str, reason: str) -> Section:
    """Return a section that says why it is empty and how to fill it."""
    return Section(anchor, title, (Paragraph(reason, "missing"),))


def render_page(
    title: str,
    about: str,
    sentences: Sequence[str],
    sections: Sequence[Section],
    *,
    simulated: bool = False,
    style: str = "",
    script: str = "",
) -> str:
    """Return a whole page as HTML: one file with its style, script and drawings inside.

    ``title`` names the run, ``about`` is a line on where it comes from, ``sentences`` are what it
    says in plain words; ``simulated`` sets a banner that nothing was measured on real samples.
    ``style`` and ``script`` are what the page needs besides ``page.css`` and ``page.js``.
    """
    style = packaged("page.css") + style
    script = packaged("page.js") + script
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    numbers = count(1)
    page = template("page.html.jinja").render(
        title=title,
        about=about,
        sentences=sentences,
        sections=sections,
        simulated=simulated,
        style=Markup(style),
        script=Markup(script),
        # Nothing but our own style and script runs, whatever a label may try to smuggle in.
        policy=f"default-src 'none'; script-src 'sha256-{digest}'; style-src 'unsafe-inline'; "
        "img-src data:; base-uri 'none'; form-action 'none'",
        version=__version__,
        numbered=lambda many=1: [next(numbers) for _ in range(many)],
    )
    return _NOT_IN_HTML.sub("\ufffd", page)


def packaged(name: str, package: str = "variolite.report") -> str:
    """Return a text file that lies beside the code of a package."""
    return files(package).joinpath(name).read_text(encoding="utf-8")


def _code(text: str) -> Markup:
    """Set text between backticks as code."""
    return Markup(re.sub(r"`([^`]+)`", r"<code>\1</code>", str(escape(text))))


def _sentence(text: str) -> str:
    return text if text.endswith((".", "!", "?")) else f"{text}."


@cache
def template(name: str, package: str = "variolite.report") -> jinja2.Template:
    """Return a template that lies beside the code of a package; what it is given is escaped."""
    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters |= {"code": _code, "sentence": _sentence}
    environment.tests["kind"] = lambda block, name: type(block).__name__ == name
    return environment.from_string(packaged(name, package))
