"""SIMULATED holes: where they stand, what beds they cross, which cores came up."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from variolite.corelogs.simulation_parameters import setting_weights, simulated_lithologies

__all__ = ["Beds", "Cores", "Holes", "draw_beds", "draw_cores", "draw_holes"]

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
