"""Every recipe for boreholes trains on cores and on wells, and says what it cannot do without."""

import numpy as np
import polars as pl
import pytest

from variolite.errors import TrainingError, VarioliteError
from variolite.recipe import load_recipe, packaged_recipes
from variolite.records import Split
from variolite.training import fit_tabular, members_for
from variolite.training.run import prepare

NAMES = [name for name in packaged_recipes() if name.startswith("corelogs/")]
CORES = ("bulk_density", "magnetic_susceptibility", "natural_gamma", "red", "green", "blue")
CORES += ("lightness", "reflectance_a", "reflectance_b", "point_magnetic_susceptibility")
CORES += ("porosity", "grain_density", "water_content", "p_wave_velocity", "thermal_conductivity")
WELLS = ("GR", "RDEP", "RHOB", "NPHI", "DTC", "PEF")
HOLES = [f"H{i}" for i in range(8)]
SPLIT = Split(tuple(HOLES[:5]), tuple(HOLES[5:7]), tuple(HOLES[7:]))


def _table(columns):
    """Eight holes of forty rows whose columns follow two factors, positive and in range."""
    source = np.random.default_rng(0)
    n = 40 * len(HOLES)
    factors = source.normal(size=(n, 2)) @ source.normal(size=(2, len(columns)))
    scale = {"NPHI": 0.3, "DTC": 90.0, "PEF": 4.0, "RHOB": 2.3, "grain_density": 2.7}
    scale |= {
        "reflectance_a": 9.0,
        "reflectance_b": 9.0,
        "bulk_density": 1.8,
        "p_wave_velocity": 2_000.0,
        "thermal_conductivity": 2.0,
    }
    values = {
        name: scale.get(name, 40.0) * np.exp(0.1 * factors[:, i] + 0.02 * source.normal(size=n))
        for i, name in enumerate(columns)
    }
    rock = np.where(factors[:, 0] > 0.0, "clay", "sand")
    depth = np.tile(np.arange(40) * 0.2, len(HOLES))
    return pl.DataFrame({**values, "hole": np.repeat(HOLES, 40), "depth": depth, "lithology": rock})


TABLES = {"cores": _table(CORES), "wells": _table(WELLS)}
SHORT = ["training.epochs=2", "training.beta={kind: constant}", "training.batch_size=64"]


def _fit(name, frame, *settings):
    recipe = load_recipe(name, [*SHORT, *settings])
    if recipe.training.pretraining:
        recipe = load_recipe(name, [*SHORT, *settings, "training.pretraining.epochs=2"])
    if recipe.model.components > 5:
        recipe = recipe.model_copy(
            update={"model": recipe.model.model_copy(update={"components": 5})}
        )
    prepared = prepare(recipe, frame, split=SPLIT)
    members = members_for(recipe.training, recipe.model)
    parts = prepared.part("train"), prepared.part("validation")
    return fit_tabular(prepared.schema, *parts, recipe.model, recipe.training, members), prepared


@pytest.mark.parametrize("table", TABLES)
@pytest.mark.parametrize("name", NAMES)
def test_it_trains_and_reads_held_out_holes(name, table):
    fitted, prepared = _fit(name, TABLES[table])
    test = prepared.part("test")
    assert np.isfinite(fitted.model.evidence(test)).all()
    assert fitted.model.encode(test).shape[:2] == (1, 40)
    assert np.isfinite(fitted.model.reconstruct(test)).all()


def test_an_encoder_without_a_column_is_refused():
    frame = TABLES["cores"].drop("red", "green", "blue")
    with pytest.raises(TrainingError, match="no column for the encoder 'colour': red, green"):
        _fit("corelogs/v3", frame)
    with pytest.raises(VarioliteError, match="of the input columns"):
        _fit("corelogs/v2_6_3", frame.select("bulk_density", "natural_gamma", "hole", "depth"))
    with pytest.raises(TrainingError, match="no labels to guide by"):
        _fit("corelogs/v2_14", TABLES["cores"].drop("lithology"))
