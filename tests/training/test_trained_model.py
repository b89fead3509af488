"""A trained model: codes that depend on the row alone, decoding, sampling, noise."""

import numpy as np
import polars as pl
import pytest
from toy_tables import Trainer, linear_rows, table_of

from variolite.recipe import ModelSpec, TrainingSpec
from variolite.records import FittedSchema, Records, Schema
from variolite.training import Member, TabularModel, fit_tabular
from variolite.vae import tabular as batches

MODEL = ModelSpec(latent=2, encoder=(8,), decoder=(8,), norm="layer", dropout=0.3)


@pytest.fixture
def trained(train_toy: Trainer) -> tuple[TabularModel, Records]:
    fitted = train_toy((Member(0, 1.0, 2), Member(1, 1.0, 1)), MODEL)
    return fitted.model, train_toy.validation


def test_the_code_of_a_row_does_not_depend_on_the_other_rows(trained) -> None:
    model, records = trained
    codes = model.encode(records)
    source = np.random.default_rng(0)
    order = source.permutation(len(records))
    np.testing.assert_allclose(model.encode(records.take(order)), codes[:, order], atol=1e-6)
    for row in (0, 17, 99):
        alone = model.encode(records.take([row]))[:, 0]
        np.testing.assert_allclose(alone, codes[:, row], atol=1e-6)
    wild = records.take(np.arange(50))
    wild.numeric[1:] *= 100.0
    np.testing.assert_allclose(model.encode(wild)[:, 0], codes[:, 0], atol=1e-6)


def test_encoding_repeats_bit_for_bit_in_either_mode(trained) -> None:
    model, records = trained
    first = model.encode(records)
    assert np.array_equal(model.encode(records), first)
    model.module.train()
    assert np.array_equal(model.encode(records), first)
    assert np.array_equal(model.evidence(records), model.evidence(records))
    assert first.std() > 0.1


def test_blocks_of_rows_join_without_seams(trained, monkeypatch: pytest.MonkeyPatch) -> None:
    model, records = trained
    codes, decoded = model.encode(records), model.reconstruct(records)
    monkeypatch.setattr(batches, "EVALUATION_ROWS", 7)
    np.testing.assert_allclose(model.encode(records), codes, atol=1e-6)
    np.testing.assert_allclose(model.reconstruct(records), decoded, atol=1e-5)
    assert len(np.unique(codes[0, :, 0])) == len(records)


def test_the_code_is_the_mean_of_the_posterior(trained) -> None:
    model, records = trained
    mean, log_variance = model.posterior(records)
    assert np.array_equal(mean, model.encode(records))
    assert mean.shape == log_variance.shape == (2, len(records), 2)
    assert (log_variance[1, :, 1] == 0.0).all(), "a dimension that is padded is the prior"
    assert (log_variance[:, :, 0] != 0.0).all()


def test_reconstruction_comes_back_in_original_units() -> None:
    values = linear_rows(600, columns=3, factors=2, noise=0.05) * [1.0, 100.0, 0.01] + 5.0
    schema, records = table_of(values)
    model = fit_tabular(
        schema,
        records,
        None,
        ModelSpec(latent=3, encoder=(), decoder=()),
        TrainingSpec(epochs=60, batch_size=50, learning_rate=0.02),
        (Member(0, 1.0, 3),),
        device="cpu",
    ).model
    error = (model.reconstruct(records)[0] - values).std(0) / values.std(0)
    assert (error < 0.3).all()


def test_the_closed_form_trains_to_the_same_weights_as_autograd(train_toy: Trainer) -> None:
    plain = MODEL.model_copy(update={"norm": "none", "dropout": 0.0})
    members = (Member(0, 1.0, 2), Member(1, 0.5, 1))
    found = [train_toy(members, plain, engine=engine) for engine in ("auto", "autograd")]
    for ours, theirs in zip(*(fitted.history for fitted in found), strict=True):
        np.testing.assert_allclose(ours.val_monitored, theirs.val_monitored, rtol=1e-4)
        np.testing.assert_allclose(ours.train_total, theirs.train_total, rtol=1e-4)


