"""Run folders: nothing foreign is ever touched, and what is missing is named."""

import json

import pytest

from variolite.errors import RunFolderError
from variolite.records import Split
from variolite.training import RunFolder
from variolite.training.run import environment


def _files(folder):
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


def _write(folder, *names):
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(name, encoding="utf-8")
    return RunFolder(folder)


FINISHED = ["recipe.yaml", "split.json", "history.jsonl", "environment.json", "scorecard.json"]
FINISHED += ["health.json", "held_out.parquet", "report.html", "model/model.json"]
FINISHED += ["model/weights.safetensors", "model/clusters.safetensors"]
UNFINISHED = ("recipe.yaml", "split.json", "checkpoint/state.safetensors")
MINE = ("notes.txt", "exports/latents.csv")


@pytest.mark.parametrize("restart", [False, True])
def test_a_new_folder_is_made_with_its_parents(tmp_path, restart):
    run = RunFolder(tmp_path / "runs" / "first")
    run.require_free(restart=restart)
    assert not run.path.exists()
    for _ in range(2):
        run.prepare(restart=restart)
        assert run.path.is_dir()
        assert not _files(run.path)


def test_a_finished_run_is_replaced_only_when_asked_and_an_unfinished_one_resumed(tmp_path):
    run = _write(tmp_path, *FINISHED, *MINE)
    assert run.finished
    with pytest.raises(RunFolderError, match=r"finished run is here already.*--restart"):
        run.prepare(restart=False)
    run.require_free(restart=True)
    assert _files(tmp_path) == {*FINISHED, *MINE}
    run.prepare(restart=True)
    assert _files(tmp_path) == set(MINE)
    assert not run.finished
    # An unfinished one is resumed, or begins again.
    run = _write(tmp_path, *UNFINISHED, *MINE)
    run.prepare(restart=False)
    assert _files(tmp_path) == {*UNFINISHED, *MINE}
    run.prepare(restart=True)
    assert _files(tmp_path) == set(MINE)


@pytest.mark.parametrize("foreign", [("data.csv",), ("recipe.yaml", "data.csv"), ("model/a.pt",)])
def test_a_foreign_folder_is_never_touched(tmp_path, foreign):
    run = _write(tmp_path, *foreign)
    for restart in (False, True):
        with pytest.raises(RunFolderError, match="not empty and is not a run"):
            run.prepare(restart=restart)
        assert _files(tmp_path) == set(foreign)


def test_what_is_missing_and_a_file_in_the_way_are_named(tmp_path):
    _write(tmp_path / "other", "taken")
    for path in (tmp_path / "other/taken", tmp_path / "other/taken/below"):
        with pytest.raises(RunFolderError, match=r"this is a file|cannot write here"):
            RunFolder(path).prepare(restart=False)
    with pytest.raises(RunFolderError, match="there is no run here"):
        RunFolder(tmp_path / "nowhere").model()
    with pytest.raises(RunFolderError, match=r"this run is not finished.*to resume it"):
        _write(tmp_path, *UNFINISHED).recipe()


def test_json_parts_come_back_and_damage_is_named(tmp_path):
    run = RunFolder(tmp_path)
    split = Split(train=("a",), validation=("b",), test=("c",), seed=3)
    run.write_json(run.split_file, split.to_dict())
    assert run.split() == split
    for content in (b"{", b"\xff", b"{}", b"[]"):
        run.split_file.write_bytes(content)
        with pytest.raises(RunFolderError, match=r"split\.json"):
            run.split()
    run.split_file.unlink()
    with pytest.raises(RunFolderError, match="a part of the run is missing"):
        run.split()


def test_the_environment_is_json_and_holds_no_path():
    facts = json.loads(json.dumps(environment("cpu")))
    assert {"variolite", "python", "torch", "numpy", "platform", "device", "command"} <= set(facts)
    assert not facts["command"].startswith("/")
