"""Three things called mode collapse are told apart, on tables whose fault is known."""

import json

import numpy as np
import polars as pl
import pytest

from variolite.errors import DataError
from variolite.frameworks.diagnosis import diagnose
from variolite.frameworks.diagnosis.findings import ModelFacts
from variolite.frameworks.diagnosis.tallies import BINS, Layout, joint_rows, tally
from variolite.scoring import Bootstrap

QUICK = Bootstrap(resamples=50)
ACIDS = [f"O=C(O)c1ccc({'C' * i}C(=O)O)cc1" for i in range(1, 31)]


def long_tail(n=400, seed=0):
    """Metals that linkers depend on, a long tail of linkers, and pores that follow from them."""
    rng = np.random.default_rng(seed)
    metal = rng.choice(4, n, p=[0.6, 0.2, 0.15, 0.05])
    first = (rng.zipf(1.3, n) % 15) + 15 * (metal > 0)
    second = rng.integers(0, 30, n)
    mixed = rng.random(n) < 0.3
    density = 0.5 + 0.05 * first + 0.05 * rng.random(n)
    return pl.DataFrame(
        {
            "name": [f"F{i}" for i in range(n)],
            "family": [f"F{i // 2}" for i in range(n)],
            "metals": np.array(["Zn", "Fe", "Al;Zn", "Ca"])[metal],
            "linkers": [
                ";".join(sorted({ACIDS[a], ACIDS[b]} if two else {ACIDS[a]}))
                for a, b, two in zip(first, second, mixed, strict=True)
            ],
            "net": np.array(["pcu", "dia", ""])[rng.choice(3, n, p=[0.5, 0.3, 0.2])],
            "density": density,
            "void_fraction": 1.2 - density + 0.02 * rng.random(n),
        }
    )


TRAIN, HELD_OUT = long_tail(400, 0), long_tail(160, 1)


def drawn(n=2000, seed=5, table=TRAIN):
    return table[np.random.default_rng(seed).integers(0, table.height, n)]


def shuffled(n=2000, seed=6):
    rng = np.random.default_rng(seed)
    return pl.DataFrame({c: TRAIN[c].gather(rng.integers(0, 400, n)) for c in TRAIN.columns})


def look(generated, **rest):
    return diagnose(TRAIN, HELD_OUT, generated, bootstrap=QUICK, **rest)


def names(diagnosis):
    return [finding.name for finding in diagnosis.findings]


def made_of_classes(n=687, seed=0):
    """The published table: six metal classes, one linker, a cell."""
    rng = np.random.default_rng(seed)
    classes = ["Zn"] * 523 + ["Fe"] * 67 + ["In"] * 42 + ["Ca"] * 31 + ["Al"] * 21 + ["Ti"] * 3
    cells = rng.uniform(5, 25, (n, 2))
    rows = {"metals": classes, "linkers": "acid", "a": cells[:, 0], "c": cells[:, 1]}
    return pl.DataFrame(rows)[rng.permutation(n)]


def test_degenerate_data_and_argmax_decoding():
    table = made_of_classes()
    layout = Layout(numbers=("a", "c"))
    sample = drawn(1000, table=table[:480])
    sample = sample.with_columns(a=pl.col("a") * (1 + 0.01 * np.random.default_rng(3).random(1000)))
    mode = sample.with_columns(metals=pl.lit("Zn"))
    found = diagnose(table[:480], table[480:], sample, argmax=mode, layout=layout, bootstrap=QUICK)
    assert names(found) == ["degenerate_data", "decoding_artefact"]
    first, second = (str(finding) for finding in found.findings)
    assert "6 combinations of metals x linkers (linkers constant)" in first
    top = (table[480:]["metals"] == "Zn").mean()
    assert f"by argmax they do not ({1 - top:.3f})" in second
    assert found.figure("known over ceiling", n=1000).value == pytest.approx(1.0, abs=0.02)
    alone = diagnose(table[:480], table[480:], mode, layout=layout, bootstrap=QUICK)
    assert {"degenerate_data", "marginals_differ", "mode_collapse"} <= set(names(alone))


def test_of_a_handful_of_rows_nothing_is_said_at_a_thousand_draws():
    found = diagnose(TRAIN[:3], HELD_OUT, drawn(table=TRAIN[:3]), bootstrap=QUICK)
    assert {figure.n for figure in found.figures if figure.quantity == "distinct"} == {50}
    assert {figure.n for figure in found.figures if "coverage" in figure.quantity} == {3}
    assert not any("1,000" in str(finding) for finding in found.findings)


def test_a_long_tail_is_no_fault():
    found = look([drawn(seed=1), drawn(seed=2), drawn(seed=3)])
    assert names(found) == ["long_tail", "copies", "no_collapse"]
    ratio = found.figure("distinct over expected", n=1000)
    assert ratio.value == pytest.approx(1.0, abs=0.02)
    assert ratio.low <= ratio.value <= ratio.high
    assert found.figure("copies of training rows").value == 1.0
    assert found.figure("novel rows", "metals x linkers").value == 0.0
    assert found.rows == {
        "train": 400, "held_out": 160, "held_out_families": 80, "sample": 2000, "seeds": 3,
    }  # fmt: skip


