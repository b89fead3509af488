"""One run on a made-up table of frameworks, trained, scored and shared by all tests here."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import polars as pl
import pytest
from made_up_table import frameworks, recipe

from variolite.frameworks.field import FIELD
from variolite.frameworks.generation import sampling, score_run, surrogate
from variolite.progress import Progress
from variolite.training import RunFolder


@dataclass(frozen=True)
class Example:
    """The table, and a run of two members on it."""

    data: Path
    run: Path

    @property
    def folder(self) -> RunFolder:
        return RunFolder(self.run)

    @property
    def frame(self) -> pl.DataFrame:
        return pl.read_csv(self.data)


@pytest.fixture(scope="session")
def few_draws():
    """Scores of hundreds of rows, not of ten thousands; forests of few trees."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(surrogate, "TREES", 40)
        patch.setattr(score_run, "DRAWN", 400)
        patch.setattr(score_run, "REQUESTS", 8)
        patch.setattr(sampling, "ROUND", 200)
        yield


@pytest.fixture(scope="session")
def example(tmp_path_factory, few_draws):
    pytest.importorskip("rdkit", reason="linkers of frameworks need rdkit")
    folder = tmp_path_factory.mktemp("frameworks")
    made = Example(folder / "table.csv", folder / "run")
    frameworks().write_csv(made.data)
    run = FIELD.train(recipe(), made.data, made.run, Progress(), members=2)
    FIELD.score(run, made.data, Progress())
    return made


@pytest.fixture(scope="session")
def model(example):
    return example.folder.model()
