"""Drill holes: instrument tables, depth bins, lithology labels, simulated cores."""

from variolite.corelogs.bin_report import BinReport, JoinStep, TableCounts
from variolite.corelogs.binning import BinnedTable, Progress, bin_tables
from variolite.corelogs.holes import (
    HoleId,
    canonical_holes,
    holes_from_columns,
    holes_from_text,
    parse_hole,
)
from variolite.corelogs.instruments import INSTRUMENTS, Channel, Instrument
from variolite.corelogs.outliers import OUTLIER_RULES, OutlierRule
from variolite.corelogs.simulate import SimulatedCores, simulate_cores
from variolite.corelogs.simulated_tables import instrument_table, write_instrument_tables
from variolite.corelogs.simulation_parameters import FACTORS
from variolite.corelogs.tables import InstrumentTable, open_table

__all__ = [
    "FACTORS",
    "INSTRUMENTS",
    "OUTLIER_RULES",
    "BinReport",
    "BinnedTable",
    "Channel",
    "HoleId",
    "Instrument",
    "InstrumentTable",
    "JoinStep",
    "OutlierRule",
    "Progress",
    "SimulatedCores",
    "TableCounts",
    "bin_tables",
    "canonical_holes",
    "holes_from_columns",
    "holes_from_text",
    "instrument_table",
    "open_table",
    "parse_hole",
    "simulate_cores",
    "write_instrument_tables",
]
