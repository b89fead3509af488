"""Which net a framework has: its signature among digests of those that AuToGraFS knows.

AuToGraFS computes the signatures of its 2,686 nets again in every process, tens of seconds for some
structures. A signature is the multiset of coordination sequences, so that equal ones all but prove
equal nets. Write the digests again for another version by ``python -m
variolite.frameworks.assembly.net_signatures``; it takes about ten minutes.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Mapping
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

from variolite.errors import DataError

_FILE = Path(__file__).with_name("net_signatures.json")
_DIGITS = 16


def known_version() -> str:
    """Return the version of AuToGraFS whose nets the digests are of."""
    return str(_file()["autografs"])


def version_note() -> str:
    """Return a sentence where the installed AuToGraFS is another version; empty where not."""
    installed, known = version("AuToGraFS"), known_version()
    if installed == known:
        return ""
    return f"nets are those of AuToGraFS {known}; those new in {installed} stay unnamed"


@cache
def _file() -> dict[str, Any]:
    found: dict[str, Any] = json.loads(_FILE.read_text(encoding="utf-8"))
    return found


@cache
def _names() -> tuple[dict[str, list[str]], dict[str, list[str]]]:
    """Names of nets by digest, exact and with two-armed places left out."""
    exact: dict[str, list[str]] = {}
    contracted: dict[str, list[str]] = {}
    for name, digests in _file()["nets"].items():
        for table, digest in zip((exact, contracted), digests.split(), strict=True):
            table.setdefault(digest, []).append(name)
    return exact, contracted


def digest(edges: Mapping[Any, int], *, contract: bool) -> str:
    """Return the digest of a quotient graph; empty where nothing of it is left."""
    from autografs.net import SIGNATURE_SHELLS, net_signature

    signature = net_signature(Counter(edges), shells=SIGNATURE_SHELLS, contract=contract)
    if not signature:
        return ""
    return hashlib.sha256(repr(signature).encode()).hexdigest()[:_DIGITS]


def identify(edges: Mapping[Any, int]) -> tuple[list[str], str]:
    """Return the nets that all parts of a quotient graph share, and by which signature.

    ``exact`` tells a net from those that only divide its edges, ``contracted`` does not.
    """
    import networkx

    graph = networkx.Graph()
    graph.add_edges_from((edge[0], edge[1]) for edge in edges)
    common: set[str] | None = None
    tiers = set()
    for part in networkx.connected_components(graph):
        own = {edge: count for edge, count in edges.items() if edge[0] in part}
        tier, names = _of_part(own)
        tiers.add(tier)
        common = names if common is None else common & names
    if not common:
        return [], ""
    return sorted(common), "contracted" if "contracted" in tiers else "exact"


def _of_part(edges: Mapping[Any, int]) -> tuple[str, set[str]]:
    contracted = digest(edges, contract=True)
    if not contracted:
        return "", set()
    for table, contract, tier in zip(_names(), (False, True), ("exact", "contracted"), strict=True):
        names = table.get(contracted if contract else digest(edges, contract=False))
        if names:
            return tier, set(names)
    return "", set()


def _digests(name: str) -> tuple[str, str]:
    from autografs.net import topology_quotient_edges

    edges = topology_quotient_edges(_topologies()[name])
    return name, " ".join(digest(edges, contract=contract) or "-" for contract in (False, True))


@cache
def _topologies() -> Any:
    from autografs.topology_io import load_topologies

    from variolite.frameworks.assembly.nets import autografs_data

    return load_topologies(autografs_data() / "topologies.json.gz")


def write_digests(path: Path = _FILE) -> None:
    """Compute the digests of all nets of the installed AuToGraFS."""
    import os

    from variolite.training.workers import outcomes

    names = sorted(_topologies())
    found = outcomes(_digests, names, workers=os.cpu_count() or 1, limit=600.0)
    failed = [name for name, outcome in zip(names, found, strict=True) if outcome.value is None]
    if failed:
        raise DataError(f"no signature of {', '.join(failed[:5])} could be computed")
    nets = dict(sorted(outcome.value for outcome in found))
    table = {"autografs": version("AuToGraFS"), "nets": nets}
    path.write_text(json.dumps(table, indent=0) + "\n", encoding="utf-8")


if __name__ == "__main__":
    write_digests()
