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


@pytest.mark.parametrize(
    ("stem", "title"),
    [
        (
            "match_rate_cdvae_rms_unreduced",
            "match rate, CDVAE tolerance, by RMS displacement, cells as given",
        ),
        (
            "match_rate_default_fit_primitive",
            "match rate, default tolerance, by largest displacement, primitive cells",
        ),
        (
            "rmse_corrected_strict_unreduced",
            "RMSE corrected, strict tolerance, cells as given, in free lengths",
        ),
        ("periodic_error_p95", "periodic error, 95 % mark"),
        ("space_group_kept_symprec_0.1", "space group kept, at symprec 0.1"),
        ("n_elements_wasserstein", "number of elements, Wasserstein distance"),
        ("sun_relaxed", "S.U.N., after relaxation"),
        ("something_nobody_knows", "something nobody knows"),
        ("", ""),
    ],
)
def test_titles(stem, title):
    assert metric_title(stem) == title


@pytest.mark.parametrize(
    ("entries", "text"),
    [
        ({"mean": 0.973, "low": 0.966, "high": 0.98}, "97.30\u00a0% (96.60 to 98.00)"),
        ({"mean": 0.0, "low": 0.0, "high": 0.0}, "0.0\u00a0%"),
        ({"mean": 0.3, "low": None, "high": None}, "30.0\u00a0%"),
        (
            {"unit": "angstrom", "mean": 0.0287, "low": 0.027, "high": 0.0306},
            "0.0287\u00a0Å (0.0270 to 0.0306)",
        ),
        ({"unit": "degree", "mean": 1.25, "low": 1.0, "high": 1.5}, "1.25° (1.00 to 1.50)"),
        ({"unit": "count", "mean": 1234.0, "low": None, "high": None}, "1,234"),
        (
            {"unit": "furlong", "mean": 2.0, "low": 1.0, "high": 3.0},
            "2.0\u00a0furlong (1.0 to 3.0)",
        ),
        ({"mean": None, "low": None, "high": None}, "not defined"),
    ],
)
def test_values(entries, text):
    assert written(score(**entries)) == text


def test_the_main_match_is_by_rms_in_cells_as_given():
    rows = [score(metric=name) for name in reversed(MATCHES)]
    assert main_matches(rows) == {
        name: f"match_rate_{name}_rms_unreduced" for name in ("cdvae", "default", "strict")
    }
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
        "random coordinates (given the atom types and the cell)",
        "generated crystals, 81.0",
        "hence their number. ",
    ):
        assert part in said
    model = json.loads((crystal_run / "model" / "model.json").read_text())
    model["architecture"] = {"species_given": True}
    (crystal_run / "model" / "model.json").write_text(json.dumps(model))
    assert "hence their number, and the atom types. " in headline_of(crystal_run)


def test_nothing_is_claimed_without_scores(crystal_run):
    card = json.loads((crystal_run / "scorecard.json").read_text())
    only_vae = [row for row in card["rows"] if row["method"] == "vae"]
    (crystal_run / "scorecard.json").write_text(json.dumps({**card, "rows": only_vae}))
    assert "No baseline was scored beside it" in headline_of(crystal_run)
    (crystal_run / "scorecard.json").write_text(json.dumps({**card, "rows": []}))
    (crystal_run / "held_out.parquet").unlink()
    assert "nothing is claimed" in headline_of(crystal_run)
