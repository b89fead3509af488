"""Candidates as a table that sorts, with drawn linkers, and as structures that can be turned."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from markupsafe import Markup, escape

from variolite.crystals.files.reading import read_all
from variolite.crystals.report import structure_views as views
from variolite.errors import DataError
from variolite.frameworks.assembly.structure_checks import CHECKS
from variolite.frameworks.assembly.unit_library import Unit
from variolite.frameworks.columns import split
from variolite.frameworks.optional import is_there
from variolite.frameworks.report.generation_figures import (
    called,
    requests_figure,
    unit_of,
    wilson,
    with_unit,
)
from variolite.records import read_table, write_text_atomic
from variolite.report.formatting import counted, decimals, significant, unit_after
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

MOST_ROWS, MOST_STRUCTURES = 500, 20
LARGEST_UNIT = 80  # atoms of a unit whose bonds are looked for
WIDE, TALL = 170.0, 84.0  # pixels of a drawn linker at most
_REAL_ROWS = ("CRAFTED (596)", "CoRE 2019 (487)")
# Per cent of published structures that pass, as benchmarks.frameworks.assemble measures it.
_REAL = {
    "has_atomic_overlaps": (99.0, 85.8),
    "has_short_bonds": (99.5, 83.8),
    "has_overcoordinated_c": (100.0, 88.1),
    "has_overcoordinated_n": (99.7, 93.6),
    "has_overcoordinated_h": (99.7, 91.6),
    "has_undercoordinated_c": (95.6, 92.4),
    "has_undercoordinated_n": (100.0, 99.0),
    "has_undercoordinated_rare_earth": (100.0, 98.6),
    "has_undercoordinated_alkali_alkaline": (100.0, 99.2),
    "has_lone_molecule": (97.7, 95.7),
    "has_no_3d_connected_graph": (95.8, 94.5),
    "has_suspicious_density": (100.0, 99.8),
    "has_unbalanced_charge": (82.9, 65.3),
    "all checks": (77.9, 50.9),
}
_OUTCOME = ("name", "built", "failure", "failed_checks", "first_attempt", "file", "seconds")
_WORDS = ("metals", "nodes", "linkers", "linker_units", "net")
_NUMBERS = (
    "density",
    "void_fraction",
    "pore_limiting_diameter",
    "largest_cavity_diameter",
    "surface_area_mass",
    "atoms",
)
# What there may be of a condition, and the columns of its interval or error.
_ENDS: dict[str, tuple[str, ...]] = {
    "requested": (),
    "predicted": ("low", "high"),
    "simulated": ("simulated_error",),
}
_HEADS = {"pore_limiting_diameter": "PLD", "largest_cavity_diameter": "LCD"}


class Molecules:
    """Linkers as drawings by RDKit, each once in a page; without it, or where it fails, as text.

    ``units`` are building units by name, whose bonds are found by their positions.
    """

    def __init__(self, units: Mapping[str, Unit] | None = None) -> None:
        self.units = units or {}
        self.drawn: dict[str, tuple[str, float, float] | None] = {}

    def cell(self, members: str | None) -> Markup:
        """Return the members of a set as the cell of a table."""
        return Markup(" ").join(self._one(member) for member in split(members))

    def _one(self, name: str) -> Markup:
        if name not in self.drawn:
            self.drawn[name] = self._draw(name) if is_there("rdkit") else None
        drawing = self.drawn[name]
        if drawing is None:
            text = name if len(name) <= 60 else f"{name[:59]}…"
            return Markup('<span class="smiles" title="{}">{}</span>').format(name, text)
        _, width, height = drawing
        shrink = min(0.62, WIDE / width, TALL / height)
        place = list(self.drawn).index(name)
        return Markup(
            '<svg xmlns="http://www.w3.org/2000/svg" class="molecule" width="{}" height="{}" '
            'role="img" aria-label="{}"><title>{}</title><use href="#molecule-{}"/></svg>'
        ).format(round(shrink * width), round(shrink * height), name, name, place)

    def _draw(self, name: str) -> tuple[str, float, float] | None:
        from rdkit import Chem, RDLogger
        from rdkit.Chem.Draw import rdMolDraw2D

        RDLogger.DisableLog("rdApp.*")  # type: ignore[attr-defined]
        try:
            unit = self.units.get(name)
            molecule = Chem.MolFromSmiles(name) if unit is None else _molecule(unit)
            if molecule is None or not molecule.GetNumAtoms():
                return None
            drawer = rdMolDraw2D.MolDraw2DSVG(-1, -1)
            options = drawer.drawOptions()
            for name_of, value in (("clearBackground", False), ("dummiesAreAttachments", True)):
                setattr(options, name_of, value)  # of which RDKit's type hints know nothing
            drawer.DrawMolecule(molecule)
        except (ValueError, RuntimeError):
            return None
        drawer.FinishDrawing()
        text = str(drawer.GetDrawingText())
        width, height = re.search(r"viewBox='0 0 (\d+) (\d+)'", text).groups()  # type: ignore[union-attr]
        return "".join(_paths(text)), float(width), float(height)

    @property
    def symbols(self) -> Markup:
        """What the cells refer to; to stand once in the page."""
        parts = [
            f'<symbol id="molecule-{place}" viewBox="0 0 {drawing[1]:g} {drawing[2]:g}">'
            f"{drawing[0]}</symbol>"
            for place, drawing in enumerate(self.drawn.values())
            if drawing
        ]
        if not parts:
            return Markup("")
        head = '<svg xmlns="http://www.w3.org/2000/svg" width="0" height="0" aria-hidden="true">'
        return Markup(f"{head}{''.join(parts)}</svg>")


def _paths(text: str) -> Iterator[str]:
    """Paths of a drawing of RDKit's without classes and what is the same for all."""
    for tag in re.findall(r"<path[^>]*>", text):
        path = re.sub(r"\s+", " ", re.search(r"\sd='([^']*)'", tag)[1]).strip()  # type: ignore[index]
        stroke = re.search(r"stroke:(#\w{6})", tag)
        fill = re.search(r"fill(?:='|:)(#\w{6})", tag)
        lines = f' stroke="{stroke[1]}" stroke-width="1.7"' if stroke else ""
        yield f'<path d="{path}" fill="{fill[1] if fill else "none"}"{lines}/>'


