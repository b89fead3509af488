"""Tables as they come: broken, mixed, quoted, compressed."""

from __future__ import annotations

import gzip
from pathlib import Path

import polars as pl
import pytest

from variolite.corelogs import bin_tables, open_table
from variolite.errors import DataError

HEADER = "Exp,Site,Hole,Depth CSF-A (m),Bulk density (GRA),Comments,Principal\n"
ROWS = "318,U1355,A,1.0,1.5,,clay\n318,U1355,A,1.0,1.7,,clay\n"


def save(path: Path, text: str, encoding: str = "utf-8") -> Path:
    path.write_bytes(text.encode(encoding))
    return path


def density(path: Path, **options) -> list[float]:
    return bin_tables([path], **options).table["bulk_density"].to_list()


def test_line_breaks_and_commas_in_quoted_comments_are_no_rows(tmp_path: Path) -> None:
    text = HEADER + (
        '"318","U1355","A",1.0,1.5,"cracked,\nsee ""drawing""\n318,U1,A,9,9,,x",clay\n'
        '"318","U1355","A",1.4,1.7,"",clay\n'
    )
    binned = bin_tables([save(tmp_path / "g.csv", text)])
    assert binned.report.tables[0].rows == 2
    assert binned.table["bulk_density"].to_list() == [1.5, 1.7]


def test_a_text_expedition_below_thousands_of_numbers_is_read(tmp_path: Path) -> None:
    rows = "".join(f"318,U1355,A,{i / 10},1.5,,clay\n" for i in range(3000))
    text = HEADER + rows + "397T,U1588,B,5.0,1.9,,sand\n"
    table = bin_tables([save(tmp_path / "g.csv", text)]).table
    assert table["expedition"].unique().sort().to_list() == ["318", "397T"]


def test_mixed_types_in_columns_that_are_not_used_do_no_harm(tmp_path: Path) -> None:
    header = "Core,Sect,Test No.,Water Depth (mbsl)," + HEADER
    rows = 'x9,CC,abc,"521.86",' + ROWS.splitlines()[0] + "\n1,2,3,4," + ROWS.splitlines()[1]
    assert density(save(tmp_path / "g.csv", header + rows + "\n")) == [1.6]


def test_text_among_the_numbers_is_counted_and_left_out(tmp_path: Path) -> None:
    text = (
        HEADER
        + ROWS
        + (
            "318,U1355,A,1.0,<0.1,,clay\n318,U1355,A,deep,1.5,,clay\n318,U1355,A,1.0,NaN,,clay\n"
            "318,U1355,A,1.0,inf,,clay\n318,U1355,A,2.0, 1.9 ,,clay\n318,U1355,A,2.0,NA,,clay\n"
        )
    )
    binned = bin_tables([save(tmp_path / "g.csv", text)])
    assert binned.table["bulk_density"].to_list() == pytest.approx([1.6, 1.9])
    counts = binned.report.tables[0]
    assert counts.rows == 8
    assert (counts.missing_depth, counts.missing_value, counts.used) == (1, 4, 3)
    assert counts.unreadable == 2
    assert any("2 numbers were text" in line for line in binned.report.lines())


def test_numbers_that_are_no_numbers_are_left_out_on_the_fast_way_too(tmp_path: Path) -> None:
    text = HEADER + ROWS + "318,U1355,A,1.0,NaN,,clay\n318,U1355,A,1.0,inf,,clay\n"
    text += "318,U1355,A,NaN,1.5,,clay\n318,U1355,A,1e300,1.5,,clay\n318,U1355,A,1.0,1.5,,  \n"
    for rule in ("plausible", "none"):
        counts = bin_tables([save(tmp_path / "g.csv", text)], outliers=rule).report.tables[0]
        assert (counts.missing_depth, counts.missing_label, counts.missing_value) == (2, 1, 2)
        assert (counts.used, counts.out_of_range, counts.unreadable) == (2, 0, 0)


def test_blank_labels_are_missing_whichever_table_gives_the_label(tmp_path: Path) -> None:
    gra = save(tmp_path / "g.csv", HEADER + ROWS + "318,U1355,A,1.0,1.8,,   \n")
    ms = tmp_path / "ms.csv"
    ms.write_text(
        HEADER.replace("Bulk density (GRA)", "Magnetic susceptibility (instr. units)")
        + "318,U1355,A,1.0,5,,\n318,U1355,A,1.0,6,,   \n318,U1355,A,1.0,7,,  clay\n"
    )
    binned = bin_tables([gra, ms])
    assert [counts.missing_label for counts in binned.report.tables] == [1, 2]
    assert binned.table["magnetic_susceptibility"].to_list() == [7.0]


