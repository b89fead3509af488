"""Health of the latents: what is line, and of how many crystals."""

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest

from variolite.crystals import score_run as health
from variolite.crystals.score_run import crystal_health
from variolite.errors import DataError


def test_a_small_set_is_encoded_whole(run):
    crystals = run.known
    found = crystal_health(run.model, crystals)
    assert found.encoded == found.given == len(crystals)
    latents = run.model.encode(crystals)
    mean, log_variance = latents.mean.astype(np.float64), latents.log_variance
    nats = 0.5 * (mean**2 + np.exp(log_variance) - log_variance - 1.0).mean(axis=0)
    np.testing.assert_allclose(found.kl, nats, rtol=1e-5)
    assert not any("drawn evenly" in line for line in found.lines())
    assert found.fitted is not None
    bare = crystal_health(replace(run.model, prior=None), crystals)
    assert bare.fitted is None
    assert any("crystals prior" in line for line in bare.lines())


def test_a_large_set_is_encoded_in_part_and_a_small_one_refused(run, monkeypatch):
    crystals = run.known
    monkeypatch.setattr(health, "MOST", 30)
    found = crystal_health(run.model, crystals)
    assert (found.encoded, found.given) == (30, len(crystals))
    line = found.lines()[0]
    assert line.startswith(f"from 30 of {len(crystals)} structures")
    assert list(found.to_dict()) == ["divergence", "normal", "fitted", "judged", "given"]
    assert crystal_health(run.model, crystals) == found
    assert crystal_health(run.model, crystals, seed=1) != found
    with pytest.raises(DataError, match="Give 20 or more"):
        crystal_health(run.model, crystals.take(slice(0, 8)))


def test_the_part_has_every_size_in_its_share(monkeypatch):
    monkeypatch.setattr(health, "MOST", 100)
    counts = np.random.default_rng(0).integers(1, 6, 1_000)
    places = health._evenly(counts, 3)
    assert (np.diff(places) > 0).all()
    shares, drawn = Counter(counts.tolist()), Counter(counts[places].tolist())
    for size, number in shares.items():
        assert abs(drawn[size] - number / 10) <= 2
    np.testing.assert_array_equal(health._evenly(counts[:100], 3), np.arange(100))
