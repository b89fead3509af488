"""What is asked for, what is refused, and what does not depend on the order of columns."""

from dataclasses import replace

import numpy as np
import polars as pl
import pytest
from made_up_table import COLUMNS, LINKERS, frameworks, recipe

from variolite.errors import DataError, DataWarning, ShortfallError
from variolite.frameworks.columns import CELL
from variolite.frameworks.field import FIELD
from variolite.frameworks.framework_table import cell_of, cell_shape
from variolite.frameworks.generation import sampling
from variolite.frameworks.generation.sampling import (
    Request,
    balanced,
    draw,
    generate,
    generate_table,
    outside,
)
from variolite.progress import Progress
from variolite.training.row_sampling import AS_TRAINED, SamplingOptions

NOTHING = Request({}, {})
CONDITIONS = "co2_uptake", "void_fraction"


class Notes(Progress):
    """Keeps what is said."""

    def __init__(self):
        super().__init__()
        self.lines = []

    def note(self, line):
        self.lines.append(line)


@pytest.fixture(scope="module")
def one(model):
    return model.only(0)


def test_requests_are_read(one):
    where = ["co2_uptake=6.5", "metals=Zn;Al", f"linkers = {LINKERS[0]}", "net=pcu"]
    found = Request.parse(where, one)
    assert found.values == {"co2_uptake": 6.5}
    assert found.members == {"metals": ("Zn", "Al"), "linkers": (LINKERS[0],), "net": ("pcu",)}
    with pytest.raises(DataError, match="metals is given twice"):
        Request.parse(["metals=Zn", "metals=Al"], one)


def test_a_linker_new_to_the_run_is_the_most_alike_that_it_knows(one):
    chlorinated = "[O]C(=O)c1ccc(C(=O)O)c(Cl)c1"
    with pytest.warns(DataWarning, match=r"1 are new to the run .*Cl.* as .*similarity 0\.\d\d"):
        found = Request.parse([f"linkers={chlorinated}"], one)
    assert found.members == {"linkers": (LINKERS[0],)}
    frame = frameworks(4).with_columns(linkers=pl.lit(f"{chlorinated};{LINKERS[2]}"))
    with pytest.warns(DataWarning, match="new to the run"):
        records = one.records(frame)
    levels = one.schema.levels["linkers"]
    assert {levels[code] for code in records.sets["linkers"][0]} == {LINKERS[0], LINKERS[2]}
    assert not records.report.unseen
    with pytest.raises(DataError, match="'no molecule' is no molecule"):
        Request.parse(["linkers=no molecule"], one)


@pytest.mark.parametrize(
    ("where", "what", "hint"),
    [
        ("co2_uptake=much", "'much' is not a number", "co2_uptake=6"),
        ("co2_uptake=nan", "'nan' is not a number", "co2_uptake=6"),
        ("co2_uptake=inf", "'inf' is not a number", "co2_uptake=6"),
        ("co2_uptak=6", "knows no 'co2_uptak'", "Did you mean 'co2_uptake'? It knows"),
        ("metals=;", "names no member", "metals=FIRST"),
        ("metal=Zn", "knows no 'metal'", "Did you mean 'metals'?"),
        ("density=1", "knows no 'density'", "co2_uptake, void_fraction, metals, linkers, net"),
        ("metals=zn", "never met 'zn' among its metals", "Did you mean 'Zn'?"),
        ("metals=Zn;Pt", "never met 'Pt' among its metals", "It knows Zn, "),
        ("net=pcv", "never met 'pcv' among its net", "Did you mean 'pcu'?"),
    ],
)
def test_requests_that_cannot_be_met(one, where, what, hint):
    with pytest.raises(DataError, match=what) as caught:
        Request.parse([where], one)
    assert caught.value.where == f"--where {where}"
    assert hint in caught.value.hint


def test_separators_of_sets_are_those_of_their_columns(one):
    columns = one.schema.schema.columns
    other = columns | {"metals": columns["metals"].model_copy(update={"separator": "+"})}
    schema = replace(one.schema, schema=one.schema.schema.model_copy(update={"columns": other}))
    changed = replace(one, schema=schema)
    request = Request.parse(["metals=Al+Zn", "net=dia"], changed)
    assert request.members == {"metals": ("Al", "Zn"), "net": ("dia",)}
    frame = pl.DataFrame({"metals": ["Al+Zn", "Zn", "Al;Zn"], "net": ["dia"] * 3})
    assert frame.select(request.met(changed)).to_series().to_list() == [True, False, False]


