"""Lennard-Jones parameters of framework atoms and models of gases, from ``force_field.yaml``."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

from variolite.errors import DataError, nearest
from variolite.strict_yaml import read_yaml

_KELVIN = 1 / 0.0019872041  # of 1 kcal/mol
_ROOT = 2 ** (1 / 6)  # the distance of the minimum in units of sigma


class Site(NamedTuple):
    """A site of a gas: sigma in Angstrom, epsilon over k in K, charge in e.

    ``place`` is that on the axis of the molecule in Angstrom; ``element`` is "" for a charge alone.
    """

    element: str
    sigma: float
    epsilon: float
    charge: float
    place: float


class Gas(NamedTuple):
    """A rigid, linear molecule; critical temperature in K, critical pressure in Pa."""

    key: str
    name: str
    model: str
    critical_temperature: float
    critical_pressure: float
    acentric_factor: float
    sites: tuple[Site, ...]


def find_gas(text: str) -> Gas:
    """Return the gas of that formula or name; raises a DataError that lists the known ones."""
    gases = _read()["gases"]
    for key, values in gases.items():
        if text.strip().casefold() in (key.casefold(), values["name"]):
            return Gas(key, **values | {"sites": tuple(Site(**one) for one in values["sites"])})
    close = nearest(text, gases)
    hint = f"Did you mean {close}?" if close else f"Known are {', '.join(gases)}"
    raise DataError(f"there is no model of the gas {text!r}", where="--gas", hint=hint)


def lennard_jones(symbol: str) -> tuple[float, float]:
    """Return epsilon over k in K and sigma in Angstrom of a framework atom; may be a DataError."""
    elements = _read()["frameworks"]["elements"]
    if symbol not in elements:
        raise DataError(f"{framework_model()} has no parameters for {symbol}")
    distance, depth = elements[symbol]
    return depth * _KELVIN, distance / _ROOT


def framework_model() -> str:
    """Return the name of the parameters of framework atoms."""
    return str(_read()["frameworks"]["name"])


@cache
def _read() -> dict[str, Any]:
    content: dict[str, Any] = read_yaml(Path(__file__).with_name("force_field.yaml"))
    return content