def test_a_byte_order_mark_and_windows_line_ends_are_read(tmp_path: Path) -> None:
    text = (HEADER + ROWS).replace("\n", "\r\n")
    assert density(save(tmp_path / "g.csv", text, "utf-8-sig")) == [1.6]


def test_comments_in_another_encoding_do_no_harm(tmp_path: Path) -> None:
    text = HEADER + "318,U1355,A,1.0,1.5,25 °C,clay\n318,U1355,A,1.0,1.7,µ,clay\n"
    assert density(save(tmp_path / "g.csv", text, "latin-1")) == [1.6]


def test_a_compressed_table_is_read(tmp_path: Path) -> None:
    path = tmp_path / "g.csv.gz"
    path.write_bytes(gzip.compress((HEADER + ROWS).encode()))
    assert density(path) == [1.6]


@pytest.mark.parametrize("ending", [".parquet", ".feather"])
def test_binary_tables_are_read_even_with_numbers_as_text(tmp_path: Path, ending: str) -> None:
    frame = pl.read_csv((HEADER + ROWS).encode())
    typed, text = tmp_path / f"typed{ending}", tmp_path / f"text{ending}"
    write = pl.DataFrame.write_parquet if ending == ".parquet" else pl.DataFrame.write_ipc
    write(frame, typed)
    write(frame.cast(pl.String), text)
    assert density(typed) == density(text) == [1.6]


def test_a_table_without_descriptions_gives_bins_without_label(tmp_path: Path) -> None:
    text = HEADER.replace(",Principal", "") + "318,U1355,A,1.0,1.5,\n"
    binned = bin_tables([save(tmp_path / "g.csv", text)])
    assert binned.report.label_source is None
    assert binned.table.select("lithology", "lithology_purity", "lithology_group").row(0) == (
        None,
        None,
        None,
    )
    with pytest.raises(DataError, match="has no column 'Principal'"):
        bin_tables([tmp_path / "g.csv"], label_source="GRA")


@pytest.mark.parametrize(
    ("name", "content", "what"),
    [
        ("g.csv", "", "the file is empty"),
        ("g.csv", HEADER, "a header but no rows"),
        ("g.csv", HEADER + "\n\n", "a header but no rows"),
        ("g.csv", "\n", "no column names"),
        ("g.csv", "just some words\nand more\n", "no instrument table"),
        ("g.csv", HEADER.replace("Comments", "Principal") + ROWS, "stands there 2 times"),
        ("g.csv", HEADER + "318,U1355,A,,1.5,,clay\n", "none of 1 rows"),
        ("g.csv", HEADER + "318,U1355,A,1.0,99,,clay\n", "1 are out of range"),
        ("g.csv", HEADER + "318,U1355,,1.0,1.5,,clay\n", "hole names cannot be read"),
        ("g.csv", HEADER + ROWS + "318,U1355,A,1,1.5,a, b,clay\n", "row 3 has 8 fields"),
        ("g.xlsx", HEADER + ROWS, "cannot read '.xlsx' files"),
        ("g.parquet", "not parquet at all", "the file cannot be read"),
        ("g.feather", "not feather at all", "the file cannot be read"),
        ("g.csv.gz", "not compressed at all", "the file cannot be read"),
    ],
)
def test_bad_files_give_one_clear_error(tmp_path: Path, name: str, content: str, what: str) -> None:
    path = save(tmp_path / name, content)
    with pytest.raises(DataError, match=what) as caught:
        bin_tables([path])
    assert name in str(caught.value)
    assert "\n" not in str(caught.value)
    assert caught.value.hint


def test_a_quotation_mark_that_never_closes_is_an_error(tmp_path: Path) -> None:
    text = HEADER + ROWS * 100 + '318,U1355,A,1.0,1.5,"oops,clay\n' + ROWS * 100
    with pytest.raises(DataError, match="rows cannot be read") as caught:
        bin_tables([save(tmp_path / "g.csv", text)])
    assert "quotation mark" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_missing_file_and_a_folder_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no such file"):
        open_table(tmp_path / "absent.csv")
    with pytest.raises(DataError, match="not a file"):
        open_table(tmp_path)


def test_the_real_table_has_records_over_several_lines(shared_data: Path) -> None:
    path = shared_data / "corelogs" / "lily" / "AVS_DataLITH.csv"
    lines = path.read_text("utf-8").count("\n")
    rows = open_table(path).scan().select(pl.len()).collect().item()
    assert (rows, lines > rows + 1) == (2486, True)
