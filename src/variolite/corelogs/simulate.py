"""SIMULATED drill cores with known truth, written as instrument tables.

No public table holds density, susceptibility, gamma and colour of drill cores, so they are tried
on cores that are made up: parameters follow published summaries of the LILY database (Childress
et al. 2024), beds and values are drawn at random.

Tables are dicts of columns, name to array [rows]. A column called after another table, such as
``hole`` of the beds, holds row numbers of that table.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter1d
from scipy.special import logit

from variolite.atomic import placed
from variolite.corelogs.simulated_sensors import (
    Columns,
    Floats,
    channels_of,
    disturb,
    parameters,
    spoil,
)
from variolite.errors import DataError

FACTORS = ("porosity", "magnetic", "gamma", "lightness")
"""The latent factors: logit of the volume fraction of pores, log10 of the susceptibility of the
solid (instrument units), ln of its natural gamma (counts per second), logit of L*/100."""

_TRACKS = ("GRA", "MS", "NGR", "RGB")
_BED_STEP = 0.1  # m; beds are this thick or a multiple
_CELL = 0.01  # m; the truth is held once per cell
_CORE_LENGTH, _SECTION = 9.5, 1.5  # m
_INTERBEDDING, _AMALGAMATION = 4.0, 0.15  # how much neighbours, and equals, follow one another
_CORRELATION_LENGTH = 0.3  # m
_BED_FRACTION = 0.55  # of the variance within a lithology that lies between its beds
# Within a lithology, lighter rock is less radioactive and less magnetic.
_CORRELATION = np.array(
    [[1.0, -0.1, -0.1, 0.2], [-0.1, 1.0, 0.3, -0.3], [-0.1, 0.3, 1.0, -0.4], [0.2, -0.3, -0.4, 1.0]]
)


@cache
def lithologies() -> pl.DataFrame:
    """Return the simulated lithologies, one row each, in the order of the parameter file."""
    entries = parameters()["lithologies"]
    return pl.DataFrame([{"name": n, **entries[n]} for n in entries], infer_schema_length=None)


def numbers(name: str) -> Floats:
    return lithologies()[name].cast(pl.Float64).to_numpy()


@cache
def _neighbours() -> list[list[int]]:
    """Rows of the lithologies that each is interbedded and confused with."""
    names = lithologies()["name"].to_list()
    return [[names.index(name) for name in around] for around in lithologies()["neighbours"]]


@cache
def setting_weights() -> dict[str, Floats]:
    """Return, per setting, how much of all core is each lithology there; in all, one."""
    # Those are frequencies of what the camera saw; what it missed is put back.
    core = numbers("share") / (1.0 - numbers("no_camera"))
    core /= core.sum()
    settings = [entry["settings"] for entry in parameters()["lithologies"].values()]
    names = dict.fromkeys(name for entry in settings for name in entry)
    return {name: core * np.array([entry.get(name, 0.0) for entry in settings]) for name in names}


@dataclass(frozen=True)
class SimulatedCores:
    """A SIMULATED set of drill cores and the truth behind it, as tables of columns.

    ``holes`` have a depth range (m below sea floor) and instrument errors; ``cells`` are the
    factors of every centimetre, and ``readings`` are per instrument code.
    """

    seed: int
    holes: Columns
    beds: Columns
    cores: Columns
    cells: Columns
    readings: dict[str, Columns]


def simulate_cores(
    holes: int = 12,
    metres: float = 120.0,
    seed: int = 0,
    *,
    camera_everywhere: bool = False,
    more: Sequence[str] = (),
) -> SimulatedCores:
    """Draw a SIMULATED set of drill cores; equal seeds give equal cores.

    Parameters
    ----------
    holes, metres
        Number of holes, and their mean length in m; single holes differ by a quarter.
    seed
        Seed of all draws.
    camera_everywhere
        False: the camera is missing in whole holes, often of lithologies that the real one
        missed (41 % of all rows).
    more
        Instruments beside GRA, MS, NGR and RGB: MSP (point susceptibility), RSC (reflectance),
        and samples: MAD (porosity, grain density, moisture), PWC (P-wave velocity) and TCON
        (thermal conductivity). The readings of the four stay as they are.

    Raises
    ------
    DataError
        If there would be no hole or no core, or an instrument is not simulated.
    """
    known = parameters()["instruments"]
    if unknown := [code for code in more if code not in known]:
        hint = f"choose from {', '.join(known)}"
        raise DataError(f"'{unknown[0]}' is not simulated", where="more", hint=hint)
    if holes < 1:
        raise DataError(f"{holes} holes", where="holes", hint="give at least one")
    if not 1.0 <= metres <= 2000.0:
        raise DataError(f"holes of {metres} m", where="metres", hint="give 1 to 2000 m")
    rng = np.random.default_rng([20240917, seed])
    plan = _draw_holes(rng, holes, metres)
    beds = _draw_beds(rng, plan)
    cores = _draw_cores(rng, plan, beds)
    cells = _draw_cells(rng, plan, beds)
    for name, spread in parameters()["offsets"].items():
        error = rng.normal(0.0, spread, holes)
        plan[f"offset_{name}"] = error if name == "bulk_density" else np.exp(error)
    plan["camera"] = _draw_camera(rng, beds, holes) | camera_everywhere
    readings = {}
    for code in dict.fromkeys((*_TRACKS, *more)):
        if "gain" in known[code]:
            plan[f"gain_{code}"] = np.exp(rng.normal(0.0, known[code]["gain"], holes))
        readings[code] = _read_cores(rng, code, plan, cores, cells)
    return SimulatedCores(seed, plan, beds, cores, cells, readings)


def _draw_holes(rng: np.random.Generator, count: int, metres: float) -> Columns:
    """Place ``count`` holes of ``metres`` each on average in depositional settings."""
    weights = setting_weights()
    # Systematic sampling in proportion to weight: a small set still spans the common settings.
    points = (np.arange(count) + rng.random()) / count
    drawn = np.searchsorted(np.cumsum([w.sum() for w in weights.values()]), points)
    setting = np.array(list(weights))[np.minimum(drawn, len(weights) - 1)]
    # Neighbouring holes of one setting share a site, one to three each.
    sites: list[int] = []
    letters: list[str] = []
    site, left, last = 9000, "", ""
    for name in setting:
        if not left or name != last:
            site, left = site + 1, "ABC"[: int(rng.integers(1, 4))]
        sites.append(site)
        letters.append(left[0])
        left, last = left[1:], name
    # One text expedition, since real ones exist (397T) and break careless readers.
    legs = [("901", "902", "903T", "904", "905")[i % 40 // 8] for i in sites]
    length = metres * rng.uniform(0.75, 1.25, count)
    length *= metres / length.mean()
    low, high = np.array([parameters()["first_core"].get(n, (0.0, 0.0)) for n in setting], float).T
    deep_start = rng.random(count) < 0.15
    lithified = rng.uniform(low, np.maximum(high, low + 1.0))
    deep = np.where(deep_start, rng.uniform(40.0, 250.0, count), 0.0)
    top: Floats = np.where(high > 0, lithified, deep)
    # Holes of a site stand a few metres apart: they share its position but for a little noise.
    where = np.random.default_rng(rng.integers(2**32)).random((max(sites) + 1, 3))[sites]
    return {
        "expedition": np.array(legs),
        "site": np.array([f"U{site}" for site in sites]),
        "letter": np.array(letters),
        "setting": setting,
        "top": np.round(top, 1),
        "bottom": np.round(top + length, 1),
        "latitude": np.round(where[:, 0] * 120 - 60 + rng.normal(0, 1e-3, count), 6),
        "longitude": np.round(where[:, 1] * 360 - 180 + rng.normal(0, 1e-3, count), 6),
        "water_depth": np.round(where[:, 2] * 4500 + 300 + rng.normal(0, 2, count), 2),
    }


def _transitions(weights: Floats) -> tuple[Floats, Floats]:
    """Return the fractions [k] and cumulative transitions [k, k] of a chain of lithologies."""
    affinity = np.ones((len(weights), len(weights)))
    for i, around in enumerate(_neighbours()):
        affinity[i, around] = affinity[around, i] = _INTERBEDDING
    np.fill_diagonal(affinity, _AMALGAMATION)
    share = weights / weights.sum()
    # Beds begun per metre: fractions are of thickness, transitions happen once per bed.
    flow = share / numbers("thickness")
    present = flow > 0
    # Symmetric flows, scaled to the required row sums (Sinkhorn and Knopp, 1967).
    scale = np.where(present, np.sqrt(flow), 0.0)
    for _ in range(200):
        reach = affinity @ scale
        # The geometric mean of two steps: the plain one swings between two solutions.
        scale = np.sqrt(scale * np.where(present, flow / reach, 0.0))
    joint = scale[:, None] * affinity * scale[None, :]
    rows = joint.sum(axis=1, keepdims=True)
    return share, np.cumsum(joint / np.where(rows > 0, rows, 1.0), axis=1)


def _draw_beds(rng: np.random.Generator, holes: Columns) -> Columns:
    """Draw beds from a Markov chain of lithologies with geometric thickness."""
    thickness = numbers("thickness")
    beds: list[tuple[int, float, float, int]] = []
    extents = zip(holes["setting"], holes["top"], holes["bottom"], strict=True)
    for hole, (setting, start, end) in enumerate(extents):
        # Each hole has its own taste: classes are concentrated in few holes.
        taste = setting_weights()[setting] * rng.gamma(1.5, 1.0, len(thickness))
        share, follows = _transitions(taste)
        reached = 0.0
        kind = int(np.searchsorted(np.cumsum(share), rng.random() * (1 - 1e-12)))
        while reached < end - start:
            bed = _BED_STEP * float(rng.geometric(min(1.0, _BED_STEP / thickness[kind])))
            beds.append((hole, start + reached, min(start + (reached + bed), end), kind))
            reached += bed
            kind = int(np.searchsorted(follows[kind], rng.random() * follows[kind, -1]))
    hole_of, top, bottom, lithology = (np.array(column) for column in zip(*beds, strict=True))
    # What the describer called a bed is now and then a confusable neighbour.
    described = lithology.copy()
    for confused in np.flatnonzero(rng.random(len(lithology)) < 0.06):
        around = _neighbours()[lithology[confused]]
        described[confused] = around[int(rng.integers(len(around)))]
    undescribed = rng.random(len(lithology)) < 0.01
    extent = {"hole": hole_of, "top": top, "bottom": bottom}
    return extent | {"lithology": lithology, "described": described, "undescribed": undescribed}


def _draw_camera(rng: np.random.Generator, beds: Columns, count: int) -> NDArray[np.bool_]:
    """Choose the holes that the camera saw, by systematic sampling on their classes."""
    rate, thickness = numbers("no_camera")[beds["lithology"]], beds["bottom"] - beds["top"]
    unseen = np.bincount(beds["hole"], rate * thickness, count)
    missing: Floats = unseen / np.bincount(beds["hole"], thickness, count)
    # Steeper than the rates, since a hole is seen wholly or not at all.
    missing = missing**1.5 / (missing**1.5 + (1 - missing) ** 1.5)
    order = rng.permutation(count)
    steps = np.floor(np.cumsum(missing[order]) + rng.random())
    camera = np.ones(count, dtype=np.bool_)
    camera[order] = np.diff(steps, prepend=0.0) < 0.5
    if not camera.any():
        camera[order[0]] = True
    return camera


def _row_at(table: Columns, hole: NDArray[Any], depth: Floats) -> NDArray[np.int64]:
    """Return the row of beds or cores that begins last above each (hole, depth)."""
    far = 1e6  # deeper than any hole: hole and depth become one sorted number
    begin, place = table["hole"] * far + table["top"], hole * far + depth
    return np.asarray(np.searchsorted(begin, place, side="right") - 1, dtype=np.int64)


def _ranks(count: NDArray[np.int64]) -> NDArray[np.int64]:
    """0, 1, ... count[0] - 1, 0, 1, ... count[1] - 1 and so on."""
    return np.arange(count.sum()) - np.repeat(np.cumsum(count) - count, count)


def _draw_cores(rng: np.random.Generator, holes: Columns, beds: Columns) -> Columns:
    """Cut holes in cores and draw how much of each came up, counted from its top."""
    soft = (lithologies()["degree"] == "unconsolidated").to_numpy()
    extent = holes["bottom"] - holes["top"]
    count = np.maximum(1, np.ceil(extent / _CORE_LENGTH - 1e-9)).astype(np.int64)
    hole = np.repeat(np.arange(len(count)), count)
    number = _ranks(count)
    top = holes["top"][hole] + number * _CORE_LENGTH
    advance = np.minimum(_CORE_LENGTH, holes["bottom"][hole] - top)
    hard = ~soft[beds["lithology"][_row_at(beds, hole, top + advance / 2)]]
    # Soft sediment is pushed (H), firm one drilled (X), rock cored (R).
    kind = np.where(hard & (top > 60), "R", np.where(hard | (top > 220), "X", "H"))
    pushed = np.minimum(1.0, rng.normal(0.98, 0.05, len(top)))
    drilled, cored = rng.beta(6.0, 2.0, len(top)), rng.beta(5.0, 4.0, len(top))
    recovery = np.select([kind == "H", kind == "X"], [pushed, drilled], cored)
    length = np.maximum(0.3, advance * recovery)
    return {"hole": hole, "number": number + 1, "top": top, "length": length, "kind": kind}


def _draw_cells(rng: np.random.Generator, holes: Columns, beds: Columns) -> Columns:
    """Draw the four factors, [cells, 4], in every centimetre of every hole.

    The mean of the lithology, shifts of the hole and of the bed, and an autoregression along it.
    """
    count = np.round((holes["bottom"] - holes["top"]) / _CELL).astype(np.int64)
    hole = np.repeat(np.arange(len(count)), count)
    depth = holes["top"][hole] + (_ranks(count) + 0.5) * _CELL
    bed = _row_at(beds, hole, depth)
    kind = beds["lithology"][bed]
    mixing = np.linalg.cholesky(_CORRELATION)
    of_bed = rng.standard_normal((len(beds["hole"]), 4)) @ mixing.T
    noise = _autoregression(rng.standard_normal((len(hole), 4)), _CELL / _CORRELATION_LENGTH)
    # The weights' squares add up to one, so that the spread within a lithology is the file's.
    within = np.sqrt(_BED_FRACTION) * of_bed[bed] + np.sqrt(1 - _BED_FRACTION) * (noise @ mixing.T)
    of_hole = rng.normal(0.0, 1.0, (len(count), 4)) * np.array([0.08, 0.15, 0.12, 0.15])
    lightness = numbers("lightness") / 100
    # The spread of the lightness is carried to logit units by the slope of the logit.
    lightness_sd = numbers("lightness_sd") / 100 / (lightness * (1 - lightness))
    spread = np.stack([*(numbers(f"{n}_sd") for n in FACTORS[:3]), lightness_sd], axis=1)
    factors = of_hole[hole] + spread[kind] * within
    compaction = np.where(numbers("compaction") > 0, numbers("compaction"), np.inf)
    porosity = numbers("porosity")[kind] * np.exp(-depth / compaction[kind])
    factors[:, 0] += logit(porosity)
    factors[:, 1] += numbers("magnetic")[kind]
    factors[:, 2] += np.log(numbers("gamma"))[kind]
    factors[:, 3] += logit(lightness)[kind]
    return {"hole": hole, "depth": depth, "bed": bed, "factors": factors}


def _autoregression(white: Floats, step: float) -> Floats:
    """Turn white noise [n, k] to noise of unit variance that decays as exp(-step) per row."""
    decay = np.exp(-step)
    gain = np.sqrt((1 + decay) / (1 - decay))
    # The first row begins in the stationary state, with no stretch of smaller variance.
    white[0] /= gain
    smooth = [pl.Series(c).ewm_mean(alpha=1 - decay, adjust=False).to_numpy() for c in white.T]
    return np.asarray(gain * np.stack(smooth, axis=1))


def _read_cores(
    rng: np.random.Generator, instrument: str, holes: Columns, cores: Columns, cells: Columns
) -> Columns:
    """Read every core at the spacing of the instrument; the camera sees some holes only."""
    entry = parameters()["instruments"][instrument]
    seen = holes["camera"] | (instrument != "RGB")
    chosen = np.flatnonzero(seen[cores["hole"]])
    length, spacing = cores["length"], entry["spacing"]
    count = np.maximum(1, np.floor(length[chosen] / spacing)).astype(np.int64)
    core = np.repeat(chosen, count)
    along = (_ranks(count) + 0.5) * spacing
    if "scatter" in entry:  # samples are taken where the core allows
        along = np.maximum(along + rng.normal(0.0, entry["scatter"], len(core)), 0.0)
    along = np.minimum(along, length[core])
    depth, hole = cores["top"][core] + along, cores["hole"][core]
    start = np.flatnonzero(np.diff(cells["hole"], prepend=-1))  # first cell of every hole
    size = np.diff(np.append(start, len(cells["hole"])))
    first = cells["depth"][start[hole]] - _CELL / 2
    # A core may be longer than what is left of its hole: its last readings see the last cell.
    cell = start[hole] + np.minimum(((depth - first) / _CELL).astype(np.int64), size[hole] - 1)
    if entry["footprint"]:
        # Under a Gaussian along each hole; ends are repeated, so that none bleeds into the next.
        parts = np.split(channels_of(cells["factors"], instrument), start[1:])
        sigma = entry["footprint"] / _CELL
        blurred = [gaussian_filter1d(part, sigma, axis=0, mode="nearest") for part in parts]
        exact = np.concatenate(blurred)[cell]
    else:
        exact = channels_of(cells["factors"][cell], instrument)
    names = [*(f"offset_{n}" for n in parameters()["offsets"]), f"gain_{instrument}"]
    errors = {name: holes[name][hole, None] for name in names if name in holes}
    values = disturb(rng, instrument, exact, errors)
    spoil(rng, instrument, values, np.minimum(along, length[core] - along))
    return {
        "core": core,
        "cell": cell,
        "depth": np.round(depth, 4),
        "section": (along // _SECTION).astype(np.int64) + 1,
        "offset": np.round(along % _SECTION * 100, 2),
        **dict(zip(entry["channels"], values.T, strict=True)),
    }


def instrument_table(cores: SimulatedCores, instrument: str) -> pl.DataFrame:
    """Return the readings of an instrument in the column layout of LILY and LIMS."""
    reading, entry = cores.readings[instrument], parameters()["instruments"][instrument]
    core, bed = reading["core"], cores.cells["bed"][reading["cell"]]
    rows = pl.DataFrame(
        {name: column[cores.cores["hole"][core]] for name, column in cores.holes.items()}
        | {name: column[core] for name, column in cores.cores.items()}
        | {name: column[bed] for name, column in cores.beds.items()}
        | reading
    )
    described = lithologies().rename({"name": "lithology"})[rows["described"]]
    named = {n: described[n] for n in ("lithology", "simplified", "type", "degree", "subtype")}
    suffixes = pl.Series(["with ash", "with foraminifera", "with clay", None, None])
    named["suffix"] = suffixes.gather(rows["described"] * 7 % 5)
    number = pl.int_range(pl.len(), dtype=pl.Int64)
    # Cores come on deck every 45 minutes.
    on_deck = pl.datetime(2012, 1, 1) + pl.duration(minutes=pl.col("core") * 45)
    rows = rows.with_columns(
        pl.col("section", "water_depth").cast(pl.String),
        pl.col("depth").round(3),
        pl.col(entry["channels"]).fill_nan(None).round(entry["decimals"]),
        half=pl.lit(entry.get("half"), dtype=pl.String),
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
    values = dict(zip(entry["headers"], entry["channels"], strict=True))
    columns: dict[str, str] = {}
    for header, name in parameters()["columns"].items():
        columns |= values if name == "readings" else {header: name}
    return rows.select(pl.col(name).alias(header) for header, name in columns.items())


def write_instrument_tables(cores: SimulatedCores, folder: str | Path) -> dict[str, Path]:
    """Write ``<code>_DataLITH.csv`` per instrument code, and a README that says SIMULATED."""
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    paths = {code: folder / f"{code}_DataLITH.csv" for code in cores.readings}
    for code, path in paths.items():
        with placed(path) as (unfinished, _):
            instrument_table(cores, code).write_csv(unfinished, quote_style="non_numeric")
    text = f"SIMULATED drill cores, made by variolite (seed {cores.seed}). "
    text += "Nothing here was measured.\n"
    text += "The columns are those of the instrument tables of the LILY database.\n"
    (folder / "README.txt").write_text(text, encoding="utf-8")
    return paths
