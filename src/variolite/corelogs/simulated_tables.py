"""Write SIMULATED cores as instrument tables in the column layout of LILY and LIMS."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl

from variolite.corelogs.simulate import SimulatedCores
from variolite.corelogs.simulated_readings import Readings
from variolite.corelogs.simulation_parameters import simulated_lithologies

__all__ = ["instrument_table", "write_instrument_tables"]

_HEADERS = {
    "GRA": ("Bulk density (GRA)",),
    "MS": ("Magnetic susceptibility (instr. units)",),
    "NGR": ("NGR total counts (cps)",),
    "RGB": ("R", "G", "B"),
}
_DECIMALS = {"GRA": 3, "MS": 2, "NGR": 3, "RGB": 1}
_GROUP = {"GRA": "WRMSL", "MS": "WRMSL", "NGR": "NGR", "RGB": "SHIL"}
_EXPANDED = {"H": "APC", "X": "XCB", "R": "RCB"}
_README = (
    "SIMULATED drill cores, made by variolite (seed {seed}). Nothing here was measured.\n"
    "The columns are those of the instrument tables of the LILY database.\n"
)


def instrument_table(cores: SimulatedCores, instrument: str) -> pl.DataFrame:
    """Return the readings of one instrument in the LILY column layout.

    Parameters
    ----------
    cores
        Simulated cores.
    instrument
        GRA, MS, NGR or RGB.

    Returns
    -------
    pl.DataFrame
        One row per reading; ``Result comments`` says SIMULATED in every row.
    """
    reading = cores.readings[instrument]
    n = len(reading.depth)
    hole = pl.Series(cores.cores.hole[reading.core])
    values = np.round(reading.values, _DECIMALS[instrument])
    kind = pl.Series(cores.cores.kind).gather(reading.core)
    per_hole = cores.holes
    bed = pl.Series(cores.cells.bed[reading.cell])
    named = _descriptions(cores).select(pl.all().gather(bed))
    blank = pl.repeat(None, n, dtype=pl.String, eager=True)
    return pl.DataFrame(
        {
            "Exp": pl.Series(per_hole.expedition).gather(hole),
            "Site": pl.Series(per_hole.site).gather(hole),
            "Hole": pl.Series(per_hole.letter).gather(hole),
            "Core": cores.cores.number[reading.core],
            "Type": kind,
            "Sect": pl.Series(reading.section).cast(pl.String),
            "A/W": pl.repeat("A", n, eager=True) if instrument == "RGB" else blank,
            "Offset (cm)": reading.offset,
            "Depth CSF-A (m)": np.round(reading.depth, 3),
            "Depth CSF-B (m)": np.round(reading.depth, 3),
            **{
                h: pl.Series(values[:, i]).fill_nan(None)
                for i, h in enumerate(_HEADERS[instrument])
            },
            "Timestamp (UTC)": _timestamps(cores).gather(reading.core),
            "Instrument": pl.repeat(instrument, n, eager=True),
            "Instrument group": pl.repeat(_GROUP[instrument], n, eager=True),
            "Text ID": _text_ids(reading),
            "Test No.": np.arange(n, dtype=np.int64) + 90_000_001,
            "Sample comments": blank,
            "Test comments": _comments(n),
            "Result comments": pl.repeat("SIMULATED", n, eager=True),
            **named.to_dict(),
            "Expanded Core Type": kind.replace_strict(_EXPANDED),
            "Latitude (DD)": pl.Series(per_hole.latitude).gather(hole),
            "Longitude (DD)": pl.Series(per_hole.longitude).gather(hole),
            "Water Depth (mbsl)": pl.Series(per_hole.water_depth).cast(pl.String).gather(hole),
        }
    )


def write_instrument_tables(cores: SimulatedCores, folder: str | Path) -> dict[str, Path]:
    """Write one CSV per instrument and a README that says SIMULATED.

    Parameters
    ----------
    cores
        Simulated cores.
    folder
        Made where it is missing; tables of the same name are replaced.

    Returns
    -------
    dict of str to Path
        Instrument code to the file ``<code>_DataLITH.csv``.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    paths = {}
    for code in cores.readings:
        paths[code] = folder / f"{code}_DataLITH.csv"
        unfinished = paths[code].with_suffix(".part")
        instrument_table(cores, code).write_csv(unfinished, quote_style="non_numeric")
        unfinished.replace(paths[code])
    (folder / "README.txt").write_text(_README.format(seed=cores.seed), encoding="utf-8")
    return paths


def _descriptions(cores: SimulatedCores) -> pl.DataFrame:
    """The lithology columns, one row per bed."""
    lithologies = simulated_lithologies()
    described = pl.Series(cores.beds.described)
    kept = pl.Series(~cores.beds.undescribed)
    suffix = pl.Series(["with ash", "with foraminifera", "with clay", None, None]).gather(
        cores.beds.described * 7 % 5
    )

    def named(values: list[str]) -> pl.Series:
        return pl.Series(values).gather(described)

    names = named([e.name for e in lithologies])
    table = pl.DataFrame(
        {
            "Prefix": pl.repeat(None, len(described), dtype=pl.String, eager=True),
            "Principal": names,
            "Suffix": suffix,
            "Full Lithology": names,
            "Simplified Lithology": named([e.simplified for e in lithologies]),
            "Lithology Type": named([e.type for e in lithologies]),
            "Degree of Consolidation": named([e.degree for e in lithologies]),
            "Lithology Subtype": named([e.subtype for e in lithologies]),
        }
    )
    return table.with_columns(pl.when(kept).then(pl.all()))


def _timestamps(cores: SimulatedCores) -> pl.Series:
    """One time per core: cores come on deck every 45 minutes."""
    minutes = pl.Series("minutes", np.arange(len(cores.cores.hole)) * 45)
    start = pl.datetime(2012, 1, 1)
    return (
        minutes.to_frame()
        .select((start + pl.duration(minutes="minutes")).dt.strftime("%Y-%m-%d %H:%M:%S"))
        .to_series()
    )


def _text_ids(reading: Readings) -> pl.Series:
    section = pl.Series(reading.core * 10 + reading.section + 9_000_000)
    return pl.select(pl.format("SECT{}", section)).to_series()


def _comments(n: int) -> pl.Series:
    """Comments, a few of them with a line break in quotes as in the real tables."""
    comments: list[str | None] = [None] * n
    for row in range(17, n, 5000):
        comments[row] = "core liner cracked\nsee drawing"
    return pl.Series(comments, dtype=pl.String)
