"""Many tasks: every one ends as a row, and an interrupted command goes on."""

import time

from variolite.errors import DataError
from variolite.frameworks.batch import rows_of
from variolite.frameworks.journal import Journal
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
    with Journal(tmp_path / "out.csv", {}) as journal:
        rows = rows_of(
            carry_out, keys, journal, title="testing", progress=Progress(), workers=2, limit=5.0
        )
    assert rows[0] == rows[6] == {"value": "a"}
    assert "exit code 3" in rows[1]["problem"]
    assert rows[2] == {"problem": "time limit 5 s"}
    assert rows[3] == {"problem": "no metal"}
    assert rows[4] == {"problem": "KeyError: 'x'"}
    assert rows[5] == {"value": "b"}


def test_only_what_is_left_is_done(tmp_path):
    with Journal(tmp_path / "out.csv", {}) as journal:
        journal.write("a", {"value": "found before"})
    progress = Notes()
    with Journal(tmp_path / "out.csv", {}) as journal:
        rows = rows_of(carry_out, ["a", "b"], journal, title="testing", progress=progress)
    assert rows == [{"value": "found before"}, {"value": "b"}]
    assert progress.notes == ["resumed: 1 are done, 1 are left"]
