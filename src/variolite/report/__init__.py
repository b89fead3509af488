"""One self-contained HTML page for a run, with figures drawn by Variolite itself."""

from variolite.report.tables_page import write_report

__all__ = ["write_report"]
