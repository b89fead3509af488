"""The page of a crystal run: what it reads, its sections and their order."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import polars as pl
from numpy.typing import NDArray

from variolite.crystals.crystals import Crystals
from variolite.crystals.elements import HEAVIEST, SYMBOLS, chemical_family, reduced_formulas
from variolite.crystals.files.store import open_store
from variolite.crystals.report.crystal_figures import (
    CellQuantity,
    Colouring,
    ElementValues,
    Group,
    Measure,
    cell_parity,
    error_histograms,
    errors_by_group,
    families_present,
    family_maps,
    periodic_table,
    sample_distributions,
)
from variolite.crystals.report.score_section import (
    generation_headline,
    match_headline,
    scores_section,
)
from variolite.crystals.report.structure_views import Pairs, examples, extent_of, gallery
from variolite.report.clouds import Coloured, PlaneMap, latent_map
from variolite.report.page import (
    Block,
    Figure,
    Heading,
    Paragraph,
    Section,
    Table,
    missing,
    packaged,
    render_page,
)
from variolite.report.provenance import about_run, provenance_section
from variolite.report.style import figure_style, to_svg
from variolite.report.tables import counted, listed, significant, unit_after
from variolite.report.training_curves import Units, training_section
from variolite.scoring.scorecard import Scorecard
from variolite.training.run_folder import RunFiles, damaged, read_part

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]
Strings = NDArray[np.str_]

UNITS = Units(objective="weighted loss", divergence="nats per atom")
FEW = 500
"""Up to so many crystals are dots; squares of one crystal each would be pale and small."""
MOST_SIZES = 9
MOST_MIXED = 10
FLOORS = (0.95, 0.9, 0.8, 0.5, 0.0)
"""Where the colours of a share may begin; the highest that is below every share is taken."""
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
            scores_section(run.scorecard),
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
            headline(run),
            sections,
            simulated=files.simulated,
            style=packaged("viewer.css", "variolite.crystals.report"),
            script=packaged("viewer.js", "variolite.crystals.report"),
        )


@dataclass(frozen=True)
class CrystalRun:
    """A run folder of a crystal model; a part that is not there is None.

    ``table`` has one row for each of the B scored crystals, with what the originals say where
    these are all there; ``pairs`` are those or, where they are many, a sample of those that could
    be reconstructed.
    """

    files: RunFiles
    scorecard: Scorecard | None
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
        originals, rebuilt, samples = (
            read_part(files.run.path / f"{part}.crystals", open_store)
            for part in ("originals", "reconstructed", "samples")
        )
        pairs, table = None, files.held_out
        if originals is not None and rebuilt is not None:
            if not np.array_equal(rebuilt.counts, originals.counts):
                path = files.run.path / "reconstructed.crystals"
                raise damaged(path, "its structures are not those of originals.crystals")
            pairs = Pairs(originals, rebuilt)
        if originals is not None and table is not None and "name" in table.columns:
            names = table["name"].cast(pl.String).to_list()
            missing = len(set(originals.names.tolist()) - set(names))
            if missing:
                of = f"{missing:,} of the {len(originals):,} structures of originals.crystals"
                raise damaged(files.run.held_out_file, f"it lacks {of}")
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
        scorecard = read_part(files.run.scorecard_file, Scorecard.read)
        table = pl.DataFrame() if table is None else table
        return cls(files, scorecard, originals, pairs, samples, table)

    @property
    def count(self) -> int:
        """Number of scored crystals; 0 where none are there."""
        return self.table.height

    @property
    def species_given(self) -> bool:
        """Whether the decoder is given the atom types, as the model file says."""
        architecture = (self.files.model or {}).get("architecture")
        if not isinstance(architecture, Mapping):
            return False
        # The second is how format 1 says it.
        given = architecture.get("given", ())
        return "species" in given or architecture.get("species_given") is True

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
        return extent_of(self.count, self.texts("formula"))

    @property
    def sampling(self) -> str:
        """Say that ``pairs`` are not all crystals that were scored; empty where they are."""
        if self.pairs is None or len(self.pairs) >= self.count:
            return ""
        return (
            f" They are those that the run keeps of {self.count:,} scored crystals; crystals for "
            "which no cell came back are not among them."
        )


def headline(run: CrystalRun) -> list[str]:
    """Say how many crystals come back, how that compares, how near, and what was given."""
    scorecard = run.scorecard
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


def _cells(run: CrystalRun) -> Section:
    """Return the parity of lengths, angles and volumes, or say what is missing for it."""
    anchor, title = "cells", "Cells: original and reconstructed"
    if run.pairs is None or not len(run.pairs):
        return missing(anchor, title, f"No cells to compare yet: {_NO_STRUCTURES}")
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
        f"seen the crystal that it reproduces: this is not a prediction.{run.sampling}"
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
        return missing(anchor, title, reason)
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
    anchor, title = "structures", "Structures side by side"
    if run.pairs is None or not len(run.pairs):
        return missing(anchor, title, f"No structures to show yet: {_NO_STRUCTURES}")
    shown = examples(run.pairs)
    if shown is None:
        return missing(anchor, title, "No pair of structures has finite cells to draw.")
    remark = Paragraph(f"Examples of {run.pairs.extent}.{run.sampling}", "remark")
    return Section(anchor, title, (remark, shown) if run.sampling else (shown,))


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
        return missing(anchor, title, reason)
    chart = PlaneMap.of(scores)
    families = run.texts("chemical_family")
    volumes, atoms = run.column("volume_per_atom"), run.column("n_atoms")
    by_family = families is not None and len(families_present(families)) > 1
    panels: list[tuple[str, Coloured | None]] = []
    if families is not None and by_family:
        panels.append(("by chemical family", Colouring.by_family(families)))
    elif volumes is not None:
        panels.append(("by volume per atom", Colouring.by_number(volumes, _cubic)))
    if atoms is not None:
        panels.append(("by number of atoms", Colouring.by_number(atoms, _atoms)))
    figure, _ = latent_map(
        chart,
        panels or [("held-out crystals", None)],
        ("principal component 1", "principal component 2"),
    )
    outside = f" {counted(chart.outside, 'outlying crystal')} beyond the axes."
    caption = (
        "Posterior means of held-out crystals, averaged over their atoms, in the plane of their "
        f"two leading principal components ({counted(len(chart.shown), 'crystal')} of "
        f"{run.count:,}, drawn in random order; both axes on one scale)."
        f"{outside if chart.outside else ''}{_FAMILY if by_family else ''}"
    )
    drawing = to_svg(figure, "Latent map of held-out crystals")
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
        return missing(anchor, title, f"No elements to compare yet: {_NO_STRUCTURES}")
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
    distances = np.full(len(species), np.nan)
    if run.pairs.errors is not None:
        distances = run.pairs.errors.distances
    originals = run.pairs.originals
    known = np.isfinite(distances) & (originals.counts[originals.owner] > 1)
    if known.any():
        caption = (
            "Median periodic error of the atoms of each element in Å, over "
            f"{counted(int(known.sum()), 'atom')} in crystals of several atoms. Colours end at "
            f"the 95 % mark of the elements. {end}"
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
        return missing(anchor, title, reason)
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
    blocks = (gallery(run.samples), Figure("samples-distributions", drawing, caption))
    return Section(anchor, title, blocks)
