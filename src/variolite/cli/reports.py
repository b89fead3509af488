"""The report of a run: the page that fits its kind, written into the run folder."""

from __future__ import annotations

from pathlib import Path


def write_report(run: Path) -> Path:
    """Write ``report.html`` into a run folder and return where it lies.

    Raises
    ------
    RunFolderError
        If ``run`` is not a run folder or one of its files is damaged.
    """
    from variolite.crystals.report import crystal_page, is_crystal_run
    from variolite.records.writing import write_text_atomic
    from variolite.report.run_files import read_run

    files = read_run(run)
    if is_crystal_run(files):
        page = crystal_page(files)
    else:
        from variolite.corelogs.report import table_page

        page = table_page(files)
    target = run / "report.html"
    write_text_atomic(target, page)
    return target
