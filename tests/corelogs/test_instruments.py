"""Instrument tables are recognised by their columns, and read as they come."""

import gzip
import re
from pathlib import Path

import polars as pl
import pytest

from variolite.corelogs import INSTRUMENTS, bin_tables, open_table
from variolite.corelogs.instruments import recognise
from variolite.errors import DataError

PATH = Path("table.csv")
HOLE = ["Exp", "Site", "Hole", "Core", "Type", "Sect", "A/W", "Offset (cm)"]
DEPTH = ["Depth CSF-A (m)", "Depth CSF-B (m)"]
SUSCEPTIBILITY = [*HOLE, *DEPTH, "Magnetic susceptibility (instr. units)"]
COLOURS = "Reflectance L*|Reflectance a*|Reflectance b*|Tristimulus X"
SAMPLES = "Moisture wet (wt%)|Bulk density (g/cm³)|Grain density (g/cm^3)"


@pytest.mark.parametrize(
    ("code", "columns", "channels"),
    [
        ("GRA", "Bulk density (GRA)", "bulk_density"),
        ("GRA", "bulk density (gra)  (g/cm³)", "bulk_density"),
        ("NGR", "NGR total counts (cps)|Error (cps)", "natural_gamma"),
        ("RGB", "R|G|B", "red|green|blue"),
        ("RSC", COLOURS, "lightness|reflectance_a|reflectance_b"),
        ("MAD", SAMPLES, "grain_density|water_content|sample_bulk_density"),
        ("PWC", "P-wave velocity y (m/s)", "p_wave_velocity"),
        ("CARB", "Calcium carbonate (wt%)", "calcium_carbonate"),
        ("CARB", "CaCO₃ (wt%)", "calcium_carbonate"),
        ("TCON", "Thermal conductivity mean (W/(m*K))", "thermal_conductivity"),
        ("AVS", "Vane shear strength (kN/m^2)", "shear_strength"),
    ],
)
def test_instruments_are_recognised_by_their_columns(code, columns, channels):
    every = [*HOLE, *DEPTH, *columns.split("|"), "Principal"]
    layout = recognise(PATH, every, {})
    assert layout.instrument is INSTRUMENTS[code]
    assert "|".join(channel.name for channel in layout.channels) == channels
    assert layout.hole == ("Exp", "Site", "Hole")
    assert (layout.depth, layout.label) == ("Depth CSF-A (m)", "Principal")
    assert set(layout.columns) <= set(every)


GROUP = "Instrument group"
LOOP = [{GROUP: ["WRMSL"], "A/W": ["A"]}, {"Instrument": ["MS2C"]}, {"A/W": ["", None]}, {}]
POINT = [{GROUP: ["SHMSL"]}, {"Instrument": ["MS2K"]}, {"A/W": ["A", "A"]}]


@pytest.mark.parametrize("samples", [*LOOP, *POINT])
def test_the_loop_and_the_point_sensor_are_told_apart_by_what_the_rows_say(samples):
    code = "MS" if samples in LOOP else "MSP"
    assert recognise(PATH, SUSCEPTIBILITY, samples).instrument.code == code


def test_headers_may_say_it_all_and_name_the_depth_by_its_top():
    assert recognise(PATH, [*HOLE, *DEPTH, "MSP (instr. units)"], {}).instrument.code == "MSP"
    depths = ["Top depth CSF-A (m)", "Bottom depth CSF-A (m)"]
    layout = recognise(PATH, [*HOLE, *depths, "CaCO3 (wt%)"], {})
    assert (layout.depth, layout.label) == (depths[0], None)
    assert recognise(PATH, [*HOLE, *DEPTH, "R", "G", "B"], {}, "CSF-B").depth == "Depth CSF-B (m)"


@pytest.mark.parametrize(
    ("columns", "what"),
    [
        ([*HOLE, *DEPTH, "Bulk density (GRA) (kg/m3)"], "in 'kg/m3', expected g/cm"),
        ([*HOLE, *DEPTH, "NGR total counts (counts)"], "in 'counts', expected cps"),
        ([*HOLE, *DEPTH, "Porosity (vol%)", "Grain density (kg/m3)"], "expected g/cm"),
        ([*HOLE, *DEPTH, "Thermal conductivity mean"], "without a unit"),
        ([*HOLE, "Depth CSF-A (ft)", "Bulk density (GRA)"], "in 'ft', expected m"),
        ([*HOLE, "Depth (m)", "R", "G", "B"], "nearest column is 'Depth \\(m\\)'"),
        ([*HOLE, "Core depth", "R", "G", "B"], "no column 'Depth CSF-A"),
        (["Site", "Hole", *DEPTH, "R", "G", "B"], "no column Exp"),
        ([*HOLE, *DEPTH, "R", "G"], "without a column 'B'"),
        ([*HOLE, *DEPTH, "R", "G", "B", "Porosity (vol%)"], "several instruments"),
        ([*HOLE, *DEPTH, "NGR total count"], "'NGR total count' is nearest to 'NGR total counts'"),
        (["name", "age"], "not an instrument table"),
        (["Exp;Site;Hole;R;G;B"], "separated by semicolons"),
        (["Exp\tSite\tHole"], "separated by tabs"),
    ],
)
def test_what_cannot_be_used_is_refused_with_a_reason(columns, what):
    with pytest.raises(DataError, match=what) as caught:
        recognise(PATH, columns, {})
    assert caught.value.hint


