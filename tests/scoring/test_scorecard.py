"""The scorecard file and its table."""

import json
from dataclasses import replace

import numpy as np
import pytest

from variolite.errors import DataError, RunFolderError
from variolite.scoring.intervals import Interval
from variolite.scoring.scorecard import (
    Scorecard,
    ScoreKey,
    caution_of,
    format_scorecard,
    format_value,
)

NAN = float("nan")
KEY = ScoreKey("clustering", "vae", "test", "kmeans", "inductive", "group", 9, "fixed")
ROW = KEY.row("ari", Interval(0.2119, 0.185, 0.24), 20, 4)
FILE = json.loads(Scorecard((ROW,)).to_json())
ENTRY = FILE["rows"][0]


def test_file_and_back(tmp_path):
    card = Scorecard((ROW, replace(ROW, metric="ami", low=NAN, high=NAN)), ("θ: a note",))
    card.write(tmp_path / "scorecard.json")
    body = json.loads((tmp_path / "scorecard.json").read_text(encoding="utf-8"))
    assert body["format"] == 1
    assert body["rows"][1]["low"] is None
    entries = "task method split algorithm fit level k rule feature unit rows clusters"
    values = "metric mean low high n_groups seeds"
    assert list(body["rows"][0]) == [*entries.split(), *values.split()]
    again = Scorecard.read(tmp_path / "scorecard.json")
    assert (again.rows[0], again.notes) == (ROW, card.notes)
    assert np.isnan(again.rows[1].low)
    assert [path.name for path in tmp_path.iterdir()] == ["scorecard.json"]
    whole = json.dumps(FILE | {"rows": [ENTRY | {"mean": 1}]})
    assert Scorecard.from_json(whole).rows[0].mean == 1.0


def test_older_cards_without_rows_and_clusters_are_read_and_new_rows_say_what_they_are():
    old = {name: value for name, value in ENTRY.items() if name not in ("rows", "clusters")}
    assert Scorecard.from_json(json.dumps(FILE | {"rows": [old]})).rows == (ROW,)
    kept = replace(ROW, rows="complete", clusters="kept", rule="silhouette")
    text = format_scorecard(Scorecard((kept, replace(kept, clusters="refitted", rule="fixed"))))
    assert "clustering of complete rows (20 held-out groups" in text
    lines = text.splitlines()[2:]
    assert ["9 by silhouette, kept" in line for line in lines] == [True, False]
    text = format_scorecard(Scorecard((kept, replace(kept, rows="with gaps"))))
    assert [line.split("kept")[1].split("  ")[1] for line in text.splitlines()[2:]] == [
        "complete",
        "with gaps",
    ]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"format": 2}, "has format 2, this version reads 1"),
        ({"format": None}, "no format number"),
        ({"rows": None}, "rows: Input should be"),
        ({"rows": [3]}, "rows.0: Input should be"),
        ({"rows": [{"task": "clustering"}]}, r"rows\.0\.method: Field required"),
        ({"rows": [ENTRY | {"extra": 1}]}, r"rows\.0\.extra: "),
        ({"rows": [ENTRY | {"n_groups": "many"}]}, r"rows\.0\.n_groups: .*valid integer"),
        ({"rows": [ENTRY | {"mean": "high"}]}, r"rows\.0\.mean: .*valid number"),
        ({"rows": [ENTRY | {"task": "cluster"}]}, r"rows\.0\.task: .*match.*clustering"),
        ({"rows": [ENTRY | {"rule": "best"}]}, r"rows\.0\.rule: "),
        ({"rows": [ENTRY | {"fit": "both"}]}, r"rows\.0\.fit: "),
    ],
)
def test_foreign_or_damaged_files_are_refused(change, words):
    with pytest.raises(RunFolderError, match=words):
        Scorecard.from_json(json.dumps(FILE | change))


