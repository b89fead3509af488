"""From a recipe and a table to a run folder, for every packaged recipe."""

import json
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from variolite.errors import DataError, RunFolderError, SchemaError
from variolite.recipe import Recipe, load_recipe, packaged_recipes
from variolite.records import Split
from variolite.training import EpochRecord, StoppedByUserError, read_history
from variolite.training.run import prepare, train_run
from watched import Watched

TINY = ["training.epochs=2", "training.beta={kind: linear, epochs: 1}", "training.batch_size=64"]


def cores(holes: int = 8, rows: int = 30, seed: int = 0) -> pl.DataFrame:
    """Readings of made-up holes, in the units and under the names of shipboard tables."""
    source = np.random.default_rng(seed)
    n = holes * rows
    hidden = source.normal(size=n) + np.repeat(source.normal(size=holes), rows)
    colour = 60.0 + 15.0 * hidden
    return pl.DataFrame(
        {
            "Hole": np.repeat([f"U{1300 + i}A" for i in range(holes)], rows),
            "Depth CSF-A (m)": np.tile(0.2 * np.arange(rows), holes),
            "GRA": 1.7 + 0.2 * hidden + 0.02 * source.normal(size=n),
            "MS": np.sinh(hidden + source.normal(size=n)) * 20.0,
            "NGR": np.abs(28.0 + 10.0 * hidden + source.normal(size=n)),
            "R": np.clip(colour + source.normal(size=n), 1.0, 255.0),
            "G": np.clip(colour + source.normal(size=n), 1.0, 255.0),
            "B": np.clip(0.9 * colour + source.normal(size=n), 1.0, 255.0),
            "Principal": np.where(hidden > 0.0, "clay", "ooze"),
        }
    )


def tiny(name: str = "corelogs/default") -> Recipe:
    return load_recipe(name, TINY)


@pytest.mark.parametrize("name", [n for n in packaged_recipes() if n.startswith("corelogs/")])
def test_every_packaged_recipe_trains_on_a_small_table(name: str, tmp_path: Path) -> None:
    recipe = tiny(name)
    run, prepared = train_run(recipe, cores(), tmp_path / "run", device="cpu")
    assert run.recipe() == recipe
    assert run.split() == prepared.split
    model = run.model()
    assert [column.name for column in model.schema.schema.inputs][:3] == [
        "bulk_density",
        "magnetic_susceptibility",
        "natural_gamma",
    ]
    history = read_history(run.history_file)
    assert [record.epoch for record in history] == [0, 1]
    assert model.provenance["recipe"] == name
    assert model.provenance["best_epochs"][0] in (0, 1)
    held_out = prepared.part("test")
    assert np.isfinite(model.evidence(held_out)).all()
    assert model.encode(held_out).shape == (1, len(held_out), recipe.model.latent)
    assert not run.checkpoint_file.parent.exists()


def test_transforms_see_training_holes_only() -> None:
    frame, recipe = cores(), tiny()
    before = prepare(recipe, frame)
    others = pl.col("Hole").is_in([*before.split.test, *before.split.validation])
    spoilt = frame.with_columns(
        pl.when(others).then(pl.col("GRA") * 1.5).otherwise("GRA").alias("GRA")
    )
    after = prepare(recipe, spoilt)
    assert after.split == before.split
    assert after.schema.to_dict() == before.schema.to_dict()
    parts = [set(before.part(name).group) for name in ("train", "validation", "test")]
    assert sum(map(len, parts)) == len(set().union(*parts)) == 8


def test_missing_logs_are_masked_by_the_default_and_told() -> None:
    watched = Watched()
    frame = (
        cores()
        .drop("R", "G", "B")
        .with_columns(
            pl.when(pl.int_range(pl.len()) % 3 == 0).then(None).otherwise("NGR").alias("NGR")
        )
    )
    prepared = prepare(tiny(), frame, progress=watched)
    assert len(prepared.records) == len(frame)
    assert not prepared.records.observed.all()
    assert any("left out" in line and "red" in line for line in watched.notes)


