"""Data frames, schemas and files: what comes in decides what goes out."""

from contextlib import nullcontext

import numpy as np
import pandas as pd
import polars as pl
import pytest

from variolite import Column, Schema, TabularVAE, load_recipe
from variolite.errors import DataError, SchemaError, TrainingError
from variolite.estimator import tabular_vae
from variolite.estimator.frames import hold_back
from variolite.records import write_table
from variolite.training import Member

COLUMNS = (
    Column(name="density", aliases=("RHOB",), unit="g/cm3", missing="mask"),
    Column(name="rock", kind="category", missing="mask"),
    Column(name="gamma", transform=["log", "standardise"], sentinels=(-999,)),
    Column(name="hole", role="group"),
)
SCHEMA = Schema(columns={column.name: column for column in COLUMNS})


@pytest.fixture(scope="module")
def wells():
    rng = np.random.default_rng(0)
    rock = rng.choice(["basalt", "chalk"], 400)
    density = np.where(rock == "basalt", 2.9, 1.8) + rng.normal(0, 0.1, 400)
    gamma = np.exp(np.where(rock == "basalt", 1.0, 3.0) + rng.normal(0, 0.2, 400))
    gamma[5] = -999
    number = pl.int_range(400)
    frame = pl.DataFrame({"hole": [f"H{i % 8}" for i in range(400)], "remark": "nothing"})
    return frame.with_columns(
        gamma=gamma,
        RHOB=pl.when(number % 11 != 0).then(pl.Series(density)),
        rock=pl.when(number % 13 != 0).then(pl.Series(rock)),
    )


@pytest.fixture(scope="module")
def fitted(wells):
    return TabularVAE(latent=2, epochs=60, warm_up=5, patience=None, schema=SCHEMA).fit(wells)


def test_columns_are_found_by_name_in_any_frame(fitted, wells):
    assert list(fitted.feature_names_in_) == ["RHOB", "rock", "gamma"]
    latents = fitted.transform(wells)
    shuffled = wells.select("rock", "RHOB", "gamma").with_columns(more=pl.lit(1.0))
    np.testing.assert_array_equal(fitted.transform(shuffled), latents)
    np.testing.assert_array_equal(fitted.transform(wells.to_pandas()), latents)
    assert np.isnan(latents[5]).all(), "its gamma is a sentinel, and the policy drops the row"
    assert np.isfinite(np.delete(latents, 5, axis=0)).all()


def test_tables_come_back_in_their_kind(fitted, wells, table, quick):
    decoded = fitted.reconstruct(wells)
    assert isinstance(decoded, pl.DataFrame)
    assert decoded.columns == ["RHOB", "rock", "gamma"]
    assert (decoded.height, decoded["rock"][5]) == (wells.height, None)
    # It follows the rock.
    truth = pl.Series(["basalt" if g < 7 else "chalk" for g in wells["gamma"]])
    assert np.delete((decoded["rock"] == truth).to_numpy(), 5).mean() > 0.97
    error = (decoded["RHOB"] - wells["RHOB"]).drop_nulls().to_numpy()
    assert np.abs(error[np.isfinite(error)]).mean() < 0.2

    frame = wells.to_pandas().set_index(np.arange(400) * 2)
    again = fitted.reconstruct(frame)
    assert isinstance(again, pd.DataFrame)
    assert again.index.equals(frame.index)
    np.testing.assert_allclose(again["gamma"], decoded["gamma"].to_numpy(), rtol=1e-6)

    drawn = fitted.sample(7, random_state=0)
    assert isinstance(drawn, pl.DataFrame)
    assert drawn.columns == ["RHOB", "rock", "gamma"]
    assert set(drawn["rock"]) <= {"basalt", "chalk"}
    points = fitted.inverse_transform(np.delete(fitted.transform(wells), 5, axis=0))
    assert points.drop_nulls().height == 399

    vae = TabularVAE(**quick).fit(table)
    for values in (vae.reconstruct(table), vae.sample(len(table)), vae.impute(table)):
        assert isinstance(values, np.ndarray)
        assert values.shape == table.shape


