"""A run on a made-up table from end to end: scored, diagnosed, and through the commands."""

import json
import re
import shutil
import warnings

import numpy as np
import polars as pl
import pytest
import yaml
from made_up_table import COLUMNS, frameworks

from variolite.cli import main
from variolite.errors import DataError, DataWarning, RunFolderError
from variolite.frameworks.diagnosis import Diagnosis
from variolite.frameworks.field import FIELD
from variolite.frameworks.framework_table import family_of
from variolite.frameworks.generation.score_run import parts_of, score
from variolite.progress import Progress
from variolite.scoring.scorecard import Scorecard
from variolite.training import RunFolder


@pytest.fixture
def program(monkeypatch, capsys):
    """The program within this process: exit code, what it printed, and what it said."""

    def call(*arguments):
        monkeypatch.setattr("sys.argv", ["variolite", *map(str, arguments)])
        monkeypatch.setattr("warnings.showwarning", lambda *_: None)
        capsys.readouterr()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DataWarning)
            with pytest.raises(SystemExit) as end:
                main()
        out, err = capsys.readouterr()
        assert "Traceback" not in err, err[-800:]
        return end.value.code or 0, out, err

    return call


@pytest.fixture
def copied(example, tmp_path):
    """A copy of the run that a test may spoil."""
    shutil.copytree(example.run, tmp_path / "run")
    return RunFolder(tmp_path / "run")


def test_a_score_says_how_often_sets_come_back(example, model):
    card = Scorecard.read(example.folder.scorecard_file)
    parts = parts_of(model, example.data, {}, example.folder.split())
    test = parts.frames["test"]
    families = set(example.folder.split().test)
    assert set(test["family"]) == families
    for name in ("metals", "linkers", "net"):
        (row,) = card.select(method="vae", metric="accuracy", feature=name)
        given = test[name].to_numpy()
        known = np.array([text is not None for text in given])
        shares = []
        for member in range(2):
            found = model.only(member).most_likely(parts.records["test"])[name]
            shares.append(np.mean(found[known] == given[known]))
        assert row.mean == pytest.approx(np.mean(shares))
        assert row.low <= row.mean <= row.high
        assert row.n_groups == len(set(test["family"].to_numpy()[known]))
        assert row.mean > 0.2
    (bound,) = card.select(method="vae", metric="log_likelihood_bound")
    assert bound.mean == pytest.approx(
        model.evidence(parts.records["test"], samples=20).mean(), rel=1e-6
    )
    asked = {row.feature: row.mean for row in card.select(metric="spearman_asked")}
    assert set(asked) == {"co2_uptake", "void_fraction"}
    assert asked["co2_uptake"] > 0.5
    assert any("it sees no condition" in note for note in card.notes)


def test_what_a_score_leaves_tells_no_training_row(example):
    run = example.folder
    train = pl.read_parquet(run.training_file)
    assert not {"name", "family"} & set(train.columns)
    real = example.frame.filter(
        pl.col("name").map_elements(family_of, pl.String).is_in(run.split().train)
    )
    assert train.height == real.height
    for name in ("density", "co2_uptake"):
        assert sorted(train[name]) == pytest.approx(sorted(real[name]), rel=1e-3)
    pairs = set(zip(real["density"].round(3), real["metals"], strict=True))
    kept = [pair in pairs for pair in zip(train["density"].round(3), train["metals"], strict=True)]
    assert np.mean(kept) < 0.3
    drawn = pl.read_parquet(run.generated_file)
    assert set(drawn["member"]) == {0, 1}
    free = drawn.filter(pl.all_horizontal(pl.col("^.*_requested$").is_null()))
    assert free.height == 2 * 400


def test_a_diagnosis_is_kept_and_made_again(example):
    stored = FIELD.doctor(example.folder, None, Progress())
    assert isinstance(stored, Diagnosis)
    again = FIELD.doctor(example.folder, [example.data], Progress())
    assert again.to_dict() == stored.to_dict()
    assert stored.findings


def test_a_table_without_some_columns_is_scored_on_the_others(copied, example):
    frame = example.frame.drop("net").rename({"metals": "M", "co2_uptake": "q"})
    card = score(copied, frame, Progress(), mapping=["metals=M", "co2_uptake=q"])
    assert not card.select(method="vae", metric="accuracy", feature="net")
    assert card.select(method="vae", metric="accuracy", feature="metals")


def test_families_that_were_trained_on_are_not_scored(example, model):
    split = example.folder.split()
    family = pl.col("name").map_elements(family_of, pl.String)
    known = example.frame.filter(family.is_in(split.train))
    with pytest.raises(DataError):
        parts_of(model, known, {}, split)
    other = example.frame.filter(~family.is_in(split.train))
    with pytest.raises(DataError):
        parts_of(model, other, {}, split)


def test_a_run_that_was_not_scored_has_no_diagnosis(copied):
    copied.health_file.unlink()
    with pytest.raises(RunFolderError, match="has not been scored yet"):
        FIELD.doctor(copied, None, Progress())


