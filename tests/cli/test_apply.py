"""``encode``, ``cluster`` and ``reconstruct``: rows of the input, found again in the output."""

import signal

import numpy as np
import polars as pl
import pytest
from calling import TINY

from variolite.cli import runs
from variolite.records import read_table
from variolite.training import RunFolder
from watched import Watched


def test_encode_gives_the_posterior_of_every_row(example, program, tmp_path):
    first, second = tmp_path / "a.parquet", tmp_path / "b.parquet"
    for out in (first, second):
        assert program("encode", example.run, data=example.data, out=out).out == f"{out}\n"
    assert first.read_bytes() == second.read_bytes()
    table = pl.read_parquet(first)
    means, spreads = ([f"{name}{i}" for i in range(10)] for name in ("z", "sd"))
    assert table.columns == ["row", "hole", "depth", *means, *spreads]
    frame = example.frame
    assert table["hole"].to_list() == frame[table["row"].to_list()]["hole"].to_list()
    assert table.select(spreads).min_horizontal().min() > 0.0
    model = RunFolder(example.run).model()
    mean, _ = model.posterior(model.schema.apply(frame))
    np.testing.assert_allclose(table.select(means).to_numpy(), mean[0], rtol=1e-6)


def test_row_numbers_count_the_input_when_rows_are_dropped(example, program, tmp_path):
    inputs = RunFolder(example.run).model().schema.numeric_names
    filled = ~pl.int_range(pl.len()).is_in([0, 5])
    holed = example.frame.with_columns(pl.when(filled).then(pl.col(inputs)))
    data, out = tmp_path / "t.csv", tmp_path / "o.csv"
    holed.write_csv(data)
    program("encode", example.run, data=data, out=out)
    rows = pl.read_csv(out)["row"].to_list()
    assert rows == [i for i in range(holed.height) if i not in (0, 5)]


def test_text_that_a_spreadsheet_would_run_is_guarded_unless_told_otherwise(
    example, program, tmp_path
):
    data, out = tmp_path / "t.csv", tmp_path / "o.csv"
    example.frame.head(3).with_columns(hole=pl.lit("=HYPERLINK(1)")).write_csv(data)
    for option, expected in ((), "'=HYPERLINK(1)"), (("--raw-text",), "=HYPERLINK(1)"):
        program.works(*option, "encode", example.run, data=data, out=out)
        assert set(pl.read_csv(out)["hole"]) == {expected}


@pytest.mark.parametrize(("member", "name"), [(0, "cluster"), (1, "cluster:1")])
def test_cluster_gives_the_clusters_that_were_scored(example, program, tmp_path, member, name):
    out = tmp_path / "c.csv"
    program("cluster", example.run, data=example.data, out=out, member=member)
    table = pl.read_csv(out)
    assert table.columns == ["row", "hole", "depth", "cluster", "probability", "boundary"]
    assert table["probability"].is_between(0.0, 1.0).all()
    sorted_rows = table.sort("hole", "depth", maintain_order=True)
    above = sorted_rows.select(pl.col("cluster").shift().over("hole"))["cluster"]
    expected = sorted_rows["cluster"].ne_missing(above)
    assert (sorted_rows["boundary"] == expected).all()
    test = table.filter(pl.col("hole").is_in(example.split["test"]))
    scored = pl.read_parquet(example.run / "held_out.parquet")
    assert test["cluster"].to_list() == scored[name].to_list()


def test_las_holds_the_table_and_the_new_curves(example, program, tmp_path):
    table, out = tmp_path / "c.csv", tmp_path / "c.las"
    program("cluster", example.run, data=example.data, out=table)
    assert program("cluster", example.run, data=example.data, out=out).out == f"{tmp_path}/c\n"
    rows = pl.read_csv(table)
    hole = rows["hole"][0]
    (path,) = (tmp_path / "c").glob(f"{hole}.las")
    found = read_table(path)
    assert found["cluster"].to_list() == rows.filter(hole=hole)["cluster"].to_list()
    assert (
        found["boundary"].to_list() == rows.filter(hole=hole)["boundary"].cast(pl.Int64).to_list()
    )
    expected = example.frame.filter(hole=hole)
    for name in ("depth", "bulk_density"):
        np.testing.assert_array_equal(found[name], expected[name].fill_null(np.nan))


@pytest.mark.filterwarnings("ignore::variolite.errors.DataWarning")
def test_a_proposed_recipe_trains_at_once(example, program, tmp_path):
    names = {"hole": "Bore No", "bulk_density": "RHOZ", "red": "x1", "depth": "Tiefe"}
    # Without a log that the recipe knows, with constant ones, and with only some unknown.
    first = example.frame.with_columns(green=pl.lit(5.0))
    second = example.frame.select("hole", "depth", "red", "natural_gamma", "lithology")
    for frame in (first, first.rename(names), second.rename({"hole": "Bore", "red": "x1"})):
        data, recipe = tmp_path / "t.csv", tmp_path / "r.yaml"
        frame.write_csv(data)
        program.works("schema", data, "--extends", "corelogs/default", "--out", recipe)
        program.works("fit", recipe, *TINY, "--restart", data=data, out=tmp_path / "run")


