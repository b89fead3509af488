"""Which net a framework has: its signature among digests of those that AuToGraFS knows.

AuToGraFS computes the signatures of its 2,686 nets again in every process, tens of seconds for some
structures. A signature is the multiset of coordination sequences, so that equal ones all but prove
equal nets. Write the digests again for another version by ``python -m
variolite.frameworks.assembly.net_signatures``; it takes about ten minutes.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter, defaultdict
from collections.abc import Mapping
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

_FILE = Path(__file__).with_name("net_signatures.json")


@cache
def _file() -> dict[str, Any]:
    found: dict[str, Any] = json.loads(_FILE.read_text(encoding="utf-8"))
    return found


def version_note() -> str:
    """Return a sentence where the installed AuToGraFS is another version; empty where not."""
    installed, known = version("AuToGraFS"), _file()["autografs"]
    if installed == known:
        return ""
    return f"nets are those of AuToGraFS {known}; those new in {installed} stay unnamed"


@cache
def _names() -> dict[str, dict[str, set[str]]]:
    """Names of nets by digest, ``exact`` and with two-armed places left out."""
    tables: dict[str, dict[str, set[str]]] = {
        "exact": defaultdict(set),
        "contracted": defaultdict(set),
    }
    for name, digests in _file()["nets"].items():
        for table, found in zip(tables.values(), digests.split(), strict=True):
            table[found].add(name)
    return tables


def digest(edges: Mapping[Any, int], *, contract: bool) -> str:
    """Return the digest of a quotient graph; empty where nothing of it is left."""
    from autografs.net import SIGNATURE_SHELLS, net_signature

    signature = net_signature(Counter(edges), shells=SIGNATURE_SHELLS, contract=contract)
    return hashlib.sha256(repr(signature).encode()).hexdigest()[:16] if signature else ""


def identify(edges: Mapping[Any, int]) -> tuple[list[str], str]:
    """Return the nets that all parts of a quotient graph share, and by which signature.

    ``exact`` separates a net from those that only divide its edges, ``contracted`` does not.
    """
    import networkx

    graph = networkx.Graph((edge[0], edge[1]) for edge in edges)
    found = [
        _of_part({edge: n for edge, n in edges.items() if edge[0] in part})
        for part in networkx.connected_components(graph)
    ]
    common = set.intersection(*(names for names, _ in found)) if found else set()
    if not common:
        return [], ""
    tiers = {tier for _, tier in found}
    return sorted(common), "contracted" if "contracted" in tiers else "exact"


def _of_part(edges: Mapping[Any, int]) -> tuple[set[str], str]:
    # A part without branches, such as a chain, has no contracted signature, and is no net.
    if contracted := digest(edges, contract=True):
        for tier, table in _names().items():
            found = contracted if tier == "contracted" else digest(edges, contract=False)
            if found in table:
                return table[found], tier
    return set(), ""


def write_digests() -> None:
    """Compute the digests of all nets of the installed AuToGraFS."""
    from autografs.net import topology_quotient_edges
    from autografs.topology_io import load_topologies

    from variolite.frameworks.assembly.nets import autografs_data

    nets = {}
    for name, topology in sorted(load_topologies(autografs_data() / "topologies.json.gz").items()):
        edges = topology_quotient_edges(topology)
        nets[name] = " ".join(digest(edges, contract=some) or "-" for some in (False, True))
    table = {"autografs": version("AuToGraFS"), "nets": nets}
    _FILE.write_text(json.dumps(table, indent=0) + "\n", encoding="utf-8")


if __name__ == "__main__":
    write_digests()
