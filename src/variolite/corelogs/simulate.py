"""SIMULATED drill cores with known truth, as tables or as instrument tables.

No public table holds all of density, susceptibility, gamma and colour readings of
drill cores, so the six-channel case is tried on cores that are made up. They are
labelled SIMULATED wherever they go. Depositional settings, class frequencies,
porosity, compaction, lightness, spacing and the marginal spread of the channels
follow published summaries of the LILY database (Childress et al. 2024); the beds
and the values are drawn at random. Four latent factors rule all six channels and
are returned, so that it can be scored how well a model finds them.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl
from numpy.typing import NDArray

from variolite.corelogs.simulated_cores import (
    FACTORS,
    Columns,
    draw_beds,
    draw_camera,
    draw_cells,
    draw_cores,
    draw_holes,
    lithologies,
    parameters,
    read_cores,
    row_at,
)
from variolite.errors import DataError


@dataclass(frozen=True)
class SimulatedCores:
    """A SIMULATED set of drill cores and the truth behind it.

    The columns are arrays by name; see :mod:`variolite.corelogs.simulated_cores`.

    Attributes
    ----------
    seed
        Seed it was drawn with.
    holes
        Names, setting, depth range, whether the camera saw it, instrument errors.
    beds, cores, cells
        What the holes cross, what came up, and the factors of every centimetre.
    readings
        Readings per instrument code (GRA, MS, NGR, RGB).
    """

    seed: int
    holes: Columns
    beds: Columns
    cores: Columns
    cells: Columns
    readings: dict[str, Columns]

    def hole_table(self) -> pl.DataFrame:
        """One row per hole: name, setting, depth range, camera and instrument errors."""
        columns = ("expedition", "site", "setting", "top", "bottom", "camera")
        return pl.DataFrame(self.holes).select(
            pl.col("name").alias("hole"), *columns, pl.col("^offset_.*$")
        )

    def bed_table(self) -> pl.DataFrame:
        """One row per bed: hole, top and bottom (m), true and described lithology."""
        beds = self.beds
        return pl.DataFrame(
            {
                "hole": self.holes["name"][beds["hole"]],
                "top": beds["top"],
                "bottom": beds["bottom"],
                "lithology": _named(beds["lithology"]),
                "described": _named(beds["described"]),
            }
        )

    def reading_table(self, instrument: str) -> pl.DataFrame:
        """One row per reading: hole, depth (m), values, true lithology and factors."""
        if instrument not in self.readings:
            raise DataError(
                f"instrument '{instrument}' is not simulated",
                hint=f"choose one of {', '.join(self.readings)}",
            )
        reading, cells = self.readings[instrument], self.cells
        bed = cells["bed"][reading["cell"]]
        return pl.DataFrame(
            {
                "hole": self.holes["name"][self.beds["hole"][bed]],
                "depth": reading["depth"],
                **{n: reading[n] for n in parameters()["instruments"][instrument]["channels"]},
                "lithology": _named(self.beds["lithology"][bed]),
                **_factors(cells["factors"][reading["cell"]]),
            }
        )

    def bin_truth(self, spacing: float = 0.2) -> pl.DataFrame:
        """Return the truth per depth bin, to be joined to a binned table.

        Parameters
        ----------
        spacing
            Bin width, m.

        Returns
        -------
        pl.DataFrame
            One row per hole and bin that a core reaches: ``hole``, ``bin``,
            ``true_lithology`` (commonest by thickness), ``true_purity`` and the mean
            of each factor, ``factor_porosity`` ... (see
            :data:`~variolite.corelogs.simulated_cores.FACTORS`).
        """
        depth, cores = self.cells["depth"], self.cores
        core = row_at(cores, self.cells["hole"], depth)
        cored = np.flatnonzero(depth < cores["top"][core] + cores["length"][core])
        kind = pl.col("kind")
        bins = (
            pl.DataFrame(
                {
                    "hole_": self.cells["hole"][cored],
                    "bin": np.round(depth[cored] / spacing).astype(np.int32),
                    "kind": self.beds["lithology"][self.cells["bed"][cored]],
                    **_factors(self.cells["factors"][cored]),
                }
            )
            .group_by("hole_", "bin")
            .agg(
                # Of equally thick lithologies the first in the file counts.
                kind.mode().min(),
                (kind.unique_counts().max() / pl.len()).alias("true_purity"),
                pl.col("^factor_.*$").mean(),
            )
            .sort("hole_", "bin")
        )
        return bins.select(
            pl.Series("hole", self.holes["name"]).gather(bins["hole_"]),
            "bin",
            _named(bins["kind"]).alias("true_lithology"),
            "true_purity",
            "^factor_.*$",
        )


def _named(lithology: pl.Series | NDArray[np.int64], column: str = "name") -> pl.Series:
    return lithologies()[column].gather(lithology)


def _factors(factors: NDArray[np.float64]) -> Columns:
    return {f"factor_{name}": factors[:, i] for i, name in enumerate(FACTORS)}


def simulate_cores(
    holes: int = 12,
    metres: float = 120.0,
    seed: int = 0,
    *,
    camera_everywhere: bool = False,
) -> SimulatedCores:
    """Draw a SIMULATED set of drill cores.

    Parameters
    ----------
    holes
        Number of holes.
    metres
        Mean length of a hole, m; single holes differ by a quarter.
    seed
        Seed; equal seeds give equal cores.
    camera_everywhere
        False: the line-scan camera is missing in whole holes, the more often the
        more of the hole is of lithologies that the real camera missed (41 % of all
        rows). True: it sees every hole.

    Raises
    ------
    DataError
        If there would be no hole or no core.
    """
    if holes < 1:
        raise DataError(f"{holes} holes", where="holes", hint="give at least one")
    if not 1.0 <= metres <= 2000.0:
        raise DataError(f"holes of {metres} m", where="metres", hint="give 1 to 2000 m")
    rng = np.random.default_rng([20240917, seed])
    plan = draw_holes(rng, holes, metres)
    beds = draw_beds(rng, plan)
    cores = draw_cores(rng, plan, beds)
    cells = draw_cells(rng, plan, beds)
    for name, spread in parameters()["offsets"].items():
        error = rng.normal(0.0, spread, holes)
        plan[f"offset_{name}"] = error if name == "bulk_density" else np.exp(error)
    plan["camera"] = draw_camera(rng, beds, holes) | camera_everywhere
    readings = {
        code: read_cores(rng, code, plan, cores, cells) for code in parameters()["instruments"]
    }
    return SimulatedCores(seed, plan, beds, cores, cells, readings)


def instrument_table(cores: SimulatedCores, instrument: str) -> pl.DataFrame:
    """Return the readings of one instrument in the column layout of LILY and LIMS.

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
    reading, entry = cores.readings[instrument], parameters()["instruments"][instrument]
    core, bed = reading["core"], cores.cells["bed"][reading["cell"]]
    rows = pl.DataFrame(
        {name: column[cores.cores["hole"][core]] for name, column in cores.holes.items()}
        | {name: column[core] for name, column in cores.cores.items()}
        | {name: column[bed] for name, column in cores.beds.items()}
        | reading
    )
    named = {"lithology": _named(rows["described"])}
    named |= {n: _named(rows["described"], n) for n in ("simplified", "type", "degree", "subtype")}
    suffixes = pl.Series(["with ash", "with foraminifera", "with clay", None, None])
    named["suffix"] = suffixes.gather(rows["described"] * 7 % 5)
    number = pl.int_range(pl.len(), dtype=pl.Int64)
    # Cores come on deck every 45 minutes.
    on_deck = pl.datetime(2012, 1, 1) + pl.duration(minutes=pl.col("core") * 45)
    rows = rows.with_columns(
        pl.col("section", "water_depth").cast(pl.String),
        pl.col("depth").round(3),
        pl.col(entry["channels"]).fill_nan(None).round(entry["decimals"]),
        half=pl.lit("A" if instrument == "RGB" else None, dtype=pl.String),
        on_deck=on_deck.dt.strftime("%Y-%m-%d %H:%M:%S"),
        instrument=pl.lit(instrument),
        track=pl.lit(entry["group"]),
        text_id=pl.format("SECT{}", pl.col("core") * 10 + pl.col("section") + 9_000_000),
        test_number=number + 90_000_001,
        blank=pl.lit(None, dtype=pl.String),
        # A few comments have a line break in quotes, as in the real tables.
        comment=pl.when(number % 5000 == 17).then(pl.lit("core liner cracked\nsee drawing")),
        warning=pl.lit("SIMULATED"),
        drill=pl.col("kind").replace_strict({"H": "APC", "X": "XCB", "R": "RCB"}),
        **{n: pl.when(~pl.col("undescribed")).then(column) for n, column in named.items()},
    )
    columns: dict[str, str] = {}
    for header, name in parameters()["columns"].items():
        values = zip(entry["headers"], entry["channels"], strict=True)
        columns |= dict(values) if name == "readings" else {header: name}
    return rows.select(pl.col(name).alias(header) for header, name in columns.items())


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
    (folder / "README.txt").write_text(
        f"SIMULATED drill cores, made by variolite (seed {cores.seed}). "
        "Nothing here was measured.\n"
        "The columns are those of the instrument tables of the LILY database.\n",
        encoding="utf-8",
    )
    return paths