def test_noise_is_told_where_it_is_the_same_for_all_rows(train_toy: Trainer) -> None:
    fixed = ModelSpec(latent=1, encoder=(), decoder=(), variance="fixed", sigma2=0.09)
    noise = train_toy(model=fixed, epochs=3).model.noise()
    np.testing.assert_allclose(noise, np.full((1, 4), 0.3), rtol=1e-6)
    by_row = ModelSpec(latent=1, encoder=(), decoder=(), variance="row")
    assert train_toy(model=by_row, epochs=3).model.noise() is None


@pytest.fixture(scope="module")
def rocks() -> tuple[TabularModel, Records, pl.DataFrame]:
    """Two categories that go together, and no number at all."""
    source = np.random.default_rng(0)
    kind = source.integers(0, 3, 900)
    frame = pl.DataFrame(
        {
            "rock": np.array(["clay", "ooze", "sand"])[kind],
            "colour": np.array(["red", "white", "grey"])[
                np.where(source.random(900) < 0.1, source.integers(0, 3, 900), kind)
            ],
        }
    )
    schema = FittedSchema.fit(
        Schema(columns={"rock": {"kind": "category"}, "colour": {"kind": "category"}}), frame
    )
    records = schema.apply(frame)
    model = fit_tabular(
        schema,
        records,
        None,
        ModelSpec(latent=2, encoder=(16,), decoder=(16,)),
        TrainingSpec(epochs=60, batch_size=100, learning_rate=0.02),
        (Member(0, 1.0, 2),),
        device="cpu",
    ).model
    return model, records, frame


def test_categories_alone_train_encode_and_score(rocks) -> None:
    model, records, _ = rocks
    codes = model.encode(records)
    assert codes.shape == (1, 900, 2)
    assert model.reconstruct(records).shape == (1, 900, 0)
    assert model.noise() is None
    # Independent categories would cost 2 ln 3 nats a row.
    assert model.evidence(records, samples=20).mean() > -2.0 * np.log(3.0) + 0.4


def test_sampled_categories_go_together_as_in_the_data(rocks) -> None:
    model, _, frame = rocks
    drawn = pl.DataFrame(model.sample(20_000, seed=1))
    assert drawn.columns == ["rock", "colour"]
    for name in drawn.columns:
        assert set(drawn[name]) == set(frame[name])

    def share(table: pl.DataFrame) -> float:
        pairs = pl.struct("rock", "colour").is_in(
            [
                {"rock": "clay", "colour": "red"},
                {"rock": "ooze", "colour": "white"},
                {"rock": "sand", "colour": "grey"},
            ]
        )
        return float(table.select(pairs.mean()).item())

    # Independent draws would agree in a third of the rows; the prior has gaps to cross.
    assert share(frame) > 0.9
    assert share(drawn) > 0.65


def test_samples_repeat_with_the_seed(trained) -> None:
    model, _ = trained
    first, again, other = (model.sample(10, seed=seed, member=1) for seed in (4, 4, 5))
    assert first.keys() == {"a", "b", "c", "d"}
    for name, values in first.items():
        assert values.shape == (10,)
        assert np.array_equal(values, again[name])
        assert not np.array_equal(values, other[name])


def test_a_conditional_model_decodes_what_it_is_told() -> None:
    source = np.random.default_rng(0)
    depth = source.normal(size=800)
    values = np.stack([3.0 * depth + 0.1 * source.normal(size=800), source.normal(size=800)], 1)
    frame = pl.DataFrame({"a": values[:, 0], "b": values[:, 1], "depth": depth})
    schema = FittedSchema.fit(
        Schema(columns={"a": {}, "b": {}, "depth": {"role": "condition"}}), frame
    )
    records = schema.apply(frame)
    model = fit_tabular(
        schema,
        records,
        None,
        ModelSpec(latent=1, encoder=(8,), decoder=(8,)),
        TrainingSpec(epochs=40, batch_size=100, learning_rate=0.02),
        (Member(0, 1.0, 1),),
        device="cpu",
    ).model
    decoded = model.reconstruct(records)[0]
    assert np.corrcoef(decoded[:, 0], values[:, 0])[0, 1] > 0.98
    # What the condition explains, the code need not carry.
    code = model.encode(records)[0, :, 0]
    assert abs(np.corrcoef(code, depth)[0, 1]) < 0.3
    assert len(model.sample(5)["a"]) == 5
