"""Fitting: a known distribution is learned, a stopped run goes on, the same seed repeats."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from toy_crystals import ToyCodec

from variolite.crystals.crystals import Crystals, Latents
from variolite.crystals.generation import composition
from variolite.crystals.generation.prior import LatentPrior, fit_prior
from variolite.crystals.recipe import PriorSpec
from variolite.errors import DataError
from variolite.training.loop import StoppedByUserError

TINY = PriorSpec(width=16, layers=1, heads=2, epochs=6, batch_size=64)


@pytest.fixture(autouse=True)
def short_compositions(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(composition, "EPOCHS", 2)
    monkeypatch.setattr(composition, "FEWEST_STEPS", 2)


def weights(prior: LatentPrior) -> np.ndarray:
    tensors = prior.flow.network.state_dict()
    return np.concatenate([value.numpy().ravel() for value in tensors.values()])


def test_latents_of_a_composition_are_those_of_its_crystals(
    prior: LatentPrior, codec: ToyCodec, crystals: Crystals
) -> None:
    decoded = codec.decode(prior.sample(prior.propose(200, seed=3), seed=3, steps=20))
    proposed = prior.propose(200, seed=3)
    agree = (decoded.species == proposed.species).mean()
    assert agree > 0.9
    # Cells are known from the cation: 10 + 0.3 Z cubic Angstrom per atom.
    per_atom = decoded.volumes / decoded.counts
    sodium = np.array([bool((c.species == 11).any()) for c in decoded])
    lithium = np.array([bool((c.species == 3).any()) for c in decoded])
    assert np.median(per_atom[sodium & ~lithium]) == pytest.approx(13.3, abs=0.5)
    assert np.median(per_atom[lithium & ~sodium]) == pytest.approx(10.9, abs=0.5)


def test_the_loss_falls_and_is_evaluated_on_validation_crystals(
    prior: LatentPrior,
) -> None:
    told = prior.provenance
    checks = told["validation_loss"]
    assert checks[-1][1] < 0.8 * checks[0][1]
    assert told["kept_epoch"] == min(checks, key=lambda check: check[1])[0]
    assert told["active_units"] == 9


def test_a_stopped_run_goes_on_as_if_it_had_not(
    codec: ToyCodec, crystals: Crystals, tmp_path: Path
) -> None:
    latents = codec.encode(crystals)
    whole = fit_prior(latents, crystals, TINY, seed=2)
    path = tmp_path / "prior.checkpoint"

    def stop(text: str) -> None:
        if "epoch 3/" in text:
            raise KeyboardInterrupt

    with pytest.raises(StoppedByUserError, match="again to resume"):
        fit_prior(latents, crystals, TINY, seed=2, checkpoint=path, log=stop)
    told: list[str] = []
    resumed = fit_prior(latents, crystals, TINY, seed=2, checkpoint=path, log=told.append)
    assert not any("epoch 1/" in text for text in told)
    np.testing.assert_array_equal(weights(resumed), weights(whole))


def test_seed_zero_repeats_and_another_differs(codec: ToyCodec, crystals: Crystals) -> None:
    few = crystals.take(slice(0, 60))
    latents = codec.encode(few)
    first, again, other = (fit_prior(latents, few, TINY, seed=s) for s in (0, 0, 1))
    np.testing.assert_array_equal(weights(first), weights(again))
    assert (weights(first) != weights(other)).any()


def test_what_does_not_fit_is_told(codec: ToyCodec, crystals: Crystals) -> None:
    latents = codec.encode(crystals)
    with pytest.raises(DataError, match="no numeric property 'hardness'"):
        fit_prior(latents, crystals, properties=("hardness",))
    with pytest.raises(DataError, match="differ in number"):
        fit_prior(latents, crystals.take(slice(0, 5)))
    broken = Latents(np.full_like(latents.mean, np.nan), None, latents.offsets, latents.names)
    with pytest.raises(DataError, match="not finite"):
        fit_prior(broken, crystals)
