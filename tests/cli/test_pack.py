"""``variolite crystals pack``: a store, a table of rejects, a summary, and every mistake."""

from functools import partial

import polars as pl
import pytest

from variolite.crystals.crystals import cell_parameters
from variolite.crystals.files.store import open_store
from variolite.crystals.files.textbook import textbook_crystals
from variolite.crystals.files.writing import write_structures


@pytest.fixture
def folder(tmp_path):
    """The textbook as CIF files, one of them spoilt."""
    write_structures(textbook_crystals(), tmp_path / "cifs")
    (tmp_path / "cifs" / "aaa.cif").write_text("garbage")
    return tmp_path / "cifs"


@pytest.fixture
def pack(program):
    return partial(program.works, "crystals", "pack")


def test_packing_a_folder(pack, folder, tmp_path):
    out, rejects = tmp_path / "set.crystals", tmp_path / "set.rejects.csv"
    answer = pack(folder, out=out)
    assert answer.out == f"{out}\n"
    assert len(open_store(out)) == 78
    assert pl.read_csv(rejects)["name", "reason_code"].rows() == [("aaa", "unreadable")]
    for line in (
        "1 of 79 were rejected: unreadable 1",
        "78 structures of 75 formulas",
        "atoms: 1 to 14 per cell",
        "elements: 49 (Li, B, C,",
        f"rejected structures: {rejects}",
    ):
        assert line in answer.err
    # The table goes when all is well again, unless it was asked for.
    (folder / "aaa.cif").unlink()
    pack(folder, out=out)
    assert not rejects.exists()
    rejects.write_text("anything\n")
    pack(folder, out=out, rejects=rejects)
    assert rejects.read_text() == "file,row,name,reason_code,reason\n"


def test_options(pack, folder, tmp_path):
    out, two, table = (tmp_path / name for name in ("set.crystals", "two.crystals", "why.parquet"))
    pack(folder, "--reduce", "--max-atoms", 4, out=out, rejects=table)
    packed = open_store(out)
    assert packed.counts.max() == 4
    assert set(pl.read_parquet(table)["reason_code"]) == {"unreadable", "too_many_atoms"}
    parameters = cell_parameters(packed.lattices)
    assert (parameters[:, 0] <= parameters[:, 2] + 1e-6).all()
    pack(out, out=two)
    assert len(open_store(two)) == len(packed)


def test_too_many_rejects_leave_the_table_and_no_store(program, folder, tmp_path):
    out, rejects = tmp_path / "set.crystals", tmp_path / "set.rejects.csv"
    message = program.fails("crystals", "pack", folder, "--limit-rejected", "0.001", out=out)
    assert "too many structures were rejected, 1 of 79: unreadable 1" in message
    assert not out.exists()
    assert rejects.exists()
    answer = program("crystals", "pack", folder / "aaa.cif", out=out)
    assert answer.code == 2
    assert f"rejected structures: {rejects}" in answer.err
    assert "Correct it, or export it again" in answer.last


def test_mistakes(program, folder, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "nothing").mkdir()
    for data, out, more, message in (
        (folder, "set.csv", (), "Write --out"),
        (folder, "cifs/aaa.cif/a.crystals", (), "is no folder"),
        (folder, "a.crystals", ("--rejects", "a.docx"), "cannot be written"),
        ("cif", "a.crystals", (), "no such file. Did you mean 'cifs'?"),
        ("nothing", "a.crystals", (), "no structures were found"),
    ):
        assert message in program.fails("crystals", "pack", data, *more, out=out)
    assert {p.name for p in tmp_path.iterdir()} == {"cifs", "nothing"}
