"""A trained model: codes that depend on the row alone, decoding, sampling, noise."""

import numpy as np
import polars as pl
import pytest
from toy_tables import LINEAR, fit, fitted, linear_rows, small, table_of

from variolite.training import Member
from variolite.vae import batch as batches

LONG = {"epochs": 60, "batch_size": 100, "learning_rate": 0.02}


@pytest.fixture
def trained(train_toy):
    model = small(norm="layer", dropout=0.3)
    return train_toy((Member(0, 1.0, 2), Member(1, 1.0, 1)), model).model, train_toy.validation


def test_the_code_of_a_row_does_not_depend_on_the_other_rows(trained, monkeypatch):
    model, records = trained
    codes, decoded = model.encode(records), model.reconstruct(records)
    assert len(np.unique(codes[0, :, 0])) == len(records)
    order = np.random.default_rng(0).permutation(len(records))
    np.testing.assert_allclose(model.encode(records.take(order)), codes[:, order], atol=1e-6)
    for row in (0, 17, 99):
        alone = model.encode(records.take([row]))[:, 0]
        np.testing.assert_allclose(alone, codes[:, row], atol=1e-6)
    wild = records.take(np.arange(50))
    wild.numeric[1:] *= 100.0
    np.testing.assert_allclose(model.encode(wild)[:, 0], codes[:, 0], atol=1e-6)
    monkeypatch.setattr(batches, "EVALUATION_ROWS", 7)  # blocks join without seams
    np.testing.assert_allclose(model.encode(records), codes, atol=1e-6)
    np.testing.assert_allclose(model.reconstruct(records), decoded, atol=1e-5)


def test_encoding_is_the_posterior_mean_and_repeats_in_either_mode(trained):
    model, records = trained
    first = model.encode(records)
    assert first.std() > 0.1
    mean, log_variance = model.posterior(records)
    assert np.array_equal(mean, first)
    assert mean.shape == log_variance.shape == (2, len(records), 2)
    assert (log_variance[1, :, 1] == 0.0).all(), "a dimension that is padded is the prior"
    assert (log_variance[:, :, 0] != 0.0).all()
    bound = model.evidence(records)
    model.module.train()
    assert np.array_equal(model.encode(records), first)
    assert np.array_equal(model.evidence(records), bound)


def test_reconstruction_comes_back_in_original_units():
    values = linear_rows(600, columns=3, factors=2, noise=0.05) * [1.0, 100.0, 0.01] + 5.0
    schema, records = table_of(values)
    model = fit(schema, records, model=small(latent=3, **LINEAR), **LONG | {"batch_size": 50}).model
    error = (model.reconstruct(records)[0] - values).std(0) / values.std(0)
    assert (error < 0.3).all()


def test_the_closed_form_trains_to_the_same_weights_as_autograd(train_toy):
    members = (Member(0, 1.0, 2), Member(1, 0.5, 1))
    found = [train_toy(members, engine=engine) for engine in ("auto", "autograd")]
    for ours, theirs in zip(*(of.history for of in found), strict=True):
        np.testing.assert_allclose(ours.val_monitored, theirs.val_monitored, rtol=1e-4)
        np.testing.assert_allclose(ours.train_total, theirs.train_total, rtol=1e-4)


def test_noise_is_given_where_it_is_the_same_for_all_rows(train_toy):
    fixed = small(latent=1, variance="fixed", sigma2=0.09, **LINEAR)
    noise = train_toy(model=fixed, epochs=3).model.noise()
    np.testing.assert_allclose(noise, np.full((1, 4), 0.3), rtol=1e-6)
    by_row = small(latent=1, variance="row", **LINEAR)
    assert train_toy(model=by_row, epochs=3).model.noise() is None


def test_categories_alone_encode_score_and_sample_as_in_the_data():
    source = np.random.default_rng(0)
    kind = source.integers(0, 3, 900)
    other = np.where(source.random(900) < 0.1, source.integers(0, 3, 900), kind)
    rocks, colours = np.array(["clay", "ooze", "sand"]), np.array(["red", "white", "grey"])
    frame = pl.DataFrame({"rock": rocks[kind], "colour": colours[other]})
    schema, records = fitted(frame, {name: {"kind": "category"} for name in frame.columns})
    model = fit(schema, records, model=small(encoder=(16,), decoder=(16,)), **LONG).model
    assert model.encode(records).shape == (1, 900, 2)
    assert model.reconstruct(records).shape == (1, 900, 0)
    assert model.noise() is None
    # Independent categories would cost 2 ln 3 nats a row.
    assert model.evidence(records, samples=20).mean() > -2.0 * np.log(3.0) + 0.4
    drawn = pl.DataFrame(model.sample(20_000, seed=1))
    assert drawn.columns == ["rock", "colour"]
    for name in drawn.columns:
        assert set(drawn[name]) == set(frame[name])

    # Independent draws would agree in a third of the rows; the prior has gaps to cross.
    partner = dict(zip(rocks, colours, strict=True))
    for table, least in ((frame, 0.9), (drawn, 0.65)):
        assert (table["rock"].replace(partner) == table["colour"]).mean() > least


def test_a_conditional_model_decodes_what_it_is_given():
    source = np.random.default_rng(0)
    depth = source.normal(size=800)
    a = 3.0 * depth + 0.1 * source.normal(size=800)
    frame = pl.DataFrame({"a": a, "b": source.normal(size=800), "depth": depth})
    schema, records = fitted(frame, {"a": {}, "b": {}, "depth": {"role": "condition"}})
    model = fit(schema, records, model=small(latent=1), **LONG | {"epochs": 40}).model
    assert np.corrcoef(model.reconstruct(records)[0, :, 0], a)[0, 1] > 0.98
    # What the condition explains, the code need not carry.
    assert abs(np.corrcoef(model.encode(records)[0, :, 0], depth)[0, 1]) < 0.3
    assert len(model.sample(5)["a"]) == 5
