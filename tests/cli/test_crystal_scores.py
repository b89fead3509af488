"""``variolite score --structures``, on files that the tests write."""

import json
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import polars as pl
import pytest

from variolite.crystals import Crystals
from variolite.crystals.files.textbook import textbook_crystals
from variolite.crystals.files.writing import write_structures


@pytest.fixture
def files(tmp_path):
    """A reference, a folder of samples of which one cannot be read, and a hull."""
    crystals = textbook_crystals()
    energy = np.full(len(crystals), -1.0)
    known = replace(crystals, properties={"formation_energy_per_atom": energy})
    # Three times, so that every element occurs often enough for a reference energy.
    write_structures(Crystals.concatenate([known] * 3), tmp_path / "known.csv")
    write_structures(crystals.take(slice(18, 26)), tmp_path / "made")
    (tmp_path / "made" / "garbage.cif").write_text("data_x\n_cell_length_a  oops\n")
    hull = pl.DataFrame({"formula": ["NaCl", "Na"], "formation_energy_per_atom": [-2.0, 0.0]})
    hull.write_csv(tmp_path / "hull.csv")
    return tmp_path


def test_a_table_with_definitions_and_a_verdict_on_every_structure(files, program):
    answer = program(
        "score", "--structures", files / "made", "--reference", files / "known.csv",
        "--test", files / "known.csv", "--workers", 0, "--out", files / "verdicts.csv",
    )  # fmt: skip
    assert answer.code == 0, answer.err
    lines = answer.out.splitlines()
    assert lines[1].split() == ["quantity", "unit", "samples", "reference_draw"]
    asked = next(line for line in lines if line.split()[:1] == ["asked"])
    assert asked.split() == ["asked", "count", "9"]
    assert any(line.startswith("  novel: Share of the samples valid") for line in lines)
    verdicts = pl.read_csv(files / "verdicts.csv")
    assert len(verdicts) == 8
    assert verdicts["novel"].to_list() == [False] * 8
    assert "1 of 9 were rejected" in answer.err


def test_json_for_programs(files, program):
    answer = program(
        "score", "--structures", files / "made", "--reference", files / "known.csv",
        "--test", files / "known.csv", "--workers", 0, "--out", files / "card.json", "--json",
    )  # fmt: skip
    card = json.loads(answer.out)
    assert card == json.loads((files / "card.json").read_text())
    rows = {row["metric"]: row for row in card["rows"] if row["method"] == "samples"}
    assert rows["distance_valid"]["mean"] == pytest.approx(8 / 9)
    assert rows["novel"]["mean"] == 0.0
    assert {row["task"] for row in card["rows"]} == {"generation"}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "there is nothing to score. Give a RUN and --data, or --structures and --reference"),
        (("RUN", "--structures", "made"), "RUN: does not go with --structures"),
        (("--structures", "made", "--data", "x.csv"), "--data: does not go with --structures"),
        (("RUN", "--data", "x.csv", "--hull", "h.csv"), "--hull: does not go with RUN"),
        (("RUN",), "there is nothing to score it on. Give --data PATH"),
        (("--structures", "made"), "--structures: there is nothing to compare them with"),
        (("--structures", "made", "--reference", "no.csv"), "no.csv"),
        (("--structures", "no", "--reference", "known.csv"), "no"),
        (
            ("--structures", "made", "--reference", "known.csv", "--energies", "chgnt"),
            "--energies: there are no energies 'chgnt'. did you mean chgnet?",
        ),
        (
            ("--structures", "made", "--reference", "known.csv", "--energies", "chgnet"),
            "--energies: energies need known phases",
        ),
        (
            ("--structures", "made", "--reference", "known.csv", "--relax-steps", "5"),
            "--relax-steps: needs a potential",
        ),
        (
            ("--structures", "made", "--reference", "known.csv", "--out", "here.docx"),
            "'.docx' files cannot be written",
        ),
        (
            ("--structures", "made", "--reference", "known.csv", "--out", "absent/x.json"),
            "the folder does not exist",
        ),
        (
            ("--structures", "made", "--reference", "known.csv", "--hull", "known.csv"),
            "known.csv: has no column species_at_sites or",
        ),
        (("--structures", "made/garbage.cif", "--reference", "known.csv"), "garbage.cif"),
    ],
)
def test_mistakes(arguments, message, files, program, monkeypatch):
    monkeypatch.chdir(files)
    said = program.fails("score", *arguments)
    assert message.split()[0].rstrip(":") in said
    assert message in said


def test_a_hull_brings_energies_and_relaxation(files, program, monkeypatch):
    steps = []

    def energy_function(source, *, workers, log):
        assert source == "chgnet"
        return lambda crystals: np.full(len(crystals), -3.0)

    def relax(crystals, source, *, limits, workers, log):
        steps.append(limits.steps)
        return SimpleNamespace(crystals=crystals)

    monkeypatch.setattr("variolite.crystals.potential.features.energy_function", energy_function)
    monkeypatch.setattr("variolite.crystals.potential.relaxation.relax", relax)
    answer = program(
        "score", "--structures", files / "made", "--reference", files / "known.csv",
        "--test", files / "known.csv", "--workers", 0, "--hull", files / "hull.csv",
        "--relax-steps", 7, "--json",
    )  # fmt: skip
    assert answer.code == 0, answer.err
    card = json.loads(answer.out)
    # Of all the samples the known phases cover common salt alone; here it is bound by 1 eV.
    rows = {row["metric"]: row for row in card["rows"] if row["method"] == "samples"}
    assert rows["e_above_hull_median"]["mean"] == pytest.approx(1.0, abs=0.01)
    assert rows["stable"]["mean"] == rows["sun_relaxed"]["mean"] == 0.0
    assert steps == [7]
    assert any("no known phase of the elements" in note for note in card["notes"])
