"""Every mistake gives one line that says what, where and how to mend it; nothing is left behind."""

from pathlib import Path

import polars as pl
import pytest
from calling import TINY, files_of, halve

DEFAULT = "corelogs/default"
TABLES = {
    "no rows": (lambda t: t.clear(), "no rows"),
    "no group": (lambda t: t.drop("hole"), "no column for 'hole'"),
    "no inputs": (lambda t: t.select("hole", "depth"), "0 of the input columns"),
    "one input": (lambda t: t.select("hole", "red"), "needs at least 2"),
    "another unit": (
        lambda t: t.rename({"bulk_density": "RHOB (us/ft)"}),
        "'bulk_density' is declared in g/cm3, but the table gives it in us/ft",
    ),
    "another unit unsaid": (
        lambda t: t.with_columns(bulk_density=pl.col("bulk_density") * 1000.0),
        "outside the valid range, 0.3 to 5 g/cm3, and look like kg/m3",
    ),
    "only empty": (lambda t: t.with_columns(red=pl.lit(None, pl.Float64)), "'red': has no value"),
    "constant": (lambda t: t.with_columns(red=pl.lit(5.0)), "'red': is 5 in every training row"),
    "one hole": (lambda t: t.filter(pl.col("hole").rank("dense") == 1), "1 group "),
    "two holes": (lambda t: t.filter(pl.col("hole").rank("dense") <= 2), "2 groups"),
    "text": (lambda t: t.with_columns(red=pl.lit("abc")), "'abc' in row 1 is not a number"),
}


@pytest.mark.parametrize("case", TABLES)
@pytest.mark.parametrize("ending", ["csv", "parquet"])
def test_tables_that_cannot_be_trained_on(example, program, tmp_path, case, ending):
    change, message = TABLES[case]
    data, out = tmp_path / f"t.{ending}", tmp_path / "run"
    getattr(change(example.frame), f"write_{ending}")(data)
    assert message in program.fails("fit", DEFAULT, *TINY, data=data, out=out)
    assert not out.exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--set", "training.epoch=3"), "Did you mean epochs?"),
        (("--set", "training.epochs=abc"), "training.epochs"),
        (("--set", "training.epochs"), "--set training.epochs"),
        (("--set", "model.latent=0"), "model.latent"),
        (("--set", "clustering.rule=bic"), "bic needs a Gaussian mixture"),
        (("--seed", "99999999999999999999"), "training.seed"),
        (("--map", "rde=red"), "Did you mean red?"),
        (("--map", "red"), "--map red"),
        (("--map", "red=Red"), "mapped to 'Red'"),
        (("--map", "hole=-"), "cannot be left out"),
        (("--device", "abacus"), "no device called 'abacus'"),
        (("--set", "model.latent=100000000000"), "memory is full"),
        (("--set", "clustering.k=[9999]"), "training rows are too few for 9,999 clusters"),
    ],
)
def test_options_that_make_no_sense(example, program, tmp_path, arguments, message):
    given = {"data": example.data, "out": tmp_path / "run"}
    assert message in program.fails("fit", DEFAULT, *TINY, *arguments, **given)
    assert not given["out"].exists()


@pytest.mark.parametrize("option", ["--members", "--seed"])
def test_counts_below_their_least(example, program, option):
    answer = program("fit", DEFAULT, option, "-1", data=example.data, out="run")
    assert answer.code == 2
    assert option in answer.last


@pytest.mark.parametrize(
    ("recipe", "content", "message"),
    [
        ("corelogs/defualt", None, "Did you mean corelogs/default?"),
        ("mine.yaml", "model: [1, 2\n", "not valid YAML"),
        ("mine.yaml", "just text", "a recipe is a mapping"),
        ("mine.yaml", "extends: mine.yaml\n", "circle"),
        ("mine.yaml", "extends: corelogs/default\nmodle: {latent: 3}\n", "Did you mean model?"),
    ],
)
def test_recipes_that_cannot_be_read(
    example, program, tmp_path, monkeypatch, recipe, content, message
):
    monkeypatch.chdir(tmp_path)
    if content is not None:
        Path(recipe).write_text(content)
    assert message in program.fails("fit", recipe, data=example.data, out="run")
    assert not Path("run").exists()