def test_columns_and_splits_can_be_given() -> None:
    frame = cores().rename({"GRA": "my density"})
    split = Split(train=("U1300A", "U1301A"), validation=("U1302A",), test=("U1303A",))
    prepared = prepare(tiny(), frame, mapping={"bulk_density": "my density"}, split=split)
    assert prepared.split == split
    assert len(prepared.part("train")) == 60
    assert prepared.schema.schema.columns["bulk_density"].source == "my density"


def test_a_table_without_holes_is_refused() -> None:
    with pytest.raises(SchemaError, match="hole"):
        prepare(tiny(), cores().drop("Hole"))


def test_an_interrupted_run_goes_on_with_the_same_command(tmp_path: Path) -> None:
    recipe = load_recipe("corelogs/v1", [*TINY, "training.epochs=6"])
    whole, _ = train_run(recipe, cores(), tmp_path / "whole", seeds=2)

    def stop(record: EpochRecord) -> None:
        if record.epoch == 2:
            raise KeyboardInterrupt

    with pytest.raises(StoppedByUserError):
        train_run(recipe, cores(), tmp_path / "run", seeds=2, progress=Watched(epoch=stop))
    (tmp_path / "run" / "checkpoint" / ".state.safetensors.1.tmp").write_bytes(b"half")
    fresh: list[int] = []
    run, _ = train_run(
        recipe,
        cores(),
        tmp_path / "run",
        seeds=2,
        progress=Watched(epoch=lambda record: fresh.append(record.epoch)),
    )
    assert fresh == [3, 4, 5]
    weights = "weights.safetensors"
    assert (run.model_folder / weights).read_bytes() == (whole.model_folder / weights).read_bytes()
    assert not run.checkpoint_file.parent.exists()


def test_an_interrupted_run_of_another_recipe_is_refused_and_left_alone(tmp_path: Path) -> None:
    def stop(record: EpochRecord) -> None:
        raise KeyboardInterrupt

    with pytest.raises(StoppedByUserError):
        train_run(
            load_recipe("corelogs/v1", [*TINY, "training.epochs=6"]),
            cores(),
            tmp_path,
            progress=Watched(epoch=stop),
        )
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    assert tmp_path / "split.json" in before
    other_split = load_recipe("corelogs/v1", [*TINY, "training.epochs=6", "split.seed=7"])
    for other in (tiny("corelogs/v1"), other_split):
        with pytest.raises(RunFolderError, match=r"another recipe.*--restart"):
            train_run(other, cores(), tmp_path)
        now = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
        assert now == before
    run, _ = train_run(tiny("corelogs/v1"), cores(), tmp_path, restart=True)
    assert run.finished


def test_a_run_is_replaced_only_by_data_that_can_be_read(tmp_path: Path) -> None:
    run, _ = train_run(tiny(), cores(), tmp_path / "run")
    before = run.model().provenance
    with pytest.raises(DataError):
        train_run(tiny(), tmp_path / "absent.csv", tmp_path / "run", restart=True)
    with pytest.raises(SchemaError):
        train_run(tiny(), cores().drop("Hole"), tmp_path / "run", restart=True)
    assert run.model().provenance == before
    with pytest.raises(RunFolderError, match="a finished run is here already"):
        train_run(tiny(), cores(), tmp_path / "run")


def test_the_run_folder_tells_what_happened(tmp_path: Path) -> None:
    path = tmp_path / "cores.csv"
    cores().write_csv(path)
    run, _ = train_run(tiny(), path, tmp_path / "run", seeds=2, simulated=True)
    facts = json.loads(run.environment_file.read_text(encoding="utf-8"))
    assert facts["simulated"] is True
    assert facts["data"]["name"] == "cores.csv"
    assert facts["data"]["rows"] == facts["data"]["rows_kept"] == 240
    assert facts["batch_size"] == 64
    provenance = run.model().provenance
    assert provenance["data"] == facts["data"]
    assert len(provenance["best_epochs"]) == 2
    assert str(tmp_path) not in run.model_folder.joinpath("model.json").read_text(encoding="utf-8")
    assert [member.seed for member in run.model().members] == [0, 1]
