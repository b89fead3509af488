"""``variolite corelogs striplog``: which wells are drawn, and what is refused."""

import re

import polars as pl
import pytest
from calling import files_of

from page_layout import layout_faults, read_page


def holes(example):
    return example.frame["hole"].unique(maintain_order=True).to_list()


def test_one_hole_as_a_picture(example, program, tmp_path):
    first = holes(example)[0]
    out = tmp_path / "new" / "a.svg"
    answer = program.works(
        "corelogs", "striplog", example.run, "--well", first.lower(), data=example.data, out=out
    )
    assert answer.out == f"{out}\n"
    drawing = read_page(out.read_text("utf-8")).find("svg")[0]
    assert layout_faults(drawing) == []
    texts = {text.own_text() for text in drawing.find("text")}
    assert {first, "natural_gamma", "cps", "depth", "(m)", "lithology", "cluster"} <= texts
    # Counts of readings are no logs, and that is said.
    assert "not drawn: " in answer.err
    assert "bulk_density_count" in answer.err


def test_all_holes_as_pages_or_files(example, program, tmp_path):
    found = holes(example)
    command = ("corelogs", "striplog", example.run)
    program.works(*command, data=example.data, out=tmp_path / "a.pdf")
    assert len(re.findall(rb"/Type /Page\s", (tmp_path / "a.pdf").read_bytes())) == len(found)
    few = example.frame.filter(pl.col("hole").is_in(found[:2]))
    few.write_csv(tmp_path / "few.csv")
    answer = program.works(*command, data=tmp_path / "few.csv", out=tmp_path / "a.svg")
    assert answer.out == f"{tmp_path / 'a'}\n"
    assert {path.stem for path in (tmp_path / "a").glob("*.svg")} == set(found[:2])


def test_depths_are_cut(example, program, tmp_path):
    first = holes(example)[0]
    options = ("--well", first, "--from", 5, "--to", 12.5)
    out = tmp_path / "a.svg"
    command = ("corelogs", "striplog", example.run, *options)
    program.works(*command, data=example.data, out=out)
    drawing = read_page(out.read_text("utf-8")).find("svg")[0]
    texts = {text.own_text() for text in drawing.find("text")}
    assert {"6.0", "8.0", "10.0", "12.0"} <= texts
    assert not {"4.0", "14.0"} & texts


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (("--well", "nonsense"), "--well nonsense: there is no such well"),
        (("--from", 9, "--to", 5), "no depth lies between"),
        (("--from", 1e6), "no row lies between. There are rows from 0 to "),
        (("--map", "depth=-"), "a strip log needs a depth"),
    ],
)
def test_mistakes_leave_nothing_behind(example, program, tmp_path, options, told):
    command = ("corelogs", "striplog", example.run, *options)
    line = program.fails(*command, data=example.data, out=tmp_path / "a.pdf")
    assert told in line
    assert files_of(tmp_path) == {}


def test_endings_folders_and_other_runs(example, made, program, tmp_path):
    command = ("corelogs", "striplog", example.run)
    line = program.fails(*command, data=example.data, out=tmp_path / "a.jpg")
    assert "'.jpg' files cannot be drawn" in line
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "mine.txt").write_text("x")
    line = program.fails(*command, data=example.data, out=tmp_path / "a.svg")
    assert "is there already, and not empty" in line
    line = program.fails(
        "corelogs", "striplog", made.run, data=example.data, out=tmp_path / "b.pdf"
    )
    assert "a run on" in line
    assert [*files_of(tmp_path)] == [tmp_path / "a" / "mine.txt"]
