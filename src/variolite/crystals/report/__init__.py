"""The report page of a crystal run."""

from variolite.crystals.report.crystal_page import CrystalRun, crystal_page

__all__ = ["CrystalRun", "crystal_page"]
