"""The report page of a crystal run."""

from variolite.crystals.report.crystal_run import CrystalRun
from variolite.crystals.report.crystal_sections import crystal_page

__all__ = ["CrystalRun", "crystal_page"]
