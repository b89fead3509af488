"""The prior of the toy world, fitted once."""

from __future__ import annotations

import pytest
from toy_crystals import ToyCodec, toy_crystals

from variolite.crystals.crystals import Crystals
from variolite.crystals.generation.composition import CompositionSettings
from variolite.crystals.generation.flow import FlowSettings
from variolite.crystals.generation.prior import LatentPrior, PriorSettings, fit_prior

SMALL = FlowSettings(width=32, layers=2, heads=2, epochs=50, batch=64, rate=5e-3, average=0.98)


@pytest.fixture(scope="session")
def codec() -> ToyCodec:
    return ToyCodec()


@pytest.fixture(scope="session")
def crystals() -> Crystals:
    return toy_crystals(256)


@pytest.fixture(scope="session")
def prior(codec: ToyCodec, crystals: Crystals) -> LatentPrior:
    """A prior with the energy and the space group as conditions."""
    settings = PriorSettings(("energy",), SMALL, CompositionSettings(1, 350))
    return fit_prior(codec.encode(crystals), crystals, settings)
