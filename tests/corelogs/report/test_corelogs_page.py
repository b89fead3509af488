"""The whole page: well formed, self-contained, escaped, legible, honest about what is absent."""

import json
import re
import shutil

import polars as pl
import pytest

from page_layout import HOSTILE, check_layout, check_page, read_page
from variolite.corelogs.field import FIELD
from variolite.errors import RunFolderError
from variolite.training import RunFolder


def write_report(run):
    return FIELD.report(RunFolder(run))


SECTIONS = {
    "scorecard", "strip-log", "contingency", "profiles", "latent-map", "reconstruction", "health",
    "training", "provenance",
}  # fmt: skip
CLUSTER_NAMES = r"C\d+"
"""Names in the latent map may stand on others where many clusters share a centre."""
ROW = pl.int_range(pl.len())


def page_of(run):
    return read_page(write_report(run).read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def html(whole_run):
    return write_report(whole_run).read_text(encoding="utf-8")


def test_the_page_is_whole_legible_and_self_contained(html):
    check_page(html, SECTIONS, CLUSTER_NAMES)


def test_pages_are_written_again_alike_and_stay_small(whole_run, run, html):
    assert write_report(whole_run).read_text(encoding="utf-8") == html
    frame = pl.read_parquet(run / "held_out.parquet")
    many = [frame.with_columns(pl.col("order") + 400 * i) for i in range(40)]
    pl.concat(many).write_parquet(run / "held_out.parquet")
    large = write_report(run).read_text(encoding="utf-8")
    assert large != html
    assert max(len(html), len(large)) < 3_000_000
    # A latent map of 4,000 dots, in a palette; in all colours it takes four times as much.
    assert 20_000 < max(map(len, re.findall('base64,[^"]*', large))) < 100_000


def test_banner_only_for_simulated_data(run, html):
    assert "SIMULATED" in read_page(html).find("header")[0].text()
    for name in ("environment.json", "model/model.json"):
        text = (run / name).read_text()
        (run / name).write_text(text.replace('"simulated": true', '"simulated": false'))
    assert "SIMULATED" not in write_report(run).read_text()


def test_hostile_names_stay_text(run):
    frame = pl.read_parquet(run / "held_out.parquet")
    strange = {
        "bulk_density": HOSTILE,
        "recon:bulk_density": f"recon:{HOSTILE}",
        "label:lithology": f"label:{HOSTILE}",
    }
    frame = frame.rename(strange).with_columns(
        pl.lit(HOSTILE).alias("group"),
        pl.when(pl.col(f"label:{HOSTILE}") == "clay")
        .then(pl.lit(HOSTILE))
        .otherwise(pl.col(f"label:{HOSTILE}"))
        .alias(f"label:{HOSTILE}"),
    )
    frame.write_parquet(run / "held_out.parquet")
    escaped = json.dumps(HOSTILE)[1:-1]
    for name in ("scorecard.json", "health.json", "model/model.json", "environment.json"):
        text = (run / name).read_text()
        for plain in ("bulk_density", "lithology", "cores.parquet", "g/cm3", "2.13.0"):
            text = text.replace(plain, escaped)
        text = text.replace("Labels with fewer", escaped).replace("4 of 10 latent", escaped)
        (run / name).write_text(text)
    split = {"train": [HOSTILE], "validation": [], "test": ["a"], "seed": 0}
    (run / "split.json").write_text(json.dumps(split))
    (run / "recipe.yaml").write_text(json.dumps({"name": HOSTILE, "title": HOSTILE}))
    named = run.with_name("<script>alert(2)")
    shutil.move(run, named)

    page = page_of(named)
    assert len(page.find("script")) == len(page.find("style")) == 1
    assert page.find("img") == []
    assert "alert('x')" in page.text()
    assert not any("\x00" in node.own_text() for node in page.walk())
    check_layout(page, SECTIONS, CLUSTER_NAMES)


SCORE = "run variolite score"


@pytest.mark.parametrize(
    ("absent", "told"),
    [
        (
            ["held_out.parquet", "split.json"],
            dict.fromkeys(("strip-log", "profiles", "latent-map", "contingency"), SCORE)
            | {"provenance": "No split.json"},
        ),
        (
            ["scorecard.json", "history.jsonl", "environment.json"],
            {
                "scorecard": SCORE,
                "training": "no history.jsonl",
                "provenance": "No environment.json",
            },
        ),
        (
            ["held_out.parquet", "scorecard.json", "health.json", "recipe.yaml"],
            {"reconstruction": SCORE, "health": SCORE, "provenance": "No recipe.yaml"},
        ),
        (["model/model.json", "held_out.parquet"], {"provenance": "no trained model"}),
    ],
)
def test_absent_parts_are_named_and_the_rest_is_there(run, absent, told):
    for name in absent:
        (run / name).unlink()
    page = page_of(run)
    sections = {node.attributes["id"]: node for node in page.find("section")}
    assert set(sections) == SECTIONS
    for section, wording in told.items():
        missing = [p for p in sections[section].find("p") if p.attributes.get("class") == "missing"]
        assert any(wording in paragraph.text() for paragraph in missing), section


def test_a_run_with_only_a_recipe_is_reported(tmp_path):
    (tmp_path / "recipe.yaml").write_text("name: corelogs/v1\n")
    page = page_of(tmp_path)
    assert page.find("svg") == []
    assert "has not been scored" in page.find("header")[0].text()


@pytest.mark.parametrize(
    "dropped",
    [
        ["order", "cluster"],
        ["group", "label:lithology"],
        ["cluster", "label:lithology", "label:group"],
        ["label:lithology", "label:group", *(f"z{i}" for i in range(10))],
        ["recon:bulk_density", *(f"z{i}" for i in range(1, 10))],
    ],
)
def test_held_out_rows_may_lack_columns(run, dropped):
    path = run / "held_out.parquet"
    pl.read_parquet(path).drop(dropped).write_parquet(path)
    check_layout(page_of(run), SECTIONS, CLUSTER_NAMES)


@pytest.mark.parametrize("rows", [0, 1, 2])
def test_hardly_any_held_out_rows(run, rows):
    path = run / "held_out.parquet"
    pl.read_parquet(path).head(rows).write_parquet(path)
    assert len(page_of(run).find("section")) == len(SECTIONS)


def test_constant_missing_and_extreme_inputs(run):
    path = run / "held_out.parquet"
    frame = pl.read_parquet(path).with_columns(
        bulk_density=8.5,
        natural_gamma=pl.lit(None, dtype=pl.Float64),
        magnetic_susceptibility=pl.col("magnetic_susceptibility") * 1e12,
        reflectance_red=pl.when(ROW % 5 == 0).then(float("inf")).otherwise("reflectance_red"),
        reflectance_green=pl.col("reflectance_green") * 1e-9,
    )
    frame.write_parquet(path)
    check_layout(page_of(run), SECTIONS, CLUSTER_NAMES)


def test_many_labels_clusters_and_dimensions(run):
    path = run / "held_out.parquet"
    frame = pl.read_parquet(path).with_columns(
        pl.format("interbedded lithology {} of a very long name indeed", ROW % 40).alias(
            "label:lithology"
        ),
        (ROW % 47 - 1).alias("cluster"),
    )
    frame.write_parquet(path)
    health = json.loads((run / "health.json").read_text())
    health["dimensions"] = [
        {**health["dimensions"][i % 10], "index": i, "kl": None if i == 3 else 0.5}
        for i in range(32)
    ]
    (run / "health.json").write_text(json.dumps(health))
    page = page_of(run)
    check_layout(page, SECTIONS, CLUSTER_NAMES)
    assert "other (23 labels)" in page.text()


def test_holes_are_chosen_by_a_menu(html):
    sections = read_page(html).find("section")
    section = next(node for node in sections if node.attributes["id"] == "strip-log")
    (menu,) = section.find("select")
    choices = {option.attributes["value"]: option.text() for option in menu.find("option")}
    assert len(choices) == 4
    for figure in section.find("figure"):
        assert choices[figure.attributes["data-choice"]] in figure.find("figcaption")[0].text()
        assert ("hidden" in figure.attributes) == (figure.attributes["data-choice"] != "0")


def test_no_run_folder(tmp_path):
    with pytest.raises(RunFolderError, match="no such run folder"):
        write_report(tmp_path / "nowhere")
    with pytest.raises(RunFolderError, match="holds no files of a run"):
        write_report(tmp_path)
