import numpy as np
import pytest
from made_up_units import phenylene, pillared_paddlewheel, pyrazine, zinc_oxide_node

from variolite.errors import DataError
from variolite.frameworks.assembly.compatibility import Compatibility, IncompatibleError, may_bond
from variolite.frameworks.assembly.unit_library import UnitLibrary

pytest.importorskip("autografs", reason="nets come with AuToGraFS")

from variolite.frameworks.assembly.nets import all_nets


@pytest.fixture(scope="module")
def compatibility():
    units = (zinc_oxide_node(), pillared_paddlewheel(), phenylene(), pyrazine())
    return Compatibility(UnitLibrary(units))


@pytest.mark.parametrize(
    ("name", "vertices", "edges"),
    [("pcu", 1, 3), ("dia", 2, 4), ("nbo", 3, 6), ("fcu", 1, 6), ("tbo", 14, 24), ("sod", 6, 12)],
)
def test_nets_have_primitive_cells_and_closed_edges(name, vertices, edges):
    net = all_nets()[name]
    assert (len(net.vertices), len(net.ends)) == (vertices, edges)
    assert sum(net.connections) == 2 * edges
    along = (
        net.vertices[net.ends[:, 1]] + net.offsets - net.vertices[net.ends[:, 0]]
    ) @ net.lattice
    along /= np.linalg.norm(along, axis=1, keepdims=True)
    for way, (u, v), (i, j) in zip(along, net.ends, net.arms, strict=True):
        assert way @ net.directions[u][i] > 0.99
        assert way @ net.directions[v][j] < -0.99


def test_metals_bond_donors_and_acids_carbon():
    assert may_bond("Zn", "N")
    assert may_bond("C", "C")
    assert not may_bond("Zn", "C")
    assert not may_bond("C", "N")


def test_mof_5_is_placed_on_pcu(compatibility):
    placed = compatibility.place("pcu", ["node_C6O13Zn4_6X", "linker_C6H4_2X"])
    assert placed.counts() == {"linker_C6H4_2X": 3, "node_C6O13Zn4_6X": 1}
    assert compatibility.why_not("pcu", ["node_C6O13Zn4_6X", "linker_C6H4_2X"]) == ""


@pytest.mark.parametrize("seed", range(4))
def test_pillars_go_to_the_metals(compatibility, seed):
    units = ["node_C4O8Zn2_6X", "linker_C6H4_2X", "linker_C4H4N2_2X"]
    placed = compatibility.place("pcu", units, seed=seed)
    assert placed.counts() == {"linker_C4H4N2_2X": 1, "linker_C6H4_2X": 2, "node_C4O8Zn2_6X": 1}
    assert placed == compatibility.place("pcu", units, seed=seed)


@pytest.mark.parametrize(
    ("net", "units", "why"),
    [
        ("dia", ["node_C6O13Zn4_6X", "linker_C6H4_2X"], "no unit has 4 arms for a vertex of dia"),
        ("pcu", ["node_C6O13Zn4_6X", "linker_C4H4N2_2X"], "ends of the units do not match"),
        ("pcu", ["node_C4O8Zn2_6X", "linker_C6H4_2X"], "ends of the units do not match"),
        ("pcu", ["node_C6O13Zn4_6X", "linker_C6H4_2X", "linker_C4H4N2_2X"], "no edge of pcu"),
        ("pcu", ["node_C6O13Zn4_6X", "node_C4O8Zn2_6X", "linker_C6H4_2X"], "do not match"),
        ("acs", ["node_C6O13Zn4_6X", "linker_C6H4_2X"], "has the shape of a vertex of acs"),
        ("sql", ["node_C6O13Zn4_6X", "linker_C6H4_2X"], "the net sql is a layer"),
        ("pcu", ["node_C6O13Zn4_6X", "linker_B"], "no building unit is called 'linker_B'"),
        ("pcuu", ["node_C6O13Zn4_6X"], "no net is called 'pcuu'"),
        ("pcu", [], "no building units are given"),
    ],
)
def test_what_does_not_fit_says_why(compatibility, net, units, why):
    with pytest.raises(DataError, match=why):
        compatibility.place(net, units)
    assert why in compatibility.why_not(net, units)


def test_more_kinds_than_orbits_take_turns():
    two = [phenylene("linker_C6H4_2X"), phenylene("linker_C6H4_2X_2", length=5.0)]
    compatibility = Compatibility(UnitLibrary([zinc_oxide_node(), *two]))
    placed = compatibility.place("pcu", ["node_C6O13Zn4_6X", *(unit.name for unit in two)])
    assert sorted(placed.counts().values()) == [1, 1, 2]
    weights = {"linker_C6H4_2X": 1, "linker_C6H4_2X_2": 9}
    counts = compatibility.place("pcu", [*placed.counts()], counts=weights).counts()
    assert (counts["linker_C6H4_2X"], counts["linker_C6H4_2X_2"]) == (1, 2)


def test_an_incompatible_choice_is_an_input_error():
    assert IncompatibleError("x").exit_code == 2
