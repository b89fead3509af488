"""``variolite crystals pack``: a store, a table of rejects, a summary, and every mistake."""

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


def test_packing_a_folder(program, folder, tmp_path):
    out = tmp_path / "set.crystals"
    answer = program("crystals", "pack", folder, "--out", out)
    assert answer.code == 0
    assert answer.out == f"{out}\n"
    assert len(open_store(out)) == 78
    rejects = pl.read_csv(tmp_path / "set.rejects.csv")
    assert rejects.select("name", "reason_code").rows() == [("aaa", "unreadable")]
    for line in (
        "1 of 79 were rejected: unreadable 1",
        "78 structures of 75 formulas",
        "atoms: 1 to 14 per cell",
        "elements: 49 (Li, B, C,",
        f"rejected structures: {tmp_path / 'set.rejects.csv'}",
    ):
        assert line in answer.err
    # The table goes when all is well again.
    (folder / "aaa.cif").unlink()
    assert program("crystals", "pack", folder, "--out", out).code == 0
    assert not (tmp_path / "set.rejects.csv").exists()


def test_options(program, folder, tmp_path):
    out, table = tmp_path / "set.crystals", tmp_path / "why.parquet"
    answer = program(
        *("crystals", "pack", folder, "--out", out, "--reduce"),
        *("--rejects", table, "--max-atoms", 4),
    )
    assert answer.code == 0
    packed = open_store(out)
    assert packed.counts.max() == 4
    assert set(pl.read_parquet(table)["reason_code"]) == {"unreadable", "too_many_atoms"}
    parameters = cell_parameters(packed.lattices)
    assert (parameters[:, 0] <= parameters[:, 2] + 1e-6).all()
    again = program("crystals", "pack", out, "--out", tmp_path / "two.crystals")
    assert again.code == 0
    assert len(open_store(tmp_path / "two.crystals")) == len(packed)


def test_too_many_rejects_leave_the_table_and_no_store(program, folder, tmp_path):
    out = tmp_path / "set.crystals"
    message = program.fails(
        *("crystals", "pack", folder, "--out", out, "--limit-rejected", "0.001")
    )
    assert "too many structures were rejected, 1 of 79: unreadable 1" in message
    assert not out.exists()
    assert (tmp_path / "set.rejects.csv").exists()
    answer = program("crystals", "pack", folder / "aaa.cif", "--out", out)
    assert answer.code == 2
    assert f"rejected structures: {tmp_path / 'set.rejects.csv'}" in answer.err
    assert "Correct it, or export it again" in answer.last


def test_mistakes(program, folder, tmp_path):
    pack = ("crystals", "pack", folder)
    assert "Write --out" in program.fails(*pack, "--out", tmp_path / "set.csv")
    assert "folder does not exist" in program.fails(*pack, "--out", tmp_path / "no" / "a.crystals")
    assert "cannot be written" in program.fails(
        *pack, "--out", tmp_path / "a.crystals", "--rejects", tmp_path / "a.docx"
    )
    missing = program.fails("crystals", "pack", tmp_path / "cif", "--out", tmp_path / "a.crystals")
    assert "no such file" in missing
    assert "Did you mean 'cifs'?" in missing
    (tmp_path / "nothing").mkdir()
    empty = program.fails(
        "crystals", "pack", tmp_path / "nothing", "--out", tmp_path / "a.crystals"
    )
    assert "no structures were found" in empty
    assert not (tmp_path / "a.crystals").exists()
