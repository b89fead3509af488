"""SIMULATED holes, beds and instrument readings with known truth."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from variolite.corelogs.lithology import read_packaged

# Parameters of the SIMULATED drill cores, read from ``simulation_lithologies.yaml``.


FACTORS = ("porosity", "magnetic", "gamma", "lightness")
"""The four latent factors that rule every channel of the simulated cores.

porosity: logit of the volume fraction of pores. magnetic: log10 of the
susceptibility of the solid, instrument units. gamma: natural logarithm of the
natural gamma of the solid, counts per second. lightness: logit of L*/100.
"""


@dataclass(frozen=True)
class Lithology:
    """One simulated lithology; the fields are explained in the parameter file."""

    name: str
    share: float
    settings: Mapping[str, float]
    thickness: float
    porosity: float
    compaction: float
    porosity_sd: float
    magnetic: float
    magnetic_sd: float
    gamma: float
    gamma_sd: float
    lightness: float
    lightness_sd: float
    no_camera: float
    neighbours: tuple[str, ...]
    simplified: str
    type: str
    degree: str
    subtype: str


@cache
def simulated_lithologies() -> tuple[Lithology, ...]:
    """Return every simulated lithology, in the order of the parameter file."""
    entries: dict[str, dict[str, Any]] = read_packaged("simulation_lithologies.yaml")
    return tuple(
        Lithology(name=name, **{**entry, "neighbours": tuple(entry["neighbours"])})
        for name, entry in entries.items()
    )


@cache
def setting_weights() -> Mapping[str, NDArray[np.float64]]:
    """Return, per depositional setting, the share of all core that each lithology has there.

    The arrays, [lithologies] each, add up to one over all settings, so that a
    setting drawn in proportion to its sum gives the class frequencies of the file.
    Those are frequencies of what the camera saw; what it missed is put back.
    """
    lithologies = simulated_lithologies()
    core = np.array([entry.share / (1.0 - entry.no_camera) for entry in lithologies])
    core /= core.sum()
    names = dict.fromkeys(name for entry in lithologies for name in entry.settings)
    return {
        name: core * np.array([e.settings.get(name, 0.0) for e in lithologies]) for name in names
    }


# SIMULATED holes: where they stand, what beds they cross, which cores came up.


Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

# One of them is no number, since real ones exist (397T) and break careless readers.
_EXPEDITIONS = ("901", "902", "903T", "904", "905")
_CHAIN_STEP = 0.1
_CORE_LENGTH = 9.5
_INTERBEDDING = 4.0
_AMALGAMATION = 0.15
# Lithified settings are met below younger sediment.
_FIRST_CORE = {"lithified": (120.0, 400.0), "crust": (60.0, 300.0), "platform": (0.0, 150.0)}


@dataclass(frozen=True)
class Holes:
    """Simulated holes, [holes] each: names, setting and depth range in m below sea floor."""

    expedition: tuple[str, ...]
    site: tuple[str, ...]
    letter: tuple[str, ...]
    setting: tuple[str, ...]
    top: Floats
    bottom: Floats
    latitude: Floats
    longitude: Floats
    water_depth: Floats

    @property
    def name(self) -> tuple[str, ...]:
        """Canonical hole names."""
        parts = zip(self.expedition, self.site, self.letter, strict=True)
        return tuple(f"{expedition}-{site}{letter}" for expedition, site, letter in parts)


@dataclass(frozen=True)
class Beds:
    """Beds of all holes in order, [beds] each; ``described`` is what the describer called them."""

    hole: Ints
    top: Floats
    bottom: Floats
    lithology: Ints
    described: Ints
    undescribed: NDArray[np.bool_]


@dataclass(frozen=True)
class Cores:
    """Recovered cores of all holes in order, [cores] each; ``kind`` is H, X or R."""

    hole: Ints
    number: Ints
    top: Floats
    length: Floats
    kind: NDArray[np.str_]


def draw_holes(rng: np.random.Generator, count: int, metres: float) -> Holes:
    """Place ``count`` holes of ``metres`` each on average in depositional settings.

    Settings are drawn by systematic sampling in proportion to their share, so that
    a small set still spans the common ones.
    """
    weights = setting_weights()
    names = list(weights)
    share = np.cumsum([weights[name].sum() for name in names])
    points = (np.arange(count) + rng.random()) / count
    drawn = [names[i] for i in np.minimum(np.searchsorted(share, points), len(names) - 1)]
    sites, letters = _sites(rng, drawn)
    site_index = np.array([int(site[1:]) for site in sites])
    length = metres * rng.uniform(0.75, 1.25, count)
    length *= metres / length.mean()
    first = np.array([_FIRST_CORE.get(name, (0.0, 0.0)) for name in drawn])
    deep_start = rng.random(count) < 0.15
    top: Floats = np.where(
        first[:, 1] > 0,
        rng.uniform(first[:, 0], np.maximum(first[:, 1], first[:, 0] + 1.0)),
        np.where(deep_start, rng.uniform(40.0, 250.0, count), 0.0),
    )
    at_site = np.random.default_rng(rng.integers(2**32)).random((site_index.max() + 1, 3))
    where = at_site[site_index]
    return Holes(
        # One text expedition, since real ones exist (397T) and break careless readers.
        expedition=tuple(
            "903T" if i % 40 // 8 == 2 else str(901 + i % 40 // 8) for i in site_index
        ),
        site=sites,
        letter=letters,
        setting=tuple(drawn),
        top=np.round(top, 1),
        bottom=np.round(top + length, 1),
        latitude=np.round(where[:, 0] * 120 - 60 + rng.normal(0, 1e-3, count), 6),
        longitude=np.round(where[:, 1] * 360 - 180 + rng.normal(0, 1e-3, count), 6),
        water_depth=np.round(where[:, 2] * 4500 + 300 + rng.normal(0, 2, count), 2),
    )


def _sites(
    rng: np.random.Generator, settings: list[str]
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Group neighbouring holes of one setting to sites of one to three holes."""
    sites: list[str] = []
    letters: list[str] = []
    number, left, last = 9000, 0, ""
    for setting in settings:
        if left == 0 or setting != last:
            number, left, letter = number + 1, int(rng.integers(1, 4)), 0
        sites.append(f"U{number}")
        letters.append("ABC"[letter])
        letter, left, last = letter + 1, left - 1, setting
    return tuple(sites), tuple(letters)


