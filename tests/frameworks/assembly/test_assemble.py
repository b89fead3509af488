import json

import polars as pl
import pytest
from made_up_units import phenylene, pillared_paddlewheel, pyrazine, zinc_oxide_node
from typer.testing import CliRunner

from variolite.crystals.files.reading import load_crystals
from variolite.errors import DataError, ShortfallError
from variolite.frameworks.assembly import assemble as module
from variolite.frameworks.assembly.assemble import assemble_table, candidates_of
from variolite.frameworks.assembly.unit_library import write_units
from variolite.frameworks.commands import app
from variolite.frameworks.journal import Journal

pytest.importorskip("autografs", reason="nets come with AuToGraFS")

ROWS = {
    "name": ["MOF-5", "pillared", "unknown net", "unknown unit", "layer", "nothing"],
    "net": ["pcu", "dia;pcu", "pcuu", "pcu", "sql", None],
    "nodes": ["node_C6O13Zn4_6X", "node_C4O8Zn2_6X", "node_C6O13Zn4_6X", "node_Q", "node_Q", ""],
    "linker_units": [
        "linker_C6H4_2X",
        "linker_C6H4_2X;linker_C4H4N2_2X",
        "linker_C6H4_2X",
        "linker_C6H4_2X",
        None,
        None,
    ],
    "a": [99.0] * 6,
}


@pytest.fixture
def units(tmp_path):
    path = tmp_path / "units.xyz"
    write_units(path, [zinc_oxide_node(), pillared_paddlewheel(), phenylene(), pyrazine()])
    return path


@pytest.fixture
def table(tmp_path):
    path = tmp_path / "candidates.csv"
    pl.DataFrame(ROWS).write_csv(path)
    return path


def run(table, out, units, **settings):
    return assemble_table(table, out, units=[units], workers=1, **settings)


def test_each_candidate_ends_as_a_cif_or_a_named_failure(table, units, tmp_path):
    result = run(table, tmp_path / "out", units)
    assert result["built"].to_list() == [True, True, False, False, False, False]
    failures = result["failure"].to_list()
    assert failures[:2] == ["", ""]
    assert failures[2] == "no net is called 'pcuu'. Did you mean pcu?"
    assert failures[3].startswith("no building unit is called 'node_Q'. ")
    assert failures[4] == "incompatible: the net sql is a layer"
    assert failures[5] == "no net is given"
    assert result["net_built"][1] == "pcu"  # dia has no vertex with six arms
    assert result["a_requested"].to_list() == [99.0] * 6
    assert result["a"][0] == pytest.approx(12.48, abs=0.1)
    assert result["formula"].to_list()[:3] == ["C24H12O13Zn4", "C20H12N2O8Zn2", None]
    assert result["metals"].to_list()[:3] == ["Zn", "Zn", None]
    # A cube of 12.5 A without its node and linkers along the edges.
    assert 6 < result["largest_cavity_diameter"][0] < 14
    assert 0.6 < result["void_fraction"][0] < 0.9
    crystal = load_crystals(tmp_path / "out" / "MOF-5.cif")[0]
    assert len(crystal) == result["atoms"][0] == 53
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == [
        "MOF-5.cif",
        "assembled.jsonl",
        "candidates.csv",
        "pillared.cif",
        "provenance.json",
        "report.html",
    ]
    made = json.loads((tmp_path / "out" / "provenance.json").read_text())
    assert made["sources"]["node_C6O13Zn4_6X"] == ["MOFFIV"]
    assert made["candidates"]["MOF-5"]["units_built"] == {
        "linker_C6H4_2X": 3,
        "node_C6O13Zn4_6X": 1,
    }
    assert made["candidates"]["layer"]["failure"] == failures[4]


def test_a_run_resumes(table, units, tmp_path):
    out = tmp_path / "out"
    first = run(table, out, units)
    before = (out / "assembled.jsonl").read_text()
    (out / "assembled.jsonl").write_text(before + '["half a li')
    assert run(table, out, units).equals(first)
    assert (out / "assembled.jsonl").read_text() == before
    # What has no CIF any more is made again.
    (out / "MOF-5.cif").unlink()
    assert run(table, out, units)["built"].to_list() == first["built"].to_list()
    assert (out / "MOF-5.cif").exists()
    assert (out / "assembled.jsonl").read_text().count("\n") == before.count("\n") + 1


def test_what_was_assembled_can_be_assembled_again(table, units, tmp_path):
    first = run(table, tmp_path / "one", units)
    again = run(tmp_path / "one" / "candidates.csv", tmp_path / "two", units)
    assert again["a_requested"].to_list() == [99.0] * 6
    assert set(again.columns) == set(first.columns)
    for column in ("name", "net_built", "failure", "a", "void_fraction"):
        assert again[column].to_list() == first[column].to_list()


def test_names_that_cannot_be_names_of_files_are_kept_beside(table, units, tmp_path):
    pl.DataFrame(ROWS).with_columns(name=pl.lit("a/b")).head(2).write_csv(table)
    result = run(table, tmp_path / "out", units)
    assert result["name_requested"].to_list() == ["a/b"] * 2
    assert result["file"].to_list() == ["a_b.cif", "a_b-2.cif"]


