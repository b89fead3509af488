"""The page of a crystal run: whole, self-contained, legible, honest about what is absent."""

import json
import re
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from synthetic_crystal_run import write_synthetic_crystal_run

from page_layout import HOSTILE, Node, check_layout, check_page, read_page
from variolite.crystals.crystals import Crystals
from variolite.crystals.field import FIELD
from variolite.crystals.files.store import open_store, write_store
from variolite.errors import RunFolderError
from variolite.scoring.scorecard import Scorecard
from variolite.training import RunFolder


def write_report(run: Path) -> Path:
    return FIELD.report(RunFolder(run))


SECTIONS = {
    "scorecard",
    "cells",
    "errors",
    "structures",
    "latent-map",
    "elements",
    "samples",
    "training",
    "provenance",
}
SYMBOLS = r"[A-Z][a-z]?"
"""Symbols on atoms may stand behind one another."""


def page_of(run: Path) -> Node:
    return read_page(write_report(run).read_text(encoding="utf-8"))


def section(page: Node, name: str) -> Node:
    return next(node for node in page.find("section") if node.attributes["id"] == name)


@pytest.fixture(scope="module")
def html(whole_crystal_run: Path) -> str:
    return write_report(whole_crystal_run).read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def page(html: str) -> Node:
    return read_page(html)


def replace_store(path: Path, **entries: object) -> None:
    """Write a store of crystals with some of its arrays replaced."""
    store = open_store(path)
    names = ("species", "coordinates", "lattices", "offsets", "names")
    arrays = {name: np.array(getattr(store, name)) for name in names}
    path.unlink()
    write_store(path, Crystals(**{**arrays, **entries}))


def test_the_page_is_whole_legible_and_self_contained(html: str) -> None:
    check_page(html, SECTIONS, SYMBOLS)


def test_two_thousand_crystals_stay_small_and_come_out_alike(tmp_path: Path) -> None:
    run = write_synthetic_crystal_run(tmp_path / "run", count=2000)
    first = write_report(run).read_bytes()
    assert len(first) < 3_000_000
    assert write_report(run).read_bytes() == first


@pytest.mark.parametrize(
    "absent",
    [
        {
            "scorecard.json": ("scorecard", "run variolite score"),
            "held_out.parquet": ("latent-map", "run variolite score"),
            "samples.crystals": ("samples", "No generated crystals"),
            "environment.json": ("provenance", "No environment.json"),
            "recipe.yaml": ("provenance", "No recipe.yaml"),
        },
        {
            "originals.crystals": ("cells", "originals.crystals"),
            "history.jsonl": ("training", "no history.jsonl"),
            "split.json": ("provenance", "No split.json"),
        },
        {
            "reconstructed.crystals": ("structures", "reconstructed.crystals"),
            "held_out.parquet": ("errors", "held_out.parquet"),
            "model/model.json": ("provenance", "no trained model"),
        },
        {"reconstructed.crystals": ("elements", "reconstructed.crystals")},
    ],
)
def test_an_absent_part_is_said_and_the_rest_is_there(
    crystal_run: Path, absent: dict[str, tuple[str, str]]
) -> None:
    for part in absent:
        (crystal_run / part).unlink()
    page = page_of(crystal_run)
    assert {node.attributes["id"] for node in page.find("section")} == SECTIONS
    for name, wording in absent.values():
        told = [p for p in section(page, name).find("p") if p.attributes.get("class") == "missing"]
        assert any(wording in paragraph.text() for paragraph in told), wording


def test_stores_alone_make_a_crystal_page(crystal_run: Path) -> None:
    for path in [*crystal_run.glob("*.*"), crystal_run / "model" / "model.json"]:
        if path.suffix != ".crystals":
            path.unlink()
    page = page_of(crystal_run)
    assert {node.attributes["id"] for node in page.find("section")} == SECTIONS
    assert "has not been scored" in page.find("header")[0].text()
    assert section(page, "cells").find("svg")


