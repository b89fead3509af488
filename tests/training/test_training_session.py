"""From a recipe and a table to a run folder."""

import json

import numpy as np
import polars as pl
import pytest

from variolite.errors import RunFolderError, SchemaError
from variolite.recipe import load_recipe
from variolite.records import Split
from variolite.training import StoppedByUserError, read_history
from variolite.training.run import prepare, train_run
from watched import Watched, interrupt_at

TINY = ["training.epochs=2", "training.beta={kind: linear, epochs: 1}", "training.batch_size=64"]


def cores(holes=8, rows=30):
    """Readings of made-up holes, in the units and under the names of shipboard tables."""
    source = np.random.default_rng(0)
    n = holes * rows
    hidden = source.normal(size=n) + np.repeat(source.normal(size=holes), rows)
    noise = source.normal(size=(6, n))
    places = {"Hole": np.repeat([f"U{1300 + i}A" for i in range(holes)], rows)}
    places["Depth CSF-A (m)"] = np.tile(0.2 * np.arange(rows), holes)
    colours = np.clip(60.0 + 15.0 * hidden + noise[3:], 1.0, 255.0)
    return pl.DataFrame(places | dict(zip("RGB", colours, strict=True))).with_columns(
        GRA=1.7 + 0.2 * hidden + 0.02 * noise[0],
        MS=np.sinh(hidden + noise[1]) * 20.0,
        NGR=np.abs(28.0 + 10.0 * hidden + noise[2]),
        Principal=np.where(hidden > 0.0, "clay", "ooze"),
    )


def tiny(name="corelogs/default", *further):
    return load_recipe(name, [*TINY, *further])


@pytest.mark.parametrize("name", ["v1", "v2_2", "v2_6_4", "v2_10", "v2_14", "default"])
def test_a_packaged_recipe_becomes_a_run_folder(name, tmp_path):
    name = f"corelogs/{name}"
    recipe = tiny(name, *(["training.pretraining.epochs=2"] if name.endswith("v2_6_4") else []))
    run, prepared = train_run(recipe, cores(), tmp_path / "run", device="cpu")
    assert run.recipe() == recipe
    assert run.split() == prepared.split
    model = run.model()
    inputs = ["bulk_density", "magnetic_susceptibility", "natural_gamma"]
    assert [column.name for column in model.schema.schema.inputs][:3] == inputs
    assert [record.epoch for record in read_history(run.history_file)] == [0, 1]
    assert model.provenance["recipe"] == name
    assert model.provenance["best_epochs"][0] in (0, 1)
    held_out = prepared.part("test")
    assert np.isfinite(model.evidence(held_out)).all()
    assert model.encode(held_out).shape == (1, len(held_out), recipe.model.latent)
    assert not run.checkpoint_file.parent.exists()


def test_repeated_rows_are_kept_and_counted():
    frame = cores()
    split = prepare(tiny(), frame).split
    own = frame.filter(pl.col("Hole") == split.train[0])
    copied = own.head(3).with_columns(Hole=pl.lit(split.test[0]))
    whole = pl.concat([frame, own.head(5), copied])
    found = prepare(tiny(), whole, split=split).records
    assert len(found) == len(frame) + 8
    line = "kept though they repeat another in all but id and group: 8 rows, 3 of them a training"
    assert any(text.startswith(line) for text in found.report.lines())
    assert not any("repeat" in text for text in prepare(tiny(), frame).records.report.lines())


def test_transforms_see_training_holes_only():
    frame, recipe = cores(), tiny()
    before = prepare(recipe, frame)
    others = pl.col("Hole").is_in([*before.split.test, *before.split.validation])
    spoilt = frame.with_columns(GRA=pl.when(others).then(pl.col("GRA") * 1.5).otherwise("GRA"))
    after = prepare(recipe, spoilt)
    assert after.split == before.split
    assert after.schema.to_dict() == before.schema.to_dict()
    assert after.fingerprint != before.fingerprint
    parts = [set(before.part(name).group) for name in ("train", "validation", "test")]
    assert sum(map(len, parts)) == len(set().union(*parts)) == 8


def test_missing_logs_are_masked_by_the_default_and_noted():
    watched = Watched()
    gaps = pl.when(pl.int_range(pl.len()) % 3 == 0).then(None).otherwise("NGR")
    frame = cores().drop("R", "G", "B").with_columns(NGR=gaps)
    prepared = prepare(tiny(), frame, progress=watched)
    assert len(prepared.records) == len(frame)
    assert not prepared.records.observed.all()
    assert any("left out" in line and "red" in line for line in watched.notes)


def test_columns_and_splits_can_be_given_and_holes_are_needed():
    frame = cores().rename({"GRA": "my density"})
    split = Split(train=("U1300A", "U1301A"), validation=("U1302A",), test=("U1303A",))
    prepared = prepare(tiny(), frame, mapping={"bulk_density": "my density"}, split=split)
    assert prepared.split == split
    assert len(prepared.part("train")) == 60
    assert prepared.schema.schema.columns["bulk_density"].source == "my density"
    with pytest.raises(SchemaError, match="hole"):
        prepare(tiny(), cores().drop("Hole"))


def test_an_interrupted_run_of_another_recipe_is_refused_and_left_alone(tmp_path):
    def contents():
        return {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}

    six = "training.epochs=6"
    watched = Watched(epoch=interrupt_at(0))
    with pytest.raises(StoppedByUserError):
        train_run(tiny("corelogs/v1", six), cores(), tmp_path, progress=watched)
    before = contents()
    assert tmp_path / "split.json" in before
    for other in (tiny("corelogs/v1"), tiny("corelogs/v1", six, "split.seed=7")):
        with pytest.raises(RunFolderError, match=r"another recipe.*--restart"):
            train_run(other, cores(), tmp_path)
        assert contents() == before
    run, _ = train_run(tiny("corelogs/v1"), cores(), tmp_path, restart=True)
    assert run.finished


def test_the_run_folder_holds_what_happened(tmp_path):
    path = tmp_path / "cores.csv"
    cores().write_csv(path)
    run, _ = train_run(tiny(), path, tmp_path / "run", seeds=2, simulated=True)
    facts = json.loads(run.environment_file.read_text(encoding="utf-8"))
    data = facts["data"]
    assert (facts["simulated"], facts["batch_size"], data["name"]) == (True, 64, "cores.csv")
    assert data["rows"] == data["rows_kept"] == 240
    provenance = run.model().provenance
    assert provenance["data"] == data
    assert len(provenance["best_epochs"]) == 2
    assert str(tmp_path) not in run.model_folder.joinpath("model.json").read_text(encoding="utf-8")
    assert [member.seed for member in run.model().members] == [0, 1]