def test_argmax_of_a_long_tail_is_no_finding():
    mode = drawn().with_columns(linkers=pl.lit(ACIDS[1]))
    loose = TRAIN.with_columns(
        linkers=pl.Series([f"x{i // 2 if i < 80 else i}" for i in range(400)])
    )
    found = diagnose(loose, HELD_OUT, drawn(table=loose), argmax=mode, bootstrap=QUICK)
    assert found.states["linkers"][1] > 0.5
    assert names(found) == ["long_tail", "copies", "no_collapse"]


@pytest.mark.parametrize(
    ("facts", "expected"),
    [
        (ModelFacts(kl=[1e-4] * 16, latent_drop=1e-3), "posterior_collapse"),
        (ModelFacts(kl=[1e-4] * 16), "posterior_collapse"),
        (ModelFacts(kl=[1.0] * 16, latent_drop=1e-3), "posterior_collapse"),
        (ModelFacts(kl=[1.0] * 16, information=1e-3), "posterior_collapse"),
        (ModelFacts(condition_drop=0.0), "condition_ignored"),
        (ModelFacts(kl=[1.0, 0.0], latent_drop=2.0, condition_drop=0.5), None),
    ],
)
def test_what_a_model_makes_of_its_latents(facts, expected):
    found = look(drawn(), model=facts)
    assert [n for n in names(found) if n in ("posterior_collapse", "condition_ignored")] == (
        [expected] if expected else []
    )
    assert ("no_collapse" in names(found)) is (expected is None)
    if facts.kl:
        assert found.figure("active dimensions").value == facts.active


def test_lost_dependence():
    found = look(shuffled())
    assert "dependence_lost" in names(found)
    # Single columns cannot show it.
    assert "marginals_differ" not in names(found)
    assert found.figure("joint TVD over that of real rows", "pairs of numbers").value > 2
    real = look(drawn())
    assert real.figure("joint TVD over that of real rows", "pairs").value < 1.25
    assert "dependence_lost" not in names(real)


def test_lost_categories():
    only = TRAIN.filter(pl.col("metals") == "Zn")
    assert {"marginals_differ", "mode_collapse"} <= set(names(look(drawn(table=only))))


def test_few_combinations_although_every_column_matches():
    # A Latin square: each linker with one metal alone, where the data have all pairs.
    rng = np.random.default_rng(0)
    words = [f"l{i}" for i in range(6)]
    full = pl.DataFrame(
        {"metals": [f"M{i}" for i in rng.integers(0, 6, 3000)], "linkers": rng.choice(words, 3000)}
    )
    tied = pl.DataFrame({"metals": full["metals"], "linkers": full["metals"].str.replace("M", "l")})
    found = diagnose(full[:1500], full[1500:], tied, bootstrap=QUICK)
    assert "combinations_lost" in names(found)
    assert found.figure("distinct", n=1000).value == 6


def test_novel_combinations_are_told_apart_from_even_ones():
    found = look(shuffled())
    assert "novel" in names(found)
    novel = found.figure("novel rows", "metals x linkers")
    train = set(TRAIN.select("metals", "linkers").iter_rows())
    rows = list(shuffled().select("metals", "linkers").iter_rows())
    assert novel.value == pytest.approx(np.mean([row not in train for row in rows]))
    held = list(HELD_OUT.select("metals", "linkers").iter_rows())
    assert novel.reference == pytest.approx(np.mean([row not in train for row in held]))
    hits = found.figure("new held-out found", "metals x linkers")
    new = set(held) - train
    expected = {r for r in new if r in set(rows)}
    assert (hits.n, hits.against) == (1000, f"known members, of {len(new)}")
    everything = look(shuffled(1000, seed=6))
    first = set(shuffled(1000, seed=6).select("metals", "linkers").iter_rows())
    exact = everything.figure("new held-out found", "metals x linkers").value
    assert exact == pytest.approx(len(first & new) / len(new))
    assert hits.value <= len(expected) / len(new)
    assert hits.value <= hits.reference <= 1


def test_order_and_spelling_of_sets_make_no_state():
    turned = drawn().with_columns(
        linkers=pl.col("linkers").str.split(";").list.reverse().list.join(" ; ")
    )
    plain, found = look(drawn()), look(turned)
    assert found.figure("novel rows", "metals x linkers").value == 0
    quantity = ("joint TVD", "pairs")
    assert found.figure(*quantity).value == pytest.approx(plain.figure(*quantity).value)


