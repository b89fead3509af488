"""Linkers as molecules: one canonical SMILES for all readings of one, features, nearest known.

A linker cut out of a framework lacks the protons that its metals replaced: what is read is a
radical, an ion or a structure that no valence rule allows, depending on the reader. Neutralised,
the readings of one molecule agree: terephthalate is terephthalic acid, an imidazolate imidazole.
"""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache
from itertools import islice, product
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from variolite.errors import DataError, DataWarning
from variolite.optional import require

_MOST_TAUTOMERS = 128


class Linker(NamedTuple):
    """A molecule: canonical SMILES and InChIKey, both empty where ``raw`` cannot be read."""

    raw: str
    smiles: str
    key: str

    @property
    def parsed(self) -> bool:
        return bool(self.smiles)


@lru_cache(maxsize=4096)
def read_linker(raw: str) -> Linker:
    """Neutralise a SMILES and write it canonically; of several parts only different ones stay."""
    chem = _rdkit()
    for molecule in _readings(raw):
        try:
            parts = {
                _tautomer(_neutral(part))
                for part in chem.GetMolFrags(molecule, asMols=True, sanitizeFrags=True)
            }
        except (ValueError, RuntimeError):
            continue
        smiles = ".".join(sorted(parts))
        return Linker(raw, smiles, chem.MolToInchiKey(chem.MolFromSmiles(smiles)) or "")
    return Linker(raw, "", "")


@lru_cache(maxsize=4096)
def skeleton(smiles: str) -> str | None:
    """Return which atoms but hydrogen are bonded, as SMILES without orders, charges or stereo.

    None for molecules without a carbon outside of carboxyl groups.
    """
    chem = _rdkit()
    from rdkit.Chem.rdMolHash import HashFunction, MolHash

    molecule = chem.MolFromSmiles(smiles)
    acid = chem.MolFromSmarts("[CX3](=O)[OX2H1,OX1-]")
    acids = {match[0] for match in molecule.GetSubstructMatches(acid)}
    if all(a.GetIdx() in acids for a in molecule.GetAtoms() if a.GetSymbol() == "C"):
        return None
    chem.RemoveStereochemistry(molecule)
    return str(MolHash(molecule, HashFunction.ElementGraph))


def atoms_of(smiles: str) -> Counter[int]:
    """Count the atoms of a molecule by atomic number, with all hydrogen."""
    chem = _rdkit()
    molecule = chem.AddHs(next(_molecules([smiles])))
    return Counter(atom.GetAtomicNum() for atom in molecule.GetAtoms())


def _rdkit() -> Any:
    require("rdkit")
    from rdkit import Chem, RDLogger

    RDLogger.DisableLog("rdApp.*")  # type: ignore[attr-defined]
    return Chem


def _neutral(molecule: Any) -> Any:
    """Give radicals and ions their protons back; charges that no proton mends stay."""
    from rdkit.Chem import RemoveHs
    from rdkit.Chem.MolStandardize.rdMolStandardize import Uncharger

    for atom in molecule.GetAtoms():
        if atom.GetNumRadicalElectrons():
            atom.SetNumRadicalElectrons(0)
            atom.SetNoImplicit(False)
    molecule.UpdatePropertyCache()
    return RemoveHs(Uncharger().uncharge(molecule))


def _tautomer(molecule: Any) -> str:
    """Write the tautomer of azoles whose SMILES comes first: readers put the proton anywhere."""
    chem = _rdkit()
    rings = [
        [place for place in ring if molecule.GetAtomWithIdx(place).GetSymbol() == "N"]
        for ring in chem.GetSymmSSSR(molecule)
        if len(ring) == 5 and any(_is_pyrrolic(molecule.GetAtomWithIdx(p)) for p in ring)
    ]
    bare = chem.RWMol(molecule)
    for place in {place for ring in rings for place in ring}:
        if _is_pyrrolic(bare.GetAtomWithIdx(place)):
            bare.GetAtomWithIdx(place).SetNumExplicitHs(0)
    found = {chem.CanonSmiles(chem.MolToSmiles(molecule))}
    found |= {chem.MolToSmiles(other) for other in _with_protons(bare, rings)}
    # Written and read once more: the canonical form must be a fixed point.
    return min(str(chem.CanonSmiles(smiles)) for smiles in found)


def _is_pyrrolic(atom: Any) -> bool:
    return bool(atom.GetSymbol() == "N" and atom.GetIsAromatic() and atom.GetTotalNumHs() == 1)