def _transitions(weights: Floats) -> tuple[Floats, Floats]:
    """Rates of a reversible Markov chain whose row shares are ``weights``.

    Returns the stationary share [k] and, per lithology, the cumulative probability
    [k, k] of what follows a bed of it. Symmetric flows scaled to the required row
    sums (Sinkhorn and Knopp, 1967) keep the shares while neighbours alternate.
    """
    lithologies = simulated_lithologies()
    index = {entry.name: i for i, entry in enumerate(lithologies)}
    affinity = np.ones((len(lithologies), len(lithologies)))
    for i, entry in enumerate(lithologies):
        for name in entry.neighbours:
            affinity[i, index[name]] = affinity[index[name], i] = _INTERBEDDING
    np.fill_diagonal(affinity, _AMALGAMATION)
    share = weights / weights.sum()
    flow = share / np.array([entry.thickness for entry in lithologies])
    present = flow > 0
    scale = np.where(present, np.sqrt(flow), 0.0)
    for _ in range(200):
        reach = affinity @ scale
        scale = np.sqrt(scale * np.where(present, flow / reach, 0.0))
    joint = scale[:, None] * affinity * scale[None, :]
    rows = joint.sum(axis=1, keepdims=True)
    return share, np.cumsum(joint / np.where(rows > 0, rows, 1.0), axis=1)


