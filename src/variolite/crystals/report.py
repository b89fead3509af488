"""The report page of a crystal run: what it reads, its sections and their order."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import polars as pl
from numpy.typing import NDArray

from variolite.crystals.crystals import Crystals, cell_parameters
from variolite.crystals.elements import HEAVIEST, SYMBOLS, chemical_family, reduced_formulas
from variolite.crystals.evaluation.distributions import densities
from variolite.crystals.files.store import open_store
from variolite.crystals.matching.scores import PeriodicErrors, periodic_errors
from variolite.crystals.report_figures import (
    CellQuantity,
    ChemistryMap,
    Colouring,
    ElementValues,
    Group,
    Measure,
    cell_parity,
    error_histograms,
    errors_by_group,
    families_present,
    family_maps,
    latent_map,
    periodic_table,
    sample_distributions,
)
from variolite.crystals.report_scores import generation_headline, match_headline, scores_section
from variolite.crystals.report_structures import scene_of, scenes_of_pair, structure_view
from variolite.report.page import (
    Alternatives,
    Block,
    Figure,
    Heading,
    Paragraph,
    Section,
    Table,
    packaged,
    render_page,
)
from variolite.report.provenance import about_run, provenance_section
from variolite.report.run_files import RunFiles, part_path, read_part
from variolite.report.style import figure_style, to_svg
from variolite.report.tables import chemical, counted, decimals, listed, significant, unit_after
from variolite.report.training_curves import Units, training_section

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]
Strings = NDArray[np.str_]

UNITS = Units(objective="weighted loss", divergence="nats per atom")
FEW = 500
"""Up to so many crystals are dots; squares of one crystal each would be pale and small."""
MOST_SIZES = 9
MOST_EXAMPLES, FEWEST_ATOMS = 12, 3
SHOWN, ABREAST = 12, 3
MOST_MIXED = 10
FLOORS = (0.95, 0.9, 0.8, 0.5, 0.0)
"""Where the colours of a share may begin; the highest that is below every share is taken."""
RANKS = {
    "median": 0.5,
    "least": 0.0,
    "lower quartile": 0.25,
    "upper quartile": 0.75,
    "95 % mark of the": 0.95,
    "99 % mark of the": 0.99,
    "largest": 1.0,
}
"""What is shown of the crystals in the order of their error, the typical one first."""
_MEASURES = {
    "periodic_error": ("periodic error", "Å"),
    "length_error_percent": ("error of cell lengths", "%"),
    "angle_error_deg": ("error of cell angles", "°"),
    "volume_error_percent": ("error of cell volume", "%"),
}
_NO_STRUCTURES = "run `variolite score` to write originals.crystals and reconstructed.crystals."
_UNLISTED = (
    "The run keeps no list of its training structures: some of these may be among them, and the "
    "scores better than on others."
)
_PERIODIC_ERROR = (
    "Periodic error: distance between the places of an atom in the cell of the original, to the "
    "nearest periodic image and after the translation of all atoms that makes it least; a crystal "
    "of one atom has none."
)
_FAMILY = (
    " A family is told by the anion: O, a halogen, S, Se or Te, N, another element of group 15, "
    "H, C, B, Si or Ge, in this order; crystals of metals alone are intermetallic, of one element "
    "elemental. Families beyond the eighth are squares."
)
_DRAWN = "in parallel projection, one cell with the atoms on its faces"


def is_crystal_run(files: RunFiles) -> bool:
    """Return whether a run folder is that of a crystal model.

    The model file and the recipe say so; where both are gone, the stores of crystals do.
    """
    if files.model is not None and isinstance(files.model.get("kind"), str):
        return str(files.model["kind"]).endswith("crystal_vae")
    if files.recipe:
        return files.recipe.get("kind") == "crystals"
    stores = ("originals", "reconstructed", "samples")
    return any(part_path(files.folder, part).is_file() for part in stores)


def crystal_page(files: RunFiles) -> str:
    """Return the whole page of a crystal run as HTML.

    Raises
    ------
    RunFolderError
        If a file of the run is damaged, or files of one scoring do not fit each other.
    """
    run = CrystalRun.of(files)
    with figure_style():
        sections = (
            scores_section(files.scorecard),
            _cells(run),
            _errors(run),
            _examples(run),
            _map(run),
            _elements(run),
            _samples(run),
            training_section(files.history, files.provenance, files.members, UNITS),
            provenance_section(files),
        )
        return render_page(
            files.name,
            about_run(files),
            _headline(run),
            sections,
            simulated=files.simulated,
            style=packaged("viewer.css", "variolite.crystals"),
            script=packaged("viewer.js", "variolite.crystals"),
        )


@dataclass(frozen=True)
class Pairs:
    """Held-out crystals and what the model made of them, in the same order.

    Both hold B structures with the same numbers of atoms; atom i of one is atom i of the
    other.
    """

    originals: Crystals
    reconstructed: Crystals

    def __len__(self) -> int:
        return len(self.originals)

    @cached_property
    def parameters(self) -> tuple[Floats, Floats]:
        """Lengths in Angstrom, angles in degrees and volume per atom in cubic Angstrom.

        Of both, [B, 7] each.
        """
        counts = np.maximum(self.originals.counts, 1)
        # A reconstruction may have failed altogether.
        with np.errstate(invalid="ignore"):
            original, rebuilt = (
                np.column_stack([cell_parameters(crystals.lattices), crystals.volumes / counts])
                for crystals in (self.originals, self.reconstructed)
            )
        return original, rebuilt

    @cached_property
    def errors(self) -> PeriodicErrors | None:
        """Periodic errors of atoms and crystals; None where a structure has no atoms."""
        if not len(self) or (self.originals.counts < 1).any():
            return None
        return periodic_errors(self.originals, self.reconstructed)

    @cached_property
    def formulas(self) -> Strings:
        """Reduced formulas of the originals, [B]."""
        return reduced_formulas(self.originals)

    @property
    def extent(self) -> str:
        """How many crystals these are, and of how many formulas."""
        return _extent(len(self), self.formulas)


@dataclass(frozen=True)
class CrystalRun:
    """A run folder of a crystal model; a part that is not there is None.

    ``table`` has one row for each of the B scored crystals, with what the originals say where
    these are all there; ``pairs`` are those or, where they are many, a sample of those that could
    be reconstructed.
    """

    files: RunFiles
    originals: Crystals | None
    pairs: Pairs | None
    samples: Crystals | None
    table: pl.DataFrame

    @classmethod
    def of(cls, files: RunFiles) -> CrystalRun:
        """Read what a crystal run holds besides the files that every run has.

        Raises
        ------
        RunFolderError
            If a file is damaged, or files of one scoring do not fit each other.
        """
        originals = read_part(files.folder, "originals", open_store)

        def fitting(path: Path) -> Pairs | None:
            rebuilt = open_store(path)
            if originals is None:
                return None
            if not np.array_equal(rebuilt.counts, originals.counts):
                raise ValueError("its structures are not those of originals.crystals")
            return Pairs(originals, rebuilt)

        pairs = read_part(files.folder, "reconstructed", fitting)
        table = files.held_out
        if originals is not None and table is not None and "name" in table.columns:
            names = table["name"].cast(pl.String).to_list()
            missing = set(originals.names.tolist()) - set(names)

            def misfit(_: Path) -> None:
                raise ValueError(
                    f"it lacks {len(missing):,} of the {len(originals):,} structures of "
                    "originals.crystals"
                )

            if missing:
                read_part(files.folder, "held_out", misfit)
        if originals is not None and (table is None or table.height == len(originals)):
            known = {
                "formula": reduced_formulas(originals),
                "chemical_family": chemical_family(originals),
                "n_atoms": originals.counts,
                "volume_per_atom": originals.volumes / np.maximum(originals.counts, 1),
            }
            given = [] if table is None else table.get_columns()
            named = {column.name for column in given}
            derived = [pl.Series(k, v.tolist()) for k, v in known.items() if k not in named]
            table = pl.DataFrame([*given, *derived])
        samples = read_part(files.folder, "samples", open_store)
        return cls(files, originals, pairs, samples, pl.DataFrame() if table is None else table)

    @property
    def count(self) -> int:
        """Number of scored crystals; 0 where none are there."""
        return self.table.height

    @cached_property
    def species_given(self) -> bool:
        """Whether the decoder is given the atom types, as the model file says."""
        return _stated(self.files.model, "species_given") is True

    def column(self, name: str) -> Floats | None:
        """Return a numeric column of the table, [B], NaN where it is missing."""
        if name not in self.table.columns:
            return None
        series = self.table[name]
        if not (series.dtype.is_numeric() or series.dtype == pl.Boolean):
            return None
        values = series.cast(pl.Float64, strict=False).fill_null(float("nan")).to_numpy()
        return np.where(np.isfinite(values), values, np.nan)

    def texts(self, name: str) -> Strings | None:
        """Return a column of the table as text, [B]."""
        if name not in self.table.columns:
            return None
        series = self.table[name].cast(pl.String, strict=False).fill_null("")
        return np.asarray(series.to_list(), dtype=np.str_)

    @cached_property
    def measures(self) -> dict[str, Measure]:
        """Errors by crystal, by name of the column."""
        columns = {name: self.column(name) for name in _MEASURES}
        return {
            name: Measure(*_MEASURES[name], np.abs(values))
            for name, values in columns.items()
            if values is not None and np.isfinite(values).any()
        }

    @property
    def extent(self) -> str:
        """How many crystals were scored, and of how many formulas."""
        return _extent(self.count, self.texts("formula"))

    @property
    def sampling(self) -> str:
        """Say that ``pairs`` are not all crystals that were scored; empty where they are."""
        if self.pairs is None or len(self.pairs) >= self.count:
            return ""
        return (
            f" They are those that the run keeps of {self.count:,} scored crystals; crystals for "
            "which no cell came back are not among them."
        )


def _extent(count: int, formulas: Strings | None) -> str:
    crystals = counted(count, "held-out crystal")
    if formulas is None or not count:
        return crystals
    return f"{crystals} of {counted(len(np.unique(formulas)), 'formula')}"


def _stated(content: object, name: str) -> object:
    """Return the first entry of a name in nested mappings; None where there is none."""
    if not isinstance(content, Mapping):
        return None
    if name in content:
        return content[name]
    found = (_stated(value, name) for value in content.values())
    return next((value for value in found if value is not None), None)


def _headline(run: CrystalRun) -> list[str]:
    """Say how many crystals come back, how that compares, how near, and what was given."""
    scorecard = run.files.scorecard
    if scorecard is None:
        return ["The run has not been scored yet, so nothing is claimed about it."]
    crystals = run.extent if run.count else "the held-out crystals"
    matched = match_headline(scorecard, crystals, species_given=run.species_given)
    words = {
        "periodic_error": "atoms are off by {}\u00a0Å",
        "length_error_percent": "cell lengths by {}\u00a0%",
        "angle_error_deg": "cell angles by {}°",
        "volume_error_percent": "the volume by {}\u00a0%",
    }
    errors = [
        words[name].format(significant(float(np.median(measure.known)), 2))
        for name, measure in run.measures.items()
    ]
    generated = "the generated crystals"
    if run.samples is not None:
        generated = counted(len(run.samples), "generated crystal")
    sentences = [
        *matched,
        _UNLISTED if matched and run.files.split is None else "",
        f"In the median crystal, {listed(errors)}." if errors else "",
        generation_headline(scorecard, generated),
    ]
    claims = [sentence for sentence in sentences if sentence]
    return claims or ["No reconstruction was scored, so nothing is claimed about this run."]


def _missing(anchor: str, title: str, reason: str) -> Section:
    return Section(anchor, title, (Paragraph(reason, "missing"),))


def _cells(run: CrystalRun) -> Section:
    """Return the parity of lengths, angles and volumes, or say what is missing for it."""
    anchor, title = "cells", "Cells: original and reconstructed"
    if run.pairs is None or not len(run.pairs):
        return _missing(anchor, title, f"No cells to compare yet: {_NO_STRUCTURES}")
    pairs, few = run.pairs, len(run.pairs) <= FEW
    names = ("a", "b", "c", "volume per atom", "α", "β", "γ")
    units = ("Å", "Å", "Å", "Å³", "°", "°", "°")
    quantities = [
        CellQuantity(name, unit, *(values[:, place] for values in pairs.parameters))
        for name, unit, place in zip(names, units, (0, 1, 2, 6, 3, 4, 5), strict=True)
    ]
    errors = [
        f"{q.name} {significant(q.mean_absolute_error)}{unit_after(q.unit)}" for q in quantities
    ]
    bent = [q.name for q in quantities if q.axis.kind == "log"]
    caption = (
        "Cell lengths a, b, c in Å, angles in degrees and volume per atom in Å³ of "
        f"{pairs.extent}, original against reconstructed, in the cell of the file, "
        f"{'a dot each' if few else 'as counts per square on a logarithmic colour scale'}; on the "
        "dashed line both are equal. R² and mean absolute error (MAE) are over all crystals; MAE: "
        f"{listed(errors)}. Values beyond the axes {'stand' if few else 'are counted'} at the "
        f"edge.{f' Scales that are logarithmic: {listed(bent)}.' if bent else ''} The model has "
        f"seen the crystal that it reproduces: this is no prediction.{run.sampling}"
    )
    drawing = to_svg(
        cell_parity(quantities, few=few),
        "Cell lengths, angles and volumes, original against reconstructed",
    )
    return Section(anchor, title, (Figure("cells", drawing, caption),))


def _errors(run: CrystalRun) -> Section:
    """Return how errors spread, over all crystals and by group, or say what is missing."""
    anchor, title = "errors", "Errors"
    if not run.measures or not run.count:
        reason = (
            "No errors by crystal: run `variolite score` to write held_out.parquet with the "
            f"columns {listed(list(_MEASURES))}."
        )
        return _missing(anchor, title, reason)
    blocks: list[Block] = [_spread(run)]
    for name, groups in (("number of atoms", _sizes(run)), ("chemical family", _families(run))):
        if len(groups) > 1:
            blocks.append(_by_group(run, groups, name))
    return Section(anchor, title, blocks)


def _spread(run: CrystalRun) -> Figure:
    shown = [(measure, "crystals") for measure in run.measures.values()]
    counts = ""
    if run.pairs is not None and run.pairs.errors is not None and "periodic_error" in run.measures:
        atoms = run.pairs.errors.distances
        shown[0] = (Measure("periodic error of every atom", "Å", atoms), "atoms")
        counts = f"; the first panel counts {len(atoms):,} atoms of {run.pairs.extent}"
    without = [
        f"{measure.title} ({len(measure.values) - len(measure.known):,})"
        for measure, _ in shown
        if len(measure.known) < len(measure.values)
    ]
    left_out = f" Left out, as they have no value: {listed(without)}." if without else ""
    caption = (
        f"Errors of the reconstruction of {run.extent}{counts}. Solid line: median; dashed: "
        f"95 % lie below. {_PERIODIC_ERROR} Errors of lengths and angles are means over the three "
        "of a crystal. Where an axis is logarithmic, smaller values, zeros among them, count in "
        f"the first bar; in every panel larger ones count in the last.{left_out}"
    )
    drawing = to_svg(error_histograms(shown), "Errors of the reconstruction")
    return Figure("errors", drawing, caption)


def _sizes(run: CrystalRun) -> list[Group]:
    """Group crystals by number of atoms; neighbouring numbers share a group where they are many."""
    atoms = run.column("n_atoms")
    if atoms is None:
        return []
    numbers, counts = np.unique(atoms[np.isfinite(atoms)], return_counts=True)
    # Groups of about equally many crystals: by the number of crystals before each size.
    place = np.minimum((np.cumsum(counts) - counts) * MOST_SIZES // counts.sum(), MOST_SIZES - 1)
    if len(numbers) <= MOST_SIZES:
        place = np.arange(len(numbers))
    parts = [numbers[place == group] for group in np.unique(place)]
    return [(_atoms(part[0], part[-1]), (atoms >= part[0]) & (atoms <= part[-1])) for part in parts]


def _atoms(low: float, high: float) -> str:
    return counted(int(low), "atom") if low == high else f"{low:.0f} to {high:.0f} atoms"


def _families(run: CrystalRun) -> list[Group]:
    families = run.texts("chemical_family")
    if families is None:
        return []
    return [(name, families == name) for name in families_present(families)]


def _by_group(run: CrystalRun, groups: list[Group], name: str) -> Figure:
    wanted = ("periodic_error", "volume_error_percent")
    measures = [run.measures[key] for key in wanted if key in run.measures]
    matched = run.column("matched_strict")
    intervals = (
        " Right: share of crystals matched at the strict tolerance, whiskers 95 % intervals by "
        "Wilson's method over crystals."
    )
    caption = (
        f"Errors of the reconstruction of {run.extent} by {name}, with the number of crystals in "
        "brackets. Dot: median; bar: middle half; line: 5 to 95 % of the crystals, cut off at "
        "the ends of the axis; dashed: median of all. The periodic error of a crystal is the "
        f"median over its atoms.{intervals if matched is not None else ''}"
    )
    figure = errors_by_group(measures or list(run.measures.values())[:2], groups, matched)
    return Figure(f"errors-by-{name.split()[-1]}", to_svg(figure, f"Errors by {name}"), caption)


def _examples(run: CrystalRun) -> Section:
    """Return pairs of structures that can be turned, or say what is missing for them."""
    anchor, title = "structures", "Structures side by side"
    if run.pairs is None or not len(run.pairs):
        return _missing(anchor, title, f"No structures to show yet: {_NO_STRUCTURES}")
    pairs = run.pairs
    options = tuple(
        (f"{why}: {chemical(str(pairs.formulas[i]))}", (_example(pairs, i, why, f"s{place}"),))
        for place, (i, why) in enumerate(_chosen(pairs).items())
    )
    if not options:
        return _missing(anchor, title, "No pair of structures has finite cells to draw.")
    blocks: list[Block] = [Alternatives("Crystal", options)]
    if run.sampling:
        blocks.insert(0, Paragraph(f"Examples of {pairs.extent}.{run.sampling}", "remark"))
    return Section(anchor, title, blocks)


def _chosen(pairs: Pairs) -> dict[int, str]:
    """Choose by rank of the periodic error, then the median one of a few sizes."""
    # A reconstruction so bad that it has no error counts as the worst.
    errors = np.zeros(len(pairs)) if pairs.errors is None else pairs.errors.medians
    order = np.argsort(np.nan_to_num(errors, nan=np.inf), kind="stable")
    order = order[(_drawable(pairs.originals) & _drawable(pairs.reconstructed))[order]]
    atoms = pairs.originals.counts[order]
    # One or two atoms can hardly be in a wrong place.
    telling = order[atoms >= FEWEST_ATOMS]
    ranked = telling if len(telling) else order
    chosen: dict[int, str] = {}
    if pairs.errors is not None and len(ranked):
        for name, share in RANKS.items():
            chosen.setdefault(int(ranked[round(share * (len(ranked) - 1))]), f"{name} error")
    sizes = np.quantile(atoms, np.linspace(0, 1, 5), method="nearest") if len(order) else atoms
    for size in np.unique(sizes).tolist():
        alike = order[atoms == size]
        chosen.setdefault(int(alike[len(alike) // 2]), f"typical of {counted(int(size), 'atom')}")
    return dict(list(chosen.items())[:MOST_EXAMPLES])


def _drawable(crystals: Crystals) -> NDArray[np.bool_]:
    """Return which structures have atoms, all at finite places, in a finite cell, [B]."""
    wrong = ~np.isfinite(crystals.coordinates).all(axis=1)
    misplaced = np.bincount(crystals.owner, weights=wrong, minlength=len(crystals)) > 0
    finite = np.isfinite(crystals.lattices).all(axis=(1, 2))
    return np.asarray(finite & ~misplaced & (crystals.counts > 0))


def _example(pairs: Pairs, index: int, why: str, key: str) -> Figure:
    original, rebuilt = pairs.originals[index], pairs.reconstructed[index]
    formula = str(pairs.formulas[index])
    name = chemical(formula)
    scenes = zip(
        (f"original: {name}", "reconstructed"), scenes_of_pair(original, rebuilt), strict=True
    )
    drawing = structure_view(
        list(scenes), key, title=f"{name}, original and reconstructed", abreast=2
    )
    own = float(pairs.errors.medians[index]) if pairs.errors is not None else math.nan
    error = f", periodic error {significant(own)} Å: {why}" if math.isfinite(own) else ""
    wrong = int((original.species != rebuilt.species).sum())
    types = f" {counted(wrong, 'atom')} came back as another element." if wrong else ""
    before, after = (parameters[index] for parameters in pairs.parameters)
    caption = (
        f"{name} (id {original.name or 'not given'}, {counted(len(original), 'atom')}{error}). "
        f"Cell {_cell(before)} became {_cell(after)}; volume per atom {decimals(before[6], 2)} "
        f"became {decimals(after[6], 2)} Å³.{types} Both are drawn at one scale {_DRAWN}; the "
        "shift common to all atoms is taken out. Colours are those of Jmol, radii 0.45 covalent "
        "radii; bonds join atoms nearer than 1.15 times the sum of their covalent radii, metals "
        "not with each other."
    )
    return Figure(f"structure-{formula}-{original.name}", drawing, caption)


def _cell(parameters: Floats) -> str:
    lengths = ", ".join(decimals(value, 3) for value in parameters[:3].tolist())
    angles = ", ".join(decimals(value, 1) for value in parameters[3:6].tolist())
    return f"{lengths} Å; {angles}°"


def _map(run: CrystalRun) -> Section:
    """Return the latent map by family and by number of atoms, or say what is missing for it."""
    anchor, title = "latent-map", "Latent map by chemistry"
    first, second = run.column("pc1"), run.column("pc2")
    scores = np.empty((0, 2)) if first is None or second is None else np.stack([first, second], 1)
    known = scores[np.isfinite(scores).all(axis=1)]
    if len(known) < 3 or np.ptp(known[:, 0]) == 0:
        reason = (
            "No latent map: run `variolite score` to write held_out.parquet with the places of "
            "the held-out crystals, pc1 and pc2, that vary."
        )
        return _missing(anchor, title, reason)
    chart = ChemistryMap.of(scores)
    families = run.texts("chemical_family")
    volumes, atoms = run.column("volume_per_atom"), run.column("n_atoms")
    by_family = families is not None and len(families_present(families)) > 1
    colourings: list[Colouring] = []
    if families is not None and by_family:
        colourings.append(Colouring.by_family(families))
    elif volumes is not None:
        colourings.append(Colouring.by_number("by volume per atom", volumes, _cubic))
    if atoms is not None:
        colourings.append(Colouring.by_number("by number of atoms", atoms, _atoms))
    plain = Colouring("held-out crystals", np.full(len(scores), -1), (), ("#0072B2",))
    outside = f" {counted(chart.outside, 'outlying crystal')} beyond the axes."
    caption = (
        "Posterior means of held-out crystals, averaged over their atoms, in the plane of their "
        f"two leading principal components ({counted(len(chart.shown), 'crystal')} of "
        f"{run.count:,}, drawn in random order; both axes on one scale)."
        f"{outside if chart.outside else ''}{_FAMILY if by_family else ''}"
    )
    drawing = to_svg(latent_map(chart, colourings or [plain]), "Latent map of held-out crystals")
    blocks: list[Block] = [Figure("latent-map", drawing, caption)]
    if families is not None and by_family:
        caption = (
            "The same map with one chemical family at a time over all crystals in grey; numbers "
            "of held-out crystals in brackets. Axes and limits are those of the figure before."
        )
        drawing = to_svg(family_maps(chart, families), "Latent map, one chemical family at a time")
        blocks.append(Figure("latent-map-families", drawing, caption))
    return Section(anchor, title, blocks)


def _cubic(low: float, high: float) -> str:
    return f"{significant(low)} to {significant(high)} Å³"


def _elements(run: CrystalRun) -> Section:
    """Return how well each element comes back: its types, the commonest mistakes, its places."""
    anchor, title = "elements", "Elements"
    if run.pairs is None or not run.pairs.originals.species.size:
        return _missing(anchor, title, f"No elements to compare yet: {_NO_STRUCTURES}")
    species = run.pairs.originals.species.astype(np.int64)
    width = HEAVIEST + 1
    # Atoms by element of the original and of the reconstruction.
    confusion = np.bincount(
        species * width + run.pairs.reconstructed.species, minlength=width**2
    ).reshape(width, width)
    whose = f"{counted(len(species), 'atom')} of {run.pairs.extent}"
    end = f"Elements without a number do not occur; the small numbers count atoms.{run.sampling}"
    blocks: list[Block] = []
    wrong = len(species) - int(np.trace(confusion))
    if wrong:
        table, floor = _accuracy(confusion)
        present = table.atoms > 0
        perfect = int((table.values[present] == 1).sum())
        caption = (
            "Share of the atoms of each element whose type the reconstruction gives back, in per "
            f"cent, over {whose}: {100 * (1 - wrong / len(species)):.2f} % of all atoms, and all "
            f"atoms of {perfect} of {counted(int(present.sum()), 'element')}. Colours begin at "
            f"{100 * floor:.0f} %. {end}"
        )
        drawing = to_svg(periodic_table(table), "Accuracy of atom types by element")
        heads = ("element", "came back as", "atoms", "share of the element's atoms")
        blocks += [
            Figure("elements", drawing, caption),
            Heading("Commonest mistakes"),
            Table(heads, _mistakes(confusion), numbers_from=2),
        ]
    elif run.species_given:
        given = "The atom types were given to this model, so that all are right by construction."
        blocks.append(Paragraph(given, "remark"))
    else:
        blocks.append(Paragraph(f"All {whose} came back as the right element."))
    distances = np.array([]) if run.pairs.errors is None else run.pairs.errors.distances
    known = np.isfinite(distances)
    if known.any():
        caption = (
            f"Median periodic error of the atoms of each element in Å, over {whose}. Colours end "
            f"at the 95 % mark of the elements. {end}"
        )
        table = _typical(species[known], distances[known])
        drawing = to_svg(periodic_table(table), "Error of places by element")
        blocks.append(Figure("errors-by-element", drawing, caption))
    return Section(anchor, title, blocks)


def _accuracy(confusion: Integers) -> tuple[ElementValues, float]:
    """Return the share of atoms of each element that are right, and where colours begin."""
    atoms = confusion.sum(axis=1)
    shares = np.diagonal(confusion) / np.maximum(atoms, 1)
    floor = next(floor for floor in FLOORS if floor <= shares[atoms > 0].min())

    return (
        ElementValues(
            values=shares,
            atoms=atoms,
            label="atoms with the right type (%)",
            # Only a whole is called 100.
            written=lambda share: "100" if share == 1 else f"{min(100 * share, 99.9):.1f}",
            precise=lambda share: f"{100 * share:.2f} %",
            # Right is pale and wrong is dark, so that what needs a look stands out.
            span=(1.0, floor),
        ),
        floor,
    )


def _typical(species: Integers, distances: Floats) -> ElementValues:
    """Return the median error of the atoms of each element in Angstrom."""
    atoms = np.bincount(species, minlength=HEAVIEST + 1)
    medians = np.full(HEAVIEST + 1, np.nan)
    for number in np.flatnonzero(atoms):
        medians[number] = np.median(distances[species == number])
    high = max(float(np.nanquantile(medians, 0.95)), 1e-9)
    return ElementValues(
        values=medians,
        atoms=atoms,
        label="median periodic error (Å)",
        written=lambda error: significant(error, 2),
        precise=lambda error: f"{significant(error)} Å",
        span=(0.0, high),
    )


def _mistakes(confusion: Integers) -> list[tuple[str, ...]]:
    wrong = confusion.copy()
    np.fill_diagonal(wrong, 0)
    order = np.argsort(-wrong, axis=None, kind="stable")[:MOST_MIXED]
    rows: list[tuple[str, ...]] = []
    for true, given in zip(*np.unravel_index(order, wrong.shape), strict=True):
        count = int(wrong[true, given])
        if count:
            share = count / int(confusion[true].sum())
            rows.append((SYMBOLS[true], SYMBOLS[given], f"{count:,}", f"{100 * share:.1f} %"))
    return rows


def _samples(run: CrystalRun) -> Section:
    """Return a gallery of generated crystals and how they spread, or say that there are none."""
    anchor, title = "samples", "Generated crystals"
    if run.samples is None or not len(run.samples):
        reason = (
            "No generated crystals: run `variolite score` with samples to write samples.crystals."
        )
        return _missing(anchor, title, reason)
    beside = ""
    if run.originals is not None:
        beside = f" beside the {len(run.originals):,} held-out crystals"
    caption = (
        f"What {len(run.samples):,} generated crystals are made of{beside}: share of the crystals "
        "by density, number of atoms in the cell and number of different elements; below, share "
        "of the crystals that contain an element, the commonest first. Values beyond the axis of "
        "the density count in the bar at its end. Nothing here says that a crystal is stable: see "
        "the scores of generation for that."
    )
    figure = sample_distributions(run.samples, run.originals)
    drawing = to_svg(figure, "Distributions of generated crystals")
    blocks = (_gallery(run.samples), Figure("samples-distributions", drawing, caption))
    return Section(anchor, title, blocks)


def _gallery(samples: Crystals) -> Alternatives:
    with np.errstate(invalid="ignore"):
        drawable = np.flatnonzero(_drawable(samples) & (samples.volumes > 0))
    chosen = np.sort(np.random.default_rng(0).permutation(drawable)[:SHOWN])
    shown = samples.take(chosen)
    formulas = [chemical(str(formula)) for formula in reduced_formulas(shown)]
    names = [
        f"{formula}, {counted(count, 'atom')}, {decimals(weight, 2)} g/cm³"
        for formula, count, weight in zip(
            formulas, shown.counts.tolist(), densities(shown).tolist(), strict=True
        )
    ]
    options: list[tuple[str, tuple[Figure, ...]]] = []
    for start in range(0, len(chosen), ABREAST):
        places = range(start, min(start + ABREAST, len(chosen)))
        title = ", ".join(formulas[place] for place in places)
        scenes = [(names[place], scene_of(shown[place])) for place in places]
        drawing = structure_view(
            scenes, f"g{start}", title=f"Generated crystals {title}", abreast=ABREAST
        )
        caption = (
            f"Generated crystals {start + 1} to {places[-1] + 1} of {len(chosen)} that were drawn "
            f"at random, not picked, from {len(samples):,}; all at one scale {_DRAWN}, with their "
            "density. Colours and bonds as in the figures above."
        )
        options.append((title, (Figure(f"samples-{start + 1}", drawing, caption),)))
    return Alternatives("Generated crystals", tuple(options))
