"""The page of assembled candidates: what came of them, as a table, and as structures to turn."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from variolite.crystals.crystals import Crystal
from variolite.crystals.elements import METALLIC
from variolite.crystals.files.reading import read_all
from variolite.crystals.report import structure_views as views
from variolite.errors import DataError, counted
from variolite.frameworks.assembly.structure_checks import CHECKS
from variolite.frameworks.assembly.unit_library import Unit
from variolite.frameworks.columns import SETS, UNITS, split
from variolite.frameworks.report.candidate_table import (
    MOST_ROWS,
    STYLE,
    candidate_table,
)
from variolite.frameworks.report.generation_figures import called, requests_figure
from variolite.optional import is_there
from variolite.records import load_table, read_table, write_text_atomic
from variolite.report.figures import share_whisker
from variolite.report.formatting import decimals, significant, unit_after
from variolite.report.page import (
    Alternatives,
    Block,
    Facts,
    Figure,
    Heading,
    Paragraph,
    Section,
    Table,
    packaged,
    render_page,
)
from variolite.report.run_sections import flattened
from variolite.report.style import figure_style, shorten
from variolite.training.run_folder import read_object

MOST_STRUCTURES = 20
# The table begins with a line of comment.
_REAL = [line.split(",") for line in packaged("published_checks.csv", __package__).splitlines()[1:]]
_OUTCOME = ("name", "built", "failure", "failed_checks", "first_attempt", "file", "seconds")
_WIDER = "body { max-width: 1240px; } @page { size: A4 landscape; }"


def write_candidates_page(folder: Path, units: Mapping[str, Unit] | None = None) -> Path:
    """Write report.html of a folder that `assemble` filled: outcome, table, structures.

    ``units`` are those of the candidates, read from where provenance.json says if not given.
    Simulated values are taken from simulated.csv there, as `simulate` writes it, or several such
    tables. Raises a DataError where there are no candidates.
    """
    out = folder / "report.html"
    write_text_atomic(out, candidates_page(folder, units))
    return out


def candidates_page(folder: Path, units: Mapping[str, Unit] | None = None) -> str:
    """Return the page as HTML; see `write_candidates_page`."""
    table, place = folder / "candidates.csv", folder / "provenance.json"
    hint = "Give a folder that `variolite frameworks assemble --out` wrote"
    if not table.is_file():
        raise DataError("there are no candidates here", where=str(folder), hint=hint)
    frame = read_table(table, text=(*_OUTCOME, "net", *SETS))
    if absent := [name for name in _OUTCOME if name not in frame.columns]:
        raise DataError(f"has no column {absent[0]!r}", where=str(table), hint=hint)
    frame = frame.with_columns(
        pl.col("built", "first_attempt") == "true", pl.col("failed_checks").fill_null("")
    )
    frame = _with_simulated(frame, sorted(folder.glob("simulated*.csv")))
    try:
        record = read_object(place) if place.is_file() else {}
    except (ValueError, OSError) as error:
        raise DataError(f"cannot be read ({error})", where=str(place), hint=hint) from None
    if units is None and is_there("autografs"):
        from variolite.frameworks.assembly.unit_library import library_of

        units = library_of([Path(n) for n in record.get("units", ()) if Path(n).is_file()])
    shown = frame.sort(~pl.col("built"), maintain_order=True)
    rest = max(frame.height - MOST_ROWS, 0)
    more = [Paragraph(f"{rest:,} more rows are in candidates.csv.", "remark")] if rest else []
    passed = int(frame["built"].sum())
    sentence = (
        f"{passed:,} of {counted(frame.height, 'candidate')} are built and pass all checks: "
        f"{_share(passed, frame.height, 0)}"
    )
    kept = ("table", "units", "settings", "versions")
    stated = {n: record[n] for n in kept if n in record} or {"provenance": "not written"}
    with figure_style():
        sections = [
            Section("outcome", "What came of the candidates", _outcome(frame)),
            Section(
                "candidates", "Candidates", [candidate_table(shown, units, linked=True), *more]
            ),
            Section("structures", "Structures", _structures(folder, shown)),
            *_asked(frame.filter("built")),
            Section("provenance", "Provenance", [Facts(flattened(stated))]),
        ]
    return render_page(
        folder.resolve().name,
        f"Candidates assembled into structures · {len(CHECKS)} checks",
        [sentence],
        sections,
        style=packaged("viewer.css", views.__package__ or "") + STYLE + _WIDER,
        script=packaged("viewer.js", views.__package__ or ""),
    )


def _with_simulated(frame: pl.DataFrame, paths: list[Path]) -> pl.DataFrame:
    if not paths:
        return frame
    found = load_table(paths, text=("name",), wells=False).frame
    values = [name for name in found.columns if name.endswith(("_simulated", "_simulated_error"))]
    values = [name for name in values if name not in frame.columns]
    if "name" not in found.columns or not values:
        hint = "Give what `variolite frameworks simulate` wrote"
        raise DataError("this is no table of simulated values", where=str(paths[0]), hint=hint)
    one_each = found.select("name", *values).unique("name", keep="first")
    return frame.join(one_each, on="name", how="left", maintain_order="left")


def _outcome(frame: pl.DataFrame) -> list[Block]:
    """Count what passes each check, beside real structures, and why others failed."""
    passed, checks = frame.filter("built"), pl.col("failed_checks")
    made = frame.filter(pl.col("built") | (checks != ""))
    failed = [split(cell) for cell in made["failed_checks"]]
    passing = {name: sum(name not in some for some in failed) for name in CHECKS}
    passing["all checks"] = passed.height
    rows = [
        (name, _share(passing[name], made.height), *(f"{share} %" for share in real))
        for name, *real in _REAL[1:]
    ]
    seconds = frame["seconds"].cast(pl.Float64).to_numpy()
    facts = {
        "asked for": counted(frame.height, "candidate"),
        "built at all": f"{made.height:,}; for the others see the failures below",
        "passed all checks": f"{passed.height:,}, of which {passed['first_attempt'].sum():,} at "
        "the first attempt",
        "time": f"{seconds.sum():.0f} s in all, median {np.median(seconds):.2f} s",
    }
    note = (
        "Of candidates that were built, in the last attempt, with 95 % intervals by Wilson's "
        "method; beside them the ceiling, the share of published structures that pass the same "
        "checks. Names are those of MOFChecker."
    )
    blocks: list[Block] = [
        Facts(facts),
        Heading("Checks, beside real structures"),
        Table(("check", "candidates that pass", *_REAL[0][1:]), rows, numbers_from=1),
        Paragraph(note, "remark"),
    ]
    reason = pl.when(checks != "").then(checks).otherwise(pl.col("failure"))
    reasons = frame.filter(~pl.col("built")).select(reason.alias("reason"))["reason"]
    if len(reasons):
        common = reasons.value_counts(sort=True).sort("count", "reason", descending=[True, False])
        listed = [(shorten(str(text), 110), f"{n:,}") for text, n in common.head(12).iter_rows()]
        blocks += [Heading("Failures"), Table(("reason", "candidates"), listed, numbers_from=1)]
    return blocks


def _share(hits: int, of: int, places: int = 1) -> str:
    if not of:
        return ""
    share = share_whisker(hits, of)
    return f"{share.mean:.{places}f} % ({share.low:.0f} to {share.high:.0f})"


def _structures(folder: Path, shown: pl.DataFrame) -> list[Block]:
    built = shown.filter("built").head(MOST_STRUCTURES)
    rows = {Path(row["file"]).stem: row for row in built.iter_rows(named=True)}
    paths = [folder / row["file"] for row in rows.values()]
    options = []
    for place, crystal in enumerate(read_all([p for p in paths if p.is_file()]).crystals):
        title = shorten(crystal.name, 40)
        scene = [(title, views.scene_of(_centred(crystal)))]
        drawing = views.structure_view(scene, f"c{place}", title=title, abreast=1)
        caption = _caption(rows[crystal.name], len(crystal))
        options.append((title, (Figure(f"structure-{title}", drawing, caption),)))
    if not options:
        return [Paragraph("No candidate was built, or its CIF file is not there.", "missing")]
    return [Alternatives("Candidate", tuple(options))]


def _centred(crystal: Crystal) -> Crystal:
    """Move the metals to the middle of the cell, so that few linkers are cut by its faces."""
    metal = METALLIC[crystal.species]
    chosen = crystal.coordinates[metal if metal.any() else ...]
    # Of what is periodic, the mean is that of points on a circle.
    middle = np.angle(np.exp(2j * np.pi * chosen).mean(axis=0)) / (2 * np.pi)
    return replace(crystal, coordinates=(crystal.coordinates - middle + 0.5) % 1.0)


def _caption(row: Mapping[str, Any], atoms: int) -> str:
    known = [
        f"{called(name)} {significant(float(row[name]))}{unit_after(UNITS.get(name))}"
        for name in ("density", "void_fraction", "pore_limiting_diameter", "surface_area_mass")
        if row.get(name) is not None
    ]
    cell = ", ".join(decimals(float(row[name]), 2) for name in "abc")
    angles = ", ".join(decimals(float(row[name]), 1) for name in ("alpha", "beta", "gamma"))
    net = row.get("net_built") or row.get("net")
    return (
        f"{row['name']} on the net {net}: {counted(atoms, 'atom')}, cell {cell} Å; {angles}°. As "
        f"built: {', '.join(known) or 'no pores were measured'}. One primitive cell in parallel "
        "projection; bonds join atoms nearer than 1.15 times the sum of their covalent radii."
    )


def _asked(built: pl.DataFrame) -> list[Section]:
    """Requests against what was predicted, built and simulated, where there is any of both."""
    caption = (
        "What was requested, and what was predicted, measured on the built structure or simulated, "
        "of candidates that were built. Predictions are by a surrogate that saw neither the "
        "request nor rows of the generator; whiskers of simulated values are block errors."
    )
    found = requests_figure(built, caption, {})
    title = "Requested against predicted, built and simulated"
    return [Section("requested", title, [found])] if found else []