@pytest.mark.parametrize(
    "name", ["originals.crystals", "reconstructed.crystals", "samples.crystals", "held_out.parquet"]
)
@pytest.mark.parametrize("content", [b"", b"garbage", None])
def test_damaged_files_are_named(crystal_run: Path, name: str, content: bytes | None) -> None:
    path = crystal_run / name
    path.write_bytes(path.read_bytes()[:-100] if content is None else content)
    with pytest.raises(RunFolderError) as caught:
        write_report(crystal_run)
    assert name in str(caught.value)


def test_files_of_different_scorings_do_not_mix(crystal_run: Path) -> None:
    originals = open_store(crystal_run / "originals.crystals")
    kept = originals.take(slice(0, 120))
    write_store(crystal_run / "reconstructed.crystals", kept)
    with pytest.raises(RunFolderError, match=r"not those of originals\.crystals"):
        write_report(crystal_run)
    write_store(crystal_run / "reconstructed.crystals", originals)
    table = crystal_run / "held_out.parquet"
    pl.read_parquet(table).head(7).write_parquet(table)
    with pytest.raises(RunFolderError, match=r"lacks 293 of the 300 structures"):
        write_report(crystal_run)


def test_the_run_may_keep_a_part_of_what_was_scored(crystal_run: Path) -> None:
    for name in ("originals.crystals", "reconstructed.crystals"):
        kept = open_store(crystal_run / name).take(slice(0, 120))
        (crystal_run / name).unlink()
        write_store(crystal_run / name, kept)
    page = page_of(crystal_run)
    assert "those that the run keeps of 300 scored" in section(page, "cells").text()
    assert "those that the run keeps of 300 scored" in section(page, "structures").text()
    assert "Of 300 held-out crystals" in page.find("header")[0].text()
    counts = re.findall(r"\((\d+)\)", section(page, "errors").find("svg")[1].text())
    assert sum(map(int, counts)) == 300


def test_hostile_names_stay_text(crystal_run: Path) -> None:
    for name in ("originals.crystals", "reconstructed.crystals", "samples.crystals"):
        count = len(open_store(crystal_run / name))
        replace_store(crystal_run / name, names=np.array([HOSTILE] * count))
    table = crystal_run / "held_out.parquet"
    strange = [pl.lit(HOSTILE).alias(name) for name in ("name", "formula", "chemical_family")]
    pl.read_parquet(table).with_columns(strange).write_parquet(table)
    card = json.loads((crystal_run / "scorecard.json").read_text())
    card["notes"].append(HOSTILE)
    for row in card["rows"]:
        if row["task"] == "generation":
            row |= {"split": HOSTILE, "unit": HOSTILE, "metric": row["metric"] + HOSTILE}
        if row["method"] == "source":
            row["method"] = HOSTILE
    (crystal_run / "scorecard.json").write_text(json.dumps(card))
    page = page_of(crystal_run)
    check_layout(page, SECTIONS, SYMBOLS)
    assert len(page.find("script")) == 1
    assert page.find("img") == []
    assert "alert('x')" in page.text()
    assert not any("\x07" in node.own_text() for node in page.walk())


@pytest.mark.parametrize("count", [1, 2, 3])
def test_hardly_any_crystals(tmp_path: Path, count: int) -> None:
    check_layout(
        page_of(write_synthetic_crystal_run(tmp_path / "run", count=count)), SECTIONS, SYMBOLS
    )


def test_no_crystals_at_all(crystal_run: Path) -> None:
    for path in crystal_run.glob("*.crystals"):
        none = open_store(path).take(slice(0, 0))
        path.unlink()
        write_store(path, none)
    table = crystal_run / "held_out.parquet"
    pl.read_parquet(table).head(0).write_parquet(table)
    assert {node.attributes["id"] for node in page_of(crystal_run).find("section")} == SECTIONS


def test_reconstructions_that_went_wrong(crystal_run: Path) -> None:
    path = crystal_run / "reconstructed.crystals"
    store = open_store(path)
    lattices, coordinates = np.array(store.lattices), np.array(store.coordinates)
    lattices[0] = np.nan
    lattices[1] *= 1e4
    lattices[2] = -lattices[2]
    coordinates[store.offsets[3]] = np.nan
    coordinates[store.offsets[4]] += 1e6
    replace_store(path, coordinates=coordinates, lattices=lattices)
    table = crystal_run / "held_out.parquet"
    pl.read_parquet(table).with_columns(
        pl.when(pl.int_range(pl.len()) < 4)
        .then(None)
        .otherwise(pl.col("periodic_error"))
        .alias("periodic_error")
    ).write_parquet(table)
    page = page_of(crystal_run)
    check_layout(page, SECTIONS, SYMBOLS)
    assert "have no value" in section(page, "errors").text()