@pytest.mark.parametrize(
    ("data", "out", "message"),
    [
        (None, "notes.txt", "this is a file"),
        (None, "notes.txt/run", "cannot write here"),
        (None, "thesis", "is not a run"),
        (None, "thesis --restart", "is not a run"),
        ("thesis", "run", "no table is found there"),
        ("no.csv", "run", "no such file"),
    ],
)
def test_places_that_are_taken(example, program, tmp_path, monkeypatch, data, out, message):
    monkeypatch.chdir(tmp_path)
    Path("notes.txt").write_text("kept")
    Path("thesis").mkdir()
    Path("thesis/recipe.yaml").write_text("mine")
    before = files_of(tmp_path)
    line = program.fails("fit", DEFAULT, *TINY, "--out", *out.split(), data=data or example.data)
    assert message in line
    assert files_of(tmp_path) == before


DAMAGED = [
    ("model/weights.safetensors", ("encode", "score", "doctor")),
    ("model/model.json", ("encode", "score", "doctor")),
    ("model/clusters.safetensors", ("cluster", "score", "report")),
    ("split.json", ("score", "report")),
    ("recipe.yaml", ("score",)),
    ("scorecard.json", ("report",)),
    ("health.json", ("report", "doctor")),
    ("held_out.parquet", ("report", "compare")),
    ("environment.json", ("report",)),
]


@pytest.mark.parametrize(("file", "command"), [(f, c) for f, cs in DAMAGED for c in cs])
@pytest.mark.parametrize("spoil", [halve, Path.unlink, lambda p: p.write_bytes(b"\x00\xffno")])
def test_damaged_parts_of_a_run_are_named(copied, program, tmp_path, file, command, spoil):
    spoil(copied.run / file)
    before = files_of(tmp_path)
    given = {"data": copied.data, "out": tmp_path / "out.csv"}
    options = {"encode": given, "cluster": given, "score": {"data": copied.data}}.get(command, {})
    runs = [copied.run] * (2 if command == "compare" else 1)
    if command == "report" and spoil is Path.unlink:
        # A report is made of whatever is there.
        program.works("report", copied.run)
        return
    assert str(copied.run) in program.fails(command, *runs, **options)
    assert files_of(tmp_path) == before


def test_tables_that_cannot_be_scored(copied, program, tmp_path):
    data = tmp_path / "t.parquet"

    def fails(table, *more):
        table.write_parquet(data)
        return program.fails("score", copied.run, *more, data=data)

    assert "no group column" in fails(copied.frame.drop("hole"))
    assert "no held-out row" in fails(copied.part("train"))
    assert "no label level" in fails(copied.frame, "--levels", "nope")
    assert "nope.csv" in fails(copied.frame, "--levels", tmp_path / "nope.csv")
    # A table without labels is scored on the rest.
    copied.frame.with_columns(lithology=pl.lit(None, pl.String)).write_parquet(data)
    answer = program.works("score", copied.run, "--no-baselines", data=data)
    assert "evidence_lower_bound" in answer.out
    assert " ari" not in answer.out


@pytest.mark.parametrize(
    "names",
    [["Bohrung Ä 1", "孔 2", "a b", "c,d", 'e"f', "g;h"], ["7", "8", "9", "10", "11", "12"]],
)
def test_names_of_any_kind(example, program, tmp_path, names):
    folder = tmp_path / "Ordner mit Ümläuten"
    folder.mkdir()
    data, run, out = folder / "データ.csv", folder / "run 1", folder / "c.csv"
    holes = example.frame["hole"].unique().sort().to_list()
    named = pl.col("hole").replace_strict(holes, names)
    example.frame.with_columns(named).write_csv(data)
    program.works("fit", DEFAULT, *TINY, data=data, out=run)
    program.works("score", run, "--no-baselines", data=data)
    program.works("cluster", run, data=data, out=out)
    assert set(pl.read_csv(out, infer_schema=False)["hole"]) == set(names)


def test_bin_and_schema_answer_mistakes(example, program, tmp_path):
    table, out = example.instruments / "GRA_DataLITH.csv", tmp_path / "b.csv"
    for more, message in (
        ((table, "--spacing", "0"), "from 0.0001 to 1000 m"),
        ((table, "--outliers", "x"), "outlier rule 'x'"),
        ((table, "--min-purity", "3"), "between 0 and 1"),
        ((table, "--tolerance", "0.1"), "nearest"),
        ((table, "--levels", "nope"), "no label level"),
        ((table, table), "given twice"),
        ((tmp_path / "no.csv",), "no such file"),
    ):
        assert message in program.fails("corelogs", "bin", *more, out=out)
    assert "no such file" in program.fails("schema", tmp_path / "no.csv")
    assert list(tmp_path.iterdir()) == []
