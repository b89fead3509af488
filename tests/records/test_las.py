"""Reading well logs in LAS format: curves become columns, units and gaps are kept."""

import numpy as np
import polars as pl
import pytest

from variolite.errors import DataError
from variolite.records import read_table, units_of


def table(folder, content, name="well.las"):
    (folder / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    return read_table(folder / name)


LAS = """~Version
VERS. 2.0 :
WRAP. NO :
~Well
STRT.m 1.0 :
STOP.m 2.0 :
STEP.m 0.5 :
NULL. -999.25 :
WELL. 7/1-2 S : WELL
~Curve
DEPT.m : depth
GR.gAPI : gamma
Rhob.G/C3 : density
FACIES. : facies
~Ascii
1.0 30.5 2.1 1
1.5 -999.25 2.2 2
2.0 40.0 -999.25 2
"""


def test_curves_become_columns(tmp_path):
    frame = table(tmp_path, LAS)
    assert frame.columns == ["WELL", "DEPT", "GR", "Rhob", "FACIES"]
    assert frame["WELL"].unique().to_list() == ["7/1-2 S"]
    assert np.array_equal(frame["GR"].to_numpy(), [30.5, np.nan, 40.0], equal_nan=True)
    assert np.array_equal(frame["Rhob"].to_numpy(), [2.1, 2.2, np.nan], equal_nan=True)
    assert units_of(tmp_path / "well.las") == {"DEPT": "m", "GR": "gAPI", "Rhob": "G/C3"}
    # Wrapped lines and another encoding.
    wrapped = LAS.replace("WRAP. NO", "WRAP. YES").replace("gamma", "Gamma°")
    for depth in ("1.0 ", "1.5 ", "2.0 "):
        wrapped = wrapped.replace(f"\n{depth}", f"\n{depth.strip()}\n")
    folded = table(tmp_path, wrapped.encode("latin-1"))
    assert folded.fill_nan(None).equals(frame.fill_nan(None))


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("depth,gr\n1,2\n", "not a LAS file"),
        ("~", "cannot be read as LAS"),
        (LAS[: LAS.index("1.0 30.5")], "no rows|cannot be read"),
        (LAS.replace("2.0 40.0 -999.25 2", "2.0 40.0"), "cannot be read as LAS"),
        (LAS.replace(" 2.2 2", " 2.2").replace("40.0 -999.25 2", "40.0 1 2 2"), "holds 3"),
        (LAS.replace("1.0 30.5 2.1 1", "1.0 30.5 2.1 1 7"), "a row holds 5|cannot be read"),
        (LAS[: LAS.index("~Curve")] + LAS[LAS.index("~Ascii") :], "no curves are declared"),
    ],
)
def test_broken_files_are_one_clear_error(tmp_path, text, says):
    with pytest.raises(DataError, match=says) as caught:
        table(tmp_path, text)
    assert "well.las" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_real_files(shared_data):
    folder = shared_data / "corelogs/force2020/las"
    frame = read_table(folder / "31_6-8.las")
    assert frame.height == 9727
    assert frame["WELL"][0] == "31/6-8"
    assert units_of(folder / "31_6-8.las")["RHOB"] == "g/cm3"
    low = frame.select(pl.selectors.float().exclude("z_loc").fill_nan(None).min())
    assert (low.to_numpy() > -999).all()
    other = read_table(folder / "32_2-1.las")
    assert {"DTS", "PEF"} <= set(other.columns)
    assert other.height == 6059
