"""The report of a run: the page that fits its kind, written into the run folder."""

from __future__ import annotations

from pathlib import Path

from variolite.records.writing import write_text_atomic
from variolite.report.contingency_figure import contingency_section
from variolite.report.frame import framed
from variolite.report.headline import headline, main_setup
from variolite.report.health_figure import health_section
from variolite.report.held_out import held_out_of
from variolite.report.latent_map import latent_section
from variolite.report.old_provenance import provenance_section
from variolite.report.profiles_figure import profiles_section
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
        A run folder, of a model of tables or of crystals. Parts that are not
        there yet (scores, held-out rows) are named as missing on the page.

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
    from variolite.crystals.report import crystal_page, is_crystal_run

    return crystal_page(files) if is_crystal_run(files) else _table_page(files)


def _table_page(files: RunFiles) -> str:
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
    return framed(files, headline(files.scorecard, held_out, setup, files.clustering), sections)
