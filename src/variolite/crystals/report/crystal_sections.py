"""The report page of a crystal run: its sections and their order."""

from __future__ import annotations

import numpy as np

from variolite.crystals.elements import HEAVIEST, SYMBOLS
from variolite.crystals.report.crystal_figures import (
    FEW,
    Groups,
    Integers,
    Measure,
    cell_parity,
    error_histograms,
    errors_by_group,
    group_maps,
    periodic_table,
    sample_distributions,
)
from variolite.crystals.report.crystal_run import MEASURES, CrystalRun
from variolite.crystals.report.score_section import headline, scores_section
from variolite.crystals.report.structure_views import examples, gallery
from variolite.errors import counted
from variolite.report.clouds import PlaneMap, latent_map
from variolite.report.formatting import listed, significant
from variolite.report.page import (
    Block,
    Figure,
    Heading,
    Paragraph,
    Section,
    Table,
    packaged,
    render_page,
)
from variolite.report.run_sections import Units, about_run, provenance_section, training_section
from variolite.report.style import figure_style, to_svg
from variolite.training.run_folder import RunFiles

MOST_MIXED = 10
FLOORS = (0.95, 0.9, 0.8, 0.5, 0.0)  # where colours of a share begin: the highest below every share
_NO_STRUCTURES = "run `variolite score` to write originals.crystals and reconstructed.crystals."
_FAMILY = (
    " The anion decides the family: O, a halogen, S, Se or Te, N, another element of group 15, "
    "H, C, B, Si or Ge, in this order; crystals of metals alone are intermetallic, of one element "
    "elemental. Families beyond the eighth are squares."
)


def crystal_page(files: RunFiles) -> str:
    """Return the whole page of a crystal run as HTML.

    `RunFolderError` if a file of the run is damaged, or files of one scoring do not fit.
    """
    run = CrystalRun.of(files)
    parts = {
        ("cells", "Cells: original and reconstructed"): _cells,
        ("errors", "Errors"): _errors,
        ("structures", "Structures side by side"): _examples,
        ("latent-map", "Latent map by chemistry"): _map,
        ("elements", "Elements"): _elements,
        ("samples", "Generated crystals"): _samples,
    }
    with figure_style():
        sections = [scores_section(run.scorecard)]
        for (anchor, title), blocks_of in parts.items():
            blocks = blocks_of(run)
            if isinstance(blocks, str):
                blocks = [Paragraph(blocks, "missing")]
            sections.append(Section(anchor, title, blocks))
        units = Units(objective="weighted loss", divergence="nats per atom")
        sections += [
            training_section(files.history, files.provenance, files.members, units),
            provenance_section(files),
        ]
        return render_page(
            files.name,
            about_run(files),
            headline(run),
            sections,
            simulated=files.simulated,
            style=packaged("viewer.css", __package__),
            script=packaged("viewer.js", __package__),
        )


# Each of the following returns the blocks of a section, or says what is missing for it.

Blocks = list[Block] | str


def _cells(run: CrystalRun) -> Blocks:
    if run.pairs is None or not len(run.pairs):
        return f"No cells to compare yet: {_NO_STRUCTURES}"
    few = len(run.pairs) <= FEW
    caption = (
        "Cell lengths a, b, c in Å, angles in degrees and volume per atom in Å³ of "
        f"{run.pairs.extent}, original against reconstructed, in the cell of the file, "
        f"{'a dot each' if few else 'as counts per square on a logarithmic colour scale'}; on the "
        "dashed line both are equal. R² and mean absolute error (MAE) are over all crystals. "
        f"Values beyond the axes {'stand' if few else 'are counted'} at the edge; where they have "
        "a long tail the axes are logarithmic. The model has seen the crystal that it reproduces: "
        f"this is not a prediction.{run.sampling}"
    )
    title = "Cell lengths, angles and volumes, original against reconstructed"
    return [Figure("cells", to_svg(cell_parity(*run.pairs.parameters), title), caption)]


