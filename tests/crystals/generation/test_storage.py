"""A prior survives storing; anything foreign or damaged is refused."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from variolite.crystals.generation.prior import LatentPrior, prior_from, prior_state
from variolite.errors import ModelFileError


def test_what_is_stored_draws_the_same(prior: LatentPrior) -> None:
    tensors, description = prior_state(prior)
    again = prior_from(tensors, json.loads(json.dumps(description)))
    assert again is not None
    proposed = [p.propose(9, seed=5) for p in (prior, again)]
    np.testing.assert_array_equal(proposed[0].species, proposed[1].species)
    drawn = [p.sample(proposed[0], seed=5, steps=4).mean for p in (prior, again)]
    np.testing.assert_array_equal(drawn[0], drawn[1])
    assert again.provenance == json.loads(json.dumps(prior.provenance))
    assert again.volumes == prior.volumes


def test_no_row_of_training_is_stored(prior: LatentPrior) -> None:
    tensors, description = prior_state(prior)
    assert not any(256 in value.shape for value in tensors.values())
    assert "toy-" not in json.dumps(description)


Change = Callable[[dict[str, Any], dict[str, Any]], object]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t, d: d.update(kind="tabular"), "not the description of a latent prior"),
        (lambda t, d: d.update(format=99), "format 99"),
        (lambda t, d: d.update(format=True), "format True"),
        (lambda t, d: d.update(density="wishes"), "wishes"),
        (lambda t, d: d.pop("vocabulary"), "vocabulary"),
        (lambda t, d: d.update(volumes=[5.0, 1.0]), "impossible"),
        (lambda t, d: d["vocabulary"].update(largest=5), r"counts.groups should be \(231, 6\)"),
        (
            lambda t, d: d["vocabulary"].update(elements=[3]),
            r"contacts.distances should be \(1, 1\)",
        ),
        (lambda t, d: t.pop("statistics/scale"), "statistics.scale should be .* found nothing"),
        (lambda t, d: t.pop("density/enter.weight"), "enter.weight"),
        (
            lambda t, d: t.update({"density/foreign": torch.zeros(1)}),
            "unexpected tensor density.foreign",
        ),
        (lambda t, d: t.update({"foreign/x": torch.zeros(1)}), "unexpected tensor foreign.x"),
        (lambda t, d: t["density/enter.weight"].fill_(torch.nan), "not finite"),
        (lambda t, d: t.update({"density/enter.weight": torch.zeros(2, 2)}), "should be"),
        (
            lambda t, d: t.update({"statistics/scale": torch.zeros(9, dtype=torch.float64)}),
            "not positive",
        ),
        (
            lambda t, d: t.update(
                {f"statistics/{n}": torch.ones(3) for n in ("location", "scale", "divergence")}
            ),
            r"statistics.location should be \(9,\) torch.float64, found \(3,\)",
        ),
    ],
)
def test_damage_is_told(prior: LatentPrior, change: Change, message: str) -> None:
    tensors, description = prior_state(prior)
    tensors = {name: value.clone() for name, value in tensors.items()}
    description = json.loads(json.dumps(description))
    change(tensors, description)
    with pytest.raises(ModelFileError, match=message):
        prior_from(tensors, description)


@pytest.mark.parametrize("kind", ["mixture", "diffusion"])
def test_kinds_of_earlier_versions_count_as_none(prior: LatentPrior, kind: str) -> None:
    tensors, description = prior_state(prior)
    assert prior_from(tensors, {**description, "density": kind}) is None
