"""Building units: what two readers find, brought to one form."""

import pytest

from variolite.frameworks.description.building_units import _short, linkers_agree
from variolite.linkers import skeleton

pytest.importorskip("rdkit", reason="the package rdkit is not installed")

TEREPHTHALIC = "O=C(O)c1ccc(C(=O)O)cc1"


def test_skeletons_leave_bond_orders_hydrogens_and_stereo_out():
    assert skeleton("C1=CC(c2ccncc2)CCN1") == skeleton("c1cc(-c2ccncc2)ccn1")
    assert skeleton("O=C(O)/C=C/C(=O)O") == skeleton("O=C(O)CCC(=O)O")
    assert skeleton("c1ccncc1") != skeleton("c1ccccc1")


@pytest.mark.parametrize("smiles", ["O=CO", "O=C(O)C(=O)O", "O=P(O)(O)O", "N"])
def test_what_is_part_of_a_node_has_none(smiles):
    assert skeleton(smiles) is None


def test_readers_agree_where_their_molecules_have_one_skeleton():
    assert linkers_agree([TEREPHTHALIC, "O=CO"], [TEREPHTHALIC])
    assert linkers_agree(["CC1=NCC=N1"], ["Cc1ncc[nH]1"])
    assert not linkers_agree([TEREPHTHALIC], [TEREPHTHALIC, "c1ccncc1"])
    assert not linkers_agree([TEREPHTHALIC], ["O=C(O)c1cccc(C(=O)O)c1"])


def test_fragments_get_the_acids_that_were_cut_off():
    pytest.importorskip("openbabel", reason="the package openbabel is not installed")
    from variolite.frameworks.description.building_units import _smiles
    from variolite.linkers import read_linker

    ring = 1.39
    half = 3**0.5 / 2
    corners = [(1, 0), (0.5, half), (-0.5, half), (-1, 0), (-0.5, -half), (0.5, -half)]
    sites = [("C", ring * x, ring * y, 0.0) for x, y in corners]
    # Hydrogens but at the first and the fourth, where a bond of 1.5 Angstrom was cut.
    sites += [("H", (ring + 1.09) * x, (ring + 1.09) * y, 0.0) for x, y in corners[1:3]]
    sites += [("H", (ring + 1.09) * x, (ring + 1.09) * y, 0.0) for x, y in corners[4:]]
    sites += [("X", (ring + 0.75) * x, 0.0, 0.0) for x in (1, -1)]

    assert read_linker(_smiles(sites, acids=True)).smiles == TEREPHTHALIC
    assert read_linker(_smiles(sites, acids=False)).smiles == "c1ccccc1"
    # Cuts to a metal are no acids.
    far = sites[:-2] + [("X", (ring + 1.0) * x, 0.0, 0.0) for x in (1, -1)]
    assert read_linker(_smiles(far, acids=True)).smiles == "c1ccccc1"


def test_a_reader_that_fails_is_named():
    assert (
        _short(TypeError("no radius"), "AuToGraFS") == "AuToGraFS failed with TypeError: no radius"
    )
    assert _short(ValueError("unit is 2-periodic."), "AuToGraFS") == "a building unit is a layer"
