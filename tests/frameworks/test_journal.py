"""Journals of unfinished commands: every task ends as a row, and a command resumes."""

import time

import pytest

from variolite.errors import DataError
from variolite.frameworks.journal import Journal
from variolite.progress import Progress


@pytest.mark.parametrize("text", ["", "no JSON\n", '{"format": 0}\n', "[1]\n[2]\n", '{"format": 1'])
def test_what_holds_nothing_is_begun_anew(tmp_path, text):
    out = tmp_path / "journal"
    out.write_text(text)
    with Journal(out, {"limit": 60.0}) as begun:
        assert begun.found == {}
        begun.write("key", {"pores": {"failed": "it did"}})
    with Journal(out, {"limit": 60.0}) as again:
        assert again.found == {"key": {"pores": {"failed": "it did"}}}


def test_what_was_found_with_other_settings_is_neither_taken_nor_lost(tmp_path):
    out = tmp_path / "journal"
    with Journal(out, {"limit": 60.0}) as begun:
        begun.write("key", {"uptake": 1.0})
    with pytest.raises(DataError, match="other settings"), Journal(out, {"limit": 30.0}):
        pass
    with Journal(out, {"limit": 60.0}) as again:
        with again.path.open("a") as file:
            file.write('["half", {"upt')
        assert again.found == {"key": {"uptake": 1.0}}
    with Journal(out, {"limit": 60.0}) as again:
        assert list(again.found) == ["key"]
        again.remove()
    assert not again.path.exists()


def test_a_command_that_found_nothing_leaves_nothing(tmp_path):
    with pytest.raises(DataError, match="too early"), Journal(tmp_path / "journal", {}):
        raise DataError("too early")
    assert not [*tmp_path.iterdir()]


def test_one_damaged_line_costs_itself_only(tmp_path):
    out = tmp_path / "journal"
    with Journal(out, {}) as begun:
        begun.write("first", {"uptake": 1.0})
        begun.write("second", {"uptake": 2.0})
    lines = begun.path.read_bytes().splitlines(keepends=True)
    begun.path.write_bytes(lines[0] + b"\x00\xff\n" + b"[7]\n" + lines[2])
    with Journal(out, {}) as again:
        assert again.found == {"second": {"uptake": 2.0}}
    begun.path.write_bytes(lines[0] + lines[1] + lines[2].replace(b"2.0", b"6.0"))
    with Journal(out, {}) as again:
        assert again.found == {"first": {"uptake": 1.0}}


def test_a_second_command_writing_one_result_is_refused(tmp_path):
    pytest.importorskip("fcntl", reason="locks files")
    out = tmp_path / "journal"
    with Journal(out, {}) as first:
        first.write("key", {"uptake": 1.0})
        with pytest.raises(DataError, match="another command is writing it"), Journal(out, {}):
            pass
    with Journal(out, {}) as later:
        assert list(later.found) == ["key"]


def carry_out(key):
    kind, _, value = key.partition(" ")
    if kind == "sleep":
        time.sleep(float(value))
    if kind == "exit":
        import os

        os._exit(int(value))
    if kind == "refuse":
        raise DataError(value)
    if kind == "fail":
        raise KeyError(value)
    return {"value": key}


class Notes(Progress):
    def __init__(self):
        self.notes = []

    def note(self, text):
        self.notes.append(text)


def test_every_key_has_a_row_in_order(tmp_path):
    keys = ["a", "exit 3", "sleep 60", "refuse no metal", "fail x", "b"]
    with Journal(tmp_path / "journal", {}) as journal:
        tasks = {key: (key,) for key in keys}
        rows = journal.rows(
            carry_out, tasks, title="testing", progress=Progress(), workers=2, limit=5.0
        )
    assert list(rows) == keys
    assert rows["a"] == {"value": "a"}
    assert "exit code 3" in rows["exit 3"]["problem"]
    assert rows["sleep 60"] == {"problem": "time limit 5 s"}
    assert rows["refuse no metal"] == {"problem": "no metal"}
    assert rows["fail x"] == {"problem": "KeyError: 'x'"}
    assert rows["b"] == {"value": "b"}


def test_only_what_is_left_is_done(tmp_path):
    with Journal(tmp_path / "journal", {}) as journal:
        journal.write("a", {"value": "found before"})
    progress = Notes()
    with Journal(tmp_path / "journal", {}) as journal:
        tasks = {key: (key,) for key in "ab"}
        rows = journal.rows(carry_out, tasks, title="testing", progress=progress, workers=1)
    assert rows == {"a": {"value": "found before"}, "b": {"value": "b"}}
    assert progress.notes == ["resumed: 1 of 2 are done"]
