"""Proposed schemas: each rule on a column made for it, and the real tables as a whole."""

import json

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from variolite.errors import DataError, VarioliteError
from variolite.records import FittedSchema, Schema, propose_schema, read_table, units_of
from variolite.records.propose import choose_transform, normality

WELLS, ROWS = 8, 250
N = WELLS * ROWS


def rng(seed=1):
    return np.random.default_rng(seed)


def table(**columns):
    """Eight wells of 250 rows with depth and gamma, and the given columns."""
    wells = np.repeat([f"W{i}" for i in range(WELLS)], ROWS)
    depth = np.tile(np.arange(ROWS) * 0.5 + 100, WELLS)
    gamma = rng(0).normal(80, 15, N)
    return pl.DataFrame({"Well Name": wells, "Depth (m)": depth, "GR": gamma, **columns})


def propose(**columns):
    return propose_schema(table(**columns))


def said(proposal, column):
    return " ".join(text for name, text in proposal.remarks if name == column)


def test_roles_names_and_units():
    schema = propose_schema(table(), units={"GR": "gAPI"}).schema
    roles = {name: column.role for name, column in schema.columns.items()}
    assert roles == {"well_name": "group", "depth": "order", "gr": "input"}
    assert (schema.columns["depth"].unit, schema.columns["gr"].unit) == ("m", "gAPI")
    bound = schema.bind(table().columns)
    assert [column.source for column in bound.columns.values()] == ["Well Name", "Depth (m)", "GR"]


@pytest.mark.parametrize(
    ("values", "first_step"),
    [
        (rng().normal(2, 1, N), "standardise"),
        (rng().lognormal(0, 2, N), "log10"),
        (np.sinh(rng().normal(0, 3, N)), "signed_log"),
        (1 / (1 + np.exp(-rng().normal(0, 3, N))), "logit"),
        (rng().uniform(0.2, 0.6, N), "standardise"),
    ],
)
def test_transforms_follow_the_shape(values, first_step):
    column = propose(x=values).schema.columns["x"]
    assert column.transform[0].name == first_step
    assert column.clip is None


def test_normality_against_scipy():
    for values in (rng().normal(size=500), rng().lognormal(size=500)):
        r = stats.probplot(values, fit=True)[1][2]
        assert normality(values) == pytest.approx(1 - r**2, abs=2e-3)
    assert normality(np.zeros(10)) == 1.0
    # A constant bulk needs no transform.
    x = np.zeros(10_000)
    x[:5] = [1, 2, 3, 4, 5.5]
    assert choose_transform(x).transform == ["standardise"]


def test_a_few_odd_values_are_excluded_or_clipped():
    x = rng().lognormal(0, 2, 5000)
    positive_min = x.min()
    x[:3] = [0.0, -0.01, 0.0]
    frame = pl.DataFrame({"x": x, "y": rng().normal(size=5000)})
    proposal = propose_schema(frame)
    column = proposal.schema.columns["x"]
    assert column.transform[0].name == "log10"
    assert 0 < column.valid[0] <= positive_min  # type: ignore[operator]
    assert "is 0 or below in 3 rows" in said(proposal, "x")
    assert FittedSchema.fit(proposal.schema, frame).rows_fitted == 4997
    assert proposal.schema.group is None
    assert "no column was found that names boreholes" in str(proposal)
    # Values within the range are no sentinels, nor is one that occurs once.
    pressure, single = rng().uniform(900, 20_000, N).round(), rng().normal(2.3, 0.2, N)
    pressure[:5] = single[0] = 9999.0
    columns = propose(p=pressure, x=single).schema.columns
    assert columns["p"].sentinels == columns["x"].sentinels == ()
    # Gross outliers are clipped.
    x = rng().normal(0, 0.05, N)
    x[10] = -7429.0
    proposal = propose(DRHO=x)
    assert proposal.schema.columns["drho"].clip == (0.001, 0.999)
    assert "gross outliers (-7429" in said(proposal, "DRHO")


@pytest.mark.parametrize("mark", [-999.0, -999.25, -9999.0, 9999.0])
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_sentinels_are_recognised(mark, dtype):
    x = rng().normal(2.3, 0.2, N).astype(dtype)
    x[::7] = mark
    proposal = propose(RHOB=x)
    column = proposal.schema.columns["rhob"]
    assert column.sentinels == (mark,)
    assert column.missing == "mask"
    assert f"holds {mark:g}, taken to mean missing" in said(proposal, "RHOB")
    assert "rhob       input" in str(proposal)
    assert f"RHOB: holds {mark:g}" in str(proposal)
    records = FittedSchema.fit(proposal.schema, table(RHOB=x)).apply(table(RHOB=x))
    assert records.report.sentinels == {"rhob": len(x[::7])}


