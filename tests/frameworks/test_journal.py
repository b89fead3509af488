"""Journals of unfinished commands."""

import pytest

from variolite.errors import DataError
from variolite.frameworks.journal import Journal


@pytest.mark.parametrize("text", ["", "no JSON\n", '{"format": 0}\n', "[1]\n[2]\n", '{"format": 1'])
def test_what_holds_nothing_is_begun_anew(tmp_path, text):
    out = tmp_path / "out.csv"
    (tmp_path / "out.csv.unfinished").write_text(text)
    with Journal(out, {"limit": 60.0}) as begun:
        assert begun.found == {}
        begun.write("key", {"pores": {"failed": "it did"}})
    with Journal(out, {"limit": 60.0}) as again:
        assert again.found == {"key": {"pores": {"failed": "it did"}}}


def test_what_was_found_with_other_settings_is_neither_taken_nor_lost(tmp_path):
    out = tmp_path / "out.csv"
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


def test_one_damaged_line_costs_itself_only(tmp_path):
    out = tmp_path / "out.csv"
    with Journal(out, {}) as begun:
        begun.write("first", {"uptake": 1.0})
        begun.write("second", {"uptake": 2.0})
    lines = begun.path.read_bytes().splitlines(keepends=True)
    begun.path.write_bytes(lines[0] + b"\x00\xff\n" + b"[7]\n" + lines[2])
    with Journal(out, {}) as again:
        assert again.found == {"second": {"uptake": 2.0}}


def test_two_commands_at_one_result_are_told_apart(tmp_path):
    pytest.importorskip("fcntl", reason="locks files")
    out = tmp_path / "out.csv"
    with Journal(out, {}) as first:
        first.write("key", {"uptake": 1.0})
        with pytest.raises(DataError, match="another command is writing it"), Journal(out, {}):
            pass
    with Journal(out, {}) as later:
        assert list(later.found) == ["key"]