def test_every_channel_has_its_own_meaning_and_a_range():
    channels = [channel for entry in INSTRUMENTS.values() for channel in entry.channels]
    assert len({channel.name for channel in channels}) == len(channels)
    assert all(channel.plausible[0] < channel.plausible[1] for channel in channels)


HEADER = "Exp,Site,Hole,Depth CSF-A (m),Bulk density (GRA),Comments,Principal\n"
ROWS = "318,U1355,A,1.0,1.5,,clay\n318,U1355,A,1.0,1.7,,clay\n"


def save(path, text, encoding="utf-8"):
    path.write_bytes(text.encode(encoding))
    return path


def density(path):
    return bin_tables([path]).table["bulk_density"].to_list()


def test_quoted_comments_and_text_expeditions_are_read(tmp_path):
    text = '"318","U1355","A",1.0,1.5,"cracked,\nsee ""drawing""\n318,U1,A,9,9,,x",clay\n'
    text = HEADER + text + '"318","U1355","A",1.4,1.7,"",clay\n'
    binned = bin_tables([save(tmp_path / "g.csv", text)])
    assert binned.report.tables[0].rows == 2
    assert binned.table["bulk_density"].to_list() == [1.5, 1.7]
    rows = "".join(f"318,U1355,A,{i / 10},1.5,,clay\n" for i in range(3000))
    text = HEADER + rows + "397T,U1588,B,5.0,1.9,,sand\n"
    table = bin_tables([save(tmp_path / "g.csv", text)]).table
    assert table["expedition"].unique().sort().to_list() == ["318", "397T"]


MIXED = "Core,Sect,Test No.,Water Depth (mbsl)," + HEADER
FIRST, SECOND = ROWS.splitlines()


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("g.csv", (MIXED + f'x9,CC,abc,"521.86",{FIRST}\n1,2,3,4,{SECOND}\n').encode()),
        ("g.csv", (HEADER + ROWS).replace("\n", "\r\n").encode("utf-8-sig")),
        ("g.csv", (HEADER + ROWS).replace(",,", ",25 °C µ,").encode("latin-1")),
        ("g.csv.gz", gzip.compress((HEADER + ROWS).encode())),
    ],
)
def test_what_is_not_used_and_how_it_is_written_do_no_harm(tmp_path, name, content):
    (tmp_path / name).write_bytes(content)
    assert density(tmp_path / name) == [1.6]


def test_text_among_the_numbers_is_counted_and_left_out(tmp_path):
    text = HEADER + ROWS
    text += "318,U1355,A,1.0,<0.1,,clay\n318,U1355,A,deep,1.5,,clay\n318,U1355,A,1.0,NaN,,clay\n"
    text += "318,U1355,A,1.0,inf,,clay\n318,U1355,A,2.0, 1.9 ,,clay\n318,U1355,A,2.0,NA,,clay\n"
    binned = bin_tables([save(tmp_path / "g.csv", text)])
    assert binned.table["bulk_density"].to_list() == pytest.approx([1.6, 1.9])
    counts = binned.report.tables[0]
    assert (counts.rows, counts.unreadable) == (8, 2)
    assert (counts.missing_depth, counts.missing_value, counts.used) == (1, 4, 3)
    assert any("text in place of a number: 2" in line for line in binned.report.lines())


def test_numbers_that_are_no_numbers_are_left_out_on_the_fast_way_too(tmp_path):
    text = HEADER + ROWS + "318,U1355,A,1.0,NaN,,clay\n318,U1355,A,1.0,inf,,clay\n"
    text += "318,U1355,A,NaN,1.5,,clay\n318,U1355,A,1e300,1.5,,clay\n318,U1355,A,1.0,1.5,,  \n"
    for rule in ("plausible", "none"):
        counts = bin_tables([save(tmp_path / "g.csv", text)], outliers=rule).report.tables[0]
        assert (counts.missing_depth, counts.missing_label, counts.missing_value) == (2, 1, 2)
        assert (counts.used, counts.out_of_range, counts.unreadable) == (2, 0, 0)


def test_blank_labels_are_missing_whichever_table_gives_the_label(tmp_path):
    gra = save(tmp_path / "g.csv", HEADER + ROWS + "318,U1355,A,1.0,1.8,,   \n")
    text = HEADER.replace("Bulk density (GRA)", SUSCEPTIBILITY[-1])
    text += "318,U1355,A,1.0,5,,\n318,U1355,A,1.0,6,,   \n318,U1355,A,1.0,7,,  clay\n"
    binned = bin_tables([gra, save(tmp_path / "ms.csv", text)])
    assert [counts.missing_label for counts in binned.report.tables] == [1, 2]
    assert binned.table["magnetic_susceptibility"].to_list() == [7.0]