def test_commands_from_end_to_end(program, example, tmp_path):
    run, data = tmp_path / "run", example.data
    spec = {"kind": "frameworks", "title": "Small", "columns": COLUMNS}
    spec |= {"split": {"test": 0.25, "validation": 0.15}, "linker_features": False}
    spec |= {"model": {"latent": 3, "encoder": [16], "decoder": [16]}}
    spec |= {"training": {"epochs": 6, "batch_size": 64, "beta": {"kind": "linear", "epochs": 3}}}
    (tmp_path / "small.yaml").write_text(yaml.safe_dump(spec, sort_keys=False))
    code, _, err = program("fit", tmp_path / "small.yaml", "--data", data, "--out", run)
    assert code == 0, err
    assert re.search(r"surrogate of co2_uptake, .* R2 0\.\d\d, mean error", err)

    code, out, err = program("score", run, "--data", data)
    assert code == 0, err
    assert "accuracy" in out
    assert "spearman_asked" in out
    assert (run / "report.html").is_file()
    code, out, err = program("doctor", run, "--json")
    assert code == 0, err
    assert json.loads(out)
    (run / "report.html").unlink()
    code, _, err = program("report", run)
    assert code == 0, err
    assert "<html" in (run / "report.html").read_text(encoding="utf-8")

    made = tmp_path / "made.csv"
    code, _, err = program("generate", run, "-n", 5, "--out", made, "--where", "co2_uptake=4.5")
    assert code == 0, err
    rows = pl.read_csv(made)
    assert rows.height == 5
    assert rows["co2_uptake_requested"].to_list() == [4.5] * 5
    for option, value in (("--where", "metals=Pt"), ("--temperature", "0"), ("--where", "x=1")):
        code, out, err = program(
            "generate", run, "-n", 5, "--out", tmp_path / "no.csv", option, value
        )
        assert (code, out) == (2, "")
        assert err.splitlines()[-1].startswith("variolite: ")
        assert not (tmp_path / "no.csv").exists()
    where = ("--where", "metals=Al;Zn;Zr;Fe")
    code, _, err = program("generate", run, "-n", 5, "--out", tmp_path / "no.csv", *where)
    assert code == 3
    assert "0 of 5 frameworks were found" in err.splitlines()[-1]


def test_encoding_says_what_is_predicted(program, example, tmp_path):
    out = tmp_path / "codes.csv"
    code, _, err = program("encode", example.run, "--data", example.data, "--out", out)
    assert code == 0, err
    found, model = pl.read_csv(out), example.folder.model()
    records = model.records(example.data)
    np.testing.assert_allclose(
        found.select(r"^z\d$").to_numpy(), model.encode(records)[0], rtol=1e-5, atol=1e-6
    )
    assert found["name"].to_list() == example.frame["name"].to_list()
    mean, low, high = model.surrogates["co2_uptake"].predict(model.describe(records))
    for end, values in (("predicted", mean), ("low", low), ("high", high)):
        np.testing.assert_allclose(found[f"co2_uptake_{end}"], values, rtol=1e-6)
    # Without the conditions, those that are predicted are encoded.
    bare = tmp_path / "bare.csv"
    example.frame.drop("co2_uptake", "void_fraction").write_csv(bare)
    code, _, err = program("encode", example.run, "--data", bare, "--out", out)
    assert code == 0, err
    with pytest.warns(DataWarning):
        expected = model.encode(model.records(bare))[0]
    np.testing.assert_allclose(
        pl.read_csv(out).select(r"^z\d$").to_numpy(), expected, rtol=1e-5, atol=1e-6
    )


def test_reconstructions_stand_beside_what_was_given(program, example, tmp_path):
    # As found: members in any order, blanks, and a name of its own for a column.
    frame = example.frame.with_columns(
        metals=pl.col("metals").str.replace("Al;Zn", "Zn; Al")
    ).rename({"net": "topology"})
    data, out = tmp_path / "table.csv", tmp_path / "decoded.csv"
    frame.write_csv(data)
    call = ("reconstruct", example.run, "--data", data, "--out", out, "--member", 1)
    code, _, err = program(*call, "--map", "net=topology")
    assert code == 0, err
    found, model = pl.read_csv(out), example.folder.model().only(1)
    expected = model.most_likely(model.records(frame, {"net": "topology"}))
    for name, header in (("metals", "metals"), ("linkers", "linkers"), ("net", "topology")):
        assert found[header].fill_null("").to_list() == frame[header].fill_null("").to_list()
        assert found[f"recon:{header}"].to_list() == expected[name].tolist()
        at = found.columns.index(header)
        assert found.columns[at + 1] == f"recon:{header}"
    assert "recon:density" in found.columns
    assert "log_likelihood_bound" in found.columns


def test_a_table_of_other_frameworks_is_refused_in_one_line(program, example, tmp_path):
    data = tmp_path / "other.csv"
    frameworks(20, 9).drop("metals").write_csv(data)
    code, out, err = program("encode", example.run, "--data", data, "--out", tmp_path / "no.csv")
    assert (code, out) == (2, "")
    assert "no column for 'metals'" in err.splitlines()[-1]
