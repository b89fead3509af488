"""``fit``, ``score``, ``compare``, ``report`` and ``doctor`` from end to end."""

import json
import subprocess
import sys

import polars as pl
import pytest
from calling import TINY, files_of

from variolite.training import RunFolder

DEFAULT = "corelogs/default"
WEIGHTS = "model/weights.safetensors"


def test_fit_writes_the_whole_run_and_nothing_else(example):
    assert {str(p.relative_to(example.run)) for p in files_of(example.run)} == {
        *("recipe.yaml", "split.json", "history.jsonl", "environment.json", "manifest.json"),
        *("model/model.json", "model/weights.safetensors", "model/clusters.safetensors"),
        "model/errors.json",
        *("scorecard.json", "health.json", "held_out.parquet", "report.html", "clusters.csv"),
    }
    assert len((example.run / "history.jsonl").read_text().splitlines()) == 2
    assert len(RunFolder(example.run).model().members) == 2


def test_score_holds_out_whole_holes(example):
    held_out = pl.read_parquet(example.run / "held_out.parquet")
    assert set(held_out["group"]) == set(example.split["test"])
    assert held_out.height == example.part("test").height
    columns = {"order", "bulk_density", "recon:bulk_density", "cluster", "z0", "z9"}
    assert columns <= set(held_out.columns)
    rows = json.loads((example.run / "scorecard.json").read_text())["rows"]
    methods = {"vae", "raw", "pca_whitened", "autoencoder", "no_network", "supervised"}
    assert methods <= {row["method"] for row in rows if row["task"] == "clustering"}


def test_the_same_seed_gives_the_same_run_and_another_seed_another(example, program, tmp_path):
    def weights(out, *more):
        answer = program("fit", DEFAULT, *TINY, *more, data=example.data, out=out, members=2)
        assert answer.out == f"{out}\n"
        return (out / WEIGHTS).read_bytes()

    original = (example.run / WEIGHTS).read_bytes()
    assert weights(tmp_path / "again") == original
    assert weights(tmp_path / "other", "--seed", 7) != original
    members = json.loads((tmp_path / "other/model/model.json").read_text())["members"]
    assert [member["seed"] for member in members] == [7, 8]


def test_a_finished_run_is_replaced_only_when_asked(copied, program):
    command = ("fit", DEFAULT, "--out", copied.run, *TINY)
    before = files_of(copied.run)
    assert "--restart" in program.fails(*command, data=copied.data)
    # Bad data cost no earlier run either.
    assert "no such file" in program.fails(*command, "--restart", data=copied.run / "no.csv")
    assert files_of(copied.run) == before
    program.works(*command, "--restart", data=copied.data)
    assert len(RunFolder(copied.run).model().members) == 1
    assert not (copied.run / "scorecard.json").exists()


@pytest.mark.parametrize("name", ["clusters.safetensors", "errors.json"])
def test_a_run_broken_off_while_clustering_goes_on(copied, program, name):
    lost = copied.run / "model" / name
    made = lost.read_bytes()
    lost.unlink()
    command = ("fit", DEFAULT, "--data", copied.data, "--out", copied.run, "--members", 2, *TINY)
    assert "finished run" in program.fails(*command, "--set", "model.latent=3")
    assert "trained already" in program.works(*command).err
    assert lost.read_bytes() == made


def test_a_run_killed_in_its_last_steps_is_completed(copied, program):
    before = files_of(copied.run)
    checkpoint = copied.run / "checkpoint" / "state.safetensors"
    checkpoint.parent.mkdir()
    checkpoint.write_text("left")
    sums = json.loads((copied.run / "manifest.json").read_text())["files"]
    (copied.run / "manifest.json").unlink()
    command = ("fit", DEFAULT, "--data", copied.data, "--out", copied.run, "--members", 2, *TINY)
    assert "finished run" in program.fails(*command, "--set", "model.latent=3")
    assert "trained already" in program.works(*command).err
    made = json.loads((copied.run / "manifest.json").read_text())["files"]
    assert made.items() < sums.items()
    by_score = {"scorecard.json", "health.json", "held_out.parquet"}
    assert set(sums) - set(made) == by_score
    before.pop(copied.run / "manifest.json")
    assert before.items() < files_of(copied.run).items()
    assert "finished run" in program.fails(*command)


