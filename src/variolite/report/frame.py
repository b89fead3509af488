"""The frame of every report page: head, header, contents, numbered figures, footer."""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Iterator, Sequence
from importlib.resources import files as package_files
from itertools import count

from variolite import __version__
from variolite.report.blocks import Alternatives, Block, Figure, Section
from variolite.report.markup import Markup, Value, element, join
from variolite.report.run_files import RunFiles

__all__ = ["framed", "packaged"]


def framed(
    files: RunFiles,
    sentences: Sequence[str],
    sections: Sequence[Section],
    *,
    style: str = "",
    script: str = "",
) -> str:
    """Return a whole page as HTML: one file with its style, script and drawings inside.

    Parameters
    ----------
    files
        The run folder, for the header.
    sentences
        What the run says in plain words.
    sections
        The body of the page, in order.
    style, script
        What the page needs besides ``page.css`` and ``page.js``.
    """
    style = packaged("variolite.report", "page.css") + style
    script = packaged("variolite.report", "page.js") + script
    head = element(
        "head",
        element("meta", charset="utf-8"),
        element("meta", http_equiv="Content-Security-Policy", content=_policy(script)),
        element("meta", name="viewport", content="width=device-width, initial-scale=1"),
        element("meta", name="generator", content=f"Variolite {__version__}"),
        element("title", f"{files.name}: Variolite report"),
        element("style", Markup(style)),
    )
    body = element(
        "body",
        _header(files, sentences),
        _contents(sections),
        element("main", *_numbered(sections)),
        _footer(),
        element("script", Markup(script)),
    )
    return f"<!DOCTYPE html>\n{element('html', head, body, lang='en')}\n"


def packaged(package: str, name: str) -> str:
    """Return a text file that lies beside the code of a package."""
    return package_files(package).joinpath(name).read_text(encoding="utf-8")


def _header(files: RunFiles, sentences: Sequence[str]) -> Markup:
    banner = (
        element(
            "p",
            "SIMULATED DATA. Nothing on this page was measured on real samples.",
            class_="banner",
            role="note",
        )
        if files.simulated
        else Markup("")
    )
    return element(
        "header",
        element("h1", files.name),
        element("p", _about(files), class_="about"),
        banner,
        element("div", *(element("p", sentence) for sentence in sentences), class_="says"),
    )


def _about(files: RunFiles) -> str:
    """Return one line: recipe, data, start."""
    parts = [f"Recipe {files.recipe_name}" if files.recipe_name else "Recipe not named"]
    title = files.recipe.get("title")
    if isinstance(title, str) and title:
        parts[0] += f" ({title})"
    data = files.data
    if "name" in data:
        kept, read = data.get("rows_kept"), data.get("rows")
        rows = (
            f" ({kept:,} of {read:,} used)"
            if isinstance(kept, int) and isinstance(read, int)
            else ""
        )
        parts.append(f"data {data['name']}{rows}")
    started = files.environment.started if files.environment else None
    if started:
        parts.append(f"trained {started[:10]}")
    return " · ".join(parts)


def _contents(sections: Sequence[Section]) -> Markup:
    return element(
        "nav",
        *(element("a", section.title, href=f"#{section.anchor}") for section in sections),
        aria_label="Sections",
    )


def _footer() -> Markup:
    return element(
        "footer",
        f"Made by Variolite {__version__} from the files of the run folder alone. Figures are "
        "vector drawings: “save as SVG” under each one gives a file for a manuscript.",
    )


def _numbered(sections: Sequence[Section]) -> Iterator[Markup]:
    numbers = count(1)
    for section in sections:
        yield element(
            "section",
            element("h2", section.title),
            *(_block(block, numbers) for block in section.blocks),
            id=section.anchor,
        )


def _block(block: Block, numbers: Iterator[int]) -> Markup:
    if isinstance(block, Figure):
        return _figure(block, str(next(numbers)))
    if isinstance(block, Alternatives):
        return _alternatives(block, numbers)
    return block


def _figure(figure: Figure, number: str, **attributes: Value) -> Markup:
    caption = element("figcaption", element("b", f"Figure {number}."), f" {figure.caption}")
    return element(
        "figure", figure.drawing, caption, data_name=_file_name(figure.name), **attributes
    )


def _alternatives(block: Alternatives, numbers: Iterator[int]) -> Markup:
    """Return a menu and its sets of figures, of which all but the first are hidden at first."""
    own = [str(next(numbers)) for _ in range(max(len(figures) for _, figures in block.options))]
    group = f"figures-{own[0]}"
    drawings = join(
        _figure(figure, number, data_set=group, data_choice=str(index), hidden=index > 0)
        for index, (_, figures) in enumerate(block.options)
        for number, figure in zip(own, figures, strict=False)
    )
    if len(block.options) == 1:
        return drawings
    options = (
        element("option", name, value=str(index)) for index, (name, _) in enumerate(block.options)
    )
    menu = element("select", *options, data_figures=group, autocomplete="off")
    return join((element("label", block.prompt, menu, class_="choose"), drawings))


def _file_name(name: str) -> str:
    """Return a name that every file system takes."""
    return re.sub(r"[^A-Za-z0-9._-]+", "-", name).strip("-.")[:80] or "figure"


def _policy(script: str) -> str:
    """Forbid everything but our own style and script, whatever a label may try to smuggle in."""
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    return (
        f"default-src 'none'; script-src 'sha256-{digest}'; style-src 'unsafe-inline'; "
        "base-uri 'none'; form-action 'none'"
    )