def _molecule(unit: Unit) -> Any:
    """A linker by the distances of its atoms, arms at other atoms than nitrogen as attachments."""
    from rdkit import Chem
    from rdkit.Chem import rdDepictor, rdDetermineBonds

    if unit.kind == "node" or len(unit) > LARGEST_UNIT:
        return None
    ends = unit.positions[unit.anchors]
    ends = ends + 1.09 * (unit.ends - ends) / unit.halves[:, None]
    # Nitrogen gives its electrons to a metal, or has those of the proton that it lost.
    free = np.array([symbol == "N" for symbol in unit.anchor_symbols])
    for capped, charge in ((~free, 0), (~free, -1), (~free, -2), (free | True, 0)):
        atoms = [*zip(unit.symbols, unit.positions, strict=True), *(("H", x) for x in ends[capped])]
        lines = [f"{symbol} {x:.5f} {y:.5f} {z:.5f}" for symbol, (x, y, z) in atoms]
        molecule = Chem.MolFromXYZBlock("\n".join([str(len(lines)), "", *lines]))
        with suppress(ValueError, RuntimeError):
            rdDetermineBonds.DetermineBonds(molecule, charge=charge)
            for atom in list(molecule.GetAtoms())[len(unit) :]:
                atom.SetAtomicNum(0)
            molecule = Chem.RemoveHs(molecule)
            rdDepictor.Compute2DCoords(molecule)
            return molecule
    return None


def candidate_table(frame: pl.DataFrame, molecules: Molecules, *, linked: bool = False) -> Table:
    """Return rows as a table that sorts: words, requests beside predictions, geometry.

    Names lead to their CIF files where they are ``linked``.
    """
    frame = frame[[series.name for series in frame if series.null_count() < frame.height]]
    columns = frame.columns
    words = [name for name in _WORDS if name in columns]
    conditions = conditions_of(frame)
    numbers = [name for name in _NUMBERS if name in columns]
    outcome = ["what came of it"] if "built" in columns else []
    head = ["name", *outcome, *(called(name) for name in words)]
    start = len(head)
    for name in conditions:
        shown = [end for end in _ENDS if f"{name}_{end}" in columns]
        head += [with_unit(name, called_so=f"{called(name)}, {end}") for end in shown]
    head += [with_unit(name, called_so=_HEADS.get(name, "")) for name in numbers]
    rows = []
    for row in frame.head(MOST_ROWS).iter_rows(named=True):
        cells: list[str] = [_name(row, linked=linked)]
        if outcome:
            checks = row.get("failed_checks") or ""
            cells.append("built" if row["built"] else shorten(
                "; ".join(split(checks)) or row["failure"] or "failed", 90))  # fmt: skip
        for name in words:
            drawn = name in ("linkers", "linker_units")
            cells.append(
                molecules.cell(row[name]) if drawn else shorten("; ".join(split(row[name])), 80)
            )
        for name in conditions:
            for end, ends in _ENDS.items():
                if f"{name}_{end}" in columns:
                    cells.append(_value(row, f"{name}_{end}", [f"{name}_{one}" for one in ends]))
        cells += [_value(row, name, ()) for name in numbers]
        rows.append(cells)
    return Table(head, rows, numbers_from=start, sortable=True)


