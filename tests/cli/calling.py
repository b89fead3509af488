"""Calling the program within the process of the tests, and the run that they share."""

import json
from dataclasses import dataclass
from pathlib import Path

import polars as pl
import pytest

from variolite.cli import main

TINY = ("--set", "training.epochs=2", "--set", "training.beta.epochs=1")
TINY += ("--set", "clustering.k=[3, 4]", "--set", "training.batch_size=128")


def run_program(*arguments):
    """Call the program for a fixture; it has to end well."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("sys.argv", ["variolite", *map(str, arguments)])
        with pytest.raises(SystemExit) as end:
            main()
    assert not end.value.code


def files_of(folder):
    """Every file below a folder with its content: nothing may change where a command fails."""
    return {p: p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def halve(path):
    content = path.read_bytes()
    # Within a line: YAML that ends with one is whole, whatever is missing after it.
    end = content.find(b": ", len(content) // 2)
    path.write_bytes(content[: end if end > 0 else len(content) // 2])


@dataclass(frozen=True)
class Answer:
    """What a call of the program gave."""

    code: int
    out: str
    err: str

    @property
    def last(self):
        """The last line on stderr: an error is one line, after what went well before it."""
        return self.err.splitlines()[-1] if self.err else ""


class Program:
    """The program within this process, as a shell would call it; keywords are options."""

    def __init__(self, monkeypatch, capsys):
        self.monkeypatch, self.capsys = monkeypatch, capsys

    def __call__(self, *arguments, **options):
        for name, value in options.items():
            arguments += (f"--{name}", value)
        self.monkeypatch.setattr("sys.argv", ["variolite", *map(str, arguments)])
        self.monkeypatch.setattr("warnings.showwarning", lambda *_: None)
        self.capsys.readouterr()
        with pytest.raises(SystemExit) as end:
            main()
        out, err = self.capsys.readouterr()
        code = end.value.code
        return Answer(code if isinstance(code, int) else 0, out, err)

    def works(self, *arguments, **options):
        """Call what has to end well."""
        answer = self(*arguments, **options)
        assert answer.code == 0, answer.err
        return answer

    def fails(self, *arguments, **options):
        """Call with a mistake in it; return the one line that says so."""
        answer = self(*arguments, **options)
        assert answer.code == 2, answer.err
        assert "Traceback" not in answer.err
        assert answer.out == ""
        assert answer.last.startswith("variolite: ")
        assert answer.err.count("variolite: ") == 1
        return answer.last


@dataclass(frozen=True)
class Example:
    """A simulated table, and a run of two members trained and scored on it."""

    instruments: Path
    data: Path
    run: Path

    @property
    def frame(self):
        return pl.read_parquet(self.data)

    @property
    def split(self):
        return json.loads((self.run / "split.json").read_text())

    def part(self, name):
        """Rows of one part of the split."""
        return self.frame.filter(pl.col("hole").is_in(self.split[name]))
