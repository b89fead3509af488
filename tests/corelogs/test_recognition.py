from __future__ import annotations

import pytest

from variolite.corelogs import INSTRUMENTS
from variolite.corelogs.instruments import recognise
from variolite.errors import DataError

HOLE = ["Exp", "Site", "Hole", "Core", "Type", "Sect", "A/W", "Offset (cm)"]
DEPTH = ["Depth CSF-A (m)", "Depth CSF-B (m)"]
SUSCEPTIBILITY = [*HOLE, *DEPTH, "Magnetic susceptibility (instr. units)"]


@pytest.mark.parametrize(
    ("code", "columns", "channels"),
    [
        ("GRA", ["Bulk density (GRA)"], ["bulk_density"]),
        ("GRA", ["bulk density (gra)  (g/cm³)"], ["bulk_density"]),
        ("NGR", ["NGR total counts (cps)", "Error (cps)"], ["natural_gamma"]),
        ("RGB", ["R", "G", "B"], ["red", "green", "blue"]),
        (
            "RSC",
            ["Reflectance L*", "Reflectance a*", "Reflectance b*", "Tristimulus X"],
            ["lightness", "reflectance_a", "reflectance_b"],
        ),
        (
            "MAD",
            ["Moisture wet (wt%)", "Bulk density (g/cm³)", "Grain density (g/cm^3)"],
            ["grain_density", "water_content", "sample_bulk_density"],
        ),
        ("PWC", ["P-wave velocity y (m/s)"], ["p_wave_velocity"]),
        ("CARB", ["Calcium carbonate (wt%)"], ["calcium_carbonate"]),
        ("CARB", ["CaCO₃ (wt%)"], ["calcium_carbonate"]),
        ("TCON", ["Thermal conductivity mean (W/(m*K))"], ["thermal_conductivity"]),
        ("AVS", ["Vane shear strength (kN/m^2)"], ["shear_strength"]),
    ],
)
def test_instruments_are_recognised_by_their_columns(
    code: str, columns: list[str], channels: list[str]
) -> None:
    layout = recognise([*HOLE, *DEPTH, *columns, "Principal"], {})
    assert layout.instrument is INSTRUMENTS[code]
    assert [channel.name for channel in layout.channels] == channels
    assert layout.hole == ("Exp", "Site", "Hole")
    assert layout.depth == "Depth CSF-A (m)"
    assert layout.label == "Principal"
    assert set(layout.columns) <= {*HOLE, *DEPTH, *columns, "Principal"}


@pytest.mark.parametrize(
    ("samples", "code"),
    [
        ({"Instrument group": ["WRMSL"], "A/W": ["A"]}, "MS"),
        ({"Instrument group": ["SHMSL"]}, "MSP"),
        ({"Instrument": ["MS2K"]}, "MSP"),
        ({"Instrument": ["MS2C"]}, "MS"),
        ({"A/W": ["A", "A"]}, "MSP"),
        ({"A/W": ["", None]}, "MS"),
        ({}, "MS"),
    ],
)
def test_the_loop_and_the_point_sensor_are_told_apart_by_what_the_rows_say(samples, code) -> None:
    assert recognise(SUSCEPTIBILITY, samples).instrument.code == code


def test_headers_may_say_it_all_and_name_the_depth_by_its_top() -> None:
    assert recognise([*HOLE, *DEPTH, "MSP (instr. units)"], {}).instrument.code == "MSP"
    layout = recognise([*HOLE, "Top depth CSF-A (m)", "Bottom depth CSF-A (m)", "CaCO3 (wt%)"], {})
    assert layout.depth == "Top depth CSF-A (m)"
    assert layout.label is None
    assert recognise([*HOLE, *DEPTH, "R", "G", "B"], {}, "CSF-B").depth == "Depth CSF-B (m)"


@pytest.mark.parametrize(
    ("columns", "what"),
    [
        ([*HOLE, *DEPTH, "Bulk density (GRA) (kg/m3)"], "in 'kg/m3', expected g/cm"),
        ([*HOLE, *DEPTH, "NGR total counts (counts)"], "in 'counts', expected cps"),
        ([*HOLE, *DEPTH, "Porosity (vol%)", "Grain density (kg/m3)"], "expected g/cm"),
        ([*HOLE, *DEPTH, "Thermal conductivity mean"], "without a unit"),
        ([*HOLE, "Depth CSF-A (ft)", "Bulk density (GRA)"], "in 'ft', expected m"),
        ([*HOLE, "Depth (m)", "R", "G", "B"], "nearest column is 'Depth \\(m\\)'"),
        ([*HOLE, "Core depth", "R", "G", "B"], "no column 'Depth CSF-A"),
        (["Site", "Hole", *DEPTH, "R", "G", "B"], "no column Exp"),
        ([*HOLE, *DEPTH, "R", "G"], "without a column 'B'"),
        ([*HOLE, *DEPTH, "R", "G", "B", "Porosity (vol%)"], "several instruments"),
        ([*HOLE, *DEPTH, "NGR total count"], "'NGR total count' is nearest to 'NGR total counts'"),
        (["name", "age"], "no instrument table"),
        (["Exp;Site;Hole;R;G;B"], "separated by semicolons"),
        (["Exp\tSite\tHole"], "separated by tabs"),
    ],
)
def test_what_cannot_be_used_is_refused_with_a_reason(columns: list[str], what: str) -> None:
    with pytest.raises(DataError, match=what) as caught:
        recognise(columns, {})
    assert caught.value.hint


def test_every_channel_has_its_own_meaning_and_a_range() -> None:
    channels = [channel for entry in INSTRUMENTS.values() for channel in entry.channels]
    assert len({channel.name for channel in channels}) == len(channels)
    assert all(channel.plausible[0] < channel.plausible[1] for channel in channels)


def test_a_real_header_is_recognised(shared_data) -> None:
    path = shared_data / "corelogs" / "lily" / "AVS_DataLITH.csv"
    header = path.read_text("utf-8").splitlines()[0].replace('"', "").split(",")
    layout = recognise(header, {})
    assert layout.instrument.code == "AVS"
    assert layout.values == {"shear_strength": ("Vane shear strength (kN/m^2)",)}