def conditions_of(frame: pl.DataFrame) -> list[str]:
    """Return the properties that were asked for, predicted or simulated."""
    ends = ("_requested", "_predicted", "_simulated")
    return [
        name
        for name in dict.fromkeys(
            column.removesuffix(end)
            for column in frame.columns
            for end in ends
            if column.endswith(end)
        )
        if f"{name}_predicted" in frame.columns or f"{name}_simulated" in frame.columns
    ]


def _name(row: Mapping[str, Any], *, linked: bool) -> Markup:
    name, file = escape(shorten(str(row.get("name") or ""), 40)), row.get("file")
    if not (linked and row.get("built") and file):
        return name
    return Markup('<a href="{}">{}</a>').format(file, name)


def _value(row: Mapping[str, Any], name: str, ends: Sequence[str]) -> str:
    value = row.get(name)
    if not isinstance(value, (int, float)) or not math.isfinite(value):
        return ""
    if isinstance(value, int):
        return f"{value:,}"
    around = [float(row[end]) for end in ends if row.get(end) is not None]
    if len(around) == 2:
        return f"{significant(value)} ({significant(around[0], 2)} to {significant(around[1], 2)})"
    return significant(value) + (f" ± {significant(around[0], 2)}" if around else "")


STYLE = """
.molecule { vertical-align: middle; margin: 2px 4px; max-width: none; }
.smiles { font: 11.5px/1.35 "DejaVu Sans Mono", Menlo, monospace; overflow-wrap: anywhere; }
.smiles { display: inline-block; min-width: 13em; }
table.sortable td:not(.number) { min-width: 5em; }
table.sortable td { vertical-align: middle; }
"""
_WIDER = "body { max-width: 1240px; } @page { size: A4 landscape; }"


