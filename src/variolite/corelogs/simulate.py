"""SIMULATED drill cores with known truth.

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

import numpy as np
import polars as pl
from numpy.typing import NDArray

from variolite.corelogs.simulated_readings import (
    CHANNELS,
    Cells,
    Readings,
    draw_cells,
    draw_offsets,
    read_cores,
)
from variolite.corelogs.simulated_sections import (
    Beds,
    Cores,
    Holes,
    draw_beds,
    draw_cores,
    draw_holes,
)
from variolite.corelogs.simulation_parameters import FACTORS, simulated_lithologies
from variolite.errors import DataError

__all__ = ["SimulatedCores", "simulate_cores"]


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
                mend=f"choose one of {', '.join(CHANNELS)}",
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
        raise DataError(f"{holes} holes", where="holes", mend="give at least one")
    if not 1.0 <= metres <= 2000.0:
        raise DataError(f"holes of {metres} m", where="metres", mend="give 1 to 2000 m")
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
