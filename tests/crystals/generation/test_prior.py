"""The prior: a known distribution is learned, fitting resumes, storing keeps all of it."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from variolite.crystals.elements import reduced_formulas
from variolite.crystals.generation import composition
from variolite.crystals.generation.prior import _held_out, fit_prior, prior_from, prior_state
from variolite.crystals.generation.where import parse_where
from variolite.crystals.recipe import PriorSpec
from variolite.errors import DataError, ModelFileError
from variolite.training.loop import StoppedByUserError

TINY = PriorSpec(width=16, layers=1, heads=2, epochs=6, batch_size=64)


def weights(prior):
    return np.concatenate([value.numpy().ravel() for value in prior.flow.state_dict().values()])


def test_latents_of_a_composition_are_those_of_its_crystals(prior, codec):
    proposed = prior.propose(200, seed=3)
    decoded = codec.decode(prior.sample(proposed, seed=3, steps=20))
    assert (decoded.species == proposed.species).mean() > 0.9
    # Cells are known from the cation: 10 + 0.3 Z cubic Angstrom per atom.
    per_atom = decoded.volumes / decoded.counts
    sodium, lithium = (np.array([bool((c.species == z).any()) for c in decoded]) for z in (11, 3))
    assert np.median(per_atom[sodium & ~lithium]) == pytest.approx(13.3, abs=0.5)
    assert np.median(per_atom[lithium & ~sodium]) == pytest.approx(10.9, abs=0.5)
    # Space groups are drawn for compositions: 221 for those of five atoms, else 225.
    expected = np.where(proposed.counts == 5, 221, 225)
    assert (proposed.space_groups == expected).mean() > 0.95
    # The loss fell, and the validation crystals chose the epoch.
    checks = prior.provenance["validation_loss"]
    assert checks[-1][1] < 0.8 * checks[0][1]
    assert prior.provenance["kept_epoch"] == min(checks, key=lambda check: check[1])[0]
    assert prior.provenance["active_units"] == 9


def test_a_stopped_run_goes_on_and_a_seed_repeats(codec, crystals, tmp_path, monkeypatch):
    monkeypatch.setattr(composition, "EPOCHS", 2)
    monkeypatch.setattr(composition, "FEWEST_STEPS", 2)
    latents = codec.encode(crystals)
    whole, other = (weights(fit_prior(latents, crystals, TINY, seed=seed)) for seed in (0, 1))
    assert (whole != other).any()

    def stop(text):
        if "epoch 3/" in text:
            raise KeyboardInterrupt

    path = tmp_path / "prior.checkpoint"
    with pytest.raises(StoppedByUserError, match="again to resume"):
        fit_prior(latents, crystals, TINY, checkpoint=path, log=stop)
    lines: list[str] = []
    resumed = fit_prior(latents, crystals, TINY, checkpoint=path, log=lines.append)
    assert not any("epoch 1/" in text for text in lines)
    np.testing.assert_array_equal(weights(resumed), whole)
    # What does not fit is reported.
    with pytest.raises(DataError, match="no numeric property 'hardness'"):
        fit_prior(latents, crystals, properties=("hardness",))
    with pytest.raises(DataError, match="differ in number"):
        fit_prior(latents, crystals.take(slice(0, 5)))
    with pytest.raises(DataError, match="not finite"):
        fit_prior(replace(latents, mean=latents.mean * np.nan), crystals)


def test_what_is_stored_draws_the_same_and_holds_no_row(prior):
    tensors, description = prior_state(prior)
    again = prior_from(tensors, json.loads(json.dumps(description)))
    assert again is not None
    proposed = [p.propose(9, seed=5) for p in (prior, again)]
    np.testing.assert_array_equal(proposed[0].species, proposed[1].species)
    drawn = [p.sample(proposed[0], seed=5, steps=4).mean for p in (prior, again)]
    np.testing.assert_array_equal(drawn[0], drawn[1])
    assert again.provenance == json.loads(json.dumps(prior.provenance))
    assert again.volumes == prior.volumes
    assert not any(256 in value.shape for value in tensors.values())
    assert "toy-" not in json.dumps(description)
    for kind in ("mixture", "diffusion"):  # those of earlier versions count as none
        assert prior_from(tensors, {**description, "density": kind}) is None


def test_guidance_strengthens_only_what_was_asked_for(prior):
    def drawn(guidance, proposed, **where):
        asked = parse_where(where, prior.vocabulary)
        found = prior.sample(proposed, asked, seed=5, steps=4, guidance=guidance)
        return found.mean

    # Elements and space groups that were drawn are no wishes.
    proposed = prior.propose(20, seed=5)
    np.testing.assert_array_equal(drawn(1.0, proposed), drawn(3.0, proposed))
    for where in ({"space_group": 221}, {"energy": -0.4}):
        proposed = prior.propose(20, parse_where(where, prior.vocabulary), seed=5)
        once, more = (drawn(guidance, proposed, **where) for guidance in (1.0, 3.0))
        assert np.abs(once - more).max() > 1e-3
    # Sizes and elements are drawn with it, too: a high energy means lithium here.
    high = parse_where({"energy": -0.4}, prior.vocabulary)

    def lithium(guidance):
        proposed = prior.propose(400, high, guidance=guidance, seed=1)
        return np.mean([3 in s for s in np.split(proposed.species, proposed.offsets[1:-1])])

    shares = [lithium(guidance) for guidance in (0.0, 1.0, 3.0)]
    assert shares[0] < shares[1] - 0.1 < shares[2]


def test_a_prior_of_format_1_starts_from_noise_and_draws_no_groups(prior):
    tensors, description = prior_state(prior)
    sizes = {**description["sizes"]}
    del sizes["prototypes"], sizes["sites"]
    later = ("density/start.", "density/site.", "compositions/to_group.")
    tensors = {k: v for k, v in tensors.items() if not k.startswith(later)}
    old = prior_from(tensors, {**description, "format": 1, "sizes": sizes})
    assert old is not None
    assert not old.propose(50, seed=1).space_groups.any()
    assert torch.equal(old.flow.start.own[0], torch.eye(9))
    assert not old.flow.start.mean.any()


def test_validation_formulas_are_in_no_other_part(crystals):
    names = np.array([f"{c.name}-{i}" for i, c in enumerate(crystals)])
    few = _held_out(replace(crystals, names=names), 0)
    assert few.sum() == int(0.05 * len(crystals))  # six formulas: a share of the crystals
    species = crystals.species.copy()
    species[crystals.offsets[:-1]] = 1 + np.arange(len(crystals)) % 40
    many = replace(crystals, species=species)
    held, formulas = _held_out(many, 0), reduced_formulas(many)
    assert 0 < held.sum() < 0.2 * len(held)
    assert not np.isin(formulas[held], formulas[~held]).any()


LOCATION = r"statistics.location should be \(9,\) torch.float64, found \(3,\)"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t, d: d.update(kind="tabular"), "not the description of a latent prior"),
        (lambda t, d: d.update(format=True), "format True"),
        (lambda t, d: d.update(format=99), "format 99"),
        (lambda t, d: d.update(density="wishes"), "wishes"),
        (lambda t, d: d.pop("vocabulary"), "vocabulary"),
        (lambda t, d: d.update(volumes=[5.0, 1.0]), "impossible"),
        (lambda t, d: d["vocabulary"].update(largest=5), r"counts.groups should be \(231, 6\)"),
        (lambda t, d: d["vocabulary"].update(elements=[3]), r"distances should be \(1, 1\)"),
        (lambda t, d: t.pop("statistics/scale"), "statistics.scale should be .* found nothing"),
        (lambda t, d: t.update({"density/foreign": torch.zeros(1)}), "unexpected .* density.for"),
        (lambda t, d: t["density/enter.weight"].fill_(torch.nan), "not finite"),
        (lambda t, d: t["statistics/scale"].zero_(), "not positive"),
        (lambda t, d: t.update({"statistics/location": torch.ones(3)}), LOCATION),
    ],
)
def test_damage_is_reported(prior, change, message):
    tensors, description = prior_state(prior)
    tensors = {name: value.clone() for name, value in tensors.items()}
    description = json.loads(json.dumps(description))
    change(tensors, description)
    with pytest.raises(ModelFileError, match=message):
        prior_from(tensors, description)
