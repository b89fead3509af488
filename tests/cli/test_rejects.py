"""One bad structure never stops the others: what is left out, noted, refused, reduced."""

import gzip
from dataclasses import replace
from functools import partial

import numpy as np
import polars as pl
import pytest
from calling import files_of, run_program
from crystal_example import DNG, CrystalExample, options

from variolite.crystals.crystals import Crystal, Crystals
from variolite.crystals.files import (
    load_crystals,
    open_store,
    textbook_crystals,
    write_store,
    write_structures,
)
from variolite.crystals.files.writing import to_cif
from variolite.training import RunFolder


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    folder = tmp_path_factory.mktemp("crystals")
    found = CrystalExample(folder / "textbook.crystals", folder / "run")
    write_store(found.data, textbook_crystals().take(textbook_crystals().counts <= 8))
    run_program("fit", DNG, "--data", found.data, "--out", found.run, *options())
    return found


@pytest.fixture
def mixed(made, tmp_path):
    """Two sound structures, one that contradicts its formula, and one of each kind that is bad."""
    folder = tmp_path / "given"
    write_structures(made.known.take(slice(3, 5)), folder)
    water = to_cif(made.known[3]).replace(
        "_chemical_formula_sum   '", "_chemical_formula_sum   'H4 "
    )
    (folder / "hydrate.cif").write_text(water)
    for symbol in ("U", "Ne"):
        alone = Crystal(np.array([1], np.uint8), np.zeros((1, 3)), 2.8 * np.eye(3), symbol)
        text = to_cif(alone).replace(" H  H0", f" {symbol}  {symbol}0").replace("H1", f"{symbol}1")
        (folder / f"{symbol}.cif").write_text(text)
    (folder / "zz.cif.gz").write_bytes(gzip.compress(water.encode())[:60] + b"\xff" * 60)
    (folder / "zz.csv.gz").write_bytes(gzip.compress(b"cif\n" + water.encode())[:60] + b"\xff" * 60)
    return folder


@pytest.mark.parametrize("command", ["encode", "reconstruct"])
def test_what_the_model_cannot_take_is_left_out_named_and_counted(
    made, program, mixed, tmp_path, command
):
    out = tmp_path / "out.csv"
    answer = program.works(command, made.run, data=mixed, out=out)
    known = sorted([*made.known.names[3:5].tolist(), "hydrate"])
    names = pl.read_csv(out)["name" if command == "encode" else "material_id"].to_list()
    assert sorted(name.replace(" ", "_") for name in names) == [n.replace(" ", "_") for n in known]
    assert "4 of 7 were rejected: not_trained_on 2, unreadable_file 2" in answer.err
    assert "left out: Ne (Ne), U (U)" in answer.err
    rejects = pl.read_csv(tmp_path / "out.rejects.csv").sort("name")
    assert rejects["name"].to_list() == ["Ne", "U", "zz", "zz.csv"]
    notes = pl.read_csv(tmp_path / "out.notes.csv")
    (note,) = notes.filter(pl.col("name") == "hydrate")["note"].to_list()
    assert note.startswith("the sites differ from the formula sum: H 0, not 4")
    # Tables of an earlier attempt go when all is well.
    for bad in ("U.cif", "Ne.cif", "zz.cif.gz", "zz.csv.gz", "hydrate.cif"):
        (mixed / bad).unlink()
    out.unlink()
    program.works(command, made.run, data=mixed, out=out)
    assert {p.name for p in tmp_path.iterdir()} == {"given", "out.csv"}


def test_fit_and_score_list_what_they_leave_out(made, program, mixed, tmp_path):
    write_structures(made.crystals, tmp_path / "all")
    for bad in ("zz.cif.gz", "zz.csv.gz"):
        (tmp_path / "all" / bad).write_bytes((mixed / bad).read_bytes())
    run = tmp_path / "run"
    program.works("fit", DNG, *options(), data=tmp_path / "all", out=run)
    assert len(pl.read_csv(tmp_path / "run.rejects.csv")) == 2
    answer = program.works("score", run, "--no-baselines", data=tmp_path / "all", workers=0)
    assert "2 of" in answer.err
    assert len(pl.read_csv(tmp_path / "run-score.rejects.csv")) == 2


