"""Many tasks: every one ends as a row, and an interrupted command goes on."""

import time

import pytest

from variolite.errors import DataError
from variolite.frameworks.batch import Journal, rows_of
from variolite.progress import Progress


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
    keys = ["a", "exit 3", "sleep 60", "refuse no metal", "fail x", "b", "a"]
    journal = Journal(tmp_path / "out.csv", {"cycles": 1})
    rows = rows_of(
        carry_out, keys, journal, title="testing", progress=Progress(), workers=2, limit=5.0
    )
    assert rows[0] == rows[6] == {"value": "a"}
    assert "exit code 3" in rows[1]["problem"]
    assert rows[2] == {"problem": "time limit 5 s"}
    assert rows[3] == {"problem": "no metal"}
    assert rows[4] == {"problem": "KeyError: 'x'"}
    assert rows[5] == {"value": "b"}


def test_a_journal_is_read_again_and_goes_at_the_end(tmp_path):
    out = tmp_path / "out.csv"
    Journal(out, {"cycles": 1}).add("a", {"value": "found before"})
    with Journal(out, {"cycles": 1}).path.open("a") as file:
        file.write('{"key": "b", "ro')  # killed while it was written
    journal, progress = Journal(out, {"cycles": 1}), Notes()
    rows = rows_of(carry_out, ["a", "b"], journal, title="testing", progress=progress)
    assert rows == [{"value": "found before"}, {"value": "b"}]
    assert progress.notes == ["resumed: 1 are done, 1 are left"]
    assert Journal(out, {"cycles": 1}).rows == {"a": rows[0], "b": rows[1]}
    with pytest.raises(DataError, match="other settings"):
        Journal(out, {"cycles": 2})
    journal.remove()
    assert not journal.path.exists()
    assert Journal(out, {"cycles": 2}).rows == {}