def _errors(run: CrystalRun) -> Blocks:
    if not run.measures or not run.count:
        return (
            "No errors by crystal: run `variolite score` to write held_out.parquet with the "
            f"columns {listed(list(MEASURES))}."
        )
    blocks: list[Block] = [_spread(run)]
    groupings = {
        "number of atoms": Groups.by_number(run.column("n_atoms"), _atoms),
        "chemical family": Groups.by_family(run.texts("chemical_family")),
    }
    return blocks + [_by_group(run, g, name) for name, g in groupings.items() if len(g.names) > 1]


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
        "95 % lie below. Periodic error: distance between the places of an atom in the cell of "
        "the original, to the nearest periodic image and after the translation of all atoms that "
        "makes it least; a crystal of one atom has none. Errors of lengths and angles are means "
        "over the three of a crystal. Where an axis is logarithmic, smaller values, zeros among "
        f"them, count in the first bar; in every panel larger ones count in the last.{left_out}"
    )
    drawing = to_svg(error_histograms(shown), "Errors of the reconstruction")
    return Figure("errors", drawing, caption)


def _atoms(low: float, high: float) -> str:
    return counted(int(low), "atom") if low == high else f"{low:.0f} to {high:.0f} atoms"


def _by_group(run: CrystalRun, groups: Groups, name: str) -> Figure:
    wanted = ("periodic_error", "volume_error_percent")
    measures = [measure for key, measure in run.measures.items() if key in wanted]
    matched = run.column("matched_strict") if "matched_strict" in run.table.columns else None
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


def _examples(run: CrystalRun) -> Blocks:
    if run.pairs is None or not len(run.pairs):
        return f"No structures to show yet: {_NO_STRUCTURES}"
    shown = examples(run.pairs)
    if shown is None:
        return "No pair of structures has finite cells to draw."
    remark = Paragraph(f"Examples of {run.pairs.extent}.{run.sampling}", "remark")
    return [remark, shown] if run.sampling else [shown]


def _map(run: CrystalRun) -> Blocks:
    """Draw the latent map by family and by number of atoms, and every family alone."""
    scores = np.stack([run.column("pc1"), run.column("pc2")], axis=1)
    known = scores[np.isfinite(scores).all(axis=1)]
    if len(known) < 3 or np.ptp(known[:, 0]) == 0:
        return (
            "No latent map: run `variolite score` to write held_out.parquet with the places of "
            "the held-out crystals, pc1 and pc2, that vary."
        )
    chart = PlaneMap.of(scores)
    families = Groups.by_family(run.texts("chemical_family"))
    several = len(families.names) > 1
    shown = {
        "by chemical family": families,
        "by volume per atom": Groups.by_number(run.column("volume_per_atom"), _cubic),
        "by number of atoms": Groups.by_number(run.column("n_atoms"), _atoms),
    }
    del shown["by volume per atom" if several else "by chemical family"]
    panels = [(title, groups) for title, groups in shown.items() if groups.names]
    components = ("principal component 1", "principal component 2")
    figure, _ = latent_map(chart, panels or [("held-out crystals", None)], components)
    outside = f" {counted(chart.outside, 'outlying crystal')} beyond the axes."
    caption = (
        "Posterior means of held-out crystals, averaged over their atoms, in the plane of their "
        f"two leading principal components ({counted(len(chart.shown), 'crystal')} of "
        f"{run.count:,}, drawn in random order; both axes on one scale)."
        f"{outside if chart.outside else ''}{_FAMILY if several else ''}"
    )
    drawing = to_svg(figure, "Latent map of held-out crystals")
    blocks: list[Block] = [Figure("latent-map", drawing, caption)]
    if several:
        caption = (
            "The same map with one chemical family at a time over all crystals in grey; numbers "
            "of held-out crystals in brackets. Axes and limits are those of the figure before."
        )
        drawing = to_svg(group_maps(chart, families), "Latent map, one chemical family at a time")
        blocks.append(Figure("latent-map-families", drawing, caption))
    return blocks


def _cubic(low: float, high: float) -> str:
    return f"{significant(low)} to {significant(high)} Å³"


