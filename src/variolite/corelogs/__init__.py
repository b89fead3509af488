"""Drill holes: instrument tables, depth bins, lithology labels, simulated cores."""

from variolite.corelogs.accumulation import OUTLIER_RULES, OutlierRule
from variolite.corelogs.bin_report import BinReport, JoinStep, TableCounts
from variolite.corelogs.binning import BinnedTable, Progress, bin_tables
from variolite.corelogs.holes import (
    HoleId,
    canonical_holes,
    holes_from_columns,
    holes_from_text,
    parse_hole,
)
from variolite.corelogs.instrument_tables import InstrumentTable, open_table
from variolite.corelogs.instruments import INSTRUMENTS, Channel, Instrument
from variolite.corelogs.lithology import (
    LabelLevel,
    LevelChooser,
    label_level,
    label_levels,
    read_label_level,
)
from variolite.corelogs.simulate import (
    SimulatedCores,
    instrument_table,
    simulate_cores,
    write_instrument_tables,
)
from variolite.corelogs.simulated_cores import FACTORS

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
    "LabelLevel",
    "LevelChooser",
    "OutlierRule",
    "Progress",
    "SimulatedCores",
    "TableCounts",
    "bin_tables",
    "canonical_holes",
    "holes_from_columns",
    "holes_from_text",
    "instrument_table",
    "label_level",
    "label_levels",
    "open_table",
    "parse_hole",
    "read_label_level",
    "simulate_cores",
    "write_instrument_tables",
]
