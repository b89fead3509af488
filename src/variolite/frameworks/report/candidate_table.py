"""Candidates as a table that sorts, with drawn linkers, what was asked for and what came of it."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import cache
from typing import Any

import numpy as np
import polars as pl
from markupsafe import Markup, escape

from variolite.frameworks.assembly.unit_library import Unit
from variolite.frameworks.columns import split
from variolite.frameworks.report.generation_figures import called, with_unit
from variolite.optional import is_there
from variolite.report.formatting import significant
from variolite.report.page import Table
from variolite.report.style import shorten

MOST_ROWS = 250
LARGEST_UNIT = 80  # atoms of a unit whose bonds are looked for
WIDE, TALL = 170.0, 84.0  # pixels of a drawn linker at most
_NEEDLESS = r" class='[^']*'|fill-rule:evenodd;|;stroke-linecap:butt.*?stroke-opacity:1"
_WORDS = ("metals", "nodes", "linkers", "linker_units", "net")
_NUMBERS = {
    "density": "",
    "void_fraction": "",
    "pore_limiting_diameter": "PLD",
    "largest_cavity_diameter": "LCD",
    "surface_area_mass": "",
    "atoms": "",
}
# What there may be of a condition, and the columns of its interval or error.
_ENDS: dict[str, tuple[str, ...]] = {
    "requested": (),
    "predicted": ("low", "high"),
    "simulated": ("simulated_error",),
}
STYLE = """
.molecule { vertical-align: middle; margin: 2px 4px; max-width: none; }
.smiles { font: 11.5px/1.35 "DejaVu Sans Mono", Menlo, monospace; overflow-wrap: anywhere; }
.smiles { display: inline-block; min-width: 13em; }
table.sortable td:not(.number) { min-width: 5em; }
table.sortable td { vertical-align: middle; }
"""


@cache
def drawn_linker(name: str, unit: Unit | None = None) -> Markup:
    """Draw a SMILES, or a building unit by its bonds, by RDKit; as text where it cannot."""
    text = Markup('<span class="smiles" title="{}">{}</span>').format(name, shorten(name, 60))
    if not is_there("rdkit"):
        return text
    from rdkit import Chem, RDLogger
    from rdkit.Chem.Draw import rdMolDraw2D

    RDLogger.DisableLog("rdApp.*")  # type: ignore[attr-defined]
    drawer = rdMolDraw2D.MolDraw2DSVG(-1, -1)
    options: Any = drawer.drawOptions()
    options.clearBackground, options.dummiesAreAttachments = False, True
    try:
        molecule = Chem.MolFromSmiles(name) if unit is None else molecule_of(unit)
        if molecule is None or not molecule.GetNumAtoms():
            return text
        drawer.DrawMolecule(molecule)
    except (ValueError, RuntimeError):
        return text
    drawer.FinishDrawing()
    drawing = str(drawer.GetDrawingText())
    width, height = map(float, re.search(r"viewBox='0 0 (\d+) (\d+)'", drawing).groups())  # type: ignore[union-attr]
    # Of its paths, classes and what is the default; a header has no place in the page.
    paths = Markup(re.sub(_NEEDLESS, "", "".join(re.findall(r"<path[^>]*>", drawing))))
    shrink = min(0.62, WIDE / width, TALL / height)
    return Markup(
        '<svg xmlns="http://www.w3.org/2000/svg" class="molecule" width="{}" height="{}" '
        'viewBox="0 0 {:g} {:g}" role="img" aria-label="{}"><title>{}</title>{}</svg>'
    ).format(round(shrink * width), round(shrink * height), width, height, name, name, paths)


def molecule_of(unit: Unit) -> Any:
    """A linker by the distances of its atoms, arms at other atoms than nitrogen as attachments.

    None for a node, a large unit, and one whose bonds are not found.
    """
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


def candidate_table(
    frame: pl.DataFrame, units: Mapping[str, Unit] | None = None, *, linked: bool = False
) -> Table:
    """Return rows as a table that sorts: words, requests beside predictions, geometry.

    ``units`` are building units by name, to be drawn. Names lead to their CIF files where they are
    ``linked``. Columns without any value are left out.
    """
    units = units or {}
    frame = frame[[series.name for series in frame if series.null_count() < frame.height]]
    words = [name for name in _WORDS if name in frame.columns]
    # Column to the columns of its interval, and its head.
    numbers = {
        f"{name}_{end}": (
            [f"{name}_{one}" for one in ends],
            with_unit(name, called_so=f"{called(name)}, {end}"),
        )
        for name in dict.fromkeys(column.rpartition("_")[0] for column in frame.columns)
        for end, ends in _ENDS.items()
    } | {name: ([], with_unit(name, called_so=short)) for name, short in _NUMBERS.items()}
    numbers = {name: about for name, about in numbers.items() if name in frame.columns}
    outcome = ["what came of it"] if "built" in frame.columns else []
    head = ["name", *outcome, *map(called, words)]
    rows = []
    for row in frame.head(MOST_ROWS).iter_rows(named=True):
        name: str = escape(shorten(str(row.get("name") or ""), 40))
        if linked and row.get("built") and row.get("file"):
            name = Markup('<a href="{}">{}</a>').format(row["file"], name)
        cells = [name]
        if outcome:
            failed = "; ".join(split(row.get("failed_checks"))) or row["failure"] or "failed"
            cells.append("built" if row["built"] else shorten(failed, 60))
        for word in words:
            members = split(row[word])
            if word in ("linkers", "linker_units"):
                cells.append(Markup(" ").join(drawn_linker(m, units.get(m)) for m in members))
            else:
                cells.append(shorten("; ".join(members), 80))
        rows.append([*cells, *(_value(row, n, ends) for n, (ends, _) in numbers.items())])
    heads = [*head, *(text for _, text in numbers.values())]
    return Table(heads, rows, numbers_from=len(head), sortable=True)


def _value(row: Mapping[str, Any], name: str, ends: Sequence[str]) -> str:
    """Write a number with its interval or error."""
    value = row.get(name)
    if not isinstance(value, (int, float)) or not math.isfinite(value):
        return ""
    if isinstance(value, int):
        return f"{value:,}"
    around = [significant(float(row[end]), 2) for end in ends if row.get(end) is not None]
    spread = (
        f" ({around[0]} to {around[1]})" if len(around) == 2 else "".join(f" ± {e}" for e in around)
    )
    return significant(value) + spread
