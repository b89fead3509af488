"""Numbers in the figures agree with independent computations from the same files."""

import json
import re
from dataclasses import replace

import numpy as np
import polars as pl
import pytest
from sklearn.decomposition import PCA
from sklearn.metrics import r2_score, root_mean_squared_error
from synthetic_run import INPUTS

from page_layout import read_page
from variolite.corelogs.field import FIELD
from variolite.corelogs.held_out_rows import held_out_of
from variolite.corelogs.report.cluster_figures import principal_plane, profiles_of
from variolite.report.clouds import fit_of
from variolite.report.formatting import percent
from variolite.report.run_sections import best_epochs, warm_up_end
from variolite.report.scores import metric_of, with_interval
from variolite.scoring.scorecard import Scorecard
from variolite.training import EpochRecord, RunFolder
from variolite.training.run_folder import read_run


def write_report(run):
    return FIELD.report(RunFolder(run))


@pytest.fixture(scope="module")
def frame(whole_run):
    return pl.read_parquet(whole_run / "held_out.parquet")


@pytest.fixture(scope="module")
def sections(whole_run):
    page = read_page(write_report(whole_run).read_text(encoding="utf-8"))
    return {node.attributes["id"]: node for node in page.find("section")}


def test_principal_plane_agrees_with_scikit_learn(frame):
    latent = frame.select(f"z{i}" for i in range(10)).to_numpy()
    plane = principal_plane(latent)
    assert plane is not None
    reference = PCA(2).fit(latent)
    scores, fractions = plane
    assert fractions == pytest.approx(reference.explained_variance_ratio_)
    assert np.abs(scores) == pytest.approx(np.abs(reference.transform(latent)), abs=1e-9)
    holed = np.vstack([latent, np.full((1, 10), np.nan)])
    again = principal_plane(holed)
    assert again is not None
    assert again[0][:-1] == pytest.approx(scores)
    assert np.isnan(again[0][-1]).all()
    assert principal_plane(latent[:, :1]) is None
    assert principal_plane(np.zeros((50, 3))) is None


def test_profiles_agree_with_polars(whole_run, frame):
    held_out = held_out_of(read_run(RunFolder(whole_run)), None)
    assert held_out is not None
    profiles = profiles_of(held_out)
    assert sum(profile.rows for profile in profiles) == frame.height
    assert sum(profile.share for profile in profiles) == pytest.approx(1)
    for profile in profiles:
        own = frame.filter(pl.col("cluster") == int(profile.name[1:]))
        assert profile.rows == own.height
        for column in INPUTS:
            expected = [own[column].quantile(q, interpolation="linear") for q in (0.1, 0.5, 0.9)]
            assert profile.quantiles[column] == pytest.approx(expected)
        labelled = own.filter(pl.col("label:lithology") != "")
        commonest = labelled["label:lithology"].value_counts(sort=True).row(0)
        assert profile.labels[0] == (commonest[0], pytest.approx(commonest[1] / labelled.height))


def test_contingency_figure_shows_the_fractions(sections, frame):
    figure = sections["contingency"].find("figure")[0]
    lettered = [text.own_text() for text in figure.find("text")]
    labelled = frame.filter(pl.col("label:lithology") != "")
    totals = labelled["label:lithology"].value_counts(sort=True)
    clusters = [text for text in lettered if re.fullmatch(r"C\d+", text)]
    for label, total in totals.iter_rows():
        assert f"{total:,}" in lettered
        own = labelled.filter(pl.col("label:lithology") == label)["cluster"]
        counts = [int((own == int(name[1:])).sum()) for name in clusters]
        cells = [f"{percent(count / total)}"[:-1] for count in counts if count]
        # The cells of a row stand one after the other.
        assert f" {' '.join(cells)} " in f" {' '.join(lettered)} "


