import numpy as np
import pytest
from made_up_units import phenylene, pillared_paddlewheel, zinc_oxide_node

from variolite.errors import DataError
from variolite.frameworks.assembly.unit_library import (
    Unit,
    UnitLibrary,
    assignments,
    hill_formula,
    merge_units,
    read_units,
    write_units,
)


def sites_of(unit):
    real = zip(unit.symbols, unit.positions, strict=True)
    return [(s, *p) for s, p in [*real, *(("X", end) for end in unit.ends)]]


def rotation(seed):
    q, _ = np.linalg.qr(np.random.default_rng(seed).normal(size=(3, 3)))
    return q * np.linalg.det(q)


def moved(unit, seed, name=None):
    turn = rotation(seed)
    sites = [(s, *(turn @ np.array(xyz) + 7.0)) for s, *xyz in sites_of(unit)]
    return Unit.of(name or unit.name, sites, source=f"S{seed}")


def test_arms_begin_at_the_nearest_atom_and_have_half_a_bond():
    wheel = pillared_paddlewheel()
    assert hill_formula(wheel.symbols) == "C4O8Zn2"
    assert sorted(wheel.anchor_symbols) == ["C", "C", "C", "C", "Zn", "Zn"]
    np.testing.assert_allclose(sorted(wheel.halves), [0.75] * 4 + [1.03] * 2, atol=1e-9)
    assert wheel.kind == "node"
    assert phenylene().kind == "linker"


def test_symmetric_arms_have_as_many_ways_as_rotations():
    axes = np.array([*np.eye(3), *-np.eye(3)])
    orders, rmsd = assignments(axes, axes)
    assert len(orders) == 24  # the rotations of a cube
    np.testing.assert_allclose(rmsd, 0, atol=1e-7)
    tetrahedron = np.array([[1, 1, 1], [1, -1, -1], [-1, 1, -1], [-1, -1, 1]]) / 3**0.5
    assert len(assignments(tetrahedron, tetrahedron @ rotation(3).T)[0]) == 12


def test_chiral_arms_are_not_mirrored():
    arms = rotation(0) + 0.3
    arms /= np.linalg.norm(arms, axis=1, keepdims=True)
    assert assignments(arms, arms)[1][0] == pytest.approx(0, abs=1e-6)
    assert assignments(arms, arms @ np.diag([1.0, 1, -1]), slack=1)[1][0] > 0.02 or np.isclose(
        np.linalg.det(arms), 0
    )


def test_units_of_one_kind_are_merged_whatever_their_orientation():
    library = UnitLibrary()
    assert library.add(zinc_oxide_node()) == "node_C6O13Zn4_6X"
    assert library.add(moved(zinc_oxide_node(), 1)) == "node_C6O13Zn4_6X"
    assert library["node_C6O13Zn4_6X"].sources == ("MOFFIV", "S1")


def test_linkers_of_equal_formula_and_other_shape_stay_apart():
    library = UnitLibrary()
    meta = [(s, *xyz) for s, *xyz in sites_of(phenylene())]
    meta[-1] = ("X", -2.14 * np.cos(np.pi / 3), 2.14 * np.sin(np.pi / 3), 0.0)
    assert library.add(phenylene()) == "linker_C6H4_2X"
    assert library.add(Unit.of("linker_C6H4_2X", meta)) == "linker_C6H4_2X_2"
    assert library.add(moved(phenylene(), 2)) == "linker_C6H4_2X"


def test_a_harvest_is_merged_across_structures_without_its_caps():
    record = {"linker_C6H4_2X": sites_of(phenylene()), "cap_O_1X": [("O", 0, 0, 0), ("X", 1, 0, 0)]}
    turned = {"linker_C6H4_2X_2": sites_of(moved(phenylene(), 4))}
    library, names = merge_units([("ONE", record), ("TWO", turned), ("BAD", {})])
    assert list(library) == ["linker_C6H4_2X"]
    assert library["linker_C6H4_2X"].sources == ("ONE", "TWO")
    assert names[1:] == [{"linker_C6H4_2X_2": "linker_C6H4_2X"}, {}]


def test_a_library_is_read_as_it_was_written(tmp_path):
    units = [zinc_oxide_node(), phenylene()]
    write_units(tmp_path / "units.xyz", units)
    read = read_units(tmp_path / "units.xyz")
    for unit in units:
        again = read[unit.name]
        assert (again.kind, again.symbols, again.sources) == (unit.kind, unit.symbols, unit.sources)
        np.testing.assert_allclose(again.positions, unit.positions, atol=1e-7)
        np.testing.assert_allclose(again.ends, unit.ends, atol=1e-7)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "holds no building units"),
        ("name,net\n", ":1: no building unit begins here"),
        ("5\nname=a\nC 0 0 0\n", ":1: the unit of 5 atoms is not complete"),
        ("3\nname=a\nC 0 0 0\nX 1 0\nX 0 1 0\n", "is not complete"),
        ("3\nname=a\nQq 0 0 0\nX 1 0 0\nX 0 1 0\n", "'Qq' is not the symbol of an element"),
        ("3\nname=a\nC 0 0 zero\nX 1 0 0\nX 0 1 0\n", "no symbol with three coordinates"),
    ],
)
def test_a_file_without_units_says_where(tmp_path, text, said):
    (tmp_path / "units.xyz").write_text(text)
    with pytest.raises(DataError, match=r"units\.xyz") as caught:
        read_units(tmp_path / "units.xyz")
    assert said in str(caught.value)


def test_a_unit_that_is_not_there_is_named_with_one_like_it():
    with pytest.raises(DataError, match="Did you mean linker_C6H4_2X"):
        UnitLibrary([phenylene()]).require("linker_C6H4_2x")
