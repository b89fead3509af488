"""Nets by the digests of their signatures."""

from collections import Counter

import pytest

from variolite.frameworks.assembly import net_signatures
from variolite.frameworks.assembly.net_signatures import digest, identify, version_note
from variolite.frameworks.assembly.nets import all_nets

pytest.importorskip("autografs", reason="the package AuToGraFS is not installed")

AXES = [(1, 0, 0), (0, 1, 0), (0, 0, 1)]
# One node of six arms, joined to its neighbours by three linkers.
PCU = Counter({(0, i + 1, (0, 0, 0)): 1 for i in range(3)})
PCU |= Counter({(i + 1, 0, axis): 1 for i, axis in enumerate(AXES)})
# Two nodes of four arms.
DIA = Counter({(0, 1, shift): 1 for shift in [(0, 0, 0), *AXES]})


def twice(edges):
    """Two separate copies, as in an interwoven framework."""
    return edges | Counter({(a + 10, b + 10, shift): n for (a, b, shift), n in edges.items()})


@pytest.mark.parametrize(("edges", "name"), [(PCU, "pcu"), (DIA, "dia")])
def test_nets_are_known_by_their_quotient_graphs(edges, name):
    for graph in (edges, twice(edges)):
        nets, tier = identify(graph)
        assert name in nets
        assert tier in ("exact", "contracted")


def test_edges_with_linkers_have_an_exact_signature():
    assert identify(PCU)[1] == "exact"


def test_parts_of_different_nets_have_none_in_common():
    mixed = PCU | Counter({(a + 10, b + 10, shift): n for (a, b, shift), n in DIA.items()})
    assert identify(mixed) == ([], "")


def test_what_is_no_net():
    assert identify(Counter({(0, 1, (0, 0, 0)): 1})) == ([], "")


def test_digests_are_those_of_the_installed_nets():
    from autografs.net import topology_quotient_edges

    digests = net_signatures._file()["nets"]
    assert len(digests) == 2686
    for name in ("pcu", "dia", "srs"):
        edges = topology_quotient_edges(all_nets()._topologies[name])
        both = (digest(edges, contract=contract) for contract in (False, True))
        assert digests[name] == " ".join(both)


def test_another_version_is_said(monkeypatch):
    assert version_note() == ""
    monkeypatch.setattr(net_signatures, "version", lambda _: "9.9")
    assert version_note() == "nets are those of AuToGraFS 3.2.0; those new in 9.9 stay unnamed"
