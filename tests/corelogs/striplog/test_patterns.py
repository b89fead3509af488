"""Rocks are drawn as geologists know them, each in a colour of its own."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from variolite.corelogs.lithology import label_levels, read_packaged
from variolite.corelogs.striplog.patterns import _known, colours_of, free_colour, look_of
from variolite.report.style import CATEGORIES, OTHER

LEVELS = ("force_lithology", "kgs_facies", "lithology_group")


@pytest.mark.parametrize("level", LEVELS)
def test_every_group_of_the_packaged_levels_has_its_own_look(level):
    names = sorted(set(label_levels()[level].groups.values()))
    assert [name for name in names if look_of(name) is None] == []
    colours = colours_of(names)
    assert len(set(colours)) == len(names)
    assert colours == [look_of(name).colour for name in names]


def test_every_principal_lithology_has_a_look():
    names = list(label_levels()["lithology_group"].groups)
    assert [name for name in names if look_of(name) is None] == []


def test_the_file_holds_nothing_twice_and_nothing_unused():
    content = read_packaged("striplog/lithology_patterns.yaml")
    rocks = content["rocks"].values()
    names = [name for rock in rocks for name in rock["names"]]
    assert len(names) == len(set(names))
    assert names == [" ".join(name.casefold().split()) for name in names]
    assert len({rock["colour"] for rock in rocks}) == len(rocks)
    assert {rock.get("tile") for rock in rocks} - {None} == set(content["tiles"])


def test_customs():
    known = _known()
    sand, shale, lime, coal = (look_of(n) for n in ("Sandstone", "SHALE", " limestone ", "Coal"))
    assert len(sand.tile.dots) == 2
    assert not sand.tile.lines
    assert len(lime.tile.lines) == 4
    assert len(shale.tile.lines) == 2
    assert all(line[0, 1] == line[1, 1] for line in shale.tile.lines)
    assert lime.tile is known["limestone"].tile
    assert coal.tile is None
    # The last word says what it is, and a rock of two is what its group is.
    assert look_of("very odd sandstone") == sand
    assert look_of("interbedded silt and clay") == known["clay/mud"]
    assert look_of("apples") is None
    assert look_of("") is None


def test_rocks_that_share_a_look_have_different_shades():
    names = ["sandstone", "coarse sandstone", "fine sandstone"]
    assert len(set(colours_of(names))) == 3
    assert colours_of(names)[0] == look_of("sandstone").colour


@given(st.lists(st.text(min_size=1, max_size=8), max_size=10, unique=True))
def test_unknown_names_have_stable_and_distinct_colours(names):
    colours = colours_of(names)
    assert len({*colours} - {OTHER}) >= len(colours) - colours.count(OTHER)
    assert dict(zip(names[::-1], colours_of(names[::-1]), strict=True)) == dict(
        zip(names, colours, strict=True)
    )
    if names:
        assert colours_of(names[:1])[0] != OTHER


def test_the_palette_ends_in_grey():
    assert free_colour([]) == CATEGORIES[0]
    assert free_colour(CATEGORIES) == OTHER


@given(
    st.lists(st.floats(0, 300), min_size=1, max_size=5),
    st.floats(0.5, 60),
    st.sampled_from(sorted(name for name, look in _known().items() if look.tile)),
)
def test_a_pattern_covers_its_beds(tops, thickness, rock):
    tile = look_of(rock).tile
    tops = np.array(tops)
    path, dots = tile.fill(10.0, 62.0, tops, tops + thickness)
    for places in (path.vertices, dots):
        if len(places):
            for top in tops:
                # Every part as large as a tile has something drawn in it.
                near = np.abs(places[:, 1] - (top + thickness / 2)) <= tile.height + thickness / 2
                assert near.any()
            assert places[:, 0].min() <= 10 + tile.width
            assert places[:, 0].max() >= 62 - tile.width
