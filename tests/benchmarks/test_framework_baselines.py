"""Generators without a network learn what they say they learn; facts of CRAFTED come out."""

import numpy as np
import polars as pl
import pytest
from benchmarks.frameworks import baselines, crafted
from benchmarks.frameworks.generators import BASELINES, BayesNet, backed_off, information

from variolite.frameworks.diagnosis import diagnose
from variolite.frameworks.diagnosis.diversity import effective_number, expected_distinct, shares


def rows(n=600, seed=0):
    """Metals rule linkers, linkers rule the density; b and c go together."""
    rng = np.random.default_rng(seed)
    metal = rng.choice(3, n, p=[0.6, 0.3, 0.1])
    linkers = [["a"], ["b", "c"], ["d", "e"]]
    chosen = [
        rng.choice(linkers[m]) if rng.random() < 0.9 else rng.choice(list("abcde")) for m in metal
    ]
    both = [f"{x};c" if x == "b" and rng.random() < 0.8 else x for x in chosen]
    density = np.array(["abcde".index(x) for x in chosen]) + rng.random(n)
    return pl.DataFrame(
        {
            "name": [f"f{i}" for i in range(n)],
            "family": [f"f{i}" for i in range(n)],
            "metals": np.array(["Zn", "Fe", "Ca"])[metal],
            "linkers": both,
            "density": np.where(rng.random(n) < 0.1, np.nan, density),
        }
    ).with_columns(pl.col("density").fill_nan(None))


@pytest.mark.parametrize("name", BASELINES)
def test_rows_of_the_same_columns_and_kinds(name):
    table = rows()
    made = BASELINES[name]().fit(table, 0).sample(3000, 1)
    assert made.columns == ["metals", "linkers", "density"]
    assert made.equals(BASELINES[name]().fit(table, 0).sample(3000, 1))
    assert not made.equals(BASELINES[name]().fit(table, 0).sample(3000, 2))
    assert made["density"].null_count() / 3000 == pytest.approx(0.1, abs=0.03)
    for metal in ("Zn", "Fe", "Ca"):
        share = (made["metals"] == metal).mean()
        assert share == pytest.approx((table["metals"] == metal).mean(), abs=0.04)
    assert set(made["density"].drop_nulls()) <= set(table["density"].drop_nulls())
    assert all(text == ";".join(sorted(set(text.split(";")))) for text in made["linkers"])


@pytest.mark.parametrize("name", ["Bayes net", "mixture of products"])
def test_dependence_is_learnt(name):
    table = rows()
    made = BASELINES[name]().fit(table, 0).sample(4000, 1)
    for metal, linker in (("Zn", "a"), ("Ca", "d")):
        of = [
            t.filter(pl.col("metals") == metal)["linkers"].str.contains(linker).mean()
            for t in (made, table)
        ]
        assert of[0] == pytest.approx(of[1], abs=0.1)
    dense = [t.filter(pl.col("linkers") == "a")["density"].mean() for t in (made, table)]
    assert dense[0] == pytest.approx(dense[1], abs=0.5)
    # Linkers that go together stay together.
    pair = [(t["linkers"] == "b;c").mean() for t in (made, table)]
    assert pair[0] == pytest.approx(pair[1], abs=0.05)


def test_the_tree_follows_the_chain():
    net = BayesNet().fit(rows(), 0)
    assert net.order == [("metals", None), ("linkers", "metals"), ("density", "linkers")]


def test_information_is_corrected_for_chance():
    rng = np.random.default_rng(0)
    x, y = rng.integers(0, 4, 500), rng.integers(0, 200, 500)
    assert information(x, y, rng) == pytest.approx(0.0, abs=0.03)
    assert information(x, x, rng) == pytest.approx(np.log(4), abs=0.03)


def test_conditional_frequencies_lean_on_the_marginal_where_it_predicts():
    rng = np.random.default_rng(0)
    loose = backed_off(rng.multinomial(5, [0.7, 0.2, 0.1], size=40).astype(float))
    tied = backed_off(np.array([[40.0, 0, 0], [0, 40, 0], [0, 0, 40]]))
    np.testing.assert_allclose(loose, np.tile(loose.mean(axis=0), (40, 1)), atol=0.1)
    assert (np.diag(tied) > 0.98).all()
    np.testing.assert_allclose(loose.sum(axis=1), 1.0)


def test_a_table_of_generators(capsys):
    records = baselines.measure(rows(300), {"table": baselines.baselines()["frequency table"]}, 2)
    capsys.readouterr()
    lines = baselines.summary(records)
    assert lines[0].startswith("| mean ± sd over splits | table | real rows")
    (copies,) = [line for line in lines if line.startswith("| copies")]
    assert "1.000 ± 0.000" in copies


@pytest.fixture(scope="module")
def crafted_rows(shared_data):
    pytest.importorskip("rdkit")
    path = shared_data / "frameworks" / "crafted" / "crafted_table.csv"
    if not path.exists():
        pytest.skip("the CRAFTED table is absent from the folder of real data")
    return crafted.load(path)


def test_facts_of_crafted(shared_data, crafted_rows):
    """Figures computed independently on the identifiers as they were read."""
    raw = pl.read_csv(shared_data / "frameworks" / "crafted" / "crafted_table.csv")
    keys = raw["linker_inchikeys"].fill_null("").str.split(";").list.sort().list.join(";")
    counts = (
        raw.select("metal", keys.alias("keys")).group_by("metal", "keys").len()["len"].to_numpy()
    )
    p = shares(counts)
    assert len(p) == 393
    assert expected_distinct(p, 50) == pytest.approx(44.0, abs=0.05)
    assert expected_distinct(p, 1000) == pytest.approx(332, abs=0.5)
    assert effective_number(p) == pytest.approx(286, abs=0.5)
    assert crafted_rows.height == 592
    terephthalate = crafted_rows["linkers"].str.split(";").list.contains("O=C(O)c1ccc(C(=O)O)cc1")
    assert terephthalate.sum() == pytest.approx(97, abs=3)


def test_crafted_has_a_long_tail_and_no_degeneracy(crafted_rows):
    train, held_out = next(crafted.splits(crafted_rows, 1))
    assert not set(train["family"]) & set(held_out["family"])
    made = BASELINES["frequency table"]().fit(train, 0).sample(2000, 0)
    found = diagnose(train, held_out, made)
    assert [finding.name for finding in found.findings] == ["long_tail", "copies", "no_collapse"]
    loose = BASELINES["independent marginals"]().fit(train, 0).sample(2000, 0)
    names = [finding.name for finding in diagnose(train, held_out, loose).findings]
    assert names == ["long_tail", "novel", "dependence_lost"]