def draw_beds(rng: np.random.Generator, holes: Holes) -> Beds:
    """Draw beds from a Markov chain of lithologies with geometric thickness."""
    lithologies = simulated_lithologies()
    thickness = np.array([entry.thickness for entry in lithologies])
    weights = setting_weights()
    parts: list[tuple[Ints, Floats]] = []
    for setting, top, bottom in zip(holes.setting, holes.top, holes.bottom, strict=True):
        # Each hole has its own taste: classes are concentrated in few holes.
        taste = weights[setting] * rng.gamma(1.5, 1.0, len(lithologies))
        share, follows = _transitions(taste)
        parts.append(_chain(rng, share, follows, thickness, bottom - top))
    hole = np.repeat(np.arange(len(parts)), [len(lengths) for _, lengths in parts])
    lithology = np.concatenate([kinds for kinds, _ in parts])
    bottoms = [holes.top[i] + np.cumsum(lengths) for i, (_, lengths) in enumerate(parts)]
    bottom_ = np.concatenate([np.minimum(b, holes.bottom[i]) for i, b in enumerate(bottoms)])
    top_ = np.concatenate(
        [np.concatenate([holes.top[i : i + 1], b[:-1]]) for i, b in enumerate(bottoms)]
    )
    return Beds(
        hole=hole,
        top=top_,
        bottom=bottom_,
        lithology=lithology,
        described=_describe(rng, lithology),
        undescribed=rng.random(len(lithology)) < 0.01,
    )


def _chain(
    rng: np.random.Generator, share: Floats, follows: Floats, thickness: Floats, length: float
) -> tuple[Ints, Floats]:
    kinds: list[int] = []
    lengths: list[float] = []
    reached = 0.0
    kind = int(np.searchsorted(np.cumsum(share), rng.random() * (1 - 1e-12)))
    while reached < length:
        bed = _CHAIN_STEP * float(rng.geometric(min(1.0, _CHAIN_STEP / thickness[kind])))
        kinds.append(kind)
        lengths.append(bed)
        reached += bed
        kind = int(np.searchsorted(follows[kind], rng.random() * follows[kind, -1]))
    return np.array(kinds), np.array(lengths)


def _describe(rng: np.random.Generator, lithology: Ints, confusion: float = 0.06) -> Ints:
    """Name beds as a describer does: now and then as a confusable neighbour."""
    lithologies = simulated_lithologies()
    index = {entry.name: i for i, entry in enumerate(lithologies)}
    described = lithology.copy()
    for bed in np.flatnonzero(rng.random(len(lithology)) < confusion):
        names = lithologies[lithology[bed]].neighbours
        described[bed] = index[names[rng.integers(len(names))]]
    return described


def draw_cores(rng: np.random.Generator, holes: Holes, beds: Beds) -> Cores:
    """Cut holes in cores of 9.5 m and draw how much of each came up, counted from its top."""
    soft = np.array([entry.degree == "unconsolidated" for entry in simulated_lithologies()])
    count = np.maximum(1, np.ceil((holes.bottom - holes.top) / _CORE_LENGTH - 1e-9)).astype(int)
    hole = np.repeat(np.arange(len(count)), count)
    number = np.arange(count.sum()) - np.repeat(np.cumsum(count) - count, count)
    top = holes.top[hole] + number * _CORE_LENGTH
    advance = np.minimum(_CORE_LENGTH, holes.bottom[hole] - top)
    edge = _search(beds, hole, top + advance / 2)
    hard = ~soft[beds.lithology[edge]]
    kind = np.where(hard & (top > 60), "R", np.where(hard | (top > 220), "X", "H"))
    recovery = np.select(
        [kind == "H", kind == "X"],
        [np.minimum(1.0, rng.normal(0.98, 0.05, len(top))), rng.beta(6.0, 2.0, len(top))],
        rng.beta(5.0, 4.0, len(top)),
    )
    return Cores(hole, number + 1, top, np.maximum(0.3, advance * recovery), kind)


def _search(beds: Beds, hole: Ints, depth: Floats) -> Ints:
    """Index of the bed that holds each (hole, depth)."""
    offset = 1e6
    found = np.searchsorted(beds.hole * offset + beds.top, hole * offset + depth, side="right") - 1
    return np.asarray(found, dtype=np.int64)


# SIMULATED instrument readings: four latent factors to six channels.


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
