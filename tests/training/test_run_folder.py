"""Run folders: nothing foreign is ever touched, and what is missing is named."""

import json
import os
import platform
import subprocess
import sys
from contextlib import contextmanager

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


# The lock.

HOLDING = """
import sys, time
from pathlib import Path
from variolite.training import RunFolder
with RunFolder(Path(sys.argv[1])).locked(new=True):
    print("held", flush=True)
    time.sleep(600)
"""


@contextmanager
def _holding(run):
    command = [sys.executable, "-c", HOLDING, str(run.path)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout.readline() == "held\n"
        yield process
    finally:
        process.kill()  # A failed test must not wait for it.
        process.communicate()


def test_one_process_at_a_time_writes_a_run_and_a_killed_one_is_no_hindrance(tmp_path):
    run = RunFolder(tmp_path / "runs" / "first")
    with _holding(run) as other:
        told = f"another process is writing this run .process {other.pid} on .*Wait until it is"
        with pytest.raises(RunFolderError, match=told), run.locked(new=True):
            pass
        other.kill()
    # Killed before it wrote anything: the folder is that of a run all the same.
    assert _files(run.path) == {".variolite.lock"}
    with run.locked(new=True):
        run.require_free(restart=False)
        with run.locked(new=True):  # by the same process
            pass
        assert f"process {os.getpid()} on" in run.lock_file.read_text()
    assert not _files(run.path)


def test_a_lock_of_another_host_is_left_to_the_user(tmp_path):
    run = _write(tmp_path, *UNFINISHED, ".variolite.lock")
    run.lock_file.write_text("process 1 on elsewhere")
    told = r"process 1 on elsewhere.*delete .variolite.lock if"
    with pytest.raises(RunFolderError, match=told), run.locked(new=True):
        pass
    run.lock_file.write_text(f"process 1 on {platform.node()}")
    with run.locked(new=True):
        pass
    assert _files(tmp_path) == set(UNFINISHED)


def test_a_lock_leaves_nothing_where_nothing_was_made(tmp_path):
    with pytest.raises(ZeroDivisionError), RunFolder(tmp_path / "a" / "b").locked(new=True):
        raise ZeroDivisionError
    assert not list(tmp_path.iterdir())
    foreign = _write(tmp_path / "foreign", "data.csv")
    for new, message in ((True, "not empty and is not a run"), (False, "no run here")):
        with pytest.raises(RunFolderError, match=message), foreign.locked(new=new):
            pass
    assert _files(foreign.path) == {"data.csv"}


# The manifest.


@pytest.fixture
def sealed(tmp_path):
    run = _write(tmp_path / "run", *FINISHED, *MINE)
    run.seal_fit()
    run.seal_score()
    return run


@pytest.mark.parametrize("name", sorted({*FINISHED} - {"report.html"}))
def test_a_file_that_was_changed_is_named(sealed, name):
    path = sealed.path / name
    assert sealed.whole(path) == path
    path.write_text("other")
    with pytest.raises(RunFolderError, match="is not what the run wrote") as error:
        sealed.whole(path)
    assert error.value.where == str(path)
    with pytest.raises(RunFolderError, match="is not what the run wrote"):
        sealed.read(path, lambda path: path)
    path.unlink()  # what is missing is told elsewhere
    assert sealed.whole(path) == path


def test_a_run_that_lost_its_model_is_neither_used_nor_trained_over(sealed):
    (sealed.model_folder / "model.json").unlink()
    for use in (sealed.require_finished, lambda: sealed.prepare(restart=False)):
        with pytest.raises(RunFolderError, match=r"model/model\.json of this run is missing"):
            use()
    assert (sealed.path / "scorecard.json").is_file()
    sealed.prepare(restart=True)
    assert _files(sealed.path) == set(MINE)


def test_a_changed_manifest_is_named_and_without_one_nothing_is_compared(sealed):
    content = sealed.manifest_file.read_bytes()
    for at in range(len(content)):
        flipped = bytearray(content)
        flipped[at] ^= 4
        sealed.manifest_file.write_bytes(flipped)
        with pytest.raises(RunFolderError, match="this file of the run is damaged") as error:
            sealed.whole(sealed.recipe_file)
        assert error.value.where == str(sealed.manifest_file)
    sealed.manifest_file.unlink()
    sealed.recipe_file.write_text("other")
    sealed.whole(sealed.recipe_file)


def test_a_score_does_not_vouch_for_the_fit_nor_a_new_prior_for_what_is_damaged(sealed):
    sealed.split_file.write_text("other")
    sealed.seal_score()
    with pytest.raises(RunFolderError, match=r"split\.json"):
        sealed.whole(sealed.split_file)
    with pytest.raises(RunFolderError, match=r"split\.json"):
        sealed.unseal_fit()
    sealed.split_file.write_text("split.json")
    sealed.unseal_fit()
    sealed.split_file.write_text("other")
    sealed.whole(sealed.split_file)
    sealed.scorecard_file.write_text("other")
    with pytest.raises(RunFolderError, match=r"scorecard.json.*score"):
        sealed.whole(sealed.scorecard_file)