@pytest.mark.filterwarnings("ignore::variolite.errors.DataWarning")
def test_many_files_rows_nulls_and_units(example, program, tmp_path):
    frame = example.frame.with_columns(flag=(pl.int_range(pl.len()) % 3 == 0).cast(pl.Int64))
    folder = tmp_path / "holes"
    folder.mkdir()
    for (hole,), part in frame.group_by("hole", maintain_order=True):
        part = part.drop("hole").with_columns(pl.col("red").cast(pl.String).fill_null("no data"))
        part.write_csv(folder / f"{hole}.csv")
    (folder / "z_broken.csv").write_text("red\nbroken\n")
    run, out = tmp_path / "run", tmp_path / "out.csv"
    fit = (
        "fit",
        "corelogs/default",
        *TINY,
        "--rows",
        "flag == 0",
        "--null",
        "no data",
        "--out",
        run,
    )
    answer = program.works(*fit, data=folder)
    assert "not flag == 0" in answer.err
    assert RunFolder(run).recipe().rows == "flag == 0"
    within = f"this lies in {folder}, which is read"
    assert within in program.fails("encode", run, data=folder, out=folder / "o.csv")
    assert within in program.fails("fit", "corelogs/default", data=folder, out=folder / "run")
    assert not {"o.csv", "run"} & {path.name for path in folder.iterdir()}
    program.works("encode", run, data=folder, out=out)
    rows = frame.with_row_index().filter(pl.col("flag") == 0)["index"].to_list()
    found = pl.read_csv(out)
    assert found["row"].to_list() == rows
    paths = [str(folder / f"{hole}.csv") for hole in frame["hole"].gather(rows)]
    assert found.columns[1] == "file"
    assert found["file"].to_list() == paths
    both = ("--data", folder / "*.csv", "--data", example.data)
    program.works("encode", run, *both, "--rows", "", "--out", out)
    assert pl.read_csv(out).height == 2 * frame.height
    program.works("score", run, "--no-baselines", data=folder)
    # In kg/m3 it is refused where nothing says so, and converted where the header does.
    other = tmp_path / "kg.csv"
    frame.with_columns(pl.col("bulk_density") * 1000).write_csv(other)
    message = program.fails("encode", run, data=other, out=out)
    assert "'bulk_density'" in message
    assert "look like kg/m3" in message
    program.works("encode", run, "--accept-range", data=other, out=out)
    said = pl.read_csv(other).rename({"bulk_density": "RHOB (kg/m3)"})
    said.write_csv(other)
    assert "converted from kg/m3" in program.works("encode", run, data=other, out=out).err


def test_reconstruct_is_in_original_units(example, program, tmp_path):
    out = tmp_path / "r.feather"
    program("reconstruct", example.run, data=example.data, out=out)
    table = pl.read_ipc(out)
    names = RunFolder(example.run).model().schema.numeric_names
    paired = [c for name in names for c in (name, f"recon:{name}")]
    assert table.columns == ["row", "hole", "depth", *paired, "log_likelihood_bound"]
    frame = example.frame[table["row"].to_list()]
    for name in names:
        given, decoded = frame[name].cast(pl.Float64), table[f"recon:{name}"]
        assert table[name].fill_nan(None).to_list() == given.to_list()
        assert decoded.is_finite().all()
        assert given.min() <= decoded.median() <= given.max()


def test_outputs_have_headers_and_units_of_the_table(example, program, tmp_path):
    data, out, usual = tmp_path / "ft.csv", tmp_path / "o.csv", tmp_path / "m.csv"
    renamed = {"hole": "Bore No", "depth": "Tiefe [ft]", "bulk_density": "RHOB (kg/m3)"}
    own = pl.col("depth") / 0.3048, pl.col("bulk_density") * 1000
    own_table = example.frame.with_columns(own).rename(renamed)
    own_table.write_csv(data)
    mapping = ("--map", "hole=Bore No", "--map", "depth=Tiefe [ft]")
    program.works("reconstruct", example.run, *mapping, data=data, out=out)
    program.works("reconstruct", example.run, data=example.data, out=usual)
    found, expected = pl.read_csv(out), pl.read_csv(usual)
    assert found.columns[:3] == ["row", "Bore No", "Tiefe [ft]"]
    own_table = pl.read_csv(data)[found["row"].to_list()]
    for name in renamed.values():
        assert found[name].to_list() == own_table[name].to_list()
    decoded = expected["recon:bulk_density"].to_numpy() * 1000
    np.testing.assert_allclose(found["recon:RHOB (kg/m3)"], decoded, rtol=1e-4)


