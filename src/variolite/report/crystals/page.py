"""The page of a crystal run: which sections it has, in which order."""

from __future__ import annotations

from variolite.report.crystals.chemistry_map import map_section
from variolite.report.crystals.element_table import elements_section
from variolite.report.crystals.errors import errors_section
from variolite.report.crystals.examples import examples_section
from variolite.report.crystals.headline import headline
from variolite.report.crystals.parity import parity_section
from variolite.report.crystals.run import crystal_run
from variolite.report.crystals.samples import samples_section
from variolite.report.crystals.scores import scores_section
from variolite.report.frame import framed, packaged
from variolite.report.old_provenance import provenance_section
from variolite.report.run_files import RunFiles
from variolite.report.training_figure import Units, training_section

__all__ = ["crystal_page"]

UNITS = Units(objective="weighted loss", divergence="nats per atom")


def crystal_page(files: RunFiles) -> str:
    """Return the whole page of a crystal run as HTML.

    Raises
    ------
    RunFolderError
        If a file of the run is damaged, or files of one scoring do not fit each other.
    """
    run = crystal_run(files)
    sections = (
        scores_section(files.scorecard),
        parity_section(run),
        errors_section(run),
        examples_section(run),
        map_section(run),
        elements_section(run),
        samples_section(run),
        training_section(files.history, files.provenance, files.members, UNITS),
        provenance_section(files),
    )
    return framed(
        files,
        headline(run),
        sections,
        style=packaged("variolite.report.crystals", "viewer.css"),
        script=packaged("variolite.report.crystals", "viewer.js"),
    )
