"""Files and folders appear whole or not at all, and what killed processes left is removed."""

import os
import subprocess
import sys

import pytest

from variolite.atomic import placed

WAITING = """
import sys, time
from pathlib import Path
from variolite.atomic import placed
path, folder = Path(sys.argv[1]), sys.argv[2] == "folder"
with placed(path, folder=folder) as (temporary, _):
    if folder:
        (temporary / "a").write_text("half")
    print(temporary, flush=True)
    time.sleep(600)
"""


def _put(path, folder):
    with placed(path, folder=folder) as (temporary, descriptor):
        if folder:
            (temporary / "a").write_text("new")
        else:
            os.write(descriptor, b"new")


def _content(path):
    return {p.name: p.read_text() for p in ([path] if path.is_file() else path.iterdir())}


@pytest.fixture(params=["file", "folder"])
def kind(request):
    return request.param


def test_of_two_that_write_at_once_neither_disturbs_the_other_and_the_dead_are_cleared(
    tmp_path, kind
):
    path = tmp_path / "out [1].csv"  # a name with the signs of patterns
    mine = tmp_path / f".{path.name}.{'0' * 16}.txt"
    mine.write_text("a file of the user")
    command = [sys.executable, "-c", WAITING, str(path), kind]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as other:
        temporary = other.stdout.readline().strip()
        _put(path, kind == "folder")
        assert sorted(map(str, tmp_path.iterdir())) == sorted([temporary, str(path), str(mine)])
        other.kill()
    assert str(tmp_path) in temporary
    if kind == "folder":
        (path / "a").unlink()
    _put(path, kind == "folder")
    assert sorted(tmp_path.iterdir()) == sorted([path, mine])
    assert set(_content(path).values()) == {"new"}


def test_an_error_leaves_what_was_there(tmp_path, kind):
    path, folder = tmp_path / "out", kind == "folder"
    _put(path, folder)
    with pytest.raises(ZeroDivisionError), placed(path, folder=folder):
        raise ZeroDivisionError
    assert list(tmp_path.iterdir()) == [path]
    assert set(_content(path).values()) == {"new"}


def test_names_cannot_be_guessed_and_a_new_file_has_the_usual_rights(tmp_path):
    path = tmp_path / "out"
    names = set()
    for _ in range(5):
        with placed(path) as (temporary, _):
            names.add(temporary.name)
    assert len(names) == 5
    plain = tmp_path / "plain"
    plain.touch()
    assert path.stat().st_mode == plain.stat().st_mode