def test_units_that_stand_below_the_headers_are_noted(example, program, tmp_path):
    data, out = tmp_path / "t.csv", tmp_path / "o.csv"
    names, *lines = example.frame.write_csv().splitlines(keepends=True)
    units = {"depth": "m", "bulk_density": "g/cm3", "magnetic_susceptibility": "SI"}
    row = ",".join(units.get(name, "") for name in names.strip().split(","))
    data.write_text("".join([names, row + "\n", *lines]))
    said = program.works("reconstruct", example.run, data=data, out=out).err
    assert "units in o.csv: depth in m, " in said
    assert "bulk_density in g/cm3" in said
    said = program.works("reconstruct", example.run, data=example.data, out=out).err
    assert "units in" not in said


def test_a_result_keeps_its_name_where_a_header_has_it(example, program, tmp_path):
    data, out = tmp_path / "t.csv", tmp_path / "o.csv"
    example.frame.rename({"hole": "cluster", "depth": "row"}).write_csv(data)
    mapping = ("--map", "hole=cluster", "--map", "depth=row")
    said = program.works("cluster", example.run, *mapping, data=data, out=out).err
    assert all(f"column {name!r} of the table is left out" in said for name in ("cluster", "row"))
    program.works("cluster", example.run, data=example.data, out=tmp_path / "usual.csv")
    expected = pl.read_csv(tmp_path / "usual.csv")
    results = "row", "cluster", "probability", "boundary"
    assert pl.read_csv(out).equals(expected.select(results))


@pytest.mark.filterwarnings("ignore::variolite.errors.DataWarning")
def test_a_fit_on_several_files_that_is_stopped_goes_on_and_ends_the_same(
    example, program, tmp_path, monkeypatch
):
    files = [tmp_path / f"{hole}.csv" for hole in example.frame["hole"].unique().sort()]
    for file in files:
        example.frame.filter(hole=file.stem).write_csv(file)
    given = [word for file in files for word in ("--data", file)]
    out, whole = tmp_path / "run", tmp_path / "whole"
    fit = ("fit", "corelogs/default", *TINY, *given, "--out")

    with monkeypatch.context() as patch:
        stop = Watched(lambda _: signal.raise_signal(signal.SIGINT))
        patch.setattr(runs, "PROGRESS", stop)
        answer = program(*fit, out)
    assert answer.code == 130
    assert (out / "checkpoint").is_dir()
    program.works(*fit, out)
    program.works(*fit, whole)
    for name in ("weights.safetensors", "clusters.safetensors"):
        assert (out / "model" / name).read_bytes() == (whole / "model" / name).read_bytes()


@pytest.mark.parametrize("command", ["encode", "cluster", "reconstruct"])
def test_a_bad_place_is_told_before_the_work(example, program, tmp_path, command):
    for out, message in (
        ("t.xlsx", "cannot be written"),
        (".", "is a folder"),
    ):
        answer = program(command, example.run, data=example.data, out=tmp_path / out)
        assert answer.code == 2
        assert message in answer.err
        assert len(answer.err.splitlines()) == 1
        assert list(tmp_path.iterdir()) == []


def test_wells_without_a_column_of_wells_are_noted(example, program, tmp_path):
    several, one = tmp_path / "several.csv", tmp_path / "one.csv"
    example.frame.sort("hole", "depth").drop("hole").write_csv(several)
    example.frame.filter(hole=example.frame["hole"][0]).sort("depth").drop("hole").write_csv(one)
    out = tmp_path / "o.csv"
    said = program.works("cluster", example.run, data=several, out=out).err
    assert "depths begin again 4 times; bind it with --map hole=COLUMN" in said
    assert "begin again" not in program.works("cluster", example.run, data=one, out=out).err


def test_a_member_out_of_range(example, program, tmp_path):
    given = {"data": example.data, "out": tmp_path / "o.csv"}
    assert "Choose 0 to 1" in program.fails("encode", example.run, **given, member=2)
    assert program("encode", example.run, **given, member=-1).code == 2
    assert list(tmp_path.iterdir()) == []


def test_tables_that_lack_inputs(example, program, tmp_path):
    given = {"data": tmp_path / "t.csv", "out": tmp_path / "o.csv"}
    example.frame.drop("red").write_csv(given["data"], separator=";")
    assert "not in the table: red" in program.works("encode", example.run, **given).err
    assert pl.read_csv(given["out"]).height == example.frame.height
    given["out"].unlink()
    example.frame.select("hole", "depth").write_csv(given["data"])
    assert "0 of the input columns" in program.fails("encode", example.run, **given)
    assert not given["out"].exists()
