"""Parameters of the SIMULATED drill cores, read from ``simulation_lithologies.yaml``."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from variolite.corelogs.packaged import read_packaged

__all__ = ["FACTORS", "Lithology", "setting_weights", "simulated_lithologies"]

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
