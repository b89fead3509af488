"""From picks of three wells to the classes of all, and the wells to label next."""

import json
import re
import shutil
from contextlib import redirect_stderr
from io import StringIO

import polars as pl
import pytest
from calling import TINY, run_program

from variolite.corelogs.guided import semi_supervised
from variolite.corelogs.guided.picks import PICKED


@pytest.fixture(scope="module")
def field(example, tmp_path_factory):
    """Wells without labels, picks of three of them, and the truth."""
    folder = tmp_path_factory.mktemp("guided")
    table = pl.read_parquet(example.data)
    label = "lithology_group"
    table = table.filter(pl.col(label).is_not_null())
    logs, picks = folder / "wells.parquet", folder / "picks.csv"
    table.drop("lithology", label).write_parquet(logs)
    wells = table["hole"].unique().sort().to_list()
    depth = next(c for c in table.columns if c.casefold().startswith("depth"))
    chosen = table.filter(pl.col("hole").is_in(wells[:3]))
    chosen.select(well="hole", depth=depth, lithology=label).write_csv(picks)
    table.select(well="hole", depth=depth, lithology=label).write_csv(folder / "all.csv")
    return logs, picks, wells, folder


@pytest.fixture(scope="module")
def run(field):
    """A run that learnt the picks; read only."""
    logs, picks, _, folder = field
    with pytest.MonkeyPatch.context() as patch, redirect_stderr(StringIO()) as said:
        patch.setattr(semi_supervised, "STEPS", 20)
        run_program(
            *("fit", "corelogs/guided", *TINY),
            *("--data", logs, "--labels", picks, "--out", folder / "run"),
        )
    wording = r"others: \d+% of rows right in the mean of wells, \d+% in the worst \("
    assert re.search(wording, said.getvalue())
    return folder / "run"


def test_picks_of_three_wells_name_the_others(field, run, program):
    logs, picks, wells, folder = field
    out = folder / "classes.csv"
    split = json.loads((run / "split.json").read_text())
    assert set(wells[:3]) <= set(split["train"])
    program.works("cluster", run, data=logs, out=out)
    found = pl.read_csv(out)
    assert {"class", "class_probability", "cluster"} <= set(found.columns)
    shares = found.select(pl.col("^probability:.*$"))
    assert (shares.sum_horizontal() - 1).abs().max() < 1e-6
    assert found["class_probability"].is_between(0, 1).all()
    bare = folder / "bare.csv"
    read = pl.read_parquet(logs)
    read.drop([c for c in read.columns if c.casefold().startswith("depth")]).write_csv(bare)
    message = program.fails("cluster", run, data=bare, out=folder / "none.csv")
    assert "the table has no depth" in message
    kept = run / "model" / "classifier.safetensors"
    kept.rename(folder / "kept")
    message = program.fails("cluster", run, data=logs, out=folder / "none.csv")
    assert "classifier.safetensors: this file of the run is missing" in message
    (folder / "kept").rename(kept)
    answer = program.works("corelogs", "suggest-well", run, data=logs, labels=picks, number=2)
    assert answer.out.startswith("labelled so far: 3 wells")
    listed = json.loads(program.works("corelogs", "suggest-well", run, "--json", data=logs).out)
    assert listed["labelled"] == []
    assert listed["wells"][0]["well"] in wells
    assert PICKED not in found.columns


def test_labels_of_held_out_wells_are_scored(field, run, program, tmp_path):
    logs, picks, _, folder = field
    run = shutil.copytree(run, tmp_path / "scored")
    few = program.works("score", run, "--no-baselines", data=logs, labels=picks).out
    assert "no scored row has a label" in few
    without = program.works("score", run, "--no-baselines", data=logs).out
    assert "the table has no column of labels" in without
    assert "few_labels" not in few
    every = program.works("score", run, "--no-baselines", data=logs, labels=folder / "all.csv")
    assert "few_labels" in every.out
    assert "accuracy" in every.out
    bare = folder / "bare"
    program.works("fit", "corelogs/default", *TINY, data=logs, out=bare)
    assert "has learnt no labels" in program.fails("score", bare, data=logs, labels=picks)


def test_wells_to_label_are_suggested_from_files_with_various_headers(
    field, run, program, tmp_path
):
    logs, picks, wells, _ = field
    table = pl.read_parquet(logs)
    (tmp_path / "wells").mkdir()
    for place, well in enumerate(wells):
        own = table.filter(hole=well)
        own = own.rename({"bulk_density": "RHOB"}) if place > 3 else own
        own.write_csv(tmp_path / "wells" / f"{place}.csv")
    plain = program.works("corelogs", "suggest-well", run, "--json", data=logs, labels=picks)
    various = program.works(
        "corelogs", "suggest-well", run, "--json", data=tmp_path / "wells", labels=picks
    )
    assert json.loads(various.out) == json.loads(plain.out)


def test_labels_go_with_guided_recipes_alone_and_must_be_there(field, program, tmp_path):
    logs, picks, _, _ = field
    out = tmp_path / "run"
    message = program.fails("fit", "corelogs/default", *TINY, data=logs, labels=picks, out=out)
    assert "this recipe learns no labels" in message
    message = program.fails("fit", "corelogs/guided", *TINY, data=logs, out=out)
    assert "no row has a label" in message
    # All rows of one of two classes lack the logs.
    table = pl.read_parquet(logs).with_row_index("row")
    first, label = pl.col("row") < 9, {True: "a", False: "b"}
    read = pl.selectors.float() - pl.selectors.matches("^depth")
    table = table.with_columns(pl.when(~first).then(read), lithology=first.replace_strict(label))
    gaps = tmp_path / "gaps.parquet"
    table.write_parquet(gaps)
    message = program.fails("fit", "corelogs/guided", *TINY, data=gaps, out=out)
    assert "all labels are 'b'" in message
    assert not out.exists()