def test_damage_to_any_file_of_a_run_is_one_line_that_names_it(copied, program, tmp_path):
    out = tmp_path / "z.csv"
    for name in ("model/model.json", WEIGHTS, "model/clusters.safetensors", "manifest.json"):
        path = copied.run / name
        whole = path.read_bytes()
        for at in (9, len(whole) // 2, len(whole) - 9):
            damaged = bytearray(whole)
            damaged[at] ^= 1
            path.write_bytes(damaged)
            assert name in program.fails("cluster", copied.run, data=copied.data, out=out)
        path.write_bytes(whole)
    assert not out.exists()
    program.works("cluster", copied.run, data=copied.data, out=out)


def test_two_at_once(copied, program):
    before = files_of(copied.run)
    fit = ("fit", DEFAULT, "--data", copied.data, "--out", copied.run, "--restart")
    code = f"""
from pathlib import Path
from variolite.training import RunFolder
with RunFolder(Path({str(copied.run)!r})).locked():
    print("held", flush=True)
    input()
"""
    pipes = dict.fromkeys(("stdin", "stdout"), subprocess.PIPE)
    with subprocess.Popen([sys.executable, "-c", code], **pipes, text=True) as other:
        assert other.stdout.readline() == "held\n"
        for command in (fit, ("score", copied.run, "--data", copied.data)):
            told = program.fails(*command)
            assert f"another process is writing this run (process {other.pid} on " in told
        other.communicate("\n")
    assert files_of(copied.run) == before


def test_map_takes_pairs_and_files(example, program, tmp_path):
    data = tmp_path / "own names.csv"
    example.frame.rename({"red": "Röte", "hole": "Bohrung"}).write_csv(data)
    names = tmp_path / "names.yaml"
    names.write_text("red: Röte\ngreen:\n", encoding="utf-8")
    out = tmp_path / "run"
    mapped = ("--map", names, "--map", "hole=Bohrung", "--map", "blue=-")
    program.works("fit", DEFAULT, *TINY, *mapped, data=data, out=out)
    assert set(RunFolder(out).model().schema.numeric_names) == {
        *("bulk_density", "magnetic_susceptibility", "natural_gamma", "red")
    }


def test_new_holes_are_scored_with_and_without_the_training_table(copied, program, tmp_path):
    new = tmp_path / "new.parquet"
    copied.part("test").with_columns(hole=pl.lit("new ") + pl.col("hole")).write_parquet(new)

    def methods(**options):
        rows = json.loads(program("score", copied.run, "--json", data=new, **options).out)["rows"]
        return {row["method"] for row in rows}

    assert methods() == {"vae"}
    kept = pl.read_parquet(copied.run / "held_out.parquet")
    assert set(kept["group"]) == {f"new {name}" for name in copied.split["test"]}
    assert {"raw", "autoencoder", "supervised"} <= methods(train=copied.data)


def test_compare_pairs_two_runs(copied, example, program):
    answer = program.works("compare", example.run, copied.run)
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
    fresh = json.loads(program("doctor", example.run, "--json", data=example.data).out)
    assert fresh["latent"] == stored["latent"] == len(fresh["dimensions"])
    said = program("doctor", example.run).out
    assert f"{stored['active_units']} of {stored['latent']} latent dimensions" in said
    for finding in stored["findings"]:
        text, advice = finding["text"].rstrip("."), (finding.get("advice") or "").rstrip(".")
        assert f"{finding['level']}: {text}." + (f" {advice}." if advice else "") in said


def test_doctor_says_that_the_stored_health_is_damaged(copied, program):
    for content in ("[1, 2]", "{}", '{"latent": 3', ""):
        (copied.run / "health.json").write_text(content)
        assert "damaged" in program.fails("doctor", copied.run)
    (copied.run / "health.json").unlink()
    assert "not been scored" in program.fails("doctor", copied.run)