def test_a_folder_belongs_to_one_table_and_its_units(table, units, tmp_path):
    out, other = tmp_path / "out", tmp_path / "other.csv"
    run(table, out, units)
    text = (out / "MOF-5.cif").read_text()
    swap = {"MOF-5": "pillared", "pillared": "MOF-5"}
    pl.DataFrame(ROWS).with_columns(pl.col("name").replace(swap)).write_csv(other)
    with pytest.raises(DataError, match="begun with other settings"):
        run(other, out, units)
    with pytest.raises(DataError, match="begun with other settings"):
        run(table, out, units, limit=30.0)
    assert (out / "MOF-5.cif").read_text() == text


def test_the_checks_decide_and_are_tried_again(table, units, tmp_path, monkeypatch):
    seen = []

    def check(crystal):
        seen.append(crystal.name)
        return {"has_lone_molecule": "made up"} if len(seen) < 3 else {}

    monkeypatch.setattr(module, "check_structure", check)
    compatibility = module.Compatibility(module.library_of([units]))
    candidate = candidates_of(pl.DataFrame(ROWS))[0]
    result = module.assemble(candidate, compatibility)
    assert (len(seen), result.first, result.failure) == (3, False, "")
    seen.clear()
    monkeypatch.setattr(module, "ATTEMPTS", 2)
    result = module.assemble(candidate, compatibility)
    assert result.crystal is None
    assert result.failure == "has_lone_molecule: made up"


def test_no_candidate_at_all_is_a_shortfall_that_is_written(units, tmp_path):
    table = tmp_path / "candidates.csv"
    pl.DataFrame({"net": ["sql"], "nodes": ["node_Q"]}).write_csv(table)
    with pytest.raises(ShortfallError, match="none of 1 candidates could be built") as caught:
        run(table, tmp_path / "out", units)
    assert caught.value.written
    assert pl.read_csv(tmp_path / "out" / "candidates.csv")["name"].to_list() == ["candidate-1"]


@pytest.mark.parametrize(
    ("columns", "said"),
    [
        ({"nodes": ["a"]}, "has no column 'net'"),
        ({"net": ["pcu"]}, "has no column 'nodes'"),
    ],
)
def test_a_missing_column_is_named(columns, said):
    with pytest.raises(DataError, match=said):
        candidates_of(pl.DataFrame(columns))


def test_units_with_counts_are_enough():
    cell = json.dumps({"node_A": 1, "linker_B": 3})
    frame = pl.DataFrame({"net": ["pcu", "pcu"], "units": [cell, "no JSON"]})
    first, second = candidates_of(frame)
    assert first.units == ("linker_B", "node_A")
    assert first.counts == {"node_A": 1.0, "linker_B": 3.0}
    assert second.units == ()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "empty"),
        ("net,nodes\n", "no rows"),
        ("a,b\n1,2\n", "has no column 'net'"),
    ],
)
def test_the_command_says_what_is_wrong_with_a_table(tmp_path, text, said):
    table = tmp_path / "t.csv"
    table.write_text(text)
    result = CliRunner().invoke(app, ["assemble", str(table), "--out", str(tmp_path / "out")])
    assert isinstance(result.exception, DataError)
    assert said in str(result.exception)
    assert not (tmp_path / "out").exists()


def test_a_folder_of_other_things_is_left_alone(table, units, tmp_path):
    out = tmp_path / "out"
    out.mkdir()
    (out / "thesis.tex").write_text("")
    with pytest.raises(DataError, match="not an empty folder"):
        run(table, out, units)


def test_a_folder_that_cannot_be_used_is_refused_before_nets_are_read(
    table, units, tmp_path, monkeypatch
):
    monkeypatch.setattr(module, "all_nets", lambda: pytest.fail("nets are read"))
    monkeypatch.setattr(module, "library_of", lambda _: pytest.fail("units are read"))
    with pytest.raises(DataError, match=r"cannot be used \(File exists\)"):
        run(table, table, units)
    with pytest.raises(DataError, match="not an empty folder"):
        run(table, tmp_path, units)
    pytest.importorskip("fcntl", reason="locks files")
    (tmp_path / "out").mkdir()
    with (
        Journal(tmp_path / "out" / module.JOURNAL, {}),
        pytest.raises(DataError, match="another command is writing it"),
    ):
        run(table, tmp_path / "out", units)


def test_units_that_cannot_be_read_make_no_folder(table, tmp_path):
    units = tmp_path / "units.xyz"
    units.write_text("no units")
    with pytest.raises(DataError, match=r"units\.xyz"):
        run(table, tmp_path / "out", units)
    assert not (tmp_path / "out").exists()


def test_without_autografs_one_line_says_how_to_get_it(table, tmp_path, monkeypatch):
    from variolite import optional
    from variolite.frameworks.assembly.nets import all_nets

    # Not from the cache: reading the nets again would cost later tests seconds.
    monkeypatch.setattr(module, "all_nets", all_nets.__wrapped__)
    monkeypatch.setattr(optional, "is_there", lambda module: module != "autografs")
    with pytest.raises(DataError, match=r"pip install 'variolite\[frameworks\]'"):
        assemble_table(table, tmp_path / "out", workers=1)
    assert not (tmp_path / "out").exists()