def test_members_share_a_row_and_rare_ones_are_one_state():
    rows = pl.DataFrame(
        {
            "metals": ["Zn"] * 12,
            "linkers": ["a;b"] * 5 + ["a"] * 5 + ["c", None],
            "density": [1.0] * 12,
        }
    )
    t = tally(rows, rows[:2], [rows], Layout())
    linkers = t.columns["linkers"]
    np.testing.assert_allclose(
        linkers.rows(t.train)[[0, 5, 10, 11]], [[0.5, 0.5, 0], [1, 0, 0], [0, 0, 1], [0, 0, 0]]
    )
    assert linkers.member_counts(t.train).tolist() == [10, 5, 1]
    assert linkers.known(t.train) == 11
    assert t.combination.members == ("Zn + a", "Zn + a;b", "Zn + c")
    joint = joint_rows([t.columns["metals"], linkers], [t.train, t.train])
    assert joint.sum() == pytest.approx(11)


def test_numbers_are_binned_by_training_rows_and_ties_make_no_empty_bin():
    values = np.r_[np.zeros(60), np.arange(1.0, 41.0)]
    rows = pl.DataFrame({"metals": "Zn", "linkers": "a", "surface_area_mass": values})
    far = rows.with_columns(surface_area_mass=pl.lit(1e9))
    t = tally(rows, far, [rows], Layout())
    column = t.columns["surface_area_mass"]
    assert column.states < BINS
    assert (column.counts(t.train) > 0).all()
    assert column.counts(t.held_out).tolist()[-1] == 100


def test_what_is_missing_is_left_out_and_said():
    found = look(drawn().drop("net"))
    assert "left_out" in names(found)
    assert "lacks it: net" in "\n".join(found.lines())
    with pytest.raises(DataError, match="none of metals, linkers is filled"):
        look(drawn().select("density"))
    with pytest.raises(DataError, match="held-out rows: the table has no rows"):
        diagnose(TRAIN, HELD_OUT.clear(), drawn())
    with pytest.raises(DataError, match="generated rows: the table has no rows"):
        look([])
    few = look(drawn(7))
    assert few.figure("distinct").n == 7


def test_missing_values_of_every_spelling():
    blank = drawn().with_columns(net=pl.lit(" "), density=pl.lit(float("nan")))
    assert [f.text for f in look(blank).findings if f.name == "left_out"] == [
        "Not compared, since one of the tables lacks it: net, density"
    ]
    lists = drawn().with_columns(linkers=pl.col("linkers").str.split(";"))
    assert look(lists).to_dict() == look(drawn()).to_dict()
    numbers = drawn().with_columns(density=pl.col("density").cast(pl.String))
    assert look(numbers).figure("marginal TVD", "density") == look(drawn()).figure(
        "marginal TVD", "density"
    )
    with pytest.raises(DataError, match="linkers: the column holds"):
        look(drawn().with_columns(linkers=pl.lit([1, 2])))


@pytest.mark.parametrize("rows", [1, 2, 5])
def test_tables_of_a_few_rows(rows):
    found = diagnose(TRAIN[:rows], HELD_OUT[:1], [drawn(rows), drawn(1)], bootstrap=QUICK)
    assert names(found)[0] == "degenerate_data"
    json.dumps(found.to_dict(), allow_nan=False)
    strange = pl.DataFrame({"metals": ["Hf"], "linkers": ["C1CC(("], "density": [9.0]})
    found = diagnose(TRAIN[:rows], HELD_OUT[:1], strange, bootstrap=QUICK)
    assert found.figure("novel rows", "metals x linkers").value == 1


def test_states_are_of_training_rows():
    found = look(drawn()).states
    counts = TRAIN.group_by("metals", "linkers").len()["len"]
    assert found["metals x linkers"] == (len(counts), pytest.approx((counts == 1).mean()))
    assert found["metals"] == (4, 0.0)
    alike = TRAIN.with_columns(net=pl.lit("pcu"))
    assert "degenerate_data" in names(diagnose(alike, HELD_OUT, drawn(), bootstrap=QUICK))


def test_the_floor_is_that_of_real_rows():
    """Rows of the same distribution stay within the range of their floor."""
    inside = []
    for seed in range(12):
        found = diagnose(TRAIN, long_tail(160, 50 + seed), drawn(seed=seed), bootstrap=QUICK)
        figure = found.figure("marginal TVD", "metals")
        inside.append(figure.value <= figure.reference_high + 0.03)
    assert np.mean(inside) > 0.8


def test_lines_and_content():
    def both():
        facts = ModelFacts(kl=[0.5, 0.5], information=1.0)
        return look([drawn(seed=1), drawn(seed=2)], model=facts)

    found = both()
    lines = found.lines()
    assert (
        lines[0]
        == "2,000 generated rows (2 seeds), 160 held-out rows of 80 families, 400 training rows"
    )
    assert any("distinct over expected" in line and "1,000 draws" in line for line in lines)
    assert any(line.startswith("ok: No collapse") for line in lines)
    body = found.to_dict()
    assert json.loads(json.dumps(body, allow_nan=False)) == body
    assert both().to_dict() == body
    with pytest.raises(KeyError):
        found.figure("nonsense")
