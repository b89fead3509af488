"""What is drawn of a structure is the structure, and the numbers for turning it are the same."""

import json
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from page_layout import read_page
from variolite.crystals.files.textbook import textbook_crystals
from variolite.crystals.report.structure_views import (
    COLOURS,
    COVALENT_RADII,
    LINES,
    scene_of,
    scenes_of_pair,
    structure_view,
)

CONVENTIONAL = textbook_crystals(conventional=True)
NAMES = CONVENTIONAL.names.tolist()
PLACES, SEEDS = st.integers(0, len(NAMES) - 1), st.integers(0, 2**31)


def textbook(name):
    return CONVENTIONAL[NAMES.index(name)]


def drawn(*scenes):
    """The drawing of some scenes, and the numbers that go with it."""
    drawing = structure_view(scenes, "k", title="t", abreast=2)
    (part,) = (node for node in read_page(drawing).find("div"))
    return part, json.loads(part.attributes["data-scene"])


ATOMS_AND_BONDS = {
    "NaCl (rock salt)": (27, 54), "CsCl (CsCl)": (9, 8), "C (diamond)": (18, 16),
    "ZnS (zinc blende)": (18, 16), "Cu (fcc)": (14, 0), "ReO3 (open perovskite)": (20, 24),
}  # fmt: skip


@pytest.mark.parametrize("name", ATOMS_AND_BONDS)
def test_cells_are_drawn_with_the_atoms_on_their_faces(name):
    scene = scene_of(textbook(name))
    atoms, bonds = ATOMS_AND_BONDS[name]
    assert len(scene.points) == atoms
    assert (scene.kinds == LINES.index("bond")).sum() == 2 * bonds
    # Bonds and edges stay outside of atoms.
    apart = np.linalg.norm(scene.lines.mean(axis=1)[:, None] - scene.points, axis=2)
    assert (apart > scene.radii).all()


@given(PLACES, SEEDS)
def test_rotation_and_whole_cells_change_nothing_and_a_mirror_image_is_one(place, seed):
    crystal = CONVENTIONAL[place]
    generator = np.random.default_rng(seed)
    turn, _ = np.linalg.qr(generator.normal(size=(3, 3)))
    turn *= np.sign(np.linalg.det(turn))
    cells = generator.integers(-3, 4, crystal.coordinates.shape)
    coordinates, lattice = crystal.coordinates + cells, crystal.lattice @ turn
    one, other = (
        scene_of(crystal),
        scene_of(replace(crystal, coordinates=coordinates, lattice=lattice)),
    )
    assert np.allclose(one.points, other.points, atol=1e-6)
    assert np.allclose(one.lattice, other.lattice, atol=1e-6)
    # A mirror image is drawn as one.
    quartz = textbook("SiO2 (quartz)")
    mirrored = replace(quartz, lattice=quartz.lattice * [1, 1, -1])
    assert np.allclose(scene_of(quartz).points * [1, 1, -1], scene_of(mirrored).points)


@given(PLACES, SEEDS)
def test_pairs_are_drawn_atom_beside_atom(place, seed):
    """Whatever images and origin the reconstruction has, atoms stand beside the original ones."""
    crystal = CONVENTIONAL[place]
    generator = np.random.default_rng(seed)
    noise = generator.normal(0, 0.01, crystal.coordinates.shape)
    shift = generator.random(3) + generator.integers(-2, 3, crystal.coordinates.shape)
    rebuilt = replace(crystal, coordinates=crystal.coordinates + noise + shift)
    original, other = scenes_of_pair(crystal, rebuilt)
    assert (original.species == other.species).all()
    apart = (other.points - original.points) @ np.linalg.inv(original.lattice)
    assert np.abs(apart).max() < 0.06


@pytest.mark.parametrize("name", ["NaCl (rock salt)", "SiO2 (quartz)", "Al2O3 (corundum)"])
def test_the_drawing_and_the_numbers_for_turning_agree(name):
    crystal = textbook(name)
    coordinates, lattice = crystal.coordinates * 1.01, crystal.lattice * 1.02
    pair = scenes_of_pair(crystal, replace(crystal, coordinates=coordinates, lattice=lattice))
    part, scene = drawn(*zip(("one", "other"), pair, strict=True))
    matrix = np.array(scene["matrix"]).reshape(3, 3)
    assert np.allclose(matrix @ matrix.T, np.eye(3), atol=1e-3)
    assert np.linalg.det(matrix) == pytest.approx(1, abs=1e-3)
    groups = [g for g in part.find("g") if "data-view" in g.attributes]
    assert len(groups) == len(scene["views"]) == 2
    for group, view in zip(groups, scene["views"], strict=True):
        points = np.array(view["points"]).reshape(-1, 3) @ matrix.T * scene["scale"]
        expected = view["at"] + points[:, :2] * [1, -1]
        circles = group.find("circle")
        centres = np.array([[float(c.attributes[k]) for k in ("cx", "cy")] for c in circles])
        assert np.allclose(np.sort(centres, axis=0), np.sort(expected, axis=0), atol=0.5)
        nearest = np.argsort(points[:, 2], kind="stable")[-1]
        assert centres[-1] == pytest.approx(expected[nearest], abs=0.5)
        radii = [scene["elements"][kind]["radius"] * scene["scale"] for kind in view["species"]]
        shown = sorted(float(c.attributes["r"]) for c in circles)
        assert shown == pytest.approx(sorted(radii), abs=0.3)


def test_both_structures_are_drawn_at_one_scale():
    small, large = scene_of(textbook("Cu (fcc)")), scene_of(textbook("MgAl2O4 (spinel)"))
    assert drawn(("a", large))[1]["scale"] == drawn(("b", small), ("a", large))[1]["scale"]


def test_colours_and_radii_are_the_usual_ones():
    from ase.data import colors, covalent_radii

    for z in range(1, 97):
        usual = "#" + "".join(f"{round(c * 255):02x}" for c in colors.jmol_colors[z])
        assert COLOURS[z] == usual
        # For carbon there are values for sp, sp2 and sp3.
        assert COVALENT_RADII[z] == pytest.approx(covalent_radii[z], abs=0.04)
    assert COLOURS[118] == COLOURS[109]