def test_fit_agrees_with_scikit_learn(frame):
    for column in INPUTS:
        observed, rebuilt = frame[column].to_numpy(), frame[f"recon:{column}"].to_numpy()
        fit = fit_of(observed, rebuilt)
        assert fit.rows == frame.height
        assert fit.r2 == pytest.approx(r2_score(observed, rebuilt))
        assert fit.rmse == pytest.approx(root_mean_squared_error(observed, rebuilt))
        some = observed.copy()
        some[::3] = np.nan
        assert fit_of(some, rebuilt).r2 == pytest.approx(
            r2_score(np.delete(observed, np.s_[::3]), np.delete(rebuilt, np.s_[::3]))
        )
    assert fit_of(np.array([np.nan]), np.array([1.0])).rows == 0
    assert np.isnan(fit_of(np.array([2.0, 2.0]), np.array([1.0, 2.0])).r2)


def test_strip_log_draws_the_rows_of_the_detail(sections):
    detail = sections["strip-log"].find("figure")[1]
    assert detail.attributes["data-name"].startswith("strip-log-detail")
    long = [path for path in detail.find("path") if path.attributes["d"].count("L") > 120]
    # The widths of lines that are observed and rebuilt; patterns of rocks have others.
    widths = [re.search(r"stroke-width: ([\d.]+)", path.attributes["style"]) for path in long]
    found = [width[1] for width in widths if width]
    assert found.count("0.8") == found.count("2.6") == len(INPUTS)


def test_depth_runs_downwards(sections):
    overview = sections["strip-log"].find("svg")[0]
    depths = {
        float(text.attributes["y"]): float(text.own_text())
        for text in overview.find("text")
        if "text-anchor: middle" in text.attributes["style"] and text.own_text().isdecimal()
    }
    heights = sorted(depths)
    assert [depths[y] for y in heights] == sorted(depths.values())
    assert len(heights) >= 5
    assert {"depth", "(m)"} <= {text.own_text() for text in overview.find("text")}


def test_best_epoch_is_the_lowest_monitored_after_warm_up(whole_run):
    lines = [json.loads(t) for t in (whole_run / "history.jsonl").read_text().splitlines()]
    history = [EpochRecord(**line) for line in lines]
    assert warm_up_end(history) == 10
    monitored = np.array([line["val_monitored"] for line in lines])
    expected = (10 + np.argmin(monitored[10:], axis=0)).tolist()
    assert best_epochs(history, {}) == expected
    lines[2]["val_monitored"] = [-99.0] * 3
    early = [EpochRecord(**line) for line in lines]
    assert best_epochs(early, {}) == expected
    assert best_epochs(history, {"best_epoch": [4, 5, 6]}) == [4, 5, 6]
    constant = [replace(record, beta=0.5) for record in early]
    assert warm_up_end(constant) is None
    assert best_epochs(constant, {}) == [2.0] * 3


def test_every_score_is_in_the_tables_with_a_unit_where_it_has_one(whole_run, sections):
    card = Scorecard.read(whole_run / "scorecard.json")
    cells = {cell.text() for cell in sections["scorecard"].find("td")}
    for row in card.rows:
        written = {with_interval(row, places) for places in range(5)}
        assert written & cells, row
        if row.task == "reconstruction":
            assert (row.unit in with_interval(row)) == metric_of(row.metric).has_unit
    by_metric = {row.metric: with_interval(row) for row in card.rows if row.unit == "g/cm3"}
    assert by_metric["rmse"].endswith(" g/cm3")
    assert "g/cm3" not in by_metric["r2"]


def test_hole_without_a_measurement_is_called_imputed(run):
    path = run / "held_out.parquet"
    frame = pl.read_parquet(path).with_columns(
        natural_gamma=pl.when(pl.col("group") != "U1338D").then("natural_gamma")
    )
    frame.write_parquet(path)
    page = read_page(write_report(run).read_text(encoding="utf-8"))
    captions = {figure.attributes["data-name"]: figure.text() for figure in page.find("figure")}
    assert "imputation: natural gamma" in captions["strip-log-U1338D"]
    assert "imputation" not in captions["strip-log-U1334A"]
    assert [o.text() for o in page.find("select")[0].find("option")][-1] == "U1338D"
