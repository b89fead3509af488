"""Well logs in DLIS format: a frame by depth for every well, and what was left out is said."""

import sys

import numpy as np
import pytest
from dlis_files import dlis, logical_file

from variolite.errors import DataError, DataWarning
from variolite.records import read_table, units_of

pytest.importorskip("dlisio")

DEPTH = ("TDEP", "0.1 in", 1)
LOGS = [DEPTH, ("GR", "gAPI", 1), ("RHOB", "g/cm3", 1)]
ROWS = [[1200.0, 30.5, 2.1], [1260.0, -999.25, 2.2], [1320.0, 40.0, -999.25]]


def write(folder, *files):
    path = folder / "wells.dlis"
    path.write_bytes(dlis(*files))
    return path


def test_channels_become_columns(tmp_path):
    path = write(tmp_path, logical_file("7/1-2 S", {"60B": ("BOREHOLE-DEPTH", LOGS, ROWS)}))
    frame = read_table(path)
    assert frame.columns == ["WELL", "TDEP", "GR", "RHOB"]
    assert frame["WELL"].to_list() == ["7/1-2 S"] * 3
    expected = np.where(np.array(ROWS) == -999.25, np.nan, ROWS)
    assert np.array_equal(frame.drop("WELL").to_numpy(), expected, equal_nan=True)
    assert units_of(path) == {"TDEP": "0.1 in", "GR": "gAPI", "RHOB": "g/cm3"}
    # The index may be said to be a depth by its unit only.
    path = write(tmp_path, logical_file("A", {"60B": ("NON-STANDARD", LOGS, ROWS)}))
    assert read_table(path).height == 3


@pytest.mark.filterwarnings("ignore:.*read is 60B")
def test_images_are_left_out_and_of_equal_names_the_first_is_kept(tmp_path):
    channels = [*LOGS, ("IMAGE", "", 4)]
    rows = [[*row, 1, 2, 3, 4] for row in ROWS]
    path = write(tmp_path, logical_file("A", {"60B": ("BOREHOLE-DEPTH", channels, rows)}))
    with pytest.warns(DataWarning, match="several values are left out: IMAGE"):
        assert read_table(path).columns == ["WELL", "TDEP", "GR", "RHOB"]


def test_of_several_frames_the_widest_by_depth_is_read_for_every_well(tmp_path):
    narrow = ("BOREHOLE-DEPTH", LOGS[:2], [row[:2] for row in ROWS] * 3)
    timed = ("TIME", [("TIME", "ms", 1)], [[0.0]])
    repeat = logical_file("A", {"60B": ("BOREHOLE-DEPTH", LOGS, ROWS[:2])})
    other = logical_file("B", {"60B": ("BOREHOLE-DEPTH", LOGS[:2], [row[:2] for row in ROWS])})
    first = logical_file("A", {"15B": narrow, "60B": ("BOREHOLE-DEPTH", LOGS, ROWS), "T": timed})
    path = write(tmp_path, first, repeat, other)
    left_out = r"left out are 15B \(A, 9 rows .*, T \(A, by TIME\), 60B \(A, 2 rows"
    with pytest.warns(DataWarning, match=rf"60B \(A, 3 rows .* 60B \(B, 3 rows .*{left_out}"):
        frame = read_table(path)
    assert frame["WELL"].to_list() == ["A"] * 3 + ["B"] * 3
    assert frame["GR"].to_list()[3] == 30.5
    assert frame["RHOB"].null_count() == 3


def test_what_cannot_be_read_is_one_clear_error(tmp_path, monkeypatch):
    path = write(tmp_path, logical_file("A", {"T": ("TIME", [("TIME", "ms", 1)], [[0.0]])}))
    with pytest.raises(DataError, match=r"no logs by depth \(T \(A, by TIME\)\). Export"):
        read_table(path)
    path = write(tmp_path, logical_file("A", {"60B": ("BOREHOLE-DEPTH", LOGS, ROWS)}))
    path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(DataError, match="cannot be read as DLIS") as caught:
        read_table(path)
    assert "\n" not in str(caught.value)
    in_feet = [("GR", "ft", 1) if name == "GR" else (name, *rest) for name, *rest in LOGS]
    files = (logical_file(w, {"60B": ("BOREHOLE-DEPTH", c, ROWS)}) for w, c in
             (("A", LOGS), ("B", in_feet)))  # fmt: skip
    with pytest.raises(DataError, match="'GR' is in gAPI in one well and in ft in another"):
        read_table(write(tmp_path, *files))
    with monkeypatch.context() as patch:
        # A process that ends with an error and without a word, as dlisio may make it.
        patch.setattr(sys, "executable", "false")
        with pytest.raises(DataError, match="dlisio stopped in it"):
            read_table(path)
    monkeypatch.setitem(sys.modules, "dlisio", None)
    with pytest.raises(DataError, match=r"missing. Install it with: pip install 'variolite\[logs"):
        read_table(path)
