"""What metrics are called, how values are written, and what the headline claims."""

import json
from dataclasses import replace

import pytest
from synthetic_crystal_run import MATCHES, row

from variolite.crystals.report.crystal_run import CrystalRun
from variolite.crystals.report.score_section import (
    headline,
    main_matches,
    metric_title,
    scores_section,
    written,
)
from variolite.scoring.scorecard import Scorecard
from variolite.training import RunFolder
from variolite.training.run_folder import read_run


def score(**entries):
    made = row("reconstruction", "vae", "match_rate_cdvae_rms_unreduced", 0.5, 0.1, "share")
    return replace(made, **entries)


TITLES = {
    "match_rate_cdvae_rms_unreduced": (
        "match rate, CDVAE tolerance, by RMS displacement, cells as given"
    ),
    "match_rate_default_fit_primitive": (
        "match rate, default tolerance, by largest displacement, primitive cells"
    ),
    "rmse_corrected_strict_unreduced": (
        "RMSE corrected, strict tolerance, cells as given, in free lengths"
    ),
    "periodic_error_p95": "periodic error, 95 % mark",
    "space_group_kept_symprec_0.1": "space group kept, at symprec 0.1",
    "n_elements_wasserstein": "number of elements, Wasserstein distance",
    "sun_relaxed": "S.U.N., after relaxation",
    "msun_relaxed (CHGNet 0.3.0)": "metastable S.U.N., after relaxation (CHGNet 0.3.0)",
    "e_above_hull_median (CHGNet 0.3.0)": "energy above hull, median (CHGNet 0.3.0)",
    "asked": "asked for",
    "spearman_asked_band_gap": "rank correlation with values asked for: band gap",
    "something_nobody_knows": "something nobody knows",
    "": "",
}


@pytest.mark.parametrize("stem", TITLES)
def test_titles(stem):
    assert metric_title(stem) == TITLES[stem]


@pytest.mark.parametrize(
    ("text", "unit", "mean", "low", "high"),
    [
        ("97.30\u00a0% (96.60 to 98.00)", "share", 0.973, 0.966, 0.98),
        ("0.0\u00a0%", "share", 0.0, 0.0, 0.0),
        ("30.0\u00a0%", "share", 0.3, None, None),
        ("0.0287\u00a0Å (0.0270 to 0.0306)", "angstrom", 0.0287, 0.027, 0.0306),
        ("1.25° (1.00 to 1.50)", "degree", 1.25, 1.0, 1.5),
        ("1,234", "count", 1234.0, None, None),
        ("2.0\u00a0furlong (1.0 to 3.0)", "furlong", 2.0, 1.0, 3.0),
        ("not defined", "share", None, None, None),
    ],
)
def test_values(text, unit, mean, low, high):
    assert written(score(unit=unit, mean=mean, low=low, high=high)) == text


def test_the_main_match_is_by_rms_in_cells_as_given():
    rows = [score(metric=name) for name in reversed(MATCHES)]
    names = ("cdvae", "default", "strict")
    assert main_matches(rows) == {name: f"match_rate_{name}_rms_unreduced" for name in names}
    assert main_matches([]) == {}
    assert main_matches([score(metric="match_rate_cdvae")]) == {"cdvae": "match_rate_cdvae"}


def test_definitions_are_told_apart_from_other_notes():
    row = score(metric="valid_given_species", task="generation")
    *_, meanings, notes = scores_section(Scorecard((row,), (f"{row.metric}: a", "b: c"))).blocks
    assert meanings.blocks[0].rows == [("valid", "a")]
    assert notes.blocks[0].entries == ("b: c",)


def headline_of(run):
    return " ".join(headline(CrystalRun.of(read_run(RunFolder(run)))))


def test_the_headline_has_rates_baselines_and_errors(crystal_run):
    said = headline_of(crystal_run)
    for part in (
        "Of 300 held-out crystals of",
        "97.3\u00a0%",
        "76.1\u00a0%",
        "hence their number. ",
    ):
        assert part in said
    assert "random coordinates (given the atom types and the cell)" in said
    assert "generated crystals, 81.0" in said
    model = json.loads((crystal_run / "model" / "model.json").read_text())
    model["architecture"] = {"species_given": True}
    (crystal_run / "model" / "model.json").write_text(json.dumps(model))
    assert "hence their number, and the atom types. " in headline_of(crystal_run)


def test_stability_is_told_with_its_potential_and_beside_baselines(crystal_run):
    card = json.loads((crystal_run / "scorecard.json").read_text())
    (mine,) = (r for r in card["rows"] if r["metric"] == "sun" and r["method"] == "vae")
    mine |= {"metric": "sun (LAW 1)", "mean": 0.25, "low": None, "high": None}
    # A baseline that comes later must not speak for the samples.
    card["rows"].append({**mine, "method": "ion_exchange", "mean": 0.5})
    (crystal_run / "scorecard.json").write_text(json.dumps(card))
    told = "25.0\u00a0% stable, unique and novel by LAW 1"
    assert f"{told} (ion exchange, which learns nothing: 50.0\u00a0%)." in headline_of(crystal_run)
    section = scores_section(Scorecard.read(crystal_run / "scorecard.json"))
    tables = [block for block in section.blocks if hasattr(block, "rows")]
    (table,) = (t for t in tables if any(row[0] == "S.U.N. (LAW 1)" for row in t.rows))
    (row,) = (row for row in table.rows if row[0] == "S.U.N. (LAW 1)")
    assert row[table.head.index("ion exchange")] == "50.0\u00a0%"


def test_nothing_is_claimed_without_scores(crystal_run):
    card = json.loads((crystal_run / "scorecard.json").read_text())
    only_vae = [row for row in card["rows"] if row["method"] == "vae"]
    (crystal_run / "scorecard.json").write_text(json.dumps({**card, "rows": only_vae}))
    assert "No baseline was scored beside it" in headline_of(crystal_run)
    (crystal_run / "scorecard.json").write_text(json.dumps({**card, "rows": []}))
    (crystal_run / "held_out.parquet").unlink()
    assert "nothing is claimed" in headline_of(crystal_run)
