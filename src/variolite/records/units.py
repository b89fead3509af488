"""Spellings of units: enough to tell g/cc from kg/m3, not a unit system."""

from __future__ import annotations

import re

__all__ = ["canonical_unit", "split_header", "units_agree"]

# Each line: the canonical spelling, then other spellings met in logs and tables.
_SPELLINGS = """
g/cm3 g/cc gm/cc g/c3 gm/cm3 g/ml gcm-3 g.cm-3
kg/m3 k/m3 kgm-3 kg.m-3
gapi api gapi-units apiunits
us/ft us/f usec/ft musec/ft
us/m usec/m musec/m
m3/m3 v/v frac fraction ft3/ft3 dec decimal 1
% pu percent p.u. pct
vol% vol.%
wt% wt.%
ohm.m ohmm ohm-m ohm*m ohm
mv millivolt millivolts
v volt volts
b/e barns/e barn/e b/electron barns/electron
m metre metres meter meters mbsf mbsl mcsf
ft feet foot f
cm centimetre centimeter
mm millimetre millimeter
in inch inches
m/s m/sec ms-1
km/s km/sec kms-1
ft/s ft/sec
cps counts/s count/s cts/s
w/(m*k) w/mk w/(mk) w/m/k w/(m.k) wm-1k-1
kpa kn/m2
mpa mn/m2
pa n/m2
gpa
degc c celsius
degf fahrenheit
k kelvin
deg degree degrees
deg/s
si 10-5si
"""
_CANONICAL = {
    spelling: line.split()[0] for line in _SPELLINGS.split("\n") for spelling in line.split()
}
_UNITLESS = {"", "-", "_", "none", "unitless", "dimensionless", "n/a"}
_REPLACED = str.maketrans(
    {"³": "3", "²": "2", "µ": "u", "μ": "u", "Ω": "ohm", "·": ".", "°": "deg"}
)
_HEADER = re.compile(r"^(?P<name>.*\S)\s*[(\[](?P<unit>[^()\[\]]*(?:\([^()]*\))?[^()\[\]]*)[)\]]$")


def _plain(unit: str) -> str:
    text = unit.strip().translate(_REPLACED).casefold()
    return re.sub(r"\s+|\^|\*\*", "", text)


def canonical_unit(unit: str | None) -> str | None:
    """Return the canonical spelling of a known unit, or None for an unknown or absent one.

    >>> canonical_unit("G/C3"), canonical_unit("g/cm^3"), canonical_unit("GRA")
    ('g/cm3', 'g/cm3', None)
    """
    return None if unit is None else _CANONICAL.get(_plain(unit))


def units_agree(declared: str | None, found: str | None) -> bool:
    """Say whether two spellings can mean the same unit.

    Only two units that are both known can disagree: an unknown or missing one is
    no evidence of a mistake.
    """
    first, second = canonical_unit(declared), canonical_unit(found)
    return first is None or second is None or first == second


def split_header(header: str) -> tuple[str, str | None]:
    """Split ``name (unit)`` or ``name [unit]``; the unit is None when there is none.

    >>> split_header("Thermal conductivity mean (W/(m*K))")
    ('Thermal conductivity mean', 'W/(m*K)')
    """
    match = _HEADER.match(header.strip())
    if match is None:
        return header.strip(), None
    unit = match["unit"].strip()
    return match["name"].strip(), None if unit.casefold() in _UNITLESS else unit
