"""The prior of the toy world, fitted once."""

from __future__ import annotations

import pytest
from toy_crystals import ToyCodec, toy_crystals

from variolite.crystals.crystals import Crystals
from variolite.crystals.generation import composition
from variolite.crystals.generation.prior import LatentPrior, fit_prior
from variolite.crystals.recipe import PriorSpec


@pytest.fixture(scope="session")
def codec() -> ToyCodec:
    return ToyCodec()


@pytest.fixture(scope="session")
def crystals() -> Crystals:
    return toy_crystals(256)


@pytest.fixture(scope="session")
def prior(codec: ToyCodec, crystals: Crystals) -> LatentPrior:
    """A prior with the energy and the space group as conditions."""
    spec = PriorSpec(width=32, layers=2, heads=2, epochs=50, batch_size=64, learning_rate=5e-3)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(composition, "FEWEST_STEPS", 350)
        patch.setattr(composition, "EPOCHS", 1)
        return fit_prior(codec.encode(crystals), crystals, spec, ("energy",))
