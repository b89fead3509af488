"""Building units of a framework by two readers: mofstructure, and AuToGraFS, which names the net.

mofstructure cuts a carboxylate off its metals, AuToGraFS cuts it off the rest of the linker, to
which it is added again here. Both print, from C++ too, and may take for ever: they run in worker
processes only, which `silence` first.
"""

from __future__ import annotations

import logging
import os
import warnings
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from scipy.spatial.distance import pdist

from variolite.crystals.crystals import Crystal
from variolite.crystals.elements import METALLIC
from variolite.errors import DataError
from variolite.frameworks.assembly.net_signatures import identify
from variolite.frameworks.assembly.nets import interpenetration
from variolite.linkers import skeleton
from variolite.optional import load

_ACID_BOND = 0.82  # Angstrom: half a bond of two carbons; that to phosphorus or a metal is longer
_MARK, _MARKED = "At", 2.2  # an element that stands for a carboxyl group, and its bond to carbon
_LONGEST = 160


class UnreadableError(DataError):
    """A reader cannot read a structure; the text says why."""


def silence() -> None:
    """Send whatever this process prints nowhere, and load the readers; for worker processes."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for stream in (1, 2):
        os.dup2(nowhere, stream)
    warnings.simplefilter("ignore")
    logging.disable(logging.CRITICAL)
    for module in ("autografs.deconstruct", "mofstructure.mofdeconstructor"):
        load(module)


def read_by_mofstructure(crystal: Crystal) -> dict[str, Any]:
    """Return SMILES of ``linkers`` as read, their ``lengths`` and the formulas of ``nodes``.

    A length is the longest distance in Angstrom between atoms at which a linker was cut off.
    """
    from ase import Atoms
    from mofstructure import mofdeconstructor as reader

    if not METALLIC[crystal.species].any():
        raise UnreadableError("no metal from which linkers could be cut off")
    atoms = Atoms(
        crystal.species, scaled_positions=crystal.coordinates, cell=crystal.lattice, pbc=True
    )
    try:
        parts, cuts, porphyrins, regions = reader.ligands_and_metal_clusters(atoms)[:4]
        metals, linkers, _ = reader.find_unique_building_units(
            parts, cuts, atoms, porphyrins, regions, cheminfo=True
        )
    except Exception as error:
        raise UnreadableError(_short(error, "mofstructure")) from None
    lengths = []
    for linker in linkers:
        cuts = linker.positions[sorted(set(linker.info["point_of_extension"]))]
        if len(cuts) > 1:
            lengths.append(float(pdist(cuts).max()))
    return {
        "linkers": [_first_word(linker.info.get("smi")) for linker in linkers],
        "lengths": lengths,
        "nodes": sorted({metal.get_chemical_formula("hill") for metal in metals}),
    }


def _first_word(text: Any) -> str:
    """OpenBabel writes a name behind the SMILES."""
    return (str(text or "").split() or [""])[0]


def read_by_autografs(crystal: Crystal) -> dict[str, Any]:
    """Return what AuToGraFS reads backwards, as plain values.

    ``units`` counts units by name, ``fragments`` has the atoms of each as symbol, x, y, z with X at
    half of every cut bond, ``linkers`` their SMILES; then ``nets`` with their ``tier``, the number
    of ``nets_woven`` and of ``rods``.
    """
    from autografs.deconstruct import deconstruct
    from pymatgen.core.lattice import Lattice
    from pymatgen.core.structure import Structure

    structure = Structure(
        Lattice(crystal.lattice), crystal.species.astype(int).tolist(), crystal.coordinates
    )
    try:
        found = deconstruct(structure)
        nets, tier = identify(found.quotient_edges)
    except Exception as error:
        raise UnreadableError(_short(error, "AuToGraFS")) from None
    with_metal = bool(METALLIC[crystal.species].any())
    fragments = {
        name: [(site.specie.symbol, *map(float, site.coords)) for site in fragment.atoms]
        for name, fragment in found.fragments.items()
    }
    return {
        "units": dict(sorted(Counter(unit.name for unit in found.units).items())),
        "fragments": fragments,
        "linkers": [
            _smiles(sites, acids=with_metal)
            for name, sites in sorted(fragments.items())
            if not name.startswith("node")
        ],
        "nets": nets,
        "tier": tier,
        # A translation may relate nets that are one part of the quotient graph.
        "catenation": interpenetration(found.quotient_edges) or found.n_periodic_components,
        "rods": len(found.rod_units),
    }


def _short(error: Exception, reader: str) -> str:
    """Say in a few words what a reader says in several sentences, or how it failed."""
    text = " ".join(str(error).split())
    for sign, reason in _REASONS.items():
        if sign in text:
            return reason
    return f"{reader} failed with {type(error).__name__}: {text}"[:_LONGEST].removesuffix(": ")


_REASONS = {
    "2-periodic": "a building unit is a layer",
    "3-periodic": "a building unit is periodic in three dimensions",
    "No periodic component": "no part of the structure is periodic",
    "bare 1-periodic": "a rod without connections",
}


def _smiles(sites: Sequence[tuple[Any, ...]], *, acids: bool) -> str:
    """Write a fragment as SMILES, with ``acids`` a carboxyl group at every cut of a carbon bond."""
    from openbabel import pybel

    real = [(site[0], np.array(site[1:])) for site in sites if site[0] != "X"]
    for site in sites:
        if site[0] != "X":
            continue
        end = np.array(site[1:])
        symbol, anchor = min(real, key=lambda atom: float(np.linalg.norm(atom[1] - end)))
        half = float(np.linalg.norm(end - anchor))
        if acids and symbol == "C" and half < _ACID_BOND:
            real.append((_MARK, anchor + (end - anchor) * _MARKED / half))
    lines = [f"{symbol} {x:.5f} {y:.5f} {z:.5f}" for symbol, (x, y, z) in real]
    text = "\n".join([str(len(real)), "", *lines])
    return _with_acids(_first_word(pybel.readstring("xyz", text).write("smi")))


def _with_acids(smiles: str) -> str:
    from rdkit import Chem

    molecule = Chem.MolFromSmiles(smiles, sanitize=False)
    if molecule is None or f"[{_MARK}]" not in smiles:
        return smiles
    marks, acid = (Chem.MolFromSmarts(text) for text in (f"[{_MARK}]", "C(=O)O"))
    # The group is joined by its first atom.
    (replaced,) = Chem.ReplaceSubstructs(molecule, marks, acid, replaceAll=True)
    return str(Chem.MolToSmiles(replaced, canonical=False))


def linkers_agree(one: Iterable[str], other: Iterable[str]) -> bool:
    """Whether two readers found the same linkers, by canonical SMILES.

    Molecules are compared by their atoms and which of them are bonded: orders of bonds, and
    hydrogens, are guesses of one program. Formates, oxalates and oxo acids are left out, since
    AuToGraFS counts them to the nodes.
    """
    first, second = ({skeleton(s) for s in smiles} - {None} for smiles in (one, other))
    return first == second
