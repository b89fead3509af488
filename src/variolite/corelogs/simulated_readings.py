"""SIMULATED instrument readings: four latent factors to six channels."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

from variolite.corelogs.simulated_sections import Beds, Cores, Holes
from variolite.corelogs.simulation_parameters import simulated_lithologies

__all__ = ["CELL", "CHANNELS", "Cells", "Readings", "draw_cells", "draw_offsets", "read_cores"]

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

CELL = 0.01
"""Height of the cells in which the truth is held, m."""

CHANNELS: Mapping[str, tuple[str, ...]] = {
    "GRA": ("bulk_density",),
    "MS": ("magnetic_susceptibility",),
    "NGR": ("natural_gamma",),
    "RGB": ("red", "green", "blue"),
}
"""Instruments that are simulated and what they read."""

_SPACING = {"GRA": 0.025, "MS": 0.025, "NGR": 0.1, "RGB": 0.005}
# Standard deviation, m, of the stretch of core that a reading averages.
_FOOTPRINT = {"GRA": 0.01, "MS": 0.04, "NGR": 0.08, "RGB": 0.0}
_SECTION = 1.5
_SEAWATER = 1.024
_CORRELATION_LENGTH = 0.3
_BED_SHARE = 0.55
# Within a lithology, lighter rock is less radioactive and less magnetic.
_CORRELATION = np.array(
    [
        [1.0, -0.1, -0.1, 0.2],
        [-0.1, 1.0, 0.3, -0.3],
        [-0.1, 0.3, 1.0, -0.4],
        [0.2, -0.3, -0.4, 1.0],
    ]
)


@dataclass(frozen=True)
class Cells:
    """The truth every centimetre, [cells] each; ``factors`` is [cells, 4]."""

    hole: Ints
    depth: Floats
    bed: Ints
    factors: Floats
    start: Ints


@dataclass(frozen=True)
class Readings:
    """Readings of one instrument, [readings] each; ``values`` is [readings, channels]."""

    core: Ints
    cell: Ints
    depth: Floats
    section: Ints
    offset: Floats
    values: Floats


def draw_cells(rng: np.random.Generator, holes: Holes, beds: Beds) -> Cells:
    """Draw the four factors in every centimetre of every hole.

    A factor is the mean of its lithology (porosity: compacted to its depth), plus
    a shift of the hole, plus a shift of the bed, plus a first-order autoregression
    along the hole.
    """
    lithologies = simulated_lithologies()
    count = np.round((holes.bottom - holes.top) / CELL).astype(np.int64)
    start = np.cumsum(count) - count
    hole = np.repeat(np.arange(len(count)), count)
    depth = holes.top[hole] + (np.arange(count.sum()) - start[hole] + 0.5) * CELL
    far = 1e6
    bed = np.searchsorted(beds.hole * far + beds.top, hole * far + depth, side="right") - 1
    kind = beds.lithology[bed]
    spread = _spread()
    mixing = np.linalg.cholesky(_CORRELATION)
    of_bed = rng.standard_normal((len(beds.hole), 4)) @ mixing.T
    noise = _autoregression(rng.standard_normal((len(hole), 4)), CELL / _CORRELATION_LENGTH)
    within = np.sqrt(_BED_SHARE) * of_bed[bed] + np.sqrt(1 - _BED_SHARE) * (noise @ mixing.T)
    of_hole = rng.normal(0.0, 1.0, (len(count), 4)) * np.array([0.08, 0.15, 0.12, 0.15])
    factors = of_hole[hole] + spread[kind] * within
    compaction = np.array([e.compaction or np.inf for e in lithologies])
    porosity = np.array([e.porosity for e in lithologies])[kind] * np.exp(-depth / compaction[kind])
    factors[:, 0] += _logit(porosity)
    factors[:, 1] += np.array([e.magnetic for e in lithologies])[kind]
    factors[:, 2] += np.log([e.gamma for e in lithologies])[kind]
    factors[:, 3] += _logit(np.array([e.lightness / 100 for e in lithologies]))[kind]
    return Cells(hole, depth, bed, factors, start)


def _expit(x: Floats) -> Floats:
    return np.asarray(1.0 / (1.0 + np.exp(-x)))


def _logit(p: Floats) -> Floats:
    return np.asarray(np.log(p / (1.0 - p)))


def _autoregression(white: Floats, step: float) -> Floats:
    """Turn white noise [n, k] to noise of unit variance that decays as exp(-step) per row."""
    decay = np.exp(-step)
    gain = np.sqrt((1 + decay) / (1 - decay))
    white[0] /= gain
    smooth = [
        pl.Series(column).ewm_mean(alpha=1 - decay, adjust=False).to_numpy() for column in white.T
    ]
    return np.asarray(gain * np.stack(smooth, axis=1))


def _blur(truth: Floats, cells: Cells, footprint: float) -> Floats:
    """Average [cells, channels] along each hole under a Gaussian of ``footprint`` cells."""
    reach = int(np.ceil(4 * footprint))
    kernel = np.exp(-0.5 * (np.arange(-reach, reach + 1) / footprint) ** 2)
    kernel /= kernel.sum()
    blurred = np.empty_like(truth)
    for begin, end in zip(cells.start, [*cells.start[1:], len(truth)], strict=True):
        padded = np.pad(truth[begin:end], ((reach, reach), (0, 0)), mode="edge")
        for channel in range(truth.shape[1]):
            blurred[begin:end, channel] = np.convolve(padded[:, channel], kernel, mode="valid")
    return blurred


def _spread() -> Floats:
    """Spread of the factors within each lithology, [lithologies, 4]."""
    return np.array(
        [
            (
                e.porosity_sd,
                e.magnetic_sd,
                e.gamma_sd,
                e.lightness_sd / 100 / (e.lightness / 100 * (1 - e.lightness / 100)),
            )
            for e in simulated_lithologies()
        ]
    )


def channels_of(factors: Floats, instrument: str) -> Floats:
    """What a perfect instrument would read, [..., channels], from factors [..., 4].

    Bulk density mixes sea water (1.024 g/cm3) and solid by porosity; the solid is
    denser where it is rich in magnetite. Susceptibility and gamma come from the
    solid; water and calcite are weakly diamagnetic. The colours are one power of
    lightness with a slight tint, and so nearly collinear.
    """
    solid: Floats = 1.0 - _expit(factors[..., 0])
    if instrument == "GRA":
        grain: Floats = 2.68 + 0.27 * _expit((factors[..., 1] - 2.7) / 0.12)
        return np.asarray((1.0 - solid) * _SEAWATER + solid * grain)[..., None]
    if instrument == "MS":
        return np.asarray(1.1 * solid * 10.0 ** factors[..., 1] - 1.5)[..., None]
    if instrument == "NGR":
        return np.asarray(0.8 + solid * np.exp(factors[..., 2]))[..., None]
    grey: Floats = 255.0 * _expit(factors[..., 3]) ** 1.75
    tint = np.tanh((factors[..., 2] - 4.0) / 2.0)
    return np.stack([grey * (1.03 + 0.04 * tint), grey, grey * (0.90 - 0.05 * tint)], axis=-1)


def draw_offsets(rng: np.random.Generator, count: int) -> dict[str, Floats]:
    """Draw the per-hole errors of the instruments, [holes] each.

    ``bulk_density`` is added, g/cm3; the others multiply: ``magnetic_susceptibility``,
    ``natural_gamma``, ``lighting`` (all colours), ``red`` and ``blue`` (white balance).
    """
    return {
        "bulk_density": rng.normal(0.0, 0.03, count),
        "magnetic_susceptibility": np.exp(rng.normal(0.0, 0.08, count)),
        "natural_gamma": np.exp(rng.normal(0.0, 0.04, count)),
        "lighting": np.exp(rng.normal(0.0, 0.22, count)),
        "red": np.exp(rng.normal(0.0, 0.02, count)),
        "blue": np.exp(rng.normal(0.0, 0.03, count)),
    }


def read_cores(
    rng: np.random.Generator,
    instrument: str,
    cores: Cores,
    cells: Cells,
    offsets: Mapping[str, Floats],
    seen: NDArray[np.bool_],
) -> Readings:
    """Read every core of the holes in ``seen`` [holes] at the spacing of the instrument."""
    spacing = _SPACING[instrument]
    chosen = np.flatnonzero(seen[cores.hole])
    count = np.maximum(1, np.floor(cores.length[chosen] / spacing)).astype(np.int64)
    core = np.repeat(chosen, count)
    rank = np.arange(count.sum()) - np.repeat(np.cumsum(count) - count, count)
    along = np.minimum((rank + 0.5) * spacing, cores.length[core])
    depth = cores.top[core] + along
    hole = cores.hole[core]
    first = cells.depth[cells.start[hole]] - CELL / 2
    size = np.diff(np.append(cells.start, len(cells.hole)))
    cell = cells.start[hole] + np.minimum(((depth - first) / CELL).astype(np.int64), size[hole] - 1)
    footprint = _FOOTPRINT[instrument] / CELL
    if footprint:
        exact = _blur(channels_of(cells.factors, instrument), cells, footprint)[cell]
    else:
        exact = channels_of(cells.factors[cell], instrument)
    values = _disturb(rng, instrument, exact, {k: v[hole] for k, v in offsets.items()})
    end = np.minimum(along, cores.length[core] - along)
    return Readings(
        core=core,
        cell=cell,
        depth=np.round(depth, 4),
        section=(along // _SECTION).astype(np.int64) + 1,
        offset=np.round(along % _SECTION * 100, 2),
        values=_spoil(rng, instrument, values, end),
    )


def _disturb(
    rng: np.random.Generator, instrument: str, exact: Floats, offsets: Mapping[str, Floats]
) -> Floats:
    """Add the error of the hole and the noise of the reading."""
    noise = rng.standard_normal(exact.shape)
    if instrument == "GRA":
        return exact + offsets["bulk_density"][:, None] + 0.02 * noise
    if instrument == "MS":
        gain = offsets["magnetic_susceptibility"][:, None]
        return exact * gain + (0.8 + 0.02 * np.abs(exact)) * noise
    if instrument == "NGR":
        gain = offsets["natural_gamma"][:, None]
        # Counting statistics of a reading of five minutes, and the background taken off.
        return exact * gain + np.sqrt(np.maximum(exact, 1.0) / 300 + 0.04) * noise
    texture = np.exp(0.04 * rng.standard_normal((len(exact), 1)))
    tint = np.stack([offsets["red"], np.ones(len(exact)), offsets["blue"]], axis=1)
    gain = offsets["lighting"][:, None] * tint
    return np.clip(exact * gain * texture + (0.4 + 0.006 * exact) * noise, 2.0, 255.0)


def _spoil(rng: np.random.Generator, instrument: str, values: Floats, end: Floats) -> Floats:
    """Put in what goes wrong on a ship: voids at core ends, cracks, wild and lost readings."""
    n = len(values)
    void = (end < 0.03) & (rng.random(n) < 0.5)
    wild = rng.random(n) < 0.0008
    if instrument == "GRA":
        values[void, 0] *= rng.uniform(0.3, 0.9, int(void.sum()))
        values[wild, 0] = rng.uniform(-2.4, 8.5, int(wild.sum()))
    elif instrument == "MS":
        values[void, 0] *= 0.5
        values[wild, 0] = rng.uniform(-500.0, -60.0, int(wild.sum()))
    elif instrument == "RGB":
        dark = void | (rng.random(n) < 0.004)
        values[dark] = rng.uniform(2.0, 9.0, (int(dark.sum()), 1))
    else:
        values[wild, 0] = rng.uniform(-3.0, 0.0, int(wild.sum()))
    values[rng.random(n) < 0.001] = np.nan
    return values
