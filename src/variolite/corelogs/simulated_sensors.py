"""What the instruments of the SIMULATED cores read: rock physics, errors and mishaps."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit

from variolite.corelogs.lithology import read_packaged

Floats = NDArray[np.float64]
Columns = dict[str, NDArray[Any]]


@cache
def parameters() -> dict[str, Any]:
    """Return ``simulation.yaml``, which explains itself."""
    parsed: dict[str, Any] = read_packaged("simulation.yaml")
    return parsed


def channels_of(factors: Floats, instrument: str) -> Floats:
    """What a perfect instrument would read, [..., channels], from factors [..., 4]."""
    porosity, solid = expit(factors[..., 0]), 1.0 - expit(factors[..., 0])
    # Denser with magnetite, g/cm3; mixed with sea water of 1.024 g/cm3.
    grain = 2.68 + 0.27 * expit((factors[..., 1] - 2.7) / 0.12)
    bulk = (1.0 - solid) * 1.024 + solid * grain
    tint = np.tanh((factors[..., 2] - 4.0) / 2.0)
    match instrument:
        case "GRA":
            return np.asarray(bulk)[..., None]
        case "MS" | "MSP":  # of the solid; water and calcite are weakly diamagnetic
            return np.asarray(1.1 * solid * 10.0 ** factors[..., 1] - 1.5)[..., None]
        case "NGR":
            return np.asarray(0.8 + solid * np.exp(factors[..., 2]))[..., None]
        case "RGB":
            # One power of lightness with a slight tint: the colours are nearly collinear.
            grey = 255.0 * expit(factors[..., 3]) ** 1.75
            red, blue = grey * (1.03 + 0.04 * tint), grey * (0.90 - 0.05 * tint)
            return np.stack([red, grey, blue], axis=-1)
        case "RSC":  # redder with clay, yellower where it is light
            lightness = 100.0 * expit(factors[..., 3])
            return np.stack([lightness, 1.0 + 2.0 * tint, 0.15 * lightness - 2.0 * tint], axis=-1)
        case "MAD":  # water as a share of the wet mass
            water = porosity * 1.024 / bulk
            return np.stack([100.0 * porosity, grain, 100.0 * water, bulk], axis=-1)
        case "PWC":  # that of sea water where all is pores, of basalt where nearly none is
            return np.asarray(1500.0 + 4000.0 * solid**3)[..., None]
        case _:  # TCON: geometric mean of water and solid, clay conducting less than carbonate
            return np.asarray(np.power(0.6, porosity) * (2.6 - 0.5 * tint) ** solid)[..., None]


def disturb(rng: np.random.Generator, instrument: str, exact: Floats, errors: Columns) -> Floats:
    """Add the error of the hole and the noise of the reading to [readings, channels]."""
    noise = rng.standard_normal(exact.shape)
    entry = parameters()["instruments"][instrument]
    if "gain" in entry:
        absolute, relative = np.array(entry["noise"]).T
        error = (absolute + relative * np.abs(exact)) * noise
        return np.asarray(exact * errors[f"gain_{instrument}"] + error)
    if instrument == "GRA":
        return np.asarray(exact + errors["offset_bulk_density"] + 0.02 * noise)
    if instrument == "MS":
        error = (0.8 + 0.02 * np.abs(exact)) * noise
        return np.asarray(exact * errors["offset_magnetic_susceptibility"] + error)
    if instrument == "NGR":
        # Counting statistics of a reading of five minutes, and the background taken off.
        error = np.sqrt(np.maximum(exact, 1.0) / 300 + 0.04) * noise
        return np.asarray(exact * errors["offset_natural_gamma"] + error)
    texture = np.exp(0.04 * rng.standard_normal((len(exact), 1)))
    tint = np.hstack([errors["offset_red"], np.ones((len(exact), 1)), errors["offset_blue"]])
    gain = errors["offset_lighting"] * tint
    return np.asarray(np.clip(exact * gain * texture + (0.4 + 0.006 * exact) * noise, 2.0, 255.0))


def spoil(rng: np.random.Generator, instrument: str, values: Floats, end: Floats) -> None:
    """Put in what goes wrong on a ship: voids at core ends, cracks, wild and lost readings."""
    n = len(values)
    void = (end < 0.03) & (rng.random(n) < 0.5)
    wild = rng.random(n) < 0.0008
    if instrument == "RGB":
        dark = void | (rng.random(n) < 0.004)
        values[dark] = rng.uniform(2.0, 9.0, (int(dark.sum()), 1))
    if instrument == "GRA":
        values[void, 0] *= rng.uniform(0.3, 0.9, int(void.sum()))
    if instrument == "MS":
        values[void, 0] *= 0.5
    if instrument != "RGB":
        low, high = parameters()["instruments"][instrument]["wild"]
        values[wild, 0] = rng.uniform(low, high, int(wild.sum()))
    values[rng.random(n) < 0.001] = np.nan
