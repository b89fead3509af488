"""The page itself: one HTML file with its style, script and drawings inside."""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Iterator, Sequence
from importlib.resources import files as package_files
from itertools import count
from pathlib import Path

from variolite import __version__
from variolite.records.writing import write_text_atomic
from variolite.report.blocks import Alternatives, Block, Figure, Section
from variolite.report.contingency_figure import contingency_section
from variolite.report.headline import headline, main_setup
from variolite.report.health_figure import health_section
from variolite.report.held_out import held_out_of
from variolite.report.latent_map import latent_section
from variolite.report.markup import Markup, Value, element, join
from variolite.report.profiles_figure import profiles_section
from variolite.report.provenance import provenance_section
from variolite.report.reconstruction_figure import reconstruction_section
from variolite.report.run_files import RunFiles, read_run
from variolite.report.scorecard import scorecard_section
from variolite.report.strip_log import strip_log_section
from variolite.report.training_figure import training_section

__all__ = ["page_of", "write_report"]

REPORT = "report.html"


def write_report(run: Path) -> Path:
    """Write ``report.html`` into a run folder: one page that needs nothing else.

    Parameters
    ----------
    run
        A run folder. Parts that are not there yet (scores, held-out rows) are
        named as missing on the page.

    Returns
    -------
    pathlib.Path
        The page that was written, replaced as a whole if it existed.

    Raises
    ------
    RunFolderError
        If ``run`` is not a run folder or one of its files is damaged.
    """
    folder = Path(run)
    page = page_of(read_run(folder))
    target = folder / REPORT
    write_text_atomic(target, page)
    return target


def page_of(files: RunFiles) -> str:
    """Return the whole page of a run as HTML."""
    held_out = held_out_of(files)
    setup = main_setup(files.scorecard, held_out, files.recipe) if files.scorecard else None
    sections = (
        scorecard_section(files.scorecard, setup),
        strip_log_section(held_out),
        contingency_section(held_out),
        profiles_section(held_out),
        latent_section(held_out),
        reconstruction_section(files.scorecard, held_out),
        health_section(files.health),
        training_section(files.history, files.provenance, files.members),
        provenance_section(files),
    )
    style, script = _packaged("page.css"), _packaged("page.js")
    title = f"{files.name}: Variolite report"
    head = element(
        "head",
        element("meta", charset="utf-8"),
        element("meta", http_equiv="Content-Security-Policy", content=_policy(script)),
        element("meta", name="viewport", content="width=device-width, initial-scale=1"),
        element("meta", name="generator", content=f"Variolite {__version__}"),
        element("title", title),
        element("style", Markup(style)),
    )
    body = element(
        "body",
        _header(files, headline(files.scorecard, held_out, setup, files.clustering)),
        _contents(sections),
        element("main", *_numbered(sections)),
        _footer(),
        element("script", Markup(script)),
    )
    return f"<!DOCTYPE html>\n{element('html', head, body, lang='en')}\n"


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
            f" ({kept:,} of {read:,} rows used)"
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


def _packaged(name: str) -> str:
    return package_files("variolite.report").joinpath(name).read_text(encoding="utf-8")