def _elements(run: CrystalRun) -> Blocks:
    """Show how well each element comes back: its types, the commonest mistakes, its places."""
    if run.pairs is None or not run.pairs.originals.species.size:
        return f"No elements to compare yet: {_NO_STRUCTURES}"
    pairs, width = run.pairs, HEAVIEST + 1
    species = pairs.originals.species.astype(np.int64)
    # Atoms by element of the original and of the reconstruction.
    both = species * width + pairs.reconstructed.species
    confusion = np.bincount(both, minlength=width**2).reshape(width, width)
    atoms = confusion.sum(axis=1)
    whose = f"{counted(len(species), 'atom')} of {pairs.extent}"
    end = f"Elements without a number do not occur; the small numbers count atoms.{run.sampling}"
    blocks: list[Block] = []
    right = int(np.trace(confusion))
    if right < len(species):
        shares = np.diagonal(confusion) / np.maximum(atoms, 1)
        floor = next(floor for floor in FLOORS if floor <= shares[atoms > 0].min())
        figure = periodic_table(
            shares,
            atoms,
            "atoms with the right type (%)",
            # Only a whole is called 100.
            lambda share: "100" if share == 1 else f"{min(100 * share, 99.9):.1f}",
            # Right is pale and wrong is dark, so that what needs a look stands out.
            (1.0, floor),
        )
        perfect = int((shares[atoms > 0] == 1).sum())
        caption = (
            "Share of the atoms of each element whose type is reconstructed right, in per "
            f"cent, over {whose}: {100 * right / len(species):.2f} % of all atoms, and all "
            f"atoms of {perfect} of {counted(int((atoms > 0).sum()), 'element')}. Colours begin "
            f"at {100 * floor:.0f} %. {end}"
        )
        heads = ("element", "came back as", "atoms", "share of the element's atoms")
        blocks += [
            Figure("elements", to_svg(figure, "Accuracy of atom types by element"), caption),
            Heading("Commonest mistakes"),
            Table(heads, _mistakes(confusion), numbers_from=2),
        ]
    elif run.species_given:
        given = "The atom types were given to this model, so that all are right by construction."
        blocks.append(Paragraph(given, "remark"))
    else:
        blocks.append(Paragraph(f"All {whose} came back as the right element."))
    several = pairs.originals.counts[pairs.originals.owner] > 1
    if pairs.errors is not None and (known := np.isfinite(pairs.errors.distances) & several).any():
        places, distances = species[known], pairs.errors.distances[known]
        medians = np.full(width, np.nan)
        for z in np.unique(places):
            medians[z] = np.median(distances[places == z])
        counts, label = np.bincount(places, minlength=width), "median periodic error (Å)"
        span = (0.0, max(float(np.nanquantile(medians, 0.95)), 1e-9))
        figure = periodic_table(medians, counts, label, lambda error: significant(error, 2), span)
        caption = (
            "Median periodic error of the atoms of each element in Å, over "
            f"{counted(len(places), 'atom')} in crystals of several atoms. Colours end at "
            f"the 95 % mark of the elements. {end}"
        )
        drawing = to_svg(figure, "Error of places by element")
        blocks.append(Figure("errors-by-element", drawing, caption))
    return blocks


def _mistakes(confusion: Integers) -> list[tuple[str, ...]]:
    wrong = confusion.copy()
    np.fill_diagonal(wrong, 0)
    order = np.argsort(-wrong, axis=None, kind="stable")[:MOST_MIXED]
    shares = 100 * wrong / np.maximum(confusion.sum(axis=1, keepdims=True), 1)
    return [
        (SYMBOLS[true], SYMBOLS[given], f"{wrong[true, given]:,}", f"{shares[true, given]:.1f} %")
        for true, given in zip(*np.unravel_index(order, wrong.shape), strict=True)
        if wrong[true, given]
    ]


def _samples(run: CrystalRun) -> Blocks:
    if run.samples is None or not len(run.samples):
        how = "run `variolite score` with samples to write samples.crystals."
        return f"No generated crystals: {how}"
    real = run.originals
    beside = "" if real is None else f" beside the {len(real):,} held-out crystals"
    caption = (
        f"What {len(run.samples):,} generated crystals are made of{beside}: share of the crystals "
        "by density, number of atoms in the cell and number of different elements; below, share "
        "of the crystals that contain an element, the commonest first. Values beyond the axis of "
        "the density count in the bar at its end. Nothing here says that a crystal is stable: see "
        "the scores of generation for that."
    )
    figure = sample_distributions(run.samples, real)
    drawing = to_svg(figure, "Distributions of generated crystals")
    return [gallery(run.samples), Figure("samples-distributions", drawing, caption)]
