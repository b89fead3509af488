"""The report page of a crystal run."""

from variolite.report.crystals.page import crystal_page
from variolite.report.crystals.run import is_crystal_run

__all__ = ["crystal_page", "is_crystal_run"]
