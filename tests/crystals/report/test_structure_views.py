"""What is drawn of a structure is the structure, and the numbers for turning it are the same."""

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from page_layout import read_page
from variolite.crystals.crystals import Crystal
from variolite.crystals.files.textbook import textbook_crystals
from variolite.crystals.report.structure_views import (
    COVALENT_RADII,
    LINES,
    Scene,
    element_colour,
    scene_of,
    scenes_of_pair,
    structure_view,
)

CONVENTIONAL = textbook_crystals(conventional=True)
NAMES = CONVENTIONAL.names.tolist()


def textbook(name: str) -> Crystal:
    return CONVENTIONAL[NAMES.index(name)]


def bonds(scene: Scene) -> int:
    return int((scene.kinds == LINES.index("bond")).sum()) // 2


@pytest.mark.parametrize(
    ("name", "atoms", "bonds_drawn"),
    [
        ("NaCl (rock salt)", 27, 54),
        ("CsCl (CsCl)", 9, 8),
        ("C (diamond)", 18, 16),
        ("ZnS (zinc blende)", 18, 16),
        ("Cu (fcc)", 14, 0),
        ("ReO3 (open perovskite)", 20, 24),
    ],
)
def test_cells_are_drawn_with_the_atoms_on_their_faces(
    name: str, atoms: int, bonds_drawn: int
) -> None:
    scene = scene_of(textbook(name))
    assert len(scene.points) == atoms
    assert bonds(scene) == bonds_drawn


@given(st.integers(0, len(NAMES) - 1), st.integers(0, 2**31))
def test_rotation_and_whole_cells_change_nothing(place: int, seed: int) -> None:
    crystal = CONVENTIONAL[place]
    generator = np.random.default_rng(seed)
    turn, _ = np.linalg.qr(generator.normal(size=(3, 3)))
    turn *= np.sign(np.linalg.det(turn))
    moved = Crystal(
        crystal.species,
        crystal.coordinates + generator.integers(-3, 4, crystal.coordinates.shape),
        crystal.lattice @ turn,
    )
    one, other = scene_of(crystal), scene_of(moved)
    assert np.allclose(one.points, other.points, atol=1e-6)
    assert np.allclose(one.lattice, other.lattice, atol=1e-6)


def test_a_mirror_image_is_drawn_as_one() -> None:
    quartz = textbook("SiO2 (quartz)")
    mirrored = Crystal(quartz.species, quartz.coordinates, quartz.lattice * [1, 1, -1])
    one, other = scene_of(quartz), scene_of(mirrored)
    assert np.allclose(one.points * [1, 1, -1], other.points)


@given(st.integers(0, len(NAMES) - 1), st.integers(0, 2**31))
def test_pairs_are_drawn_atom_beside_atom(place: int, seed: int) -> None:
    """Whatever images and origin the reconstruction has, atoms stand beside the original ones."""
    crystal = CONVENTIONAL[place]
    generator = np.random.default_rng(seed)
    noise = generator.normal(0, 0.01, crystal.coordinates.shape)
    shift = generator.random(3) + generator.integers(-2, 3, crystal.coordinates.shape)
    rebuilt = Crystal(crystal.species, crystal.coordinates + noise + shift, crystal.lattice)
    original, other = scenes_of_pair(crystal, rebuilt)
    assert original.points.shape == other.points.shape
    assert (original.species == other.species).all()
    apart = (other.points - original.points) @ np.linalg.inv(original.lattice)
    assert np.abs(apart).max() < 0.06


def test_edges_and_bonds_stay_outside_of_atoms() -> None:
    for name in ("NaCl (rock salt)", "MgAl2O4 (spinel)", "CsCl (CsCl)"):
        scene = scene_of(textbook(name))
        middles = scene.lines.mean(axis=1)
        apart = np.linalg.norm(middles[:, None] - scene.points[None], axis=2)
        assert (apart > scene.radii).all()


@pytest.mark.parametrize("name", ["NaCl (rock salt)", "SiO2 (quartz)", "Al2O3 (corundum)"])
def test_the_drawing_and_the_numbers_for_turning_agree(name: str) -> None:
    crystal = textbook(name)
    rebuilt = Crystal(crystal.species, crystal.coordinates * 1.01, crystal.lattice * 1.02)
    one, other = scenes_of_pair(crystal, rebuilt)
    drawing = structure_view([("one", one), ("other", other)], "k", title="both", abreast=2)
    (part,) = (node for node in read_page(drawing).find("div"))
    scene = json.loads(part.attributes["data-scene"])
    matrix = np.array(scene["matrix"]).reshape(3, 3)
    assert np.allclose(matrix @ matrix.T, np.eye(3), atol=1e-3)
    assert np.linalg.det(matrix) == pytest.approx(1, abs=1e-3)
    groups = [g for g in part.find("g") if "data-view" in g.attributes]
    assert len(groups) == len(scene["views"]) == 2
    for group, view in zip(groups, scene["views"], strict=True):
        points = np.array(view["points"]).reshape(-1, 3) @ matrix.T * scene["scale"]
        expected = view["at"] + points[:, :2] * [1, -1]
        circles = group.find("circle")
        drawn = np.array([[float(c.attributes[k]) for k in ("cx", "cy")] for c in circles])
        far_to_near = np.argsort(points[:, 2], kind="stable")
        assert np.allclose(np.sort(drawn, axis=0), np.sort(expected, axis=0), atol=0.5)
        assert drawn[-1] == pytest.approx(expected[far_to_near[-1]], abs=0.5)
        radii = [scene["elements"][kind][1] * scene["scale"] for kind in view["species"]]
        assert sorted(float(c.attributes["r"]) for c in circles) == pytest.approx(
            sorted(radii), abs=0.3
        )


def test_both_structures_are_drawn_at_one_scale() -> None:
    small, large = scene_of(textbook("Cu (fcc)")), scene_of(textbook("MgAl2O4 (spinel)"))
    alone = structure_view([("a", large)], "k", title="t", abreast=2)
    both = structure_view([("b", small), ("a", large)], "k", title="t", abreast=2)
    scales = [
        json.loads(read_page(drawing).find("div")[0].attributes["data-scene"])["scale"]
        for drawing in (alone, both)
    ]
    assert scales[0] == scales[1]


def test_colours_and_radii_are_the_usual_ones() -> None:
    ase_colours = pytest.importorskip("ase.data.colors", reason="ase is not installed")
    from ase.data import covalent_radii

    for number in range(1, 97):
        usual = "#" + "".join(f"{round(c * 255):02x}" for c in ase_colours.jmol_colors[number])
        assert element_colour(number) == usual
        # For carbon there are values for sp, sp2 and sp3.
        assert COVALENT_RADII[number] == pytest.approx(covalent_radii[number], abs=0.04)
    assert element_colour(118) == element_colour(109)
