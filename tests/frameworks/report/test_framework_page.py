"""The page of a run says of generated rows what its tables say, and prints."""

import re

import numpy as np
import polars as pl
import pytest

from page_layout import check_page, read_page
from variolite.frameworks.diagnosis import diagnose
from variolite.frameworks.diagnosis.tallies import Layout
from variolite.frameworks.framework_table import SHAPE
from variolite.frameworks.generation.sampling import table_of
from variolite.frameworks.generation.score_run import unlinked
from variolite.frameworks.report.framework_page import SHOWN, framework_page
from variolite.frameworks.report.generation_figures import compared
from variolite.scoring import Bootstrap
from variolite.scoring.intervals import Interval
from variolite.scoring.scorecard import Scorecard, ScoreKey
from variolite.training.run_folder import RunFolder, read_run

SECTIONS = {"findings", "distributions", "diversity", "requested", "rows", "scores", "training"}
SECTIONS |= {"provenance"}
LONG = "O=C(O)c1ccc(" + "-c2ccc(" * 20 + "C(=O)O" + ")cc2" * 20 + ")cc1"
WORDS = {
    "metals": ["Zn", "Fe", "Al;Zn", "Ca"],
    "linkers": ["O=C(O)c1ccc(C(=O)O)cc1", "c1cc(-c2ccncc2)ccn1;O=CO", "OC(=O)C(=O)O", LONG],
    "net": ["pcu", "dia", "cds", "sql"],
    "nodes": ["node_C6O13Zn4_6X", "node_C4O8Zn2_6X", "node_Zn_4X", "node_C2O4Zn_4X"],
    "linker_units": ["linker_C6H4_2X", "linker_C10H8N2_2X", "linker_C6H3_3X", "linker_C4H4N2_2X"],
}


def rows(n, seed, words, numbers):
    rng = np.random.default_rng(seed)
    kind = rng.choice(4, n, p=[0.6, 0.2, 0.15, 0.05])
    made = pl.DataFrame(
        {name: np.array(WORDS[name])[np.roll(kind, i)] for i, name in enumerate(words)}
        | {name: rng.gamma(4.0, 0.3, n) for name in numbers}
    )
    # Nets and units are known of some structures only, and not of the first.
    known = (pl.int_range(pl.len()) % 3 > 0) | pl.lit("metals" not in words)
    some = [name for name in words if name not in ("metals", "linkers")]
    return made.with_columns(pl.when(known).then(name).alias(name) for name in some)


def run_of(folder, words, numbers=(), conditions=(), members=1):
    """A scored run folder of made-up rows."""
    folder.mkdir()
    run = RunFolder(folder)
    real = [rows(n, s, words, numbers) for n, s in ((300, 0), (90, 1))]
    real = [one.with_columns(family=pl.format("F{}", pl.int_range(pl.len()) // 2)) for one in real]
    made = [rows(1500, 2 + i, words, numbers) for i in range(members)]
    found = diagnose(*real, made, bootstrap=Bootstrap(resamples=20), layout=Layout.among(words))
    asked = [
        rows(60, 9, words, numbers).with_columns(
            pl.Series(f"{name}_{end}", np.repeat(np.arange(1.0, 21.0), 3) + step)
            for end, step in (("requested", 0), ("predicted", 1), ("low", 0.2), ("high", 2.5))
        )
        for name in conditions
    ]
    tables = [table_of(one).with_columns(member=i) for i, one in enumerate(made)]
    tables += [one.with_columns(member=0) for one in asked]
    unlinked(real[0]).write_parquet(run.training_file)
    real[1].write_parquet(run.held_out_file)
    pl.concat(tables, how="diagonal").write_parquet(run.generated_file)
    run.write_json(run.health_file, found.to_dict())
    key = ScoreKey("generation", "vae", "held-out families", feature="co2_uptake")
    card = Scorecard((key.row("spearman_asked", Interval(0.61, 0.5, 0.7), 60, members),), ())
    card.write(run.scorecard_file)
    return run


SHAPES = [*SHAPE]


@pytest.mark.parametrize(
    ("words", "numbers", "conditions", "members"),
    [
        (tuple(WORDS), ("density", "void_fraction"), ("co2_uptake",), 3),
        (("metals", "linkers"), SHAPES, (), 1),
        (("net", "nodes", "linker_units"), (), ("co2_uptake", "void_fraction"), 1),
    ],
    ids=["all", "unconditional", "assembly"],
)
def test_the_page_prints_with_much_and_with_little(tmp_path, words, numbers, conditions, members):
    run = run_of(tmp_path / "run", words, numbers, conditions, members)
    html = framework_page(read_run(run))
    # Molecules of the table have no captions, and letters as paths.
    bare = re.sub(r'<svg [^>]*(class="molecule"|aria-hidden).*?</svg>', "", html, flags=re.DOTALL)
    check_page(bare, SECTIONS, None, least=4)
    page = read_page(html)
    text = page.text()
    assert ("Nothing can be asked of this run" in text) == (not conditions)
    assert ("ρ 0.61 (0.50 to 0.70); 20 values, 60 rows" in text) == bool(conditions)
    assert "300 training rows, 90 rows of held-out families" in text
    assert ("3 x 1,500 generated rows, of 3 members" in text) == (members == 3)
    assert "Novel: of no training row of this run" in text
    (table,) = [t for t in page.find("table") if t.find("th")[0].text() == "name"]
    assert table.attributes["class"] == "sortable"
    assert len(table.find("tr")) == 1 + SHOWN


def test_a_run_that_was_not_scored_says_so(tmp_path):
    run = run_of(tmp_path / "run", ("metals", "linkers"))
    run.generated_file.unlink()
    page = read_page(framework_page(read_run(run)))
    assert "The run has not been scored" in page.text()
    assert {s.attributes["id"] for s in page.find("section")} == {
        "findings", "scores", "training", "provenance",
    }  # fmt: skip


def test_what_was_asked_for_is_not_compared():
    real = pl.DataFrame({"metals": ["Zn", "Zn;Fe", "Fe", None], "linkers": ["a", "b;c", "a", "a"]})
    held = pl.DataFrame({"metals": ["Ca", "Zn"], "linkers": ["d", "a"]})
    made = pl.DataFrame(
        {
            "metals": ["Zn", "Zn", "Fe;Zn", "Ca", "Ca"],
            "linkers": ["a", "b", "b", "e", "e"],
            "member": [0, 0, 1, 1, 1],
            "density_requested": [None, None, None, None, 1.0],
        }
    )
    t = compared(real, held, made)
    assert [len(rows) for rows in t.samples] == [2, 2]
    metals = t.columns["metals"]
    assert metals.members == ("Ca", "Fe", "Zn")
    parts = (t.train, t.held_out, *t.samples)
    counts = [metals.member_counts(rows).tolist() for rows in parts]
    assert counts == [[0, 2, 2], [1, 0, 1], [0, 0, 2], [1, 1, 1]]
    assert [metals.known(rows) for rows in parts] == [3, 2, 2, 2]
