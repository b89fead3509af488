"""A new field is one module and one line: a toy one goes through the commands."""

import json
import sys
from pathlib import Path

import polars as pl
import pytest

from variolite.fields import FIELDS

TOY = '''
"""Numbers whose latent is their distance from the training mean: a field of about 60 lines."""

from typing import Literal

import polars as pl
import torch

from variolite.recipe import BaseRecipe, recipe_to_yaml
from variolite.records import write_table, write_text_atomic
from variolite.report.page import Paragraph, Section, render_page
from variolite.scoring import Scorecard, ScoreRow
from variolite.training import RunFolder
from variolite.training.storage import read_description, read_weights, write_signed


class ToyRecipe(BaseRecipe):
    kind: Literal["toy"] = "toy"
    column: str = "x"


class Toy:
    kind, model_kind, subject, recipe = "toy", "variolite.toy", "numbers", ToyRecipe

    def train(self, recipe, data, out, progress, *, restart=False):
        run = RunFolder(out)
        run.prepare(restart=restart)
        with progress.stage("training"):
            mean = torch.tensor(pl.read_csv(data)[recipe.column].mean())
        write_text_atomic(run.recipe_file, recipe_to_yaml(recipe))
        content = {"column": recipe.column}
        write_signed(run.model_folder, self.model_kind, 1, content, {"mean": mean})
        return run

    def load_model(self, folder):
        description = read_description(folder, self.model_kind, 1, {}, "a toy model")
        return description["column"], float(read_weights(folder, description)["mean"])

    def score(self, run, data, progress):
        column, mean = run.model()
        error = float((pl.read_csv(data)[column] - mean).abs().mean())
        of = {"task": "reconstruction", "method": "mean", "split": "test", "metric": "mae"}
        row = ScoreRow(**of, mean=error, low=error, high=error, n_groups=1, seeds=1)
        card = Scorecard((row,))
        card.write(run.scorecard_file)
        return card

    def format_scores(self, card):
        return "\\n".join(f"{row.metric} {row.mean:.3f}" for row in card.rows)

    def report(self, run):
        section = Section("mean", "The mean", (Paragraph(f"{run.model()[1]:.3f}"),))
        return run.write_page(render_page("toy", "", [], [section]))

    def encode(self, run, data, out, progress):
        column, mean = run.model()
        write_table(pl.read_csv(data).select(z0=pl.col(column) - mean), out)

    reconstruct = encode

    def doctor(self, run, data, progress):
        raise NotImplementedError


FIELD = Toy()
'''


@pytest.fixture
def data(tmp_path, monkeypatch):
    (tmp_path / "toy_field.py").write_text(TOY)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setitem(FIELDS, "toy", "toy_field")
    (tmp_path / "toy.yaml").write_text("kind: toy\n")
    pl.DataFrame({"x": [1.0, 2.0, 6.0]}).write_csv(tmp_path / "numbers.csv")
    yield tmp_path / "numbers.csv"
    sys.modules.pop("toy_field", None)


def test_a_field_of_one_short_module_goes_through_the_commands(program, data, tmp_path):
    assert len(TOY.splitlines()) < 75
    run, out = tmp_path / "run", tmp_path / "z.csv"
    fit = ("fit", tmp_path / "toy.yaml", "--data", data, "--out", run)
    # What a field does not offer is refused.
    assert "--members: does not go with a run on numbers" in program.fails(*fit, "--members", 2)
    assert not run.exists()
    assert program.works(*fit, "--set", "column=x").out == f"{run}\n"
    assert program.works("score", run, data=data).out == "mae 2.000\n"
    assert json.loads(program("score", run, "--json", data=data).out)["rows"]
    (run / "report.html").unlink()
    page = program.works("report", run).out.strip()
    assert "<p>3.000</p>" in Path(page).read_text()
    program.works("encode", run, data=data, out=out)
    assert pl.read_csv(out)["z0"].to_list() == [-2.0, -1.0, 3.0]
    line = program.fails("cluster", run, data=data, out=tmp_path / "c.csv")
    assert "`variolite cluster` does not go with a run on numbers" in line
    assert "Did you mean column?" in program.fails(*fit, "--restart", "--set", "colum=x")
