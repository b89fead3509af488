"""SIMULATED drill cores with known truth, as a table or as instrument tables."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl
from numpy.typing import NDArray

from variolite.corelogs.simulated_cores import (
    CHANNELS,
    FACTORS,
    Beds,
    Cells,
    Cores,
    Holes,
    Readings,
    draw_beds,
    draw_cells,
    draw_cores,
    draw_holes,
    draw_offsets,
    read_cores,
    simulated_lithologies,
)
from variolite.errors import DataError

# SIMULATED drill cores with known truth.
#
# No public table holds all of density, susceptibility, gamma and colour readings of
# drill cores, so the six-channel case is tried on cores that are made up. They are
# labelled SIMULATED wherever they go. Depositional settings, class frequencies,
# porosity, compaction, lightness, spacing and the marginal spread of the channels
# follow published summaries of the LILY database (Childress et al. 2024); the beds
# and the values are drawn at random. Four latent factors rule all six channels and
# are returned, so that it can be scored how well a model finds them.


@dataclass(frozen=True)
class SimulatedCores:
    """A SIMULATED set of drill cores and the truth behind it.

    Attributes
    ----------
    seed
        Seed it was drawn with.
    holes, beds, cores, cells
        Where the holes stand, what they cross, what came up, and the factors of
        every centimetre.
    readings
        Readings per instrument code (GRA, MS, NGR, RGB).
    offsets
        Per-hole errors of the instruments, see
        :func:`~variolite.corelogs.simulated_readings.draw_offsets`.
    camera
        Whether the line-scan camera saw the hole, [holes].
    """

    seed: int
    holes: Holes
    beds: Beds
    cores: Cores
    cells: Cells
    readings: dict[str, Readings]
    offsets: dict[str, NDArray[np.float64]]
    camera: NDArray[np.bool_]

    def hole_table(self) -> pl.DataFrame:
        """One row per hole: name, setting, depth range, camera and instrument errors."""
        return pl.DataFrame(
            {
                "hole": self.holes.name,
                "expedition": self.holes.expedition,
                "site": self.holes.site,
                "setting": self.holes.setting,
                "top": self.holes.top,
                "bottom": self.holes.bottom,
                "camera": self.camera,
                **{f"offset_{name}": value for name, value in self.offsets.items()},
            }
        )

    def bed_table(self) -> pl.DataFrame:
        """One row per bed: hole, top and bottom (m), true and described lithology."""
        names = pl.Series([entry.name for entry in simulated_lithologies()])
        return pl.DataFrame(
            {
                "hole": pl.Series(self.holes.name).gather(self.beds.hole),
                "top": self.beds.top,
                "bottom": self.beds.bottom,
                "lithology": names.gather(self.beds.lithology),
                "described": names.gather(self.beds.described),
            }
        )

    def reading_table(self, instrument: str) -> pl.DataFrame:
        """One row per reading: hole, depth (m), values, true lithology and factors."""
        if instrument not in self.readings:
            raise DataError(
                f"instrument '{instrument}' is not simulated",
                hint=f"choose one of {', '.join(CHANNELS)}",
            )
        reading = self.readings[instrument]
        names = pl.Series([entry.name for entry in simulated_lithologies()])
        factors = self.cells.factors[reading.cell]
        return pl.DataFrame(
            {
                "hole": pl.Series(self.holes.name).gather(self.cells.hole[reading.cell]),
                "depth": reading.depth,
                **{n: reading.values[:, i] for i, n in enumerate(CHANNELS[instrument])},
                "lithology": names.gather(self.beds.lithology[self.cells.bed[reading.cell]]),
                **{f"factor_{n}": factors[:, i] for i, n in enumerate(FACTORS)},
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
            :data:`~variolite.corelogs.simulation_parameters.FACTORS`).
        """
        cored = self._cored()
        names = pl.Series([entry.name for entry in simulated_lithologies()])
        index = np.round(self.cells.depth[cored] / spacing).astype(np.int32)
        frame = pl.DataFrame(
            {
                "hole_": self.cells.hole[cored],
                "bin": index,
                "kind": self.beds.lithology[self.cells.bed[cored]],
                **{
                    f"factor_{name}": self.cells.factors[cored, i] for i, name in enumerate(FACTORS)
                },
            }
        )
        keys = ["hole_", "bin"]
        means = frame.group_by(keys).agg(pl.col("^factor_.*$").mean(), pl.len().alias("n"))
        kinds = (
            frame.group_by(*keys, "kind")
            .len()
            .sort("len", "kind", descending=[True, False])
            .group_by(keys, maintain_order=True)
            .first()
        )
        return (
            means.join(kinds, on=keys)
            .sort(keys)
            .select(
                pl.col("hole_")
                .replace_strict(dict(enumerate(self.holes.name)), return_dtype=pl.String)
                .alias("hole"),
                "bin",
                pl.col("kind")
                .replace_strict(dict(enumerate(names)), return_dtype=pl.String)
                .alias("true_lithology"),
                (pl.col("len") / pl.col("n")).alias("true_purity"),
                pl.col("^factor_.*$"),
            )
        )

    def _cored(self) -> NDArray[np.bool_]:
        """Whether a core reaches each cell."""
        far = 1e6
        place = self.cells.hole * far + self.cells.depth
        core = np.searchsorted(self.cores.hole * far + self.cores.top, place, side="right") - 1
        inside = self.cells.depth < self.cores.top[core] + self.cores.length[core]
        return np.asarray(inside, dtype=np.bool_)


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
    offsets = draw_offsets(rng, holes)
    camera = _camera(rng, plan, beds) | camera_everywhere
    everywhere = np.ones(holes, dtype=np.bool_)
    readings = {
        code: read_cores(rng, code, cores, cells, offsets, camera if code == "RGB" else everywhere)
        for code in CHANNELS
    }
    return SimulatedCores(seed, plan, beds, cores, cells, readings, offsets, camera)


def _camera(rng: np.random.Generator, holes: Holes, beds: Beds) -> NDArray[np.bool_]:
    """Choose the holes that the camera saw, by systematic sampling on their classes."""
    rate = np.array([entry.no_camera for entry in simulated_lithologies()])[beds.lithology]
    thickness = beds.bottom - beds.top
    count = len(holes.setting)
    missing = np.bincount(beds.hole, rate * thickness, count) / np.bincount(
        beds.hole, thickness, count
    )
    # Steeper than the rates, since a hole is seen wholly or not at all.
    missing = missing**1.5 / (missing**1.5 + (1 - missing) ** 1.5)
    order = rng.permutation(count)
    steps = np.floor(np.cumsum(missing[order]) + rng.random())
    unseen = np.diff(np.concatenate([[0.0], steps])) > 0.5
    camera = np.ones(count, dtype=np.bool_)
    camera[order[unseen]] = False
    if not camera.any():
        camera[order[0]] = True
    return camera


# Write SIMULATED cores as instrument tables in the column layout of LILY and LIMS.


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