def test_what_lies_outside_the_training_rows_is_said(one, example):
    low, high = one.schema.numeric["co2_uptake"].usual
    assert outside(one, Request({"co2_uptake": (low + high) / 2}, {})) == []
    assert outside(one, Request({"co2_uptake": low}, {})) == []
    (line,) = outside(one, Request({"co2_uptake": high + 0.5 * (high - low)}, {}))
    assert line == (
        f"co2_uptake {high + 0.5 * (high - low):g} is outside the training rows, {low:.3g} to "
        f"{high:.3g} mol/kg: 0.5 times their range beyond"
    )
    # Only a column with `clip` is taken as something else.
    (line,) = outside(one, Request({"void_fraction": -1.0}, {}))
    clip = one.schema.numeric["void_fraction"].clip
    assert line.endswith(f"times their range beyond, taken as {clip[0]:.3g}")
    notes = Notes()
    out = example.run.parent / "outside.csv"
    generate_table(example.folder, 2, out, notes, where=["co2_uptake=900"])
    assert any("co2_uptake 900 is outside the training rows" in line for line in notes.lines)
    middle = pl.read_csv(out)["co2_uptake_predicted"].median()
    said = "co2_uptake 900 was asked for: it is in the interval of 0 of 2 rows, of which half are "
    assert f"{said}predicted above {middle:.3g}" in notes.lines


def test_members_that_are_asked_for_are_there(one):
    request = Request.parse(["metals=Al;Zn", f"linkers={LINKERS[0]}"], one)
    rows, drawn = generate(one, 5, request, options=AS_TRAINED, seed=1)
    assert rows.height == 5
    assert drawn > 5
    for metals, linkers in rows.select("metals", "linkers").iter_rows():
        assert {"Al", "Zn"} <= set(metals.split(";"))
        assert LINKERS[0] in linkers.split(";")


def test_rows_say_what_was_asked_and_what_is_predicted(one):
    steps = []
    rows, drawn = generate(
        one,
        30,
        Request({"co2_uptake": 5.0}, {}),
        options=AS_TRAINED,
        seed=2,
        step=lambda text, /, *, done=None: steps.append((text, done)),
    )
    assert drawn == 30
    assert steps == [("30/30", 30)]
    assert rows["name"].to_list() == [f"generated_{i:05d}" for i in range(30)]
    assert rows["co2_uptake_requested"].to_list() == [5.0] * 30
    assert not {"co2_uptake", "void_fraction", "void_fraction_requested"} & set(rows.columns)
    cells = rows.select(CELL).to_numpy()
    np.testing.assert_allclose(cell_of(cell_shape(cells))[:, 6], rows["volume"], rtol=1e-6)
    for name in CONDITIONS:
        low, mean, high = (rows[f"{name}_{end}"].to_numpy() for end in ("low", "predicted", "high"))
        assert ((low < mean) & (mean < high)).all()
    # What is written can be read again, and the predictions are those of the table.
    known = rows.select(*CELL, "metals", "linkers", "net", "density")
    with pytest.warns(match="the encoder is given what is predicted"):
        table = one.table(known.with_columns(name=rows["name"]))
    np.testing.assert_allclose(table.frame["co2_uptake"], rows["co2_uptake_predicted"], rtol=1e-6)


def test_requests_are_obeyed_by_what_is_drawn(one):
    predicted = [
        generate(one, 150, Request({"co2_uptake": v}, {}), options=AS_TRAINED, seed=3)[0][
            "co2_uptake_predicted"
        ].mean()
        for v in (2.8, 4.0, 5.6)
    ]
    assert predicted[0] < predicted[1] < predicted[2]
    assert predicted[2] - predicted[0] > 0.8


@pytest.mark.parametrize("where", [[], ["metals=Fe"]])
def test_the_first_rows_do_not_depend_on_how_many_are_wanted(one, where):
    request = Request.parse(where, one)
    many, _ = generate(one, 450, request, options=AS_TRAINED, seed=4)
    for number in (1, 20, 200, 201):
        few, _ = generate(one, number, request, options=AS_TRAINED, seed=4)
        assert few.equals(many.head(number))
    assert not generate(one, 20, request, options=AS_TRAINED, seed=5)[0].equals(many.head(20))


def test_fewer_than_asked_for_are_written_before_the_error(example, tmp_path):
    where = ["metals=Al;Zn", "net=pcu", f"linkers={LINKERS[4]};{LINKERS[5]}"]
    out = tmp_path / "few.csv"
    with pytest.raises(ShortfallError, match=r"of 900 frameworks were found among 900 drawn") as e:
        generate_table(example.folder, 900, out, Progress(), where=["metals=Fe"], max_attempts=1)
    assert e.value.written
    found = pl.read_csv(out)
    assert 0 < found.height < 900
    assert all("Fe" in metals.split(";") for metals in found["metals"])
    with pytest.raises(ShortfallError) as e:
        generate_table(
            example.folder, 9, tmp_path / "none.csv", Progress(), where=["metals=Fe"],
            max_attempts=1, all_or_nothing=True,
        )  # fmt: skip
    assert not e.value.written
    assert not (tmp_path / "none.csv").exists()
    with pytest.raises(ShortfallError, match="0 of 1 frameworks"):
        generate_table(
            example.folder, 1, tmp_path / "none.csv", Progress(), where=where, max_attempts=1
        )
    assert not (tmp_path / "none.csv").exists()