def test_text_that_is_no_card(tmp_path):
    for text in ("{", "[]", '"x"'):
        with pytest.raises(RunFolderError):
            Scorecard.from_json(text)
    with pytest.raises(RunFolderError, match="cannot be read"):
        Scorecard.read(tmp_path / "absent.json")


def test_merge_keeps_rows_and_distinct_notes_and_select_finds_them():
    first, second = Scorecard((ROW,), ("a", "b")), Scorecard((replace(ROW, k=4),), ("b", "c"))
    merged = first.merge(second)
    assert [row.k for row in merged.rows] == [9, 4]
    assert merged.notes == ("a", "b", "c")
    assert merged.select(k=4, metric="ari") == (replace(ROW, k=4),)
    with pytest.raises(DataError, match="no entry 'ks'"):
        merged.select(ks=4)


def test_an_interval_never_leaves_the_range_of_its_metric():
    wide = Interval(0.9, -2.0, 2.0)
    for metric, limits in {"ari": (-1.0, 1.0), "purity": (0.0, 1.0), "rmse": (0.0, 2.0)}.items():
        row = KEY.row(metric, wide, 20, 4)
        assert (row.low, row.high) == limits
    assert replace(KEY, task="paired").row("ari", wide, 20, 4).low == -2.0


def test_table_has_a_line_per_thing_and_a_column_per_metric():
    key = ScoreKey("reconstruction", "vae", "test", feature="bulk_density", unit="g/cm3")
    rows = (
        ROW,
        replace(ROW, metric="ami", mean=0.3, low=0.2, high=0.4),
        replace(ROW, method="pca_whitened", k=6, rule="silhouette", mean=-0.01),
        key.row("rmse", Interval(0.051, 0.04, 0.06), 20, 4),
    )
    text = format_scorecard(Scorecard(rows, ("one note",)))
    lines = text.splitlines()
    assert lines[0] == "clustering (20 held-out groups, 4 seeds; intervals over both)"
    assert lines[1].split() == ["method", "algorithm", "level", "k", "ari", "ami"]
    assert "0.212 [0.185, 0.240]" in lines[2]
    assert "0.300 [0.200, 0.400]" in lines[2]
    assert "6 by silhouette" in lines[3]
    assert "bulk_density (g/cm3)" in text
    assert lines[-1] == "  one note"
    assert len({line.index("kmeans") for line in lines[2:4]}) == 1


def test_few_groups_give_a_caution():
    text = format_scorecard(Scorecard((replace(ROW, n_groups=5),)))
    assert text.endswith(f"\n\n{caution_of(5)}")
    assert caution_of(5).startswith("Only 5 held-out groups: intervals over so few are rough.")
    assert "Only 1 held-out group:" in caution_of(1)
    assert "Only" not in format_scorecard(Scorecard((replace(ROW, n_groups=6),)))


def test_table_shows_p_beside_differences_and_falls_back_to_what_there_is():
    paired = replace(ROW, task="paired", method="vae vs raw")
    p = replace(paired, metric="ari_p", mean=0.03, low=NAN, high=NAN)
    text = format_scorecard(Scorecard((paired, p)))
    assert "ari_p" in text
    assert "0.030" in text
    alone = Scorecard((replace(ROW, metric="silhouette", level=None),))
    assert "silhouette" in format_scorecard(alone)
    assert format_scorecard(Scorecard()) == ""


@pytest.mark.parametrize(
    ("values", "text"),
    [
        ((0.1234, 0.1, 0.2), "0.123 [0.100, 0.200]"),
        ((12.345, 11.0, 14.0), "12.35 [11.00, 14.00]"),
        ((1234.5, 1000.0, 2000.0), "1234.5 [1000.0, 2000.0]"),
        ((0.5, NAN, NAN), "0.500"),
        ((NAN, 0.0, 1.0), "-"),
    ],
)
def test_values_with_intervals(values, text):
    assert format_value(*values) == text
