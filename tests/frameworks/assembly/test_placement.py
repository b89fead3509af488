import numpy as np
import pytest
from made_up_units import phenylene, pillared_paddlewheel, pyrazine, zinc_oxide_node

from variolite.crystals.crystals import Crystals
from variolite.frameworks.assembly.compatibility import Compatibility
from variolite.frameworks.assembly.placement import CollapsedError, _Bodies, _finer_lattices, build
from variolite.frameworks.assembly.structure_checks import check_structure
from variolite.frameworks.assembly.unit_library import UnitLibrary

pytest.importorskip("autografs", reason="nets come with AuToGraFS")


@pytest.fixture(scope="module")
def compatibility():
    long = phenylene("linker_C6H4_2X_2", length=7.0)
    units = (zinc_oxide_node(), pillared_paddlewheel(), phenylene(), long, pyrazine())
    return Compatibility(UnitLibrary(units), strict=False)


def built(compatibility, *units, net="pcu", seed=0):
    placed = compatibility.place(net, units, seed=seed)
    return build(compatibility.nets[net], placed, compatibility.library, name="x", seed=seed)


def test_mof_5_gets_the_cell_that_bonds_and_units_give(compatibility):
    result = built(compatibility, "node_C6O13Zn4_6X", "linker_C6H4_2X")
    # Twice from the centre of the node to carbon, a ring from carbon to carbon, and two bonds.
    edge = 2 * 3.35 + 2.78 + 2 * 1.5
    np.testing.assert_allclose(result.crystal.lattice, edge * np.eye(3), atol=0.05)
    assert result.stretch < 0.02
    assert result.wrong_bonds == 0
    assert check_structure(result.crystal) == {}


def test_pillars_make_another_cell_length(compatibility):
    units = ("node_C4O8Zn2_6X", "linker_C6H4_2X", "linker_C4H4N2_2X")
    result = built(compatibility, *units)
    lengths = np.sort(np.linalg.norm(result.crystal.lattice, axis=1))
    pillar = 2 * 1.45 + 2 * 2.06 + 2 * 1.36
    sheet = 2 * 2.6 + 2.78 + 2 * 1.5
    np.testing.assert_allclose(lengths, [pillar, sheet, sheet], atol=0.05)
    assert check_structure(result.crystal) == {}


def test_every_atom_of_the_units_is_there_once(compatibility):
    result = built(compatibility, "node_C6O13Zn4_6X", "linker_C6H4_2X")
    assert len(result.crystal) == len(zinc_oxide_node()) + 3 * len(phenylene())
    assert np.bincount(result.owner).tolist() == [len(zinc_oxide_node()), *[len(phenylene())] * 3]
    inside = result.crystal.coordinates @ result.crystal.lattice
    first = inside[result.owner == 0]
    apart = np.linalg.norm(first[:, None] - first, axis=2)
    node = zinc_oxide_node().positions
    np.testing.assert_allclose(apart, np.linalg.norm(node[:, None] - node, axis=2), atol=1e-6)


def test_a_seed_gives_the_same_structure_again(compatibility):
    one, other = (built(compatibility, "node_C6O13Zn4_6X", "linker_C6H4_2X") for _ in range(2))
    np.testing.assert_array_equal(one.crystal.coordinates, other.crystal.coordinates)


def test_the_gradient_is_that_of_the_energy(compatibility):
    units = ["node_C4O8Zn2_6X", "linker_C6H4_2X", "linker_C6H4_2X_2", "linker_C4H4N2_2X"]
    placed = compatibility.place("pcu", units)
    rng = np.random.default_rng(0)
    bodies = _Bodies(compatibility.nets["pcu"], placed, compatibility.library, rng)
    bodies.centres *= 0.8  # so that atoms clash
    bodies.lattice *= 0.8
    bodies._list_pairs()
    x = rng.normal(0, 0.1, 6 * len(bodies.units) + 9)
    energy, gradient = bodies._energy(x)
    assert energy > 1
    steps = np.eye(len(x)) * 1e-5
    numeric = [(bodies._energy(x + h)[0] - bodies._energy(x - h)[0]) / 2e-5 for h in steps]
    np.testing.assert_allclose(gradient, numeric, atol=1e-5 * np.abs(gradient).max())


def test_density_follows_from_cell_and_units(compatibility):
    from variolite.crystals.elements import densities

    result = built(compatibility, "node_C6O13Zn4_6X", "linker_C6H4_2X")
    (density,) = densities(Crystals.of([result.crystal]))
    mass = 4 * 65.38 + 13 * 15.999 + 24 * 12.011 + 12 * 1.008
    edge = 2 * 3.35 + 2.78 + 2 * 1.5
    assert density == pytest.approx(1.66053907 * mass / edge**3, rel=0.01)


def test_a_second_net_goes_into_the_voids_of_the_first(compatibility):
    units = ("node_C6O13Zn4_6X", "linker_C6H4_2X")
    placed = compatibility.place("pcu", units)
    net, library = compatibility.nets["pcu"], compatibility.library
    one = build(net, placed, library)
    two = build(net, placed, library, catenation=2)
    volumes = [abs(np.linalg.det(result.crystal.lattice)) for result in (one, two)]
    assert volumes[1] == pytest.approx(volumes[0] / 2, rel=0.05)
    assert len(two.crystal) == len(one.crystal)
    assert two.wrong_bonds == 0
    assert check_structure(two.crystal) == {}
    # Ten of them find no room.
    ten = build(net, placed, library, catenation=10)
    assert ten.wrong_bonds or check_structure(ten.crystal)


@pytest.mark.parametrize(("times", "lattices"), [(1, 1), (2, 7), (3, 13), (4, 35)])
def test_finer_lattices_are_all_there_and_all_different(times, lattices):
    found = _finer_lattices(times)
    assert len(found) == lattices
    for change in found:
        assert np.linalg.det(change) == pytest.approx(times)
    for place, one in enumerate(found):
        for other in found[:place]:
            change = np.linalg.inv(one) @ other
            assert not np.allclose(change, np.rint(change))


def test_a_cell_that_collapses_is_an_error_and_no_search_without_end(compatibility):
    placed = compatibility.place("pcu", ["node_C6O13Zn4_6X", "linker_C6H4_2X"])
    net = compatibility.nets["pcu"]
    bodies = _Bodies(net, placed, compatibility.library, np.random.default_rng(0))
    bodies.lattice = bodies.lattice * np.array([[1.0], [1.0], [0.05]])
    with pytest.raises(CollapsedError, match="the cell collapses"):
        bodies.relax()
    with pytest.raises(CollapsedError, match="no room for 997 nets"):
        build(net, placed, compatibility.library, catenation=997)
