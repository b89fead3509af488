"""``variolite score --structures``, on files that the tests write."""

import json
from dataclasses import replace
from functools import partial
from types import SimpleNamespace

import numpy as np
import polars as pl
import pytest

from variolite.crystals import Crystals
from variolite.crystals.files.textbook import textbook_crystals
from variolite.crystals.files.writing import write_structures

MADE = ("--structures", "made")
BESIDE = (*MADE, "--reference", "known.csv")


@pytest.fixture
def files(tmp_path, monkeypatch):
    """A reference, a folder of samples of which one cannot be read, and a hull."""
    monkeypatch.chdir(tmp_path)
    crystals = textbook_crystals()
    known = replace(crystals, properties={"formation_energy_per_atom": np.full(78, -1.0)})
    # Three times, so that every element occurs often enough for a reference energy.
    write_structures(Crystals.concatenate([known] * 3), tmp_path / "known.csv")
    write_structures(crystals.take(slice(18, 26)), tmp_path / "made")
    (tmp_path / "made" / "garbage.cif").write_text("data_x\n_cell_length_a  oops\n")
    hull = pl.DataFrame({"formula": ["NaCl", "Na"], "formation_energy_per_atom": [-2.0, 0.0]})
    hull.write_csv(tmp_path / "hull.csv")
    return tmp_path


@pytest.fixture
def score(files, program):
    return partial(program.works, "score", *BESIDE, "--test", "known.csv", "--workers", 0)


def test_a_table_with_definitions_and_a_verdict_on_every_structure(files, score):
    answer = score(out="verdicts.csv")
    lines = answer.out.splitlines()
    methods = ["samples", "ion_exchange", "random_decoration", "reference_draw"]
    assert lines[1].split() == ["quantity", "unit", *methods]
    assert ["asked", "count", "9", "9", "9"] in [line.split() for line in lines]
    assert any(line.startswith("  novel: Share of the samples valid") for line in lines)
    assert pl.read_csv(files / "verdicts.csv")["novel"].to_list() == [False] * 8
    assert "1 of 9 were rejected" in answer.err


def test_json_for_programs(files, score):
    card = json.loads(score("--json", "--no-baselines", out="card.json").out)
    assert card == json.loads((files / "card.json").read_text())
    rows = {row["metric"]: row for row in card["rows"] if row["method"] == "samples"}
    assert rows["distance_valid"]["mean"] == pytest.approx(8 / 9)
    assert rows["novel"]["mean"] == 0.0
    assert {row["task"] for row in card["rows"]} == {"generation"}


@pytest.mark.usefixtures("files")
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "there is nothing to score. Give a RUN and --data, or --structures and --reference"),
        (("RUN", *MADE), "RUN: does not go with --structures"),
        ((*MADE, "--data", "x.csv"), "--data: does not go with --structures"),
        (("RUN",), "there is nothing to score it on. Give --data PATH"),
        (MADE, "--structures: there is nothing to compare them with"),
        ((*MADE, "--reference", "no.csv"), "no.csv"),
        (("--structures", "no", "--reference", "known.csv"), "no"),
        (
            (*BESIDE, "--energies", "chgnt"),
            "--energies: there are no energies 'chgnt'. Did you mean chgnet?",
        ),
        ((*BESIDE, "--energies", "chgnet"), "--energies: energies need known phases"),
        ((*BESIDE, "--relax-steps", "5"), "--relax-steps: needs a potential"),
        ((*BESIDE, "--out", "here.docx"), "'.docx' files cannot be written"),
        ((*BESIDE, "--out", "known.csv/x.json"), "is no folder"),
        ((*BESIDE, "--hull", "known.csv"), "known.csv: has no column species_at_sites or"),
        (("--structures", "made/garbage.cif", "--reference", "known.csv"), "garbage.cif"),
    ],
)
def test_mistakes(arguments, message, program):
    assert message in program.fails("score", *arguments)


def test_a_hull_brings_energies_and_relaxation(score, monkeypatch):
    steps = []

    def energy_function(source, *, workers, log):
        assert source == "chgnet"
        return lambda crystals: np.full(len(crystals), -3.0)

    def relax(crystals, source, *, limits, workers, log):
        steps.append(limits.steps)
        return SimpleNamespace(crystals=crystals)

    monkeypatch.setattr("variolite.crystals.potential.features.energy_function", energy_function)
    monkeypatch.setattr("variolite.crystals.potential.relaxation.relax", relax)
    answer = score("--json", "--no-baselines", "--relax-steps", 7, hull="hull.csv", out="all.csv")
    card = json.loads(answer.out)
    assert {row["method"] for row in card["rows"]} == {"samples", "reference_draw"}
    # Of all the samples the known phases cover common salt alone; here it is bound by 1 eV.
    rows = {row["metric"]: row for row in card["rows"] if row["method"] == "samples"}
    # Every figure that needs energies says whose they are.
    by = " (CHGNet 0.3.0)"
    assert rows[f"e_above_hull_median{by}"]["mean"] == pytest.approx(1.0, abs=0.01)
    assert rows[f"stable{by}"]["mean"] == rows[f"sun_relaxed{by}"]["mean"] == 0.0
    assert pl.read_csv("all.csv")["potential"].unique().to_list() == ["CHGNet 0.3.0"]
    assert steps == [7]
    assert any("no known phase of the elements" in note for note in card["notes"])