@pytest.mark.parametrize("ending", [".parquet", ".feather"])
def test_binary_tables_are_read_even_with_numbers_as_text(tmp_path, ending):
    frame = pl.read_csv((HEADER + ROWS).encode())
    typed, text = tmp_path / f"typed{ending}", tmp_path / f"text{ending}"
    write = pl.DataFrame.write_parquet if ending == ".parquet" else pl.DataFrame.write_ipc
    write(frame, typed)
    write(frame.cast(pl.String), text)
    assert density(typed) == density(text) == [1.6]


def test_depths_that_are_no_numbers_or_of_no_hole_are_refused(tmp_path):
    frame = pl.read_csv((HEADER + ROWS).encode())
    depth = frame.columns[3]
    for kind in (pl.Boolean, pl.Date, pl.List(pl.Float64)):
        frame.with_columns(pl.lit(None, kind).alias(depth)).write_parquet(tmp_path / "g.parquet")
        with pytest.raises(DataError, match=f"column '{re.escape(depth)}' holds .*, not numbers"):
            bin_tables([tmp_path / "g.parquet"])
    text = HEADER + ROWS + "318,U1355,A,-999.25,1.5,,clay\n318,U1355,A,99999,1.5,,clay\n"
    binned = bin_tables([save(tmp_path / "g.csv", text)])
    assert binned.report.tables[0].missing_depth == 2
    assert binned.table["depth"].to_list() == [1.0]


def test_a_table_without_descriptions_gives_bins_without_label(tmp_path):
    text = HEADER.replace(",Principal", "") + "318,U1355,A,1.0,1.5,\n"
    binned = bin_tables([save(tmp_path / "g.csv", text)])
    assert binned.report.label_source is None
    labels = binned.table.select("lithology", "lithology_purity", "lithology_group")
    assert labels.row(0) == (None, None, None)
    with pytest.raises(DataError, match="has no column 'Principal'"):
        bin_tables([tmp_path / "g.csv"], label_source="GRA")


@pytest.mark.parametrize(
    ("name", "content", "what"),
    [
        ("g.csv", "", "the file is empty"),
        ("g.csv", HEADER, "a header but no rows"),
        ("g.csv", HEADER + "\n\n", "a header but no rows"),
        ("g.csv", "\n", "no column names"),
        ("g.csv", "just some words\nand more\n", "not an instrument table"),
        ("g.csv", HEADER.replace("Comments", "Principal") + ROWS, "stands there 2 times"),
        (
            "g.csv",
            HEADER + "318,U1355,A,,1.5,,clay\n",
            "no row has a depth.*: of 1, 1 lack the depth",
        ),
        ("g.csv", HEADER + "318,U1355,A,1.0,99,,clay\n", "1 are out of range"),
        ("g.csv", HEADER + "318,U1355,,1.0,1.5,,clay\n", "1 hole name cannot be read"),
        ("g.csv", HEADER + ROWS + "318,U1355,A,1,1.5,a, b,clay\n", "row 3 has 8 fields"),
        ("g.xlsx", HEADER + ROWS, "cannot read '.xlsx' files"),
        ("g.parquet", "not parquet at all", "the file cannot be read"),
        ("g.feather", "not feather at all", "the file cannot be read"),
        ("g.csv.gz", "not compressed at all", "the file cannot be read"),
    ],
)
def test_bad_files_give_one_clear_error(tmp_path, name, content, what):
    path = save(tmp_path / name, content)
    with pytest.raises(DataError, match=what) as caught:
        bin_tables([path])
    assert name in str(caught.value)
    assert "\n" not in str(caught.value)
    assert caught.value.hint


def test_a_truncated_archive_is_refused(tmp_path):
    rows = "".join(f"318,U1355,A,{i / 7},{1 + i % 997 / 991},,clay\n" for i in range(2000))
    whole = gzip.compress((HEADER + rows).encode(), mtime=0)
    (tmp_path / "g.csv.gz").write_bytes(whole[: len(whole) * 3 // 4])
    with pytest.raises(DataError, match=r"g\.csv\.gz: the rows cannot be read: unexpected end"):
        bin_tables([tmp_path / "g.csv.gz"])


def test_missing_files_folders_and_open_quotation_marks_are_refused(tmp_path):
    with pytest.raises(DataError, match=r"absent\.csv: there is no such file"):
        open_table(tmp_path / "absent.csv")
    with pytest.raises(DataError, match="not a file"):
        open_table(tmp_path)
    text = HEADER + ROWS * 100 + '318,U1355,A,1.0,1.5,"oops,clay\n' + ROWS * 100
    with pytest.raises(DataError, match="rows cannot be read") as caught:
        bin_tables([save(tmp_path / "g.csv", text)])
    assert "quotation mark" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_the_real_table_has_records_over_several_lines(shared_data):
    path = shared_data / "corelogs" / "lily" / "AVS_DataLITH.csv"
    lines = path.read_text("utf-8").count("\n")
    table = open_table(path)
    assert table.instrument.code == "AVS"
    assert table.values == {"shear_strength": ("Vane shear strength (kN/m^2)",)}
    rows = table.scan().select(pl.len()).collect().item()
    assert (rows, lines > rows + 1) == (2486, True)
