"""The instrument tables of a drill ship, and how one is recognised by its columns."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

from variolite.corelogs.holes import find_hole_columns
from variolite.errors import DataError, nearest

# The instrument tables of a drill ship, as LILY and LIMS lay them out.
#
# One table holds the readings of one instrument: about thirty columns of which
# three name the hole, one or two give the depth, one to four hold the values and
# ``Principal`` holds the lithology described at that depth. The catalogue here
# says which columns those are, in what unit they stand, how far apart the
# readings are and what range is physically plausible.
#
# Layout: Childress et al. (2024), Geochemistry, Geophysics, Geosystems (LILY).


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


# Recognise an instrument table by its columns, never by the name of the file.


@dataclass(frozen=True)
class TableLayout:
    """Where one table holds what is needed of it.

    Attributes
    ----------
    instrument
        The instrument it was recognised as.
    hole
        Columns that name the hole: three (expedition, site, hole) or one.
    depth
        Depth column, m below sea floor.
    values
        Channel name to the columns that hold it, first non-missing wins.
    label
        Column of the principal lithology, or None.
    """

    instrument: Instrument
    hole: tuple[str, ...]
    depth: str
    values: Mapping[str, tuple[str, ...]]
    label: str | None = None

    @property
    def channels(self) -> tuple[Channel, ...]:
        """The channels that the table holds."""
        return tuple(c for c in self.instrument.channels if c.name in self.values)

    @property
    def columns(self) -> tuple[str, ...]:
        """Every column that has to be read, each once."""
        label = () if self.label is None else (self.label,)
        values = (name for names in self.values.values() for name in names)
        return tuple(dict.fromkeys((*self.hole, self.depth, *values, *label)))


_DEPTH_STEMS = ("Depth {scale}", "Top depth {scale}", "Depth top {scale}")
_DEPTH_UNITS = ("m",)
_POINT_SENSOR = ("MSP", "SHMSL", "MS2K", "MS2E", "MS2F", "POINT")
_LOOP_SENSOR = ("WRMSL", "STMSL", "MSL", "MS2C", "LOOP")


def recognise(
    columns: Sequence[str],
    *,
    samples: Mapping[str, Sequence[str | None]] | None = None,
    depth_scale: str = "CSF-A",
    where: str | None = None,
) -> TableLayout:
    """Recognise an instrument table by its columns.

    Parameters
    ----------
    columns
        Header of the table.
    samples
        The first values of some columns as text. Needed only to tell the loop
        from the point sensor, whose headers are the same: ``Instrument``,
        ``Instrument group`` and ``A/W`` decide.
    depth_scale
        ``"CSF-A"`` or ``"CSF-B"``.
    where
        Name of the table in errors.

    Raises
    ------
    DataError
        If the table is of no known instrument, lacks a hole or depth column, or
        gives a value or depth in another unit.
    """
    found = {
        code: values
        for code, instrument in INSTRUMENTS.items()
        if (values := _channel_columns(instrument, columns))
    }
    if "MS" in found and "MSP" in found:
        del found["MS" if _is_point_sensor(columns, samples or {}) else "MSP"]
    if not found:
        raise _unknown_table(columns, where)
    if len(found) > 1:
        raise DataError(
            f"the table holds readings of several instruments ({', '.join(found)})",
            where=where,
            hint="give one table per instrument",
        )
    ((code, values),) = found.items()
    instrument = INSTRUMENTS[code]
    _check_units(instrument, columns, where)
    _check_whole(instrument, values, where)
    try:
        hole = find_hole_columns(columns)
    except DataError as error:
        raise DataError(error.what, where=where, hint=error.hint) from error
    label = next((name for name in columns if name.strip().casefold() == "principal"), None)
    return TableLayout(
        instrument=instrument,
        hole=hole,
        depth=_depth_column(columns, depth_scale, where),
        values=values,
        label=label,
    )


@lru_cache(maxsize=4096)
def _normal(header: str) -> str:
    text = header.strip().casefold().replace("³", "^3").replace("²", "^2")
    return re.sub(r"\s+", " ", text.translate(str.maketrans("₀₁₂₃₄", "01234")))


@lru_cache(maxsize=4096)
def _unit_of(header: str, stem: str) -> str | None:
    """Return the unit that ``header`` gives to ``stem``, None if it is another header."""
    header, stem = _normal(header), _normal(stem)
    if header == stem:
        return ""
    unit = re.fullmatch(re.escape(stem) + r"\s*[(\[](.*)[)\]]", header)
    return unit.group(1).strip() if unit else None


def _channel_columns(instrument: Instrument, columns: Sequence[str]) -> dict[str, tuple[str, ...]]:
    found = {}
    for channel in instrument.channels:
        accepted = {_normal(unit) for unit in channel.units}
        names = tuple(
            column
            for stem in channel.headers
            for column in columns
            if _unit_of(column, stem) in accepted
        )
        if names:
            found[channel.name] = names
    return found


def _foreign_units(
    instrument: Instrument, columns: Sequence[str]
) -> list[tuple[str, str, Channel]]:
    """Columns of the instrument that stand in a unit that is not accepted."""
    present = _channel_columns(instrument, columns)
    return [
        (column, unit, channel)
        for channel in instrument.channels
        if channel.name not in present
        for stem in channel.headers
        for column in columns
        if (unit := _unit_of(column, stem)) is not None and not _owned(column)
    ]


def _owned(column: str) -> bool:
    """Whether some channel accepts this header as it stands ('Bulk density (GRA)')."""
    return any(_channel_columns(entry, [column]) for entry in INSTRUMENTS.values())


def _unit_error(column: str, unit: str, expected: str, where: str | None) -> DataError:
    stated = f"in '{unit}'" if unit else "without a unit"
    return DataError(
        f"column '{column}' is given {stated}, expected {expected}",
        where=where,
        hint=f"convert the values and name the unit in the header, '({expected})'",
    )


def _check_units(instrument: Instrument, columns: Sequence[str], where: str | None) -> None:
    for column, unit, channel in _foreign_units(instrument, columns):
        raise _unit_error(column, unit, channel.units[0], where)


def _check_whole(
    instrument: Instrument, values: Mapping[str, tuple[str, ...]], where: str | None
) -> None:
    if not instrument.whole_readings:
        return
    for channel in instrument.channels:
        if channel.name not in values:
            raise DataError(
                f"a {instrument.code} table without a column '{channel.headers[0]}'",
                where=where,
                hint="export the table again with all channels of the instrument",
            )


def _depth_column(columns: Sequence[str], scale: str, where: str | None) -> str:
    stems = [stem.format(scale=scale) for stem in _DEPTH_STEMS]
    candidates = [
        (column, unit)
        for stem in stems
        for column in columns
        if (unit := _unit_of(column, stem)) is not None
    ]
    for column, unit in candidates:
        if unit in _DEPTH_UNITS:
            return column
    for column, unit in candidates:
        raise _unit_error(column, unit, "m", where)
    close = nearest(f"Depth {scale} (m)", columns)
    hint = f"; the nearest column is '{close}'" if close else ""
    raise DataError(
        f"no column 'Depth {scale} (m)' or 'Top depth {scale} (m)'{hint}",
        where=where,
        hint="export the table with its depth below sea floor in metres",
    )


def _is_point_sensor(columns: Sequence[str], samples: Mapping[str, Sequence[str | None]]) -> bool:
    if any(_unit_of(column, "MSP") is not None for column in columns):
        return True
    texts = [
        value.upper()
        for name in ("Instrument group", "Instrument")
        for value in samples.get(name, ())
        if value
    ]
    if any(mark in text for text in texts for mark in _POINT_SENSOR):
        return True
    if any(mark in text for text in texts for mark in _LOOP_SENSOR):
        return False
    # The loop measures whole rounds, before the core is split into halves.
    halves = {value.strip().upper() for value in samples.get("A/W", ()) if value}
    return bool(halves & {"A", "W"})


def _unknown_table(columns: Sequence[str], where: str | None) -> DataError:
    for instrument in INSTRUMENTS.values():
        for column, unit, channel in _foreign_units(instrument, columns):
            # 'R', 'G' and 'B' are too short to be taken for a misspelt unit.
            if len(_normal(channel.headers[0])) > 1:
                return _unit_error(column, unit, channel.units[0], where)
    if len(columns) == 1 and any(mark in columns[0] for mark in ";\t"):
        return DataError(
            "the header is one column only; the table seems to be separated by "
            f"{'tabs' if chr(9) in columns[0] else 'semicolons'}",
            where=where,
            hint="save it with commas",
        )
    known = {
        channel.headers[0]: entry.code
        for entry in INSTRUMENTS.values()
        for channel in entry.channels
    }
    for column in columns:
        close = nearest(column, known) if len(column) > 3 else None
        if close:
            return DataError(
                f"no value column of a known instrument; '{column}' is nearest to "
                f"'{close}' of {known[close]}",
                where=where,
                hint="name the column as the instrument table does",
            )
    return DataError(
        "this is no instrument table: none of its columns holds a reading of "
        f"{', '.join(INSTRUMENTS)}",
        where=where,
        hint="give tables laid out as LIMS or LILY export them",
    )