def test_temperature_and_balance_reach_the_draw(one, monkeypatch):
    monkeypatch.setattr(sampling, "POOL", 8_000)
    cold = draw(one, 400, NOTHING, SamplingOptions(temperature=1e-4), 0)
    plain = draw(one, 400, NOTHING, AS_TRAINED, 0)
    even = draw(one, 400, NOTHING, SamplingOptions(balance=1.0), 0)
    assert cold["linkers"].n_unique() <= plain["linkers"].n_unique()
    assert even.height == 400
    assert even.equals(draw(one, 400, NOTHING, SamplingOptions(balance=1.0), 0))
    kinds = [rows.select("metals", "linkers").n_unique() for rows in (plain, even)]
    assert kinds[0] < kinds[1]


@pytest.mark.parametrize("balance", [0.5, 1.0])
def test_balance_divides_by_how_often_a_combination_and_its_rarest_member_occur(balance):
    counts = np.array([8_000, 1_800, 180, 20])
    rarest = np.array([9_800, 1_820, 180, 20])
    metals = pl.Series(["Zn", "Zn", "Fe", "Al"]).gather(np.repeat(np.arange(4), counts))
    linkers = pl.Series(["a", "a;b", "a", "b"]).gather(np.repeat(np.arange(4), counts))
    rows = pl.DataFrame({"metals": metals, "linkers": linkers, "row": np.arange(10_000)})
    # Few of each, so that none runs out.
    found = pl.concat([balanced(rows, 3, balance, seed) for seed in range(200)])
    assert (found.group_by("row").len()["len"] > 1).any()
    assert balanced(rows, 100, balance, 0)["row"].n_unique() == 100
    kinds = found["metals"] + found["linkers"]
    shares = [(kinds == kind).mean() for kind in ("Zna", "Zna;b", "Fea", "Alb")]
    expected = counts ** (1.0 - balance) / rarest ** (0.5 * balance)
    np.testing.assert_allclose(shares, expected / expected.sum(), atol=0.06)


# Columns have names: their order is nothing, and which is which is everything.


@pytest.fixture(scope="module")
def quick():
    return recipe(training={"epochs": 6}, linker_features=False)


def train(quick, frame, folder, name):
    path = folder / f"{name}.csv"
    frame.write_csv(path)
    return FIELD.train(quick, path, folder / name, Progress()).model()


def test_columns_are_found_by_name(quick, tmp_path):
    pytest.importorskip("rdkit", reason="linkers of frameworks need rdkit")
    frame = frameworks(240, 3)
    order = np.random.default_rng(0).permutation(frame.columns).tolist()
    assert order != frame.columns
    first = train(quick, frame, tmp_path, "first")
    moved = train(quick, frame.select(order), tmp_path, "moved")
    asked = Request({"co2_uptake": 5.0}, {})
    rows = [generate(m, 20, asked, options=AS_TRAINED, seed=1)[0] for m in (first, moved)]
    assert rows[0].equals(rows[1])
    # The same table with other uptakes is another model; so are values under the wrong name.
    other = frame.with_columns(pl.col("co2_uptake").reverse())
    third = train(quick, other, tmp_path, "third")
    assert not generate(third, 20, asked, options=AS_TRAINED, seed=1)[0].equals(rows[0])
    table = frame.with_columns(co2_uptake=frame["co2_uptake"].reverse())
    codes = [first.encode(first.records(t)) for t in (frame, table)]
    assert not np.allclose(*codes)


def test_a_category_may_be_a_condition_too(tmp_path):
    pytest.importorskip("rdkit", reason="linkers of frameworks need rdkit")
    columns = COLUMNS | {"net": {"role": "condition", "kind": "category"}}
    settings = recipe(training={"epochs": 6}, linker_features=False, columns=columns)
    model = train(settings, frameworks(240, 3), tmp_path, "run")
    rows, _ = generate(model, 10, Request({"co2_uptake": 4.0}, {}), options=AS_TRAINED)
    assert rows.height == 10
    assert "net" not in rows.columns


def test_few_families_make_no_surrogate(tmp_path):
    pytest.importorskip("rdkit", reason="linkers of frameworks need rdkit")
    frame = frameworks(300, 3)
    names = [f"{letter * 6}{i:02d}" for i, letter in enumerate("ABCDEFGH" * 40)][:300]
    frame = frame.with_columns(name=pl.Series([name[:8] for name in names]))
    settings = recipe(training={"epochs": 6}, linker_features=False)
    model = train(settings, frame, tmp_path, "run")
    assert model.surrogates == {}
    rows, _ = generate(model, 3, Request({"co2_uptake": 4.0}, {}), options=AS_TRAINED)
    assert rows.height == 3
    assert "co2_uptake_predicted" not in rows.columns