def test_strict_refuses_what_is_rejected_guessed_or_contradicts(made, program, mixed, tmp_path):
    fails = partial(program.fails, "encode", made.run, "--strict", out=tmp_path / "z.csv")
    assert "the model was not trained on" in fails(data=mixed / "U.cif")
    assert "zz.cif.gz: the file cannot be read" in fails(data=mixed)
    for bad in ("zz.cif.gz", "zz.csv.gz"):
        (mixed / bad).unlink()
    assert "the model was not trained on an element: Ne (and 1 more)" in fails(data=mixed)
    assert "differ from the formula sum: H 0, not 4" in fails(data=mixed / "hydrate.cif")
    line = program.fails("crystals", "pack", mixed, "--strict", out=tmp_path / "s.crystals")
    assert "differ from the formula sum: H 0, not 4" in line
    line = program.fails("fit", DNG, *options(), "--strict", data=mixed, out=tmp_path / "run")
    assert "differ from the formula sum" in line
    assert [p.name for p in tmp_path.iterdir() if p.name != "s.notes.csv"] == ["given"]
    for bad in ("Ne.cif", "U.cif", "hydrate.cif"):
        (mixed / bad).unlink()
    program.works("encode", made.run, "--strict", data=mixed, out=tmp_path / "z.csv")


def test_a_store_with_a_crystal_that_has_no_frame(made, program, tmp_path):
    """Whatever wrote the store: its flat cell is one reject."""
    flat = Crystal(np.array([3, 3], np.uint8), np.zeros((2, 3)), np.diag([4, 4, 1e-9]), "flat")
    known = Crystals.concatenate([replace(made.known, properties={}), Crystals.of([flat])])
    write_store(tmp_path / "x.crystals", known)
    for command, out in (("encode", "z.csv"), ("reconstruct", "r.csv")):
        answer = program.works(command, made.run, data=tmp_path / "x.crystals", out=tmp_path / out)
        assert "left out: flat" in answer.err
        assert len(pl.read_csv(tmp_path / out)) == len(known) - 1
    # Alone it is an error.
    write_store(tmp_path / "x.crystals", Crystals.of([flat]))
    line = program.fails("encode", made.run, data=tmp_path / "x.crystals", out=tmp_path / "n.csv")
    assert "x.crystals: lengths or angles of the cell are impossible: it encloses" in line


def test_primitive_cells_give_the_latents_of_any_cell(made, program, tmp_path):
    pytest.importorskip("spglib")
    elements = RunFolder(made.run).model().elements
    both = [textbook_crystals(), textbook_crystals(conventional=True)]
    both = [some.take(slice(0, 40)) for some in both]
    both = [some.take(some.made_of(elements)) for some in both]
    tables = []
    for crystals, name in zip(both, ("small", "large"), strict=True):
        write_store(tmp_path / f"{name}.crystals", crystals)
        encode = partial(program.works, "encode", made.run, data=tmp_path / f"{name}.crystals")
        plain = encode(out=tmp_path / f"{name}.csv")
        larger = int((both[0].counts < both[1].counts).sum())
        note = f"not primitive: {larger} of {len(both[0])} cells"
        assert (note in plain.err) == (name == "large")
        assert ("have more atoms than any crystal" in plain.err) == (name == "large")
        encode("--primitive", out=tmp_path / f"{name}_primitive.csv")
        table = pl.read_csv(tmp_path / f"{name}_primitive.csv")
        assert table["name"].to_list() == crystals.names.tolist()
        tables.append(table.select("^z.*$").to_numpy())
    np.testing.assert_allclose(tables[0], tables[1], atol=1e-4)
    packed = tmp_path / "packed.crystals"
    program.works("crystals", "pack", tmp_path / "large.crystals", "--primitive", out=packed)
    np.testing.assert_array_equal(open_store(packed).counts, both[0].counts)
    out = tmp_path / "out.crystals"
    large = tmp_path / "large.crystals"
    program.works("reconstruct", made.run, "--primitive", data=large, out=out)
    np.testing.assert_array_equal(open_store(out).counts, both[0].counts)


def test_a_run_on_primitive_cells_is_scored_on_them(program, tmp_path):
    """The same structures in other cells are known for those that it was trained on."""
    pytest.importorskip("spglib")
    crystals = textbook_crystals(conventional=True)
    write_store(tmp_path / "x.crystals", crystals)
    run = tmp_path / "run"
    program.works("fit", DNG, *options(), "--primitive", data=tmp_path / "x.crystals", out=run)
    model = RunFolder(run).model()
    assert (model.primitive, model.largest) == (True, 14)
    program.works("score", run, "--no-baselines", data=tmp_path / "x.crystals", workers=0)
    assert set(pl.read_parquet(run / "held_out.parquet")["formula"]) == set(
        RunFolder(run).split().test
    )
    before = files_of(run)
    kept = load_crystals(run / "originals.crystals")
    assert kept.counts.max() <= 14
    line = program.fails("encode", run, "--primitive", "--map", "a=b", data=run, out=run / "z.csv")
    assert "does not go with a run on crystals" in line
    assert files_of(run) == before
