"""``fit``, ``score``, ``compare``, ``report`` and ``doctor`` from end to end."""

import json

import polars as pl
import pytest
from calling import TINY

from variolite.training import RunFolder

DEFAULT = "corelogs/default"


def test_fit_writes_the_whole_run_and_nothing_else(example):
    assert {str(p.relative_to(example.run)) for p in example.run.rglob("*") if p.is_file()} == {
        "recipe.yaml",
        "split.json",
        "history.jsonl",
        "environment.json",
        "model/model.json",
        "model/weights.safetensors",
        "model/clusters.safetensors",
        "scorecard.json",
        "health.json",
        "held_out.parquet",
        "report.html",
    }
    assert len((example.run / "history.jsonl").read_text().splitlines()) == 2
    assert len(RunFolder(example.run).model().members) == 2


def test_score_holds_out_whole_holes(example):
    held_out = pl.read_parquet(example.run / "held_out.parquet")
    split = example.split
    assert set(held_out["group"]) == set(split["test"])
    assert held_out.height == example.part("test").height
    assert {"order", "bulk_density", "recon:bulk_density", "cluster", "z0", "z9"} <= set(
        held_out.columns
    )
    rows = json.loads((example.run / "scorecard.json").read_text())["rows"]
    methods = {"vae", "raw", "pca_whitened", "autoencoder", "supervised"}
    assert methods <= {row["method"] for row in rows if row["task"] == "clustering"}


def test_the_same_seed_gives_the_same_run_and_another_seed_another(example, program, tmp_path):
    def weights(name, *more):
        out = tmp_path / name
        answer = program(
            *("fit", DEFAULT, "--data", example.data, "--out", out, *TINY, "--members", 2), *more
        )
        assert answer.out == f"{out}\n"
        return (out / "model" / "weights.safetensors").read_bytes()

    original = (example.run / "model" / "weights.safetensors").read_bytes()
    assert weights("again") == original
    assert weights("other", "--seed", 7) != original
    members = json.loads((tmp_path / "other" / "model" / "model.json").read_text())["members"]
    assert [member["seed"] for member in members] == [7, 8]


def test_a_finished_run_is_replaced_only_when_asked(copied, program):
    command = ("fit", DEFAULT, "--data", copied.data, "--out", copied.run, *TINY)
    before = (copied.run / "model" / "weights.safetensors").read_bytes()
    assert "--restart" in program.fails(*command)
    assert (copied.run / "model" / "weights.safetensors").read_bytes() == before
    assert program(*command, "--restart").code == 0
    assert len(RunFolder(copied.run).model().members) == 1
    assert not (copied.run / "scorecard.json").exists()


def test_restart_with_bad_data_costs_no_earlier_run(copied, program):
    command = ("fit", DEFAULT, "--data", copied.run / "no.csv", "--out", copied.run, "--restart")
    assert "no such file" in program.fails(*command)
    assert len(RunFolder(copied.run).model().members) == 2


def test_a_run_broken_off_while_clustering_goes_on(copied, program):
    clusters = copied.run / "model" / "clusters.safetensors"
    made = clusters.read_bytes()
    clusters.unlink()
    command = ("fit", DEFAULT, "--data", copied.data, "--out", copied.run, "--members", 2, *TINY)
    assert "finished run" in program.fails(*command, "--set", "model.latent=3")
    answer = program(*command)
    assert answer.code == 0
    assert "trained already" in answer.err
    assert clusters.read_bytes() == made


def test_map_takes_pairs_and_files(example, program, tmp_path):
    data = tmp_path / "own names.csv"
    example.frame.rename({"red": "Röte", "hole": "Bohrung"}).write_csv(data)
    names = tmp_path / "names.yaml"
    names.write_text("red: Röte\ngreen:\n", encoding="utf-8")
    out = tmp_path / "run"
    answer = program(
        *("fit", DEFAULT, "--data", data, "--out", out, *TINY),
        *("--map", names, "--map", "hole=Bohrung", "--map", "blue=-"),
    )
    assert answer.code == 0, answer.err
    schema = RunFolder(out).model().schema
    assert set(schema.numeric_names) == {
        "bulk_density",
        "magnetic_susceptibility",
        "natural_gamma",
        "red",
    }


def test_new_holes_are_scored_with_and_without_the_training_table(copied, program, tmp_path):
    new = tmp_path / "new.parquet"
    copied.part("test").with_columns(hole=pl.lit("new ") + pl.col("hole")).write_parquet(new)
    alone = program("score", copied.run, "--data", new, "--json")
    rows = json.loads(alone.out)["rows"]
    assert {row["method"] for row in rows} == {"vae"}
    kept = pl.read_parquet(copied.run / "held_out.parquet")
    assert set(kept["group"]) == {f"new {name}" for name in copied.split["test"]}
    beside = program("score", copied.run, "--data", new, "--train", copied.data, "--json")
    rows = json.loads(beside.out)["rows"]
    assert {"raw", "autoencoder", "supervised"} <= {row["method"] for row in rows}


def test_compare_pairs_two_runs(copied, example, program):
    answer = program("compare", example.run, copied.run)
    assert answer.code == 0
    assert f"{example.run} vs {copied.run}" in answer.out
    (copied.run / "held_out.parquet").unlink()
    assert "not been scored" in program.fails("compare", example.run, copied.run)


def test_report_is_written_anew(copied, program):
    page = copied.run / "report.html"
    page.write_text("old")
    assert program("report", copied.run).out == f"{page}\n"
    written = page.read_bytes()
    assert written.startswith(b"<!DOCTYPE html>")
    page.unlink()
    program("report", copied.run)
    assert page.read_bytes() == written


def test_doctor_answers_in_sentences_and_json(example, program):
    stored = json.loads(program("doctor", example.run, "--json").out)
    assert stored == json.loads((example.run / "health.json").read_text())
    fresh = json.loads(program("doctor", example.run, "--data", example.data, "--json").out)
    assert fresh["latent"] == stored["latent"] == len(fresh["dimensions"])
    said = program("doctor", example.run).out
    assert f"{stored['active_units']} of {stored['latent']} latent dimensions" in said
    for finding in stored["findings"]:
        text, advice = finding["text"].rstrip("."), (finding.get("advice") or "").rstrip(".")
        assert f"{finding['level']}: {text}." + (f" {advice}." if advice else "") in said


@pytest.mark.parametrize("content", ["[1, 2]", "{}", '{"latent": 3', ""])
def test_doctor_says_that_the_stored_health_is_damaged(copied, program, content):
    (copied.run / "health.json").write_text(content)
    assert "damaged" in program.fails("doctor", copied.run)
    (copied.run / "health.json").unlink()
    assert "not been scored" in program.fails("doctor", copied.run)