def test_bounded_counted_and_missing_quantities():
    fraction = rng().uniform(0.05, 0.6, N)
    half, few = rng(2).normal(size=N), rng(3).normal(size=N)
    half[::2], few[::50] = np.nan, np.nan
    bounds = {"NPHI": fraction, "R": 425 * fraction, "Porosity (vol%)": 100 * fraction}
    proposal = propose(**bounds, x=fraction - 0.1, n=rng().poisson(40, N), half=half, few=few)
    for name, text in (("NPHI", "0 and 1"), ("Porosity (vol%)", "0 and 100"), ("R", "0 and 255")):
        assert f"lies between {text}" in said(proposal, name)
    columns = proposal.schema.columns
    bounded = {name for name, column in columns.items() if column.learn_bounds}
    assert bounded == {"nphi", "porosity", "r"}
    assert columns["n"].learn_rounding
    assert "whole numbers" in said(proposal, "n")
    assert (columns["half"].missing, columns["few"].missing) == ("mask", "drop")


@pytest.mark.parametrize(
    ("name", "values", "why"),
    [
        ("x", np.full(N, 3.0), "one value only"),
        ("x", np.full(N, np.nan), "is empty"),
        ("x", np.where(np.arange(N) % 20 == 0, 1.0 * np.arange(N), np.nan), "is empty in 95%"),
        ("x", np.where(np.arange(N) % 40 == 0, 1.0, 0.0), "is the same in 97.5%"),
        ("year", np.repeat(np.arange(1990, 1998), ROWS).astype(float), "like a code"),
        ("water", np.repeat(rng().normal(size=20), N // 20), "describes the group"),
        ("serial", rng().permutation(N), "like an id"),
        ("Test No.", rng().permutation(N) // 2, "bookkeeping"),
        ("marine", rng().integers(1, 3, N), "2 whole numbers, like a code"),
        ("latitude", rng().normal(size=N), "says where"),
        ("relpos", np.tile(np.linspace(1, 0, ROWS), WELLS), "position, not a measurement"),
        ("when", np.array(["2011-04-05 06:12:10", "2011-04-06 06:12:10"] * (N // 2)), "dates"),
        ("barcode", np.array([f"k{i}" for i in rng().permutation(N)]), "in almost every row"),
        ("notes", np.array([f"n{i // 2}" for i in range(N)]), "free text"),
        ("gear", np.array(["a", "b"] * (N // 2)), "text with 2 values"),
        ("facies_confidence", rng().integers(1, 4, N), "how sure"),
        ("x", np.array(["1.5", "2.5", "3.5", "4.5"] * (N // 4 - 1) + ["n/a"] * 4), "'n/a'"),
    ],
)
def test_what_is_left_out_and_why(name, values, why):
    proposal = propose(**{name: values})
    assert proposal.left_out == (name,)
    assert why in said(proposal, name)
    assert list(proposal.schema.columns) == ["well_name", "depth", "gr"]


def test_labels_and_ids():
    runs = np.repeat(rng().integers(1, 10, N // 10), 10)
    proposal = propose(Facies=runs, LITHOLOGY=runs.astype(str), Rocks=runs.astype(str))
    assert [column.name for column in proposal.schema.labels] == ["facies", "lithology", "rocks"]
    assert "label with 9 classes" in said(proposal, "Facies")
    # Without a telling name, text that stays the same over stretches of rows is taken.
    names = np.char.add("unit ", runs.astype(str))
    proposal = propose(unit_name=names, gear=np.array(["a", "b"] * (N // 2)))
    assert [column.name for column in proposal.schema.labels] == ["unit_name"]
    assert proposal.left_out == ("gear",)
    # Ids, and numbers written as text.
    phi = [f"{v:.4f}" for v in rng().normal(size=N)]
    schema = propose(sample_id=[f"s{i}" for i in range(N)], PHI=phi).schema
    assert schema.id is schema.columns["sample_id"]
    assert schema.columns["phi"].role == "input"


def test_groups_of_any_kind():
    holes = np.tile(np.repeat(["A", "B"], ROWS // 2), WELLS)
    proposal = propose(Hole=holes)
    assert proposal.schema.group.name == "well_name"
    assert "they name 16 smaller groups" in said(proposal, "Hole")
    # Rows that do not stand together, and a single borehole.
    proposal = propose_schema(table(Hole=holes).drop("Well Name"))
    assert "do not stand together" in said(proposal, "Hole")
    assert "names one group only" in said(propose_schema(table()[:200]), "Well Name")
    with pytest.raises(DataError, match="looks like a measurement"):
        propose_schema({"name": ["a", "b", "c"]})


@pytest.mark.parametrize("words", [("True", "False"), ("yes", "No"), (True, False)])
def test_truth_values_are_no_group_and_no_label(words):
    flags = np.repeat(words, N // 2)
    frame = table(GR=flags, Hole=flags)
    for source in (frame, frame.drop("Well Name")):
        schema = propose_schema(source.with_columns(x=rng().normal(size=N))).schema
        assert {"gr", "hole"}.isdisjoint(schema.columns)
    one = frame[: N // 4].drop("Well Name").with_columns(x=rng().normal(size=N // 4))
    assert propose_schema(one).schema.group is None


def test_repeats_are_pointed_out_and_names_stay_distinct():
    base = rng().lognormal(size=N)
    proposal = propose(a=base, b=np.log(base), c=rng(2).normal(size=N))
    assert "almost repeats 'a'" in said(proposal, "b")
    assert said(proposal, "c") == ""
    proposal = propose(**{"GR (gAPI)": rng().normal(size=N), "gr": rng().normal(size=N)})
    aliases = {column.name: column.aliases for column in proposal.schema.inputs}
    assert aliases == {"gr": (), "gr_2": ("GR (gAPI)",), "gr_3": ("gr",)}


NAMES = st.sampled_from(["GR", "depth (m)", "well", "facies", "id", "R", "phi (%)", "no", "", " "])
NUMBERS = st.one_of(st.none(), st.floats(), st.sampled_from([0.0, 1.0, -999.25, 1e300]))
CELLS = st.one_of(
    st.lists(NUMBERS, min_size=1, max_size=30),
    st.lists(st.one_of(st.none(), st.integers(-(2**62), 2**62)), min_size=1, max_size=30),
    st.lists(st.sampled_from([None, "a", "b", "1.5", "n/a", "2020-01-01"]), min_size=1),
    st.lists(st.one_of(st.none(), st.booleans()), min_size=1),
    st.lists(st.one_of(st.none(), st.dates()), min_size=1),
)


@given(st.integers(1, 30), st.dictionaries(NAMES, CELLS, min_size=1, max_size=5))
def test_any_table_gives_a_schema_that_works_or_one_clear_error(rows, cells):
    frame = pl.DataFrame({name: (values * rows)[:rows] for name, values in cells.items()})
    try:
        schema = propose_schema(frame).schema
        assert Schema.from_yaml(schema.to_yaml()) == schema
        fitted = FittedSchema.fit(schema, frame)
        records = fitted.apply(frame)
    except VarioliteError:
        return
    assert np.isfinite(records.numeric).all()
    assert np.isfinite(records.log_det).all()
    assert FittedSchema.from_dict(json.loads(json.dumps(fitted.to_dict()))) == fitted


@pytest.mark.parametrize(
    ("path", "group", "order", "inputs", "labels", "kept"),
    [
        ("kgs_panoma/panoma_wells.csv", "well_name", "depth", "gr ild delta_phi phind pe",
         "formation facies", 1.0),
        ("force2020/wells.parquet", "well", "depth_md",
         "cali rsha rmed rdep rhob gr nphi pef dtc sp dts drho",
         "group formation force_2020_lithofacies_lithology", 0.96),
        ("ocean_drilling_logs/holes.parquet", "hole", "depth", "gr d_res s_res den vp", "", 1.0),
        ("force2020/las/31_6-8.las", "well", "dept",
         "cali rdep rsha rmed rxo sp dtc nphi gr rhob drho",
         "force_2020_lithofacies_lithology", 0.97),
    ],
)  # fmt: skip
def test_real_tables(shared_data, path, group, order, inputs, labels, kept):
    source = shared_data / "corelogs" / path
    frame = read_table(source)
    schema = propose_schema(frame, units=units_of(source)).schema
    assert (schema.group.name, schema.order.name) == (group, order)
    assert [column.name for column in schema.inputs] == inputs.split()
    assert [column.name for column in schema.labels] == labels.split()
    assert Schema.from_yaml(schema.to_yaml()) == schema
    resistive = [column for column in schema.inputs if column.name in ("rdep", "ild", "d_res")]
    assert [column.transform[0].name for column in resistive] == ["log10"]
    fitted = FittedSchema.fit(schema, frame, units=units_of(source))
    assert fitted.rows_fitted >= kept * frame.height


@pytest.mark.filterwarnings("ignore::variolite.records.DataWarning")
def test_real_instrument_table(shared_data):
    source = shared_data / "corelogs/lily/AVS_DataLITH.csv"
    proposal = propose_schema(read_table(source), units=units_of(source))
    names = [column.name for column in proposal.schema.inputs]
    assert names == ["vane_shear_strength", "max_torque_angle"]
    assert proposal.schema.columns["vane_shear_strength"].unit == "kN/m^2"
    assert proposal.schema.group.name == "site"
    assert "principal" in proposal.schema.columns
    assert "92 smaller groups" in said(proposal, "Hole")
    assert "SHLF9530621" in said(proposal, "Vane rotation rate (deg/s)")


def test_names_with_leading_zeros_are_text_and_spellings_of_one_are_told():
    wells = ["0012"] * 20 + ["12"] * 20 + ["0013"] * 20
    frame = pl.DataFrame({"WELL": wells, "GR": np.random.default_rng(0).normal(80, 9, 60)})
    proposal = propose_schema(frame)
    assert proposal.schema.group.aliases == ()
    remarks = [text for column, text in proposal.remarks if column == "WELL"]
    assert remarks[0].startswith("names 3 groups")
    assert remarks[1] == "'0012' and '12' count as one group"
