"""The instrument tables of a drill ship, as LILY and LIMS lay them out.

One table holds the readings of one instrument: about thirty columns of which
three name the hole, one or two give the depth, one to four hold the values and
``Principal`` holds the lithology described at that depth. The catalogue here
says which columns those are, in what unit they stand, how far apart the
readings are and what range is physically plausible.

Layout: Childress et al. (2024), Geochemistry, Geophysics, Geosystems (LILY).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

__all__ = [
    "INSTRUMENTS",
    "Channel",
    "Instrument",
]


@dataclass(frozen=True)
class Channel:
    """One measured quantity of an instrument.

    Attributes
    ----------
    name
        Its meaning, the column name in binned tables.
    headers
        The header without its unit, in the order in which they are tried; a
        reading takes the first that is not missing.
    unit
        Unit in binned tables.
    units
        Spellings of the unit that a header may carry; ``""`` where the header
        may stand without one.
    plausible
        Smallest and largest value that can be a reading of rock or sediment.
    """

    name: str
    headers: tuple[str, ...]
    unit: str
    units: tuple[str, ...]
    plausible: tuple[float, float]


@dataclass(frozen=True)
class Instrument:
    """One kind of instrument table.

    Attributes
    ----------
    code
        LIMS code, for example ``"GRA"``.
    title
        What it measures, in words.
    channels
        What a reading holds.
    spacing
        Usual distance between readings, m; None for discrete samples.
    whole_readings
        True where a reading with one bad channel is bad in all (a pixel row);
        False where each channel stands for itself (a table of samples).
    """

    code: str
    title: str
    channels: tuple[Channel, ...]
    spacing: float | None
    whole_readings: bool = False


_DENSITY_UNITS = ("g/cm^3", "g/cm3", "g/cc")
_INSTRUMENT_UNITS = ("instr. units", "instr units", "instrument units", "iu", "")
_VELOCITY_UNITS = ("m/s",)


def _density(name: str, header: str, low: float, high: float) -> Channel:
    return Channel(name, (header,), "g/cm3", _DENSITY_UNITS, (low, high))


_SUSCEPTIBILITY = Channel(
    "magnetic_susceptibility",
    ("Magnetic susceptibility",),
    "instr. units",
    _INSTRUMENT_UNITS,
    (-50.0, 10_000.0),
)

# The loop and the point sensor use the same header; `recognition` tells them apart.
_CATALOGUE = (
    Instrument(
        "GRA",
        "gamma-ray attenuation bulk density",
        (
            Channel(
                "bulk_density",
                ("Bulk density (GRA)", "GRA bulk density"),
                "g/cm3",
                (*_DENSITY_UNITS, ""),
                (0.9, 4.0),
            ),
        ),
        0.025,
    ),
    Instrument("MS", "loop magnetic susceptibility", (_SUSCEPTIBILITY,), 0.025),
    Instrument(
        "MSP",
        "point magnetic susceptibility",
        (
            Channel(
                "point_magnetic_susceptibility",
                ("MSP", "Magnetic susceptibility"),
                "instr. units",
                _INSTRUMENT_UNITS,
                (-50.0, 10_000.0),
            ),
        ),
        0.025,
    ),
    Instrument(
        "NGR",
        "natural gamma radiation",
        (
            # Background is subtracted, so that a barren rock may come out just below zero.
            Channel("natural_gamma", ("NGR total counts",), "cps", ("cps",), (-1.0, 400.0)),
        ),
        0.1,
    ),
    Instrument(
        "RGB",
        "line-scan colour",
        tuple(
            Channel(name, (header,), "0-255", ("0-255", ""), (0.0, 255.0))
            for name, header in (("red", "R"), ("green", "G"), ("blue", "B"))
        ),
        0.005,
        whole_readings=True,
    ),
    Instrument(
        "RSC",
        "reflectance spectroscopy",
        (
            Channel("lightness", ("Reflectance L*",), "0-100", ("",), (0.0, 100.0)),
            Channel("reflectance_a", ("Reflectance a*",), "a*", ("",), (-60.0, 60.0)),
            Channel("reflectance_b", ("Reflectance b*",), "b*", ("",), (-60.0, 60.0)),
        ),
        0.025,
        whole_readings=True,
    ),
    Instrument(
        "MAD",
        "moisture and density of samples",
        (
            Channel("porosity", ("Porosity",), "vol%", ("vol%", "%"), (0.0, 100.0)),
            _density("grain_density", "Grain density", 1.5, 5.5),
            Channel("water_content", ("Moisture wet",), "wt%", ("wt%", "%"), (0.0, 100.0)),
            _density("sample_bulk_density", "Bulk density", 0.9, 5.5),
        ),
        None,
    ),
    Instrument(
        "PWC",
        "P-wave velocity",
        (
            Channel(
                "p_wave_velocity",
                (
                    "P-wave velocity unknown",
                    "P-wave velocity x",
                    "P-wave velocity y",
                    "P-wave velocity z",
                    "P-wave velocity",
                ),
                "m/s",
                _VELOCITY_UNITS,
                (1_300.0, 8_500.0),
            ),
        ),
        None,
    ),
    Instrument(
        "CARB",
        "carbonate content of samples",
        (
            Channel(
                "calcium_carbonate",
                ("Calcium carbonate", "CaCO3"),
                "wt%",
                ("wt%", "%"),
                (0.0, 102.0),
            ),
        ),
        None,
    ),
    Instrument(
        "TCON",
        "thermal conductivity",
        (
            Channel(
                "thermal_conductivity",
                ("Thermal conductivity mean",),
                "W/(m K)",
                ("W/(m*K)", "W/(m K)", "W/m/K"),
                (0.2, 10.0),
            ),
        ),
        None,
    ),
    Instrument(
        "AVS",
        "automated vane shear strength",
        (
            Channel(
                "shear_strength", ("Vane shear strength",), "kPa", ("kN/m^2", "kPa"), (0.0, 500.0)
            ),
        ),
        None,
    ),
)

INSTRUMENTS: Mapping[str, Instrument] = {entry.code: entry for entry in _CATALOGUE}
"""Every instrument that can be read, by its LIMS code, in the order in which they are joined."""
