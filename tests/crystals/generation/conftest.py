"""Priors of the toy world, fitted once."""

from __future__ import annotations

import pytest
from toy_crystals import ToyCodec, toy_crystals

from variolite.crystals.crystals import Crystals
from variolite.crystals.generation.composition import CompositionSettings
from variolite.crystals.generation.flow import FieldSettings
from variolite.crystals.generation.mixture import MixtureSettings
from variolite.crystals.generation.prior import LatentPrior, PriorSettings, fit_prior

SMALL = FieldSettings(width=32, layers=2, heads=2, epochs=50, batch=64, rate=5e-3, average=0.98)

LONG, SHORT = CompositionSettings(1, 350), CompositionSettings(1, 60)


@pytest.fixture(scope="session")
def codec() -> ToyCodec:
    return ToyCodec()


@pytest.fixture(scope="session")
def crystals() -> Crystals:
    return toy_crystals(256)


@pytest.fixture(scope="session")
def priors(codec: ToyCodec, crystals: Crystals) -> dict[str, LatentPrior]:
    """One prior of every kind, with the energy and the space group as conditions."""
    latents = codec.encode(crystals)
    return {
        kind: fit_prior(
            latents,
            crystals,
            PriorSettings(kind, ("energy",), SMALL, MixtureSettings(6, 12), compositions),
        )
        for kind, compositions in (("flow", LONG), ("diffusion", SHORT), ("mixture", SHORT))
    }
