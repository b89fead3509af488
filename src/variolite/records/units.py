"""Units as logs and tables spell them, and what a value in one of them is in another."""

from __future__ import annotations

import re
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

# One line for each quantity: what a unit is worth in the first one (and where its zero lies),
# then its spellings, the canonical one first.
_QUANTITIES = """
1 g/cm3 g/cc gm/cc g/c3 gm/cm3 g/ml gm/c3 gcm-3 g.cm-3; .001 kg/m3 k/m3 kgm-3 kg.m-3
1 us/ft us/f usec/ft musec/ft usec/f usft-1; .3048 us/m usec/m musec/m usm-1
1 m3/m3 v/v frac fraction ft3/ft3 cfcf f3/f3 dec decp decimal 1; \
.01 % pu p.u. percent pct; .01 vol% vol.%
1 w/w kg/kg; .01 wt% wt.%; 1e-6 ppm mg/kg ug/g
1 m metre metres meter meters mbsf mbsl mcsf mrkb; .3048 ft feet foot f; .0254 in inch inches; \
.00254 .1in 0.1in; .01 cm centimetre centimeter; .001 mm millimetre millimeter; 1000 km
1 m/s m/sec ms-1; 1000 km/s km/sec kms-1; .3048 ft/s ft/sec f/s
1 si; 1e-5 10-5si 1e-5si x10-5si
1 ohm.m ohmm ohm-m ohm*m ohm ohm/m; .01 ohm.cm ohm-cm
1 ms/m mmho/m mmhom; 1000 s/m
.001 mv millivolt millivolts; 1 v volt volts
1 pa n/m2; 1e3 kpa kn/m2; 1e6 mpa mn/m2; 1e9 gpa; 1e5 bar; 100 mbar hpa; \
101325 atm; 6894.757293168 psi psia
1 degc c celsius deg.c; 1-273.15 k kelvin degk; \
.5555555555555556-17.77777777777778 degf fahrenheit deg.f
1 deg degree degrees dega; 57.29577951308232 rad radian radians
1 deg/s
1 w/(m*k) w/mk w/(mk) w/m/k w/(m.k) wm-1k-1
1 b/e barns/e barn/e b/electron barns/electron
1 mol/kg mmol/g; 1e3 mol/g; 1e-3 mmol/kg umol/g
1 gapi api gapi-units apiunits
1 cps counts/s count/s cts/s
"""
_WORTH = re.compile(r"([\d.]+(?:e-?\d+)?)(-[\d.]+)?")


class _Unit(NamedTuple):
    name: str
    quantity: int
    scale: float
    zero: float


def _units() -> dict[str, _Unit]:
    known: dict[str, _Unit] = {}
    for quantity, line in enumerate(_QUANTITIES.strip().splitlines()):
        for entry in line.split(";"):
            worth, *spellings = entry.split()
            match = _WORTH.fullmatch(worth)
            assert match, worth
            unit = _Unit(spellings[0], quantity, float(match[1]), float(match[2] or 0))
            known |= dict.fromkeys(spellings, unit)
    return known


_KNOWN = _units()
_UNITLESS = {"", "-", "_", "none", "unitless", "dimensionless", "n/a"}
_REPLACED = str.maketrans(
    {"³": "3", "²": "2", "⁻": "-", "⁵": "5", "µ": "u", "μ": "u", "Ω": "ohm", "\u2126": "ohm"}
    | {"·": ".", "°": "deg", "−": "-"}
)
_HEADER = re.compile(r"^(?P<name>.*\S)\s*[(\[](?P<unit>[^()\[\]]*(?:\([^()]*\))?[^()\[\]]*)[)\]]$")


def _known(unit: str | None) -> _Unit | None:
    plain = (unit or "").strip().translate(_REPLACED).casefold()
    return _KNOWN.get(re.sub(r"\s+|\^|\*\*", "", plain))


def canonical_unit(unit: str | None) -> str | None:
    """Return the canonical spelling of a known unit, or None for an unknown or absent one."""
    known = _known(unit)
    return known.name if known else None


def units_agree(declared: str | None, found: str | None) -> bool:
    """Return False where two known units differ: an unknown one is no evidence of a mistake."""
    first, second = _known(declared), _known(found)
    return first is None or second is None or first == second


def can_convert(found: str | None, wanted: str | None) -> bool:
    """Return whether both units are known and measure the same quantity."""
    first, second = _known(found), _known(wanted)
    return bool(first and second and first.quantity == second.quantity)


def convert(values: Array, found: str, wanted: str) -> Array:
    """Return values (any shape) of one unit in another of the same quantity."""
    first, second = _known(found), _known(wanted)
    assert first is not None
    assert second is not None
    return (values * first.scale + first.zero - second.zero) / second.scale


def kindred(unit: str | None) -> list[str]:
    """Return the other units of the same quantity, none for an unknown one."""
    known = _known(unit)
    if known is None:
        return []
    others = (other for other in _KNOWN.values() if other.quantity == known.quantity)
    return [name for name in dict.fromkeys(other.name for other in others) if name != known.name]


def split_header(header: str) -> tuple[str, str | None]:
    """Split ``name (unit)`` or ``name [unit]``; the unit is None when there is none."""
    match = _HEADER.match(header.strip())
    if match is None:
        return header.strip(), None
    unit = match["unit"].strip()
    return match["name"].strip(), None if unit.casefold() in _UNITLESS else unit