def _with_protons(molecule: Any, rings: Sequence[Sequence[int]]) -> Iterator[Any]:
    """Yield what is left whole when one nitrogen of each ring is given a proton, or none is."""
    chem = _rdkit()
    free = [
        [None, *(p for p in ring if molecule.GetAtomWithIdx(p).GetDegree() == 2)] for ring in rings
    ]
    for chosen in islice(product(*free), _MOST_TAUTOMERS):
        attempt = chem.RWMol(molecule)
        for place in set(chosen) - {None}:
            attempt.GetAtomWithIdx(place).SetNumExplicitHs(1)
            attempt.GetAtomWithIdx(place).SetNoImplicit(True)
        if not chem.SanitizeMol(attempt, catchErrors=True):
            yield attempt.GetMol()


# What OpenBabel writes of azolates, ammonium and borates breaks the rules of valence, or leaves
# carbon as a radical in a ring that is aromatic.


def _readings(raw: str) -> Iterator[Any]:
    chem = _rdkit()
    bare = chem.MolFromSmiles(raw, sanitize=False)
    if bare is None or not bare.GetNumAtoms():
        return
    chem.FastFindRings(bare)
    rings = _made_aromatic(bare)
    for atom in bare.GetAtoms():
        bonds = sum(int(bond.GetBondTypeAsDouble()) for bond in atom.GetBonds())
        if bonds + atom.GetNumExplicitHs() == 4 and not atom.GetFormalCharge():
            atom.SetFormalCharge({"N": 1, "B": -1}.get(atom.GetSymbol(), 0))
    if rings:
        yield from _with_protons(bare, rings)
    if (plain := chem.MolFromSmiles(raw)) is not None:
        yield plain
    elif not rings:
        yield from _with_protons(bare, [])


def _made_aromatic(molecule: Any) -> list[list[int]]:
    """Make rings aromatic that hold nitrogen and an atom which no aromatic ring would leave so.

    That is nitrogen with two double bonds or a radical of carbon; fused rings follow. Returns the
    nitrogens of each that has five members.
    """
    from rdkit.Chem import BondType, GetSymmSSSR

    rings = [
        set(ring)
        for ring in GetSymmSSSR(molecule)
        if len(ring) in (5, 6) and all(_is_flat(molecule.GetAtomWithIdx(p)) for p in ring)
    ]
    nitrogens = [
        {place for place in ring if molecule.GetAtomWithIdx(place).GetSymbol() == "N"}
        for ring in rings
    ]
    odd = {atom.GetIdx() for atom in molecule.GetAtoms() if _is_odd(atom)}
    systems: list[set[int]] = []
    for ring in rings:
        fused = [system for system in systems if len(system & ring) > 1]
        systems = [s for s in systems if s not in fused] + [ring.union(*fused)]
    wanted: set[int] = set().union(
        *(s for s in systems if s & odd and any(n & s for n in nitrogens if n))
    )
    inside = [ring for ring in rings if ring <= wanted]
    for bond in molecule.GetBonds():
        ends = {bond.GetBeginAtomIdx(), bond.GetEndAtomIdx()}
        if any(ends <= ring for ring in inside):
            bond.SetBondType(BondType.AROMATIC)
            bond.SetIsAromatic(True)
    for place in wanted:
        atom = molecule.GetAtomWithIdx(place)
        atom.SetIsAromatic(True)
        atom.SetNoImplicit(False)
        atom.SetNumExplicitHs(0)
    five = [
        n for ring, n in zip(rings, nitrogens, strict=True) if ring <= wanted and len(ring) == 5
    ]
    return [sorted(n) for n in five] or [[]] * bool(wanted)


def _is_flat(atom: Any) -> bool:
    return atom.GetSymbol() in "CN" and atom.GetDegree() + atom.GetNumExplicitHs() <= 3


def _is_odd(atom: Any) -> bool:
    bonds = [bond.GetBondTypeAsDouble() for bond in atom.GetBonds()]
    if atom.GetIsAromatic() or atom.GetFormalCharge() or not atom.IsInRing():
        return False
    if atom.GetSymbol() == "N":
        return bonds.count(2) > 1
    # In brackets no hydrogen is implied: with less than four bonds it is a radical.
    return bool(
        atom.GetSymbol() == "C"
        and atom.GetNoImplicit()
        and sum(bonds) + atom.GetNumExplicitHs() < 4
    )


# A place for every linker, known or not.

