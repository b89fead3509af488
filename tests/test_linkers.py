"""Linkers: readings of one molecule agree; features and neighbours by chemistry."""

import numpy as np
import pytest

from variolite.errors import DataError
from variolite.linkers import (
    DESCRIPTORS,
    FINGERPRINT,
    linker_features,
    nearest_linkers,
    read_linker,
)

pytest.importorskip("rdkit", reason="the package rdkit is not installed")

TEREPHTHALIC = "O=C(O)c1ccc(C(=O)O)cc1"
READINGS = [
    ("[O]C(=O)c1ccc(cc1)C(=O)[O]", TEREPHTHALIC),
    ("c1cc(C(=O)[O])ccc1C(=O)[O-]", TEREPHTHALIC),
    ("[C]1=[C]C(=[C][C]=C1C(=O)[O])C(=O)[O]", TEREPHTHALIC),
    # Azolates of which OpenBabel makes nitrogen with two double bonds, fused rings included.
    ("C1=[N]=CN=N1", "c1nc[nH]n1"),
    ("CC1=[N]=C(C)N=N1", "Cc1n[nH]c(C)n1"),
    ("C1=[N]=C2C(=C(N=C[N]2)N)[N]1", "Nc1ncnc2[nH]cnc12"),
    # Aromatic rings of which it makes radicals; the proton goes to one of the nitrogens.
    ("C1=NC(=N[CH]1)C", "Cc1ncc[nH]1"),
    ("c1cc(ccn1)[C]1[CH][CH][N]C=C1", "c1cc(-c2ccncc2)ccn1"),
    ("C1=C2C(=NN=N2)C=C[C]1C(=O)[O]", "O=C(O)c1ccc2[nH]nnc2c1"),
    ("[CH]1N([CH][CH][N]1)CCN1[CH][N][CH][CH]1", "c1cn(CCn2ccnc2)cn1"),
    ("c1nnc[nH]1", "c1nc[nH]n1"),
    # Charges that a proton mends, and those that it does not.
    ("C(C[NH3])[NH3]", "NCCN"),
    ("C[N](C)(C)C", "C[N+](C)(C)C"),
    ("O=[N+]([O-])c1cc(C(=O)[O])ccc1C(=O)[O]", "O=C(O)c1ccc(C(=O)O)c([N+](=O)[O-])c1"),
    # The same part twice is one.
    ("[O]C=O.OC=O", "O=CO"),
]


@pytest.mark.parametrize(("raw", "smiles"), READINGS)
def test_readings_of_one_molecule_agree(raw, smiles):
    linker = read_linker(raw)

    assert (linker.smiles, linker.raw, linker.parsed) == (smiles, raw, True)
    assert read_linker(smiles).smiles == smiles


def test_the_key_is_that_of_the_neutral_molecule():
    assert read_linker("[O]C(=O)c1ccc(cc1)C(=O)[O]").key == "KKEYFWRCBNTPAC-UHFFFAOYSA-N"


@pytest.mark.parametrize("raw", ["", "no molecule", "C(", "F[C](F)(F)(F)F"])
def test_what_is_no_molecule_is_kept_as_read(raw):
    assert read_linker(raw) == (raw, "", "")


def test_features_count_what_is_in_a_molecule():
    features = linker_features([TEREPHTHALIC, "c1cc(-c2ccncc2)ccn1"])
    found = dict(zip(DESCRIPTORS, np.expm1(features[0, FINGERPRINT:]), strict=True))

    assert features.shape == (2, FINGERPRINT + len(DESCRIPTORS))
    assert found["carboxyl_groups"] == pytest.approx(2)
    assert found["oxygens"] == pytest.approx(4)
    assert found["longest_path"] == pytest.approx(7)
    assert found["MolWt"] == pytest.approx(166.13, abs=0.01)
    # Environments of no, one and two bonds of all twelve heavy atoms, less the repeated ones.
    assert np.expm1(features[0, :FINGERPRINT]).sum() >= 24
    assert linker_features([]).shape == (0, features.shape[1])


def test_the_nearest_linker_is_the_most_alike():
    library = ["c1cc(-c2ccncc2)ccn1", TEREPHTHALIC, "Nc1cc(C(=O)O)ccc1C(=O)O", "c1c[nH]cn1"]

    chlorinated = "O=C(O)c1ccc(C(=O)O)c(Cl)c1"
    found = nearest_linkers([TEREPHTHALIC, chlorinated], library)
    assert found[TEREPHTHALIC] == (TEREPHTHALIC, 1.0)
    # What is shared of the counts of fragments over what there is.
    both = np.expm1(linker_features([chlorinated, library[2]])[:, :FINGERPRINT])
    share = both.min(axis=0).sum() / both.max(axis=0).sum()
    assert found[chlorinated] == (library[2], pytest.approx(share, rel=1e-5))


def test_what_cannot_be_embedded_is_named():
    with pytest.raises(DataError, match="'no molecule' is no molecule"):
        linker_features(["c1c[nH]cn1", "no molecule"])