def write_candidates_page(folder: Path, units: Mapping[str, Unit] | None = None) -> Path:
    """Write report.html of a folder that `assemble` filled: outcome, table, structures.

    ``units`` are those of the candidates, read from where provenance.json says if not given.
    Simulated values are taken from simulated.csv there, as `simulate` writes it. Raises a
    DataError where there are no candidates.
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
    frame = read_table(table, text=_OUTCOME)
    if absent := [name for name in _OUTCOME if name not in frame.columns]:
        raise DataError(f"has no column {absent[0]!r}", where=str(table), hint=hint)
    frame = _with_simulated(frame.with_columns(pl.col("built", "first_attempt") == "true"), folder)
    try:
        record = read_object(place) if place.is_file() else {}
    except (ValueError, OSError) as error:
        raise DataError(f"cannot be read ({error})", where=str(place), hint=hint) from None
    if units is None and is_there("autografs"):
        from variolite.frameworks.assembly.assemble import library_of

        units = library_of([Path(n) for n in record.get("units", ()) if Path(n).is_file()])
    molecules = Molecules(units)
    shown = frame.sort(~pl.col("built"), maintain_order=True)
    passed = int(frame["built"].sum())
    share, low, high = wilson(passed, frame.height)
    sentences = [
        f"{passed:,} of {counted(frame.height, 'candidate')} are built and pass all checks: "
        f"{share:.0f} % ({low:.0f} to {high:.0f})"
    ]
    with figure_style():
        listing: list[Block] = [candidate_table(shown, molecules, linked=True)]
        if frame.height > MOST_ROWS:
            left = f"{frame.height - MOST_ROWS:,} more rows are in candidates.csv."
            listing.append(Paragraph(left, "remark"))
        sections = [
            Section("outcome", "What came of the candidates", _outcome(frame)),
            Section("candidates", "Candidates", [molecules.symbols, *listing]),
            Section("structures", "Structures", _structures(folder, shown)),
            *_asked(frame),
            Section("provenance", "Provenance", [Facts(flattened(_stated(record)))]),
        ]
    return render_page(
        folder.resolve().name,
        f"Candidates assembled into structures · {len(CHECKS)} checks",
        sentences,
        sections,
        style=packaged("viewer.css", views.__package__ or "") + STYLE + _WIDER,
        script=packaged("viewer.js", views.__package__ or ""),
    )


def _with_simulated(frame: pl.DataFrame, folder: Path) -> pl.DataFrame:
    path = folder / "simulated.csv"
    if not path.is_file():
        return frame
    found = read_table(path, text=("name",))
    values = [name for name in found.columns if name.endswith(("_simulated", "_simulated_error"))]
    values = [name for name in values if name not in frame.columns]
    if "name" not in found.columns or not values:
        hint = "Give what `variolite frameworks simulate` wrote"
        raise DataError("this is no table of simulated values", where=str(path), hint=hint)
    one_each = found.select("name", *values).unique("name", keep="first")
    return frame.join(one_each, on="name", how="left", maintain_order="left")


def _stated(record: Mapping[str, Any]) -> dict[str, object]:
    kept = ("table", "units", "settings", "versions")
    return {name: record[name] for name in kept if name in record} or {"provenance": "not written"}


def _outcome(frame: pl.DataFrame) -> list[Block]:
    failed = frame.filter(~pl.col("built"))
    checks = pl.col("failed_checks").fill_null("")
    kind = pl.when(checks != "").then(checks).otherwise(pl.col("failure"))
    reasons = failed.group_by(kind.alias("kind"), maintain_order=True).len()
    reasons = reasons.sort("len", descending=True, maintain_order=True)
    built = failed.filter(checks != "").height + int(frame["built"].sum())
    hit = [split(cell) for cell in frame["failed_checks"].fill_null("")]
    passed = {name: built - sum(name in some for some in hit) for name in CHECKS}
    passed["all checks"] = whole = int(frame["built"].sum())
    rows = [
        (name, _share(count, built), *(f"{share:.1f} %" for share in _REAL[name]))
        for name, count in passed.items()
    ]
    first = frame.filter(pl.col("built") & pl.col("first_attempt")).height
    seconds = frame["seconds"].cast(pl.Float64).to_numpy()
    facts = {
        "asked for": counted(frame.height, "candidate"),
        "built at all": f"{built:,}; for the others see the failures below",
        "passed all checks": f"{whole:,}, of which {first:,} at the first attempt",
        "time": f"{seconds.sum():.0f} s in all, median {np.median(seconds):.2f} s",
    }
    blocks: list[Block] = [Facts(facts), Heading("Checks, beside real structures")]
    blocks.append(
        Table(("check", "candidates that pass", *_REAL_ROWS), rows, numbers_from=1),
    )
    note = (
        "Of candidates that were built, in the last attempt, with 95 % intervals of Wilson's; "
        "beside them the ceiling, the share of published structures that pass the same checks. "
        "Names are those of MOFChecker."
    )
    blocks.append(Paragraph(note, "remark"))
    if failed.height:
        counted_so = reasons.head(12).rows()
        shown = [(shorten(str(reason), 110), f"{count:,}") for reason, count in counted_so]
        blocks += [Heading("Failures"), Table(("reason", "candidates"), shown, numbers_from=1)]
    return blocks


def _share(hits: int, of: int) -> str:
    if not of:
        return ""
    value, low, high = wilson(hits, of)
    return f"{value:.1f} % ({low:.0f} to {high:.0f})"


def _structures(folder: Path, shown: pl.DataFrame) -> list[Block]:
    built = shown.filter(pl.col("built")).head(MOST_STRUCTURES)
    files = {row["file"]: row for row in built.iter_rows(named=True)}
    reading = read_all([folder / name for name in files if (folder / name).is_file()])
    options = []
    for place, crystal in enumerate(reading.crystals):
        row = next(row for file, row in files.items() if Path(file).stem == crystal.name)
        title = shorten(crystal.name, 40)
        drawing = views.structure_view(
            [(title, views.scene_of(crystal))], f"c{place}", title=title, abreast=1
        )
        options.append(
            (title, (Figure(f"structure-{title}", drawing, _caption(row, len(crystal))),))
        )
    if not options:
        return [Paragraph("No candidate was built, or its CIF file is not there.", "missing")]
    return [Alternatives("Candidate", tuple(options))]


def _caption(row: Mapping[str, Any], atoms: int) -> str:
    known = [
        f"{called(name)} {significant(float(row[name]))}{unit_after(unit_of(name))}"
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


def _asked(frame: pl.DataFrame) -> list[Section]:
    """Requests against what was predicted and simulated, where there is any of both."""
    shown = [n for n in conditions_of(frame) if f"{n}_requested" in frame.columns]
    parts = [frame.filter(pl.col(f"{n}_requested").is_not_null() & pl.col("built")) for n in shown]
    figures = [(name, part) for name, part in zip(shown, parts, strict=True) if part.height]
    blocks: list[Block] = []
    for name, part in figures:
        drawing = requests_figure([part], [name], [f"{part.height} candidates that were built"])
        caption = (
            f"{called(name)} that was requested, predicted and simulated, of {part.height:,} "
            "candidates that were built. Predictions are by a surrogate that saw neither the "
            "request nor rows of the generator; whiskers of simulated values are block errors."
        )
        blocks.append(Figure(f"requested-{name}", drawing, caption))
    return [Section("requested", "Requested, predicted, simulated", blocks)] if blocks else []