@pytest.mark.parametrize(
    "dropped",
    [
        ["periodic_error", "pc2"],
        ["matched_strict", "chemical_family", "n_atoms", "formula"],
        ["volume_error_percent", "length_error_percent", "angle_error_deg"],
    ],
)
def test_the_table_may_lack_columns(crystal_run: Path, dropped: list[str]) -> None:
    table = crystal_run / "held_out.parquet"
    pl.read_parquet(table).drop(dropped).write_parquet(table)
    check_layout(page_of(crystal_run), SECTIONS, SYMBOLS)


def test_a_single_element_and_cubic_cells(tmp_path: Path) -> None:
    run = write_synthetic_crystal_run(tmp_path / "run", count=60)
    for name in ("originals.crystals", "reconstructed.crystals"):
        species = np.full_like(open_store(run / name).species, 6)
        replace_store(run / name, species=species, lattices=np.tile(3.5 * np.eye(3), (60, 1, 1)))
    check_layout(page_of(run), SECTIONS, SYMBOLS)


def test_one_family_is_coloured_by_volume(tmp_path: Path) -> None:
    run = write_synthetic_crystal_run(tmp_path / "run", count=80)
    for name in ("originals.crystals", "reconstructed.crystals"):
        replace_store(run / name, species=np.full_like(open_store(run / name).species, 6))
    table = run / "held_out.parquet"
    pl.read_parquet(table).drop("chemical_family").write_parquet(table)
    figures = section(page_of(run), "latent-map").find("figure")
    assert len(figures) == 1
    assert "by volume per atom" in figures[0].text()


def test_right_types_are_not_shown_as_an_achievement(crystal_run: Path) -> None:
    """Where all types are right, the errors of places are what a table of elements shows."""
    species = np.array(open_store(crystal_run / "originals.crystals").species)
    replace_store(crystal_run / "reconstructed.crystals", species=species)
    for given, words in ((False, "came back as the right element"), (True, "by construction")):
        model = {"kind": "variolite.crystal_vae", "architecture": {"species_given": given}}
        (crystal_run / "model" / "model.json").write_text(json.dumps(model))
        elements = section(page_of(crystal_run), "elements")
        assert words in elements.text()
        assert [node.attributes["data-name"] for node in elements.find("figure")] == [
            "errors-by-element"
        ]


def test_scores_of_the_scoring_room_are_understood(crystal_run: Path) -> None:
    for library in ("pymatgen", "spglib"):
        pytest.importorskip(library, reason=f"{library} is not installed")
    from variolite.crystals.matching import (
        reconstruction_notes,
        reconstruction_rows,
        score_reconstruction,
    )
    from variolite.crystals.matching.baselines import random_coordinates

    true = open_store(crystal_run / "originals.crystals").take(slice(0, 8))
    found = open_store(crystal_run / "reconstructed.crystals").take(slice(0, 8))
    own = score_reconstruction(true, found, workers=0)
    other = score_reconstruction(
        true, random_coordinates(true), given=("species", "lattice"), workers=0
    )
    rows = [
        *reconstruction_rows([own], method="vae", split="test"),
        *reconstruction_rows([other], method="random_coordinates", split="test"),
    ]
    Scorecard(tuple(rows), tuple(reconstruction_notes(own))).write(crystal_run / "scorecard.json")
    page = page_of(crystal_run)
    said = page.find("header")[0].text()
    assert "within the CDVAE tolerance and" in said
    assert "random coordinates (given the atom types and the cell)" in said
    scores = section(page, "scorecard")
    assert len(scores.find("figure")) == 1
    metrics = {row.metric for row in rows if row.method == "vae"}
    told = next(
        fold for fold in scores.find("details") if "What these" in fold.find("summary")[0].text()
    )
    assert len(told.find("tr")) - 1 == len(metrics)
    assert "match_rate" not in scores.text()
