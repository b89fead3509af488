from __future__ import annotations

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from variolite.corelogs import canonical_holes, holes_from_columns, holes_from_text
from variolite.corelogs.holes import find_hole_columns
from variolite.errors import DataError

expeditions = st.from_regex(r"\A[1-9][0-9]{2}[A-Z]{0,2}\Z")
sites = st.from_regex(r"\A[A-Z]{0,2}[0-9]{1,5}\Z")
letters = st.from_regex(r"\A[A-Z]\Z")


def read(text: str) -> tuple[str, ...]:
    return holes_from_text(pl.Series([text])).row(0)


@pytest.mark.parametrize(
    "text",
    ["318-U1355A", "318-U1355-A", "318_U1355_A", "318 U1355 A", "318-u1355a", " 318-U1355A "],
)
def test_every_spelling_of_a_hole_is_the_same_hole(text: str) -> None:
    assert read(text) == ("318-U1355A", "318", "U1355", "A")


@pytest.mark.parametrize(
    ("text", "expedition", "site"),
    [
        ("397T-U1588B", "397T", "U1588"),
        ("368X_U1503_B", "368X", "U1503"),
        ("207-1257B", "207", "1257"),
        ("348-C0002-B", "348", "C0002"),
    ],
)
def test_unusual_expeditions_and_sites_are_read(text: str, expedition: str, site: str) -> None:
    assert read(text)[1:] == (expedition, site, "B")


@given(expeditions, sites, letters)
def test_all_formats_agree(expedition: str, site: str, letter: str) -> None:
    spellings = [
        f"{expedition}-{site}{letter}",
        f"{expedition}-{site}-{letter}",
        f"{expedition}_{site}_{letter}",
    ]
    from_text = holes_from_text(pl.Series(spellings))
    from_columns = holes_from_columns(
        pl.Series([expedition]), pl.Series([site]), pl.Series([letter])
    )
    assert from_text["hole"].n_unique() == 1
    assert from_text.row(0) == from_columns.row(0)
    assert from_text.row(0)[1:] == (expedition, site, letter)
    assert read(from_text["hole"][0])[1:] == (expedition, site, letter)


@given(st.lists(st.tuples(expeditions, sites, letters), min_size=2, unique=True))
def test_different_holes_stay_different(holes: list[tuple[str, str, str]]) -> None:
    columns = (pl.Series(list(part)) for part in zip(*holes, strict=True))
    assert holes_from_columns(*columns)["hole"].n_unique() == len(holes)


@pytest.mark.parametrize("expedition", [318, 318.0, "318", " 318 ", "318.0"])
def test_an_expedition_read_as_a_number_is_the_same_expedition(expedition: object) -> None:
    frame = pl.DataFrame({"Exp": [expedition], "Site": ["U1355"], "Hole": ["A"]})
    assert canonical_holes(frame)["hole"].to_list() == ["318-U1355A"]


def test_numeric_and_text_expeditions_of_two_tables_match() -> None:
    numeric = pl.DataFrame({"Exp": [318, 397], "Site": ["U1355", "U1588"], "Hole": ["A", "B"]})
    text = pl.DataFrame({"Borehole_ID": ["397T-U1588-B", "318_U1355_A"]})
    common = set(canonical_holes(numeric)["hole"]) & set(canonical_holes(text)["hole"])
    assert common == {"318-U1355A"}


def test_a_column_that_holds_whole_names_is_found() -> None:
    frame = pl.DataFrame({"borehole_id": ["354-U1455-C"], "depth": [1.0]})
    assert canonical_holes(frame).row(0) == ("354-U1455C", "354", "U1455", "C")
    assert find_hole_columns(["Hole", "depth"]) == ("Hole",)
    assert find_hole_columns(["Exp", "Site", "Hole"]) == ("Exp", "Site", "Hole")


def test_whole_names_in_the_hole_column_of_three_are_read() -> None:
    frame = pl.DataFrame({"Exp": ["318"], "Site": ["U1355"], "Hole": ["318-U1355A"]})
    assert canonical_holes(frame)["hole"].to_list() == ["318-U1355A"]


@pytest.mark.parametrize("text", ["", "hello", "318-U1355", "U1355A", "318-U1355A-1H", None])
def test_what_is_no_hole_is_refused_and_shown(text: str | None) -> None:
    with pytest.raises(DataError, match="cannot be read") as caught:
        holes_from_text(pl.Series("hole", ["318-U1355A", text], dtype=pl.String))
    assert "1 hole names" in str(caught.value)
    assert (repr(text) if text is not None else "(missing)") in str(caught.value)


def test_a_missing_part_is_refused_and_shown() -> None:
    frame = pl.DataFrame({"Exp": ["318", None], "Site": ["U1355"] * 2, "Hole": ["A", "*"]})
    with pytest.raises(DataError, match=r"\(missing\) \| U1355 \| \*"):
        canonical_holes(frame)


def test_a_table_without_a_hole_names_the_nearest_column() -> None:
    with pytest.raises(DataError, match=r"no column Exp; the nearest column is 'Expt'"):
        find_hole_columns(["Expt", "Site", "Hole"])


def test_a_hole_letter_alone_is_not_taken_for_a_hole_name() -> None:
    with pytest.raises(DataError, match="no column Exp"):
        find_hole_columns(["Site", "Hole"])


def test_an_empty_column_gives_an_empty_table() -> None:
    assert holes_from_text(pl.Series("hole", [], dtype=pl.String)).height == 0


def test_the_three_formats_of_the_published_tables_name_the_same_holes(shared_data) -> None:
    folder = shared_data / "corelogs" / "lily"
    total = pl.read_csv(folder / "borehole_total_depths.csv")  # 318_U1355_A
    cover = pl.read_csv(folder / "borehole_coverage_summary.csv")  # 354-U1455-C
    in_total = canonical_holes(total)["hole"]
    in_cover = canonical_holes(cover)["hole"]
    assert in_cover.n_unique() == 296
    assert in_cover.is_in(in_total.to_list()).mean() > 0.99
    # As written, not one of them matches.
    assert not cover["borehole_id"].is_in(total["Borehole_ID"].to_list()).any()
