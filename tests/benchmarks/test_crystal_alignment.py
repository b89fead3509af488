"""How much of the features latents explain, against known answers."""

import numpy as np
import pytest
import torch
from benchmarks.crystals.alignment import explained_share, principal_share

from variolite.crystals.files.reading import load_crystals
from variolite.crystals.potential.alignment import standardise
from variolite.crystals.potential.potential import load_potential


def test_eight_numbers_cannot_hold_the_features(shared_data):
    pytest.importorskip("chgnet", reason="the package chgnet is not installed")
    rows = load_crystals(shared_data / "crystals/mp_20/biternary_val.csv.gz")
    found = load_potential("chgnet").predict(rows.take(slice(0, 3000, 20)))
    features = torch.from_numpy(found.features)
    standardised = standardise(features, features)
    assert 0.35 < principal_share(standardised, 8) < 0.6
    assert principal_share(standardised, 35) == pytest.approx(0.90, abs=0.03)
    assert principal_share(standardised, 56) == pytest.approx(0.99, abs=0.01)


def test_explained_share_against_known_answers():
    source = torch.Generator().manual_seed(0)
    z = torch.randn((400, 3), generator=source)
    mixed = z @ torch.randn((3, 5), generator=source) + 4.0
    assert explained_share(z[:200], mixed[:200], z[200:], mixed[200:]) == pytest.approx(1.0)
    noise = torch.randn((400, 5), generator=source)
    assert abs(explained_share(z[:200], noise[:200], z[200:], noise[200:])) < 0.1
    half = torch.cat([z[:, :1], noise[:, :1]], dim=1)
    assert explained_share(z[:200], half[:200], z[200:], half[200:]) == pytest.approx(0.5, abs=0.1)


def test_principal_share_bounds_what_a_narrow_latent_can_explain():
    source = torch.Generator().manual_seed(3)
    features = torch.linspace(0.2, 2.0, 16) * torch.randn((2000, 16), generator=source)
    values = np.linalg.svd(features.numpy() - features.numpy().mean(0), compute_uv=False) ** 2
    assert principal_share(features, 4) == pytest.approx(values[:4].sum() / values.sum(), rel=1e-4)
    assert principal_share(features, 16) == pytest.approx(1.0)
