"""Members trained together equal those trained alone, whatever differs between them."""

from dataclasses import replace

import numpy as np
import pytest
from toy_tables import LINEAR, small

from variolite.errors import TrainingError
from variolite.recipe import ModelSpec, TrainingSpec
from variolite.training import Member, members_for

MEMBERS = (Member(0, 1.0, 3), Member(1, 0.25, 1), Member(1, 2.0, 2), Member(5, 1.0, 3))
SPEC = {
    "epochs": 40,
    "beta": {"kind": "linear", "epochs": 3},
    "patience": 3,
    "plateau": {"factor": 0.3, "patience": 1},
    "learning_rate": 0.02,
    "min_gain": 0.02,
}
MODELS = {
    "plain": small(latent=3),
    # Narrow layers with a norm would amplify the last bit a thousandfold.
    "dropout and norm": small(latent=3, encoder=(16,), decoder=(16,), dropout=0.3, norm="layer"),
    "student_t by row": small(latent=3, likelihood="student_t", variance="row"),
    "linear, fixed noise": small(latent=3, variance="fixed", sigma2=0.1, **LINEAR),
}


def _close(found, expected):
    np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("name", MODELS)
def test_together_as_alone(train_toy, name):
    together = train_toy(MEMBERS, MODELS[name], **SPEC)
    lengths = set()
    for i, member in enumerate(MEMBERS):
        alone = train_toy((member,), MODELS[name], **SPEC)
        lengths.add(len(alone.history))
        assert together.best_epochs[i] == alone.best_epochs[0]
        for mine, own in zip(together.history, alone.history, strict=False):
            assert mine.rate[i] == pytest.approx(own.rate[0])
            _close(mine.val_monitored[i], own.val_monitored[0])
            _close(mine.train_total[i], own.train_total[0])
        taken = together.model.only(i).module.state_dict()
        for key, value in alone.model.module.state_dict().items():
            _close(taken[key].numpy(), value.numpy())
    assert max(lengths) == len(together.history)
    assert len(lengths) > 1, "all members stopped in the same epoch: nothing is tested"
    module = together.model.module
    assert not module.architecture.mask_input, "nothing is missing"
    # Padded dimensions stay exactly zero.
    heads, first = module.encoder.layers[-1], module.decoder.layers[0]
    for i, member in enumerate(MEMBERS):
        for part in (*heads.weight[i].chunk(2, dim=-1), *heads.bias[i].chunk(2, dim=-1)):
            assert (part[..., member.latent :] == 0.0).all()
            assert (part[..., : member.latent] != 0.0).all()
        assert (first.weight[i, member.latent :] == 0.0).all()
        assert (first.weight[i, : member.latent] != 0.0).any()


def test_a_member_taken_out_encodes_and_scores_as_it_did_beside_the_others(train_toy):
    model = train_toy(MEMBERS, MODELS["plain"], **SPEC).model
    records = train_toy.validation
    codes, evidence = model.encode(records), model.evidence(records, samples=3)
    decoded, noise = model.reconstruct(records), model.noise()
    for i, member in enumerate(MEMBERS):
        alone = model.only(i)
        assert alone.members == (member,)
        own = codes[i, :, : member.latent]
        np.testing.assert_allclose(alone.encode(records)[0], own, rtol=1e-5, atol=1e-5)
        assert (codes[i, :, member.latent :] == 0.0).all()
        np.testing.assert_allclose(alone.reconstruct(records)[0], decoded[i], rtol=1e-4, atol=1e-4)
        bound = alone.evidence(records, samples=3)[0]
        np.testing.assert_allclose(bound, evidence[i], rtol=1e-4, atol=1e-4)
        np.testing.assert_allclose(alone.noise()[0], noise[i], rtol=1e-6)


def test_too_few_rows_are_refused_and_an_empty_validation_part_counts_as_none(train_toy):
    with pytest.raises(TrainingError, match="only 1 training row left"):
        replace(train_toy, training=train_toy.training.take([0]))()
    seen = []
    replace(train_toy, validation=train_toy.validation.take([]))(epochs=3, on_epoch=seen.append)
    for record in seen:
        assert record.val_reconstruction == record.train_reconstruction


def test_members_of_a_recipe_differ_in_their_seed():
    spec, model = TrainingSpec(seed=4), ModelSpec(latent=6)
    assert members_for(spec, model) == (Member(4, 1.0, 6),)
    assert members_for(spec, model, seeds=2) == (Member(4, 1.0, 6), Member(5, 1.0, 6))
