"""Curves stand on their customary scales, in the unit that they come in."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from variolite.corelogs.striplog.tracks import Curve, Scale, tracks_of
from variolite.records.units import convert


def curve(meaning, values, unit=""):
    return Curve(meaning.upper(), meaning, unit, np.asarray(values, dtype=float))


def only(curves):
    (track,) = tracks_of(curves)
    return {trace.meaning: trace for trace in track.traces}


DENSITY, NEUTRON = np.linspace(2.0, 2.7, 50), np.linspace(0.4, 0.0, 50)


def test_neutron_is_reversed_over_density():
    found = only([curve("neutron_porosity", NEUTRON), curve("bulk_density", DENSITY)])
    density, neutron = found["bulk_density"].scale, found["neutron_porosity"].scale
    assert (density.left, density.right) == (1.95, 2.95)
    assert (neutron.left, neutron.right) == (0.45, -0.15)
    # Water-filled limestone: 2.71 g/cm3 without pores, 1.95 with 45 %; both curves meet.
    porosity = np.array([0.0, 0.1, 0.2, 0.3])
    rock = 2.71 * (1 - porosity) + 1.0 * porosity
    np.testing.assert_allclose(density.place(rock), neutron.place(porosity), atol=0.02)


@pytest.mark.parametrize(
    ("meaning", "unit", "first"),
    [
        ("bulk_density", "kg/m3", "g/cm3"),
        ("neutron_porosity", "%", "m3/m3"),
        ("sonic_slowness", "us/m", "us/ft"),
        ("caliper", "mm", "in"),
    ],
)
@pytest.mark.parametrize("stated", [True, False])
def test_scales_follow_the_unit(meaning, unit, first, stated):
    usual = {"caliper": [8, 9, 12], "sonic_slowness": [60, 90, 120]}
    usual |= {"bulk_density": DENSITY, "neutron_porosity": NEUTRON}
    values = np.asarray(usual[meaning], dtype=float)
    here = only([curve(meaning, values, first)])[meaning]
    there = only([curve(meaning, convert(values, first, unit), unit if stated else "")])[meaning]
    assert (here.unit, there.unit) == (first, unit)
    moved = there.scale.place(convert(values, first, unit))
    np.testing.assert_allclose(moved, here.scale.place(values), atol=0.01)


def test_porous_rocks_move_both_curves():
    found = only([curve("bulk_density", DENSITY - 0.3), curve("neutron_porosity", NEUTRON + 0.18)])
    ends = {m: (trace.scale.left, trace.scale.right) for m, trace in found.items()}
    assert ends == {"bulk_density": (1.65, 2.65), "neutron_porosity": (0.6, 0.0)}


def test_what_hardly_fits_has_a_track_and_a_scale_of_its_own():
    soft = curve("bulk_density", np.linspace(1.0, 1.7, 50))
    tracks = tracks_of([soft, curve("neutron_porosity", NEUTRON)])
    assert [track.meanings for track in tracks] == [{"bulk_density"}, {"neutron_porosity"}]
    scale = tracks[0].traces[0].scale
    assert scale.left <= 1.0
    assert scale.right >= 1.7


def test_minor_logs_share_the_customary_tracks():
    beside = [
        ("gamma_ray", [40, 100], "gAPI"),
        ("bulk_density", DENSITY, "g/cm3"),
        ("sonic_slowness", [60, 120], "us/ft"),
    ]
    minor = [
        ("spontaneous_potential", [-120, 20], "mV", (-160, 40)),
        ("density_correction", [-0.02, 0.1], "g/cm3", (-0.25, 0.25)),
        ("shear_slowness", [100, 220], "us/ft", (240, 40)),
    ]
    tracks = tracks_of([curve(m, *at) for m, *at in (*beside, *(one[:3] for one in minor))])
    for track, (first, *_), (second, _, unit, ends) in zip(tracks, beside, minor, strict=True):
        (trace,) = (one for one in track.traces if one.meaning == second)
        assert track.meanings == {first, second}
        assert (trace.unit, (trace.scale.left, trace.scale.right)) == (unit, ends)


def test_a_potential_takes_the_scale_that_fits_and_leaves_the_others_theirs():
    caliper = curve("caliper", [8, 9, 12], "in")
    found = only([curve("spontaneous_potential", [60, 150], "mV"), caliper])
    assert found["spontaneous_potential"].scale.left == 0
    assert found["caliper"].scale.right == 16
    gamma = curve("gamma_ray", [40, 100], "gAPI")
    tracks = tracks_of([curve("spontaneous_potential", [-900, 800], "mV"), gamma])
    assert [track.meanings for track in tracks] == [{"gamma_ray"}, {"spontaneous_potential"}]


def test_wide_holes_and_slow_rocks_have_wider_scales():
    assert only([curve("caliper", [17, 18, 20])])["caliper"].scale.right == 26
    assert only([curve("sonic_slowness", [150, 160, 180])])["sonic_slowness"].scale.left == 240


def test_order_of_tracks():
    meanings = ("porosity", "sonic_slowness", "deep_resistivity", "caliper", "gamma_ray")
    tracks = tracks_of([curve(m, np.linspace(10, 100, 9)) for m in meanings])
    expected = [{"gamma_ray"}, {"deep_resistivity"}, {"sonic_slowness"}, {"porosity"}]
    assert [t.meanings - {"caliper"} for t in tracks if t.meanings != {"caliper"}] == expected
    assert tracks_of([curve("gamma_ray", [np.nan]), curve("red", [1.0])]) == []


@given(st.floats(-1e4, 1e4), st.floats(1e-3, 1e4), st.sampled_from(["linear", "log", "symlog"]))
def test_ends_of_a_scale_are_the_edges_of_the_track(low, span, kind):
    left = abs(low) + 1e-3 if kind == "log" else low
    for ends in ((left, left + span), (left + span, left)):
        scale = Scale(*ends, kind)
        places = scale.place(np.array(ends))
        np.testing.assert_allclose(places, [0, 1], atol=1e-6)
        middle = scale.place(np.linspace(*ends, 20))
        assert (np.diff(middle) > 0).all()
        assert all(0 < place < 1 for place, _ in scale.grid)


@given(st.lists(st.floats(-1e5, 1e6), min_size=2, max_size=60))
def test_fitted_scales_hold_nearly_all_values(values):
    values = np.array(values)
    place = Scale.fitting(values).place(values)
    assert ((place >= -1e-6) & (place <= 1 + 1e-6)).mean() >= 0.9


def test_decades_are_strong_lines():
    grid = Scale(0.2, 2000, "log").grid
    strong = [place for place, is_strong in grid if is_strong]
    np.testing.assert_allclose(np.diff(strong), 0.25)
    assert len(strong) == 4
    assert Scale(0.45, -0.15).ends == ("0.45", "−0.15")