@pytest.mark.parametrize("kind", ["polars", "pandas"])
def test_impute_fills_gaps_and_nothing_else(fitted, wells, kind):
    given = wells if kind == "polars" else wells.to_pandas()
    filled = fitted.impute(given)
    assert type(filled) is type(given)
    assert list(filled.columns) == wells.columns
    table = filled if kind == "polars" else pl.from_pandas(filled)
    assert table["RHOB"].null_count() + table["rock"].null_count() == 0
    assert table["gamma"][5] == -999, "the schema drops this row, so that it stays unchanged"
    for name in wells.columns:
        there = wells[name].is_not_null()
        assert table[name].filter(there).equals(wells[name].filter(there))
    gaps = wells["RHOB"].is_null()
    expected = np.where(wells["gamma"].is_between(0, 7), 2.9, 1.8)[gaps]
    assert table["RHOB"].filter(gaps).to_numpy() == pytest.approx(expected, abs=0.5)


def test_whole_groups_are_held_back(wells, quick, monkeypatch):
    seen, original = [], tabular_vae.fit_tabular

    def spy(schema, training, validation, *rest, **more):
        seen[:] = [set(training.group), set(validation.group)]
        return original(schema, training, validation, *rest, **more)

    monkeypatch.setattr(tabular_vae, "fit_tabular", spy)
    TabularVAE(**quick, schema=SCHEMA, validation=0.25).fit(wells)
    assert len(seen[1]) == 2
    assert not seen[0] & seen[1]
    other = np.where(np.arange(400) < 200, "upper", "lower")
    TabularVAE(**quick, schema=SCHEMA).fit(wells, groups=other)
    assert len(seen[1]) == 8, "the groups given go before those of the schema"
    with pytest.raises(TrainingError, match="1 group"):
        TabularVAE(**quick, schema=SCHEMA).fit(wells.with_columns(hole=pl.lit("A")))


def test_transforms_are_fitted_on_training_rows_only(wells, quick):
    strange = wells["hole"].is_in(["H0", "H1"])
    table = wells.with_columns(RHOB=wells["RHOB"].set(strange, 1e6))
    groups = strange.to_numpy().astype(int)
    means = []
    for seed in range(8):
        # With two groups one is held back; either seed's choice shows in the fitted mean.
        held = hold_back(np.arange(2), 2, [0, 1], 0.5, seed).argmax()
        vae = TabularVAE(**quick, schema=SCHEMA, validation=0.5, random_state=seed)
        with pytest.raises(SchemaError) if held == 0 else nullcontext():
            vae.fit(table, groups=groups)
            chain = vae.model_.schema.numeric["density"].chain
            means.append(float(chain.inverse(np.zeros(1))[0]))
    assert means == pytest.approx([2.3] * len(means), abs=0.2)
    assert 0 < len(means) < 8


def test_files_recipes_and_mappings(tmp_path, wells, table, quick):
    logs = wells.drop("remark", "rock").rename({"gamma": "GR"})
    write_table(logs, tmp_path / "wells.csv")
    short = load_recipe("corelogs/default", ["training.epochs=6", "training.beta.epochs=2"])
    vae = TabularVAE(recipe=short).fit(tmp_path / "wells.csv")
    assert set(vae.feature_names_in_) == {"RHOB", "GR"}
    np.testing.assert_array_equal(vae.transform(logs), vae.transform(tmp_path / "wells.csv"))
    assert vae.model_.members == (Member(seed=0, beta=1.0, latent=10),)
    # Numbers need no schema.
    frame = pl.DataFrame(table, schema=list("abcd"))
    write_table(frame, tmp_path / "table.parquet")
    expected = TabularVAE(**quick).fit_transform(frame)
    for source in (tmp_path / "table.parquet", frame.to_dict(), frame.lazy()):
        vae = TabularVAE(**quick).fit(source)
        np.testing.assert_array_equal(vae.transform(source), expected)
        assert vae.reconstruct(source).columns == list("abcd")


def test_text_without_a_schema_and_arrays_with_one_are_refused(wells, quick):
    for frame in (wells, wells.to_pandas()):
        with pytest.raises(SchemaError, match=r"column 'hole'.*schema="):
            TabularVAE(**quick).fit(frame)
    with pytest.raises(DataError, match="Give a path, a polars or pandas data frame"):
        TabularVAE(**quick, schema=SCHEMA).fit(np.zeros((20, 3)))