FINGERPRINT = 512
"""Bins of the fingerprint: counts of atom environments up to two bonds wide."""

_BY_RDKIT = (
    "HeavyAtomCount",
    "MolWt",
    "RingCount",
    "NumAromaticRings",
    "NumRotatableBonds",
    "TPSA",
)
_GROUPS = {
    "carboxyl_groups": "[CX3](=O)[OX2H1,OX1-]",
    "pyridine_nitrogens": "[nX2;r6]",
    "azole_nitrogens": "[n;r5]",
    "amine_nitrogens": "[NX3;!$(NC=O);!$(N~[!#6;!#1])]",
    "oxygens": "[#8]",
    "sulphurs": "[#16]",
    "phosphorus": "[#15]",
    "halogens": "[F,Cl,Br,I]",
}
DESCRIPTORS = (*_BY_RDKIT, *_GROUPS, "longest_path", "MolLogP")
"""What the features say beyond the fingerprint."""


def linker_features(smiles: Sequence[str]) -> NDArray[np.float32]:
    """Embed molecules by counts of their fragments and by descriptors, (n, F).

    F is `FINGERPRINT` + len(`DESCRIPTORS`). All are log(1 + x) but the partition coefficient, so
    that a large linker is no outlier. Raises `DataError` on what is no molecule.
    """
    from rdkit.Chem import Descriptors, GetDistanceMatrix

    rows = []
    for molecule in _molecules(smiles):
        distances = GetDistanceMatrix(molecule)
        values = [
            *_generator().GetCountFingerprintAsNumPy(molecule),
            *(getattr(Descriptors, name)(molecule) for name in _BY_RDKIT),
            *(len(molecule.GetSubstructMatches(pattern)) for pattern in _patterns()),
            distances[distances < 1e6].max(),  # parts of a salt are infinitely far apart
        ]
        rows.append([*np.log1p(values), Descriptors.MolLogP(molecule)])  # type: ignore[attr-defined]
    return np.array(rows, dtype=np.float32).reshape(-1, FINGERPRINT + len(DESCRIPTORS))


def nearest_linkers(smiles: Sequence[str], known: Sequence[str]) -> dict[str, tuple[str, float]]:
    """Return the known linker most like each molecule, and their Tanimoto similarity."""
    from rdkit.DataStructs import BulkTanimotoSimilarity

    prints = [_generator().GetCountFingerprint(molecule) for molecule in _molecules(known)]
    found = {}
    for text, molecule in zip(smiles, _molecules(smiles), strict=True):
        similar = BulkTanimotoSimilarity(_generator().GetCountFingerprint(molecule), prints)
        best = int(np.argmax(similar))
        found[text] = known[best], similar[best]
    return found


def as_known(smiles: Iterable[str], known: Sequence[str]) -> dict[str, str]:
    """Return what a run knows of linkers: they themselves, or the most alike of its own.

    Linkers that it has not met are reported in a `DataWarning`.
    """
    read = {text: read_linker(text).smiles or text for text in dict.fromkeys(smiles)}
    new = sorted({one for one in read.values() if one not in known})
    nearest = nearest_linkers(new, known) if new else {}
    if new:
        first, similarity = nearest[new[0]]
        what = f"linkers: {len(new):,} are new to the run and taken as the most alike that it knows"
        shown = f"{new[0]} as {first} (similarity {similarity:.2f}){', ...' if new[1:] else ''}"
        warnings.warn(f"{what}: {shown}", DataWarning, stacklevel=3)
    return {text: nearest[one][0] if one in nearest else one for text, one in read.items()}


def _molecules(smiles: Iterable[str]) -> Iterator[Any]:
    chem = _rdkit()
    for text in smiles:
        molecule = chem.MolFromSmiles(text) if text else None
        if molecule is None or not molecule.GetNumAtoms():
            hint = "give a SMILES such as that of terephthalic acid, O=C(O)c1ccc(C(=O)O)cc1"
            raise DataError(f"{text!r} is no molecule", where="linkers", hint=hint)
        yield molecule


@lru_cache(maxsize=1)
def _generator() -> Any:
    from rdkit.Chem.rdFingerprintGenerator import GetMorganGenerator

    return GetMorganGenerator(radius=2, fpSize=FINGERPRINT)


@lru_cache(maxsize=1)
def _patterns() -> list[Any]:
    return [_rdkit().MolFromSmarts(pattern) for pattern in _GROUPS.values()]
